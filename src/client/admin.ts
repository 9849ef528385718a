/** Questions about the cluster itself, beside its data. */
import { RingkeepError } from '../common/errors.ts';
import { type HotFigures, hotFigures, hotLimit, mergeHot, type ToldHot } from '../common/hot.ts';
import { HOT_TOLD_MAX } from '../common/limits.ts';
import type { Connector } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';

/** The part of the wire that it needs. */
export type AdminTransport = Pick<Connector, 'hot'>;

/** What `ClientAdmin` has from its client. */
export interface AdminSurroundings {
  readonly transport: AdminTransport;
  readonly endpoints: readonly string[];
  readonly requestTimeoutMs: number;
}

/** How much to tell. */
export interface HotOptions {
  /** Keys and partitions, 1 to 1000; default: 10. */
  readonly limit?: number;
  readonly timeoutMs?: number;
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
}
