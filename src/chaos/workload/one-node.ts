/**
 * Questions to one node, directly and to it alone, without any retry: what that node itself says. The SDK would go on to another one.
 * INVARIANT: a question that has no answer by its time has none; nothing is asked again.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeValue } from '../../client/codec.ts';
import { CLIENT_ID_BYTES } from '../../common/limits.ts';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../common/reads.ts';
import { toJson } from '../../common/text.ts';
import { grpcConnector } from '../../common/wire/connections.ts';
import type { Session } from '../../common/wire/contract.ts';
import { makeHello } from '../../common/wire/handshake.ts';
import type { Reply, Request } from '../../common/wire/messages.ts';
import { rawRequest } from '../requests.ts';

const TIME_MS = 2_000;
const POLL_MS = 20;
const STALE_GET = { ...LINEARIZABLE_GET, level: 'READ_STALE' } as const;
/** Questions that are open at once. */
const OPEN_MAX = 400;

/** What a node's own replica holds of a key. */
export interface Held {
  /** None: it holds nothing. */
  readonly value: unknown;
  /** 0: it holds nothing. */
  readonly version: number;
}

/** A session with one node. */
export class OneNode {
  /** The session is over; it does not come back. */
  ended = false;
  private readonly open = new Map<number, (reply: Reply) => void>();
  private readonly session: Session;
  private nextId = 1;
  /** A leader tells its log time before it opens a session for deduplication. */
  private logTime = 0;

  private readonly keyspace: string;

  /** `keyspace`: of all keys; empty: the default one. `clientId`: whose writes are deduplicated together. */
  constructor(address: string, keyspace: string, clientId: Uint8Array = randomBytes(CLIENT_ID_BYTES)) {
    this.keyspace = keyspace;
    const hello = makeHello({ role: 'client', clientId });
    this.session = grpcConnector.openSession(address, hello, {
      onWelcome: () => {},
      onReplies: (replies) => {
        for (const reply of replies) this.take(reply);
      },
      onGoaway: () => {},
      onEnd: () => {
        this.ended = true;
      },
    });
  }

  private take(reply: Reply): void {
    const { failure } = reply;
    if (failure?.code === 'SESSION_TIME') this.logTime = failure.logTime;
    this.open.get(reply.id)?.(reply);
    this.open.delete(reply.id);
  }

  /** Sends a request, by default a linearizable read; `replied` is told what comes. Returns whether it was sent. */
  send(key: string, part: Partial<Request>, replied: (reply: Reply) => void): boolean {
    if (!this.session.ready) return false;
    const id = this.nextId++;
    const own = { id, timeLeftMs: TIME_MS, keyspace: this.keyspace, key: Buffer.from(key) };
    const request = rawRequest({ ...own, ...part });
    this.open.set(id, replied);
    return this.session.send(request.operation === 'get' ? { get: LINEARIZABLE_GET, ...request } : request);
  }

  /** Asks for a write at `quorum`, each time another one, or for a read. */
  ask(
    key: string,
    what: 'write' | 'linearizable read' | 'quorum read' | 'stale read',
    replied: (reply: Reply) => void,
  ): boolean {
    if (what === 'linearizable read') return this.send(key, {}, replied);
    if (what === 'quorum read') return this.send(key, { get: QUORUM_GET }, replied);
    if (what === 'stale read') return this.send(key, { get: STALE_GET }, replied);
    const sequence = this.nextId;
    const put = { value: Buffer.from('lonely'), codec: 0, ttlMs: 0 };
    const part = { sequence, lowWater: sequence, sessionTime: this.logTime };
    return this.send(key, { operation: 'put', put, ...part }, replied);
  }

  /** Resolves with what the node's own replicas hold of each key; null: it has not said so in time. */
  async held(keys: readonly string[]): Promise<(Held | null)[]> {
    const found: (Held | null)[] = keys.map(() => null);
    let until = performance.now() + TIME_MS;
    for (let from = 0; from < keys.length && performance.now() < until; ) {
      if (!this.session.ready) {
        await delay(POLL_MS);
        continue;
      }
      let open = 0;
      let page = from;
      for (; page < keys.length && open < OPEN_MAX; page += 1) {
        const at = page;
        open += 1;
        const sent = this.ask(keys[at]!, 'stale read', (reply) => {
          open -= 1;
          found[at] = heldIn(reply);
        });
        if (!sent) open -= 1;
      }
      from = page;
      until = performance.now() + 2 * TIME_MS;
      while (open > 0 && performance.now() < until) await delay(POLL_MS);
    }
    return found;
  }

  close(): void {
    this.session.close();
  }
}

/** Returns what an answer shows of a key; null: it shows none. */
export function heldIn({ value }: Reply): Held | null {
  if (!value) return null;
  if (!value.found) return { value: undefined, version: 0 };
  let decoded: unknown;
  try {
    decoded = decodeValue(value.codec, value.value);
  } catch (error) {
    // As whoever wrote it would never have it.
    decoded = `bytes that cannot be decoded: ${String(error)}`;
  }
  return { value: decoded, version: value.version };
}

/** Resolves with what each of several nodes holds of each key, in the order of the nodes. */
export async function heldBy(
  addresses: readonly string[],
  keyspace: string,
  keys: readonly string[],
): Promise<(Held | null)[][]> {
  const nodes = addresses.map((address) => new OneNode(address, keyspace));
  try {
    return await Promise.all(nodes.map((node) => node.held(keys)));
  } finally {
    for (const node of nodes) node.close();
  }
}

/** Says what is held, for people. */
export function describeHeld(held: Held | null): string {
  if (held === null) return 'no answer';
  return held.version === 0 ? 'nothing' : `${toJson(held.value)} at version ${held.version}`;
}
