/**
 * Questions to one node, directly and to it alone, without any retry: what a node says that cannot reach a quorum. The SDK would
 * go on to another node.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { CLIENT_ID_BYTES } from '../../common/limits.ts';
import { LINEARIZABLE_GET } from '../../common/reads.ts';
import { grpcConnector } from '../../common/wire/connections.ts';
import type { Session } from '../../common/wire/contract.ts';
import { makeHello } from '../../common/wire/handshake.ts';
import type { Reply, Request } from '../../common/wire/messages.ts';
import type { Workbench } from './workbench.ts';

const PACE_MS = 40;
const TIME_MS = 2_000;

/** A session with one node. */
class Asker {
  private readonly clientId = randomBytes(CLIENT_ID_BYTES);
  private readonly open = new Map<number, (reply: Reply) => void>();
  private readonly session: Session;
  private ready = false;
  private nextId = 1;
  /** A leader tells its log time before it opens a session for deduplication. */
  private logTime = 0;

  constructor(address: string) {
    const hello = makeHello({ role: 'client', clientId: this.clientId });
    this.session = grpcConnector.openSession(address, hello, {
      onWelcome: () => {
        this.ready = true;
      },
      onReplies: (replies) => {
        for (const reply of replies) this.take(reply);
      },
      onGoaway: () => {},
      onEnd: () => {
        this.ready = false;
      },
    });
  }

  private take(reply: Reply): void {
    const { failure } = reply;
    if (failure?.code === 'SESSION_TIME') this.logTime = failure.logTime;
    this.open.get(reply.id)?.(reply);
    this.open.delete(reply.id);
  }

  /** Asks for a write at `quorum` or a linearizable read; `answered` is told if there is one. Returns whether it was sent. */
  ask(key: string, what: 'write' | 'read', answered: () => void): boolean {
    if (!this.ready) return false;
    const id = this.nextId++;
    const base: Request = {
      id,
      timeLeftMs: TIME_MS,
      keyspace: '',
      key: Buffer.from(key),
      clientId: new Uint8Array(0),
      sequence: 0,
      lowWater: 0,
      sessionTime: 0,
      attempt: 1,
      ack: 'ACK_QUORUM',
      traceParent: '',
      condition: null,
      operation: 'get',
      get: LINEARIZABLE_GET,
      idempotencyKey: new Uint8Array(0),
    };
    const write: Partial<Request> = {
      operation: 'put',
      get: null,
      put: { value: Buffer.from('lonely'), codec: 0, ttlMs: 0 },
      sequence: id,
      lowWater: id,
      sessionTime: this.logTime,
    };
    this.open.set(id, ({ result }) => {
      if (result !== 'failure') answered();
    });
    return this.session.send(what === 'write' ? { ...base, ...write } : base);
  }

  close(): void {
    this.session.close();
  }
}

/**
 * Asks nodes that are cut off until it is stopped; an answer that comes before is what G6 rules out. Resolves with how many
 * questions were asked.
 */
export class LonelyQuestions {
  asked = 0;
  private readonly askers: { readonly node: string; readonly asker: Asker }[];
  private readonly bench: Workbench;
  private stopped = false;
  private readonly lane: Promise<void>;

  constructor(bench: Workbench, nodes: readonly { readonly name: string; readonly address: string }[]) {
    this.bench = bench;
    this.askers = nodes.map(({ name, address }) => ({ node: name, asker: new Asker(address) }));
    this.lane = this.run();
  }

  private async run(): Promise<void> {
    const keys = this.bench.keysOf('lonely', 1);
    for (let turn = 0; !this.stopped; turn += 1) {
      const what = turn % 2 === 0 ? 'write' : 'read';
      const key = this.bench.pick(keys);
      for (const { node, asker } of this.askers) {
        const sent = asker.ask(key, what, () => {
          if (!this.stopped) this.bench.breach('G6', key, `${node} is cut off and has answered a ${what}`);
        });
        if (sent) this.asked += 1;
      }
      await delay(PACE_MS);
    }
  }

  /** Before the fault is undone. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.lane;
    for (const { asker } of this.askers) asker.close();
  }
}
