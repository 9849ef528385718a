/**
 * Keys with a pending write: each of a few keys has one write under way, over and over, until the leader is paused; then
 * they are read at `quorum`, by a client of its own. Some of the writes under way have reached a follower and are not known to
 * be decided there: reads of those keys have to wait for the next leader.
 * INVARIANT: every key has exactly one write under way when the writes end.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type RingkeepClient } from '#src/client/index.ts';
import { monotonicMs } from '../load/monotonic.ts';
import { describeFailure } from '../load/target.ts';
import { PENDING_KEYS } from './conditions.ts';

/** Reads begin for so long after the pause, ms: the next leader is never there before. Each key is read once a step. */
const READ_MS = 240;
const STEP_MS = 20;
const REQUEST_MS = 30_000;
const KEYS = Array.from({ length: PENDING_KEYS }, (_, number) => `pending:${number}`);

/** The latencies of what succeeded, in ms, and the number of failures. */
export interface PendingLatencies {
  readonly latenciesMs: readonly number[];
  readonly errors: number;
}

export class PendingKeys {
  readonly #writer: RingkeepClient;
  readonly #reader: RingkeepClient;
  readonly #lanes: readonly Promise<void>[];
  #writing = true;
  #reading: Promise<PendingLatencies> = Promise.resolve({ latenciesMs: [], errors: 0 });

  /** Begins to write. */
  constructor(url: string, mode: 'routed' | 'direct') {
    const options = { mode, requestTimeoutMs: REQUEST_MS };
    this.#writer = connect(url, options);
    this.#reader = connect(url, options);
    this.#lanes = KEYS.map((key) => this.#write(key));
    for (const lane of this.#lanes) lane.catch(() => {});
  }

  /** Ends the writes, but for those that are under way, and begins to read. To be called at the pause. */
  paused(): void {
    this.#writing = false;
    this.#reading = this.#readAll(monotonicMs());
    this.#reading.catch(() => {});
  }

  /** Resolves with the reads, when all that is under way has ended. Rejects with a bug. */
  async end(): Promise<PendingLatencies> {
    const read = await this.#reading;
    await Promise.all(this.#lanes);
    return read;
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    this.#writing = false;
    await Promise.all([this.#writer.close(), this.#reader.close()]);
  }

  async #write(key: string): Promise<void> {
    // The first read opens the reader's connections.
    await this.#reader.get(key, { read: 'quorum' });
    for (let count = 0; this.#writing; count += 1) {
      // What has become of a write in a failover does not matter here.
      await this.#writer.put(key, `${count}`).catch(describeFailure);
    }
  }

  async #readAll(from: number): Promise<PendingLatencies> {
    const latenciesMs: number[] = [];
    const reads: Promise<void>[] = [];
    let errors = 0;
    const read = async (key: string, startAt: number): Promise<void> => {
      try {
        await this.#reader.get(key, { read: 'quorum' });
        latenciesMs.push(monotonicMs() - startAt);
      } catch (error) {
        describeFailure(error);
        errors += 1;
      }
    };
    for (let startAt = from; startAt < from + READ_MS; startAt += STEP_MS) {
      await delay(Math.max(0, startAt - monotonicMs()));
      reads.push(...KEYS.map((key) => read(key, startAt)));
    }
    await Promise.all(reads);
    return { latenciesMs, errors };
  }
}
