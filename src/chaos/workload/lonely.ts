/**
 * Questions to nodes that cannot reach a quorum: whatever they answer but an error is what G6 rules out. What they show of registers is
 * recorded like any other read, so that the checker says whether it was wrong as well.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Reply } from '../../common/wire/messages.ts';
import { heldIn, OneNode } from './one-node.ts';
import { registerKeys } from './registers.ts';
import { nowUs, type Workbench } from './workbench.ts';

const PACE_MS = 40;
const QUESTIONS = ['write', 'linearizable read', 'quorum read'] as const;
type Question = (typeof QUESTIONS)[number];

/** A node that is asked. */
interface Asked {
  readonly node: string;
  readonly asker: OneNode;
}

/** Asks nodes that are cut off until it is stopped; an answer that comes before is what G6 rules out. */
export class LonelyQuestions {
  asked = 0;
  private readonly askers: readonly Asked[];
  private readonly bench: Workbench;
  private stopped = false;
  private readonly lane: Promise<void>;

  constructor(bench: Workbench, nodes: readonly { readonly name: string; readonly address: string }[]) {
    this.bench = bench;
    const { keyspace } = bench.options;
    this.askers = nodes.map(({ name, address }) => ({ node: name, asker: new OneNode(address, keyspace) }));
    this.lane = this.run();
  }

  private async run(): Promise<void> {
    const own = this.bench.keysOf('lonely', 1);
    const shared = registerKeys(this.bench);
    for (let turn = 0; !this.stopped; turn += 1) {
      const what = QUESTIONS[turn % QUESTIONS.length]!;
      // Nobody else writes what is written here, and others write what is read.
      const key = this.bench.pick(what === 'write' || this.bench.chance(0.5) ? own : shared);
      for (const asked of this.askers) this.ask(asked, key, what);
      await delay(PACE_MS);
    }
  }

  private ask({ node, asker }: Asked, key: string, what: Question): void {
    const call = nowUs();
    const sent = asker.ask(key, what, (reply) => {
      if (this.stopped || reply.result === 'failure') return;
      this.bench.breach('G6', key, `${node} is cut off and has answered a ${what}`);
      if (what !== 'write') this.record(node, key, what, call, reply);
    });
    if (sent) this.asked += 1;
  }

  private record(node: string, key: string, what: Question, call: number, reply: Reply): void {
    const held = heldIn(reply);
    if (held === null || !registerKeys(this.bench).includes(key)) return;
    const found = held.version > 0;
    const shown = found ? { value: held.value, version: held.version } : {};
    const level = what === 'quorum read' ? ({ level: 'quorum' } as const) : {};
    const output = { result: 'ok', found, ...shown } as const;
    const { keyspace } = this.bench.options;
    const read = { client: `asks ${node} alone`, keyspace, key, op: 'get', ...level } as const;
    this.bench.history.push({ ...read, call, return: nowUs(), output });
  }

  /** Before the fault is undone. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.lane;
    for (const { asker } of this.askers) asker.close();
  }
}
