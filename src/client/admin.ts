/** Questions about the cluster itself, beside its data, and the copies of hot keys. */
import { RingkeepError } from '../common/errors.ts';
import { type HotFigures, hotFigures, hotLimit, mergeHot, type ToldHot } from '../common/hot.ts';
import { HOT_TOLD_MAX, SALT_COPIES_MAX } from '../common/limits.ts';
import type { Connector } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { SaltOperation } from '../common/wire/messages.ts';
import type { Engine } from './engine.ts';
import type { Key } from './keyspace.ts';
import { DEFAULT_READ, NO_WRITE, type SaltedIn } from './operation.ts';
import { checkDelta, checkKeyspaceName, checkNames, checkTimeout, encodeKey } from './options.ts';

/** Node names for people need no longer than this, ms. */
const NAMES_MS = 1_000;
const UNSALT_NAMES: ReadonlySet<string> = new Set(['keyspace', 'timeoutMs']);
const SALT_NAMES: ReadonlySet<string> = new Set([...UNSALT_NAMES, 'copies']);
const SALT_COUNTER_NAMES: ReadonlySet<string> = new Set([...SALT_NAMES, 'delta']);

/** The part of the wire that it needs. */
export type AdminTransport = Pick<Connector, 'hot' | 'adminStatus'>;

/** What `ClientAdmin` has from its client. */
export interface AdminSurroundings {
  readonly transport: AdminTransport;
  readonly engine: Pick<Engine, 'submit'>;
  readonly endpoints: readonly string[];
  readonly requestTimeoutMs: number;
}

/** How much to tell. */
export interface HotOptions {
  /** Keys and partitions, 1 to 1000; default: 10. */
  readonly limit?: number;
  readonly timeoutMs?: number;
}

/** Which key is not hot any more. */
export interface UnsaltOptions {
  /** Default: the default keyspace. */
  readonly keyspace?: string;
  readonly timeoutMs?: number;
}

/** Which key gets how many copies. */
export interface SaltOptions extends UnsaltOptions {
  /** 1 to 8; there is one per node at most, beside the node that leads the key's own partition. */
  readonly copies: number;
}

/** Which counter gets how many sub-counters. */
export interface SaltCounterOptions extends SaltOptions {
  /** What each increment adds, not 0; default: 1. `mixed`: anything; then no read of the counter at `linearizable` or `quorum` is answered. */
  readonly delta?: number | bigint | 'mixed';
}

/** Where a key can be read, or incremented. */
export interface SaltedKey {
  /** The key's own, its home. */
  readonly partition: number;
  /** Fewer than asked for, where there are no more nodes. `node`: the leader of the partition; null: it is not known just now. */
  readonly copies: readonly { readonly partition: number; readonly node: string | null }[];
}

/** Administration of a cluster; a client has one as `admin`. */
export class ClientAdmin {
  readonly #around: AdminSurroundings;

  /** @internal Use `RingkeepClient.admin`. */
  constructor(around: AdminSurroundings) {
    this.#around = around;
  }

  /**
   * Resolves with the keys, partitions and nodes that are asked for most, in operations per second of about the last half minute. Counting is
   * always on and bounded: keys are counted at each node that carries their operations out, and the 1,024 with the most are kept. Asks the
   * endpoints in their order until a router answers, for all nodes; where all are nodes, for these alone.
   *
   * Rejects with RingkeepError: UNAVAILABLE, DEADLINE_EXCEEDED, INVALID_ARGUMENT, VERSION_MISMATCH for a cluster of an earlier version.
   *
   * @example
   * const { keys } = await db.admin.hot({ limit: 3 });
   * for (const { key, reads, writes, share } of keys) console.log(Buffer.from(key).toString(), reads, writes, share);
   */
  async hot(options: HotOptions = {}): Promise<HotFigures> {
    const { limit = 0, timeoutMs = this.#around.requestTimeoutMs } = options;
    if (options.limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= HOT_TOLD_MAX))
      throw new RingkeepError('INVALID_ARGUMENT', `limit must be a whole number from 1 to ${HOT_TOLD_MAX}`);
    const told: ToldHot[] = [];
    let failure: unknown;
    for (const endpoint of this.#around.endpoints) {
      try {
        const reply = await this.#around.transport.hot(
          endpoint,
          makeHello({ role: 'client' }),
          limit,
          timeoutMs,
        );
        if (reply.nodes.length > 0) return hotFigures(reply);
        told.push({ node: endpoint, reply, problem: '' });
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        failure = error;
        told.push({ node: endpoint, reply: null, problem: error.message });
      }
    }
    if (told.every(({ reply }) => reply === null)) throw failure;
    return hotFigures(mergeHot(told, hotLimit(limit)));
  }

  /**
   * Spreads the reads of a hot key over copies in the memory of other nodes, until `unsalt`; linearizable gets stay linearizable, and a write
   * waits until each copy is gone for its time (docs/HOT-KEYS.md). Resolves once the copies are decided on; they answer a moment later. May be
   * repeated, with another number too. Goes to the key's home like a write, with its retries.
   *
   * Rejects with RingkeepError: INVALID_ARGUMENT, also from a cluster of an earlier version; UNAVAILABLE, also while no other node could have a
   * copy, or for too many salted keys in a partition; CANCELLED for one whose copies are ordered otherwise meanwhile; DEADLINE_EXCEEDED.
   *
   * @example
   * const { copies } = await db.admin.salt('front-page', { copies: 2 });
   * console.log(copies.map(({ node }) => node));
   */
  async salt(key: Key, options: SaltOptions): Promise<SaltedKey> {
    checkNames('salt', options, SALT_NAMES);
    const { copies, ...rest } = options;
    checkCopies(copies);
    return this.#setCopies(key, { copies }, rest);
  }

  /**
   * Spreads the increments of a counter over sub-counters in other partitions, until `unsalt`; it begins at 0 if there is none. `db.add` then
   * goes to any of them, `db.get` tells the sum, and everything else is refused with COUNTER_SALTED. If all increments add the same, `delta`,
   * reads stay linearizable. Otherwise as `salt`; rejects also with NOT_A_COUNTER, and INVALID_ARGUMENT for a counter with a time to live.
   *
   * @example
   * await db.admin.saltCounter('visits', { copies: 2 });
   * await db.add('visits');
   * await db.admin.unsalt('visits');
   */
  async saltCounter(key: Key, options: SaltCounterOptions): Promise<SaltedKey> {
    checkNames('saltCounter', options, SALT_COUNTER_NAMES);
    const { copies, delta = 1, ...rest } = options;
    checkCopies(copies);
    if (delta !== 'mixed' && BigInt(checkDelta(delta)) === 0n)
      throw new RingkeepError('INVALID_ARGUMENT', "delta must not be 0; 'mixed' is anything");
    return this.#setCopies(key, { copies, counter: true, delta: delta === 'mixed' ? 0 : delta }, rest);
  }

  /**
   * Makes a key one like any other again. Resolves once none of its copies can answer any more; for a key that has none, too. Rejects as `salt`.
   *
   * @example
   * await db.admin.unsalt('front-page');
   */
  async unsalt(key: Key, options: UnsaltOptions = {}): Promise<SaltedKey> {
    checkNames('unsalt', options, UNSALT_NAMES);
    return this.#setCopies(key, { copies: 0 }, options);
  }

  async #setCopies(key: Key, salt: SaltOperation, options: UnsaltOptions): Promise<SaltedKey> {
    const { keyspace } = options;
    if (keyspace !== undefined) checkKeyspaceName(keyspace);
    const timeoutMs = checkTimeout('timeoutMs', options.timeoutMs, this.#around.requestTimeoutMs);
    const { home, partitions } = await this.#around.engine.submit<SaltedIn>({
      ...{ ...NO_WRITE, ...DEFAULT_READ, kind: 'salt', shape: 'salts' },
      ...{ keyspace: keyspace ?? '', key: encodeKey(key), ...salt, scan: null, signal: null },
      deadline: performance.now() + timeoutMs,
    });
    const leaders = partitions.length === 0 ? null : await this.#leaders(Math.min(timeoutMs, NAMES_MS));
    const nodeOf = (partition: number): string | null => leaders?.get(partition) ?? null;
    return {
      partition: home,
      copies: partitions.map((partition) => ({ partition, node: nodeOf(partition) })),
    };
  }

  /** Who leads which partition, as the first endpoint that answers says; null: none does. */
  async #leaders(timeoutMs: number): Promise<ReadonlyMap<number, string> | null> {
    for (const endpoint of this.#around.endpoints) {
      try {
        const hello = makeHello({ role: 'client' });
        const { topology } = await this.#around.transport.adminStatus(endpoint, hello, timeoutMs);
        const leaders = new Map<number, string>();
        for (const { partition, leader } of topology?.records ?? [])
          if (leader) leaders.set(partition, leader.node);
        return leaders;
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
      }
    }
    return null;
  }
}

function checkCopies(copies: number): void {
  if (Number.isInteger(copies) && copies >= 1 && copies <= SALT_COPIES_MAX) return;
  throw new RingkeepError('INVALID_ARGUMENT', `copies must be a whole number from 1 to ${SALT_COPIES_MAX}`);
}
