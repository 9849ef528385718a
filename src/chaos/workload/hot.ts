/**
 * A workload on hot keys: everybody reads a few keys, through the router and at the leaders, while these are salted and unsalted, so that copies
 * in other partitions answer, are dropped for every write, and are cut off, killed and moved as all other replicas are. The checker judges what was
 * read: a copy that answers with what a write has replaced is a history that is not linearizable.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import { VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

const KEYS = 3;
const READERS = 6;
/** The pauses of who writes and of who salts, in those of a reader. */
const WRITE_PACES = 12;
const SALT_PACES = 40;
const COPIES_MAX = 3;
/** At the end all copies are there within this, ms. */
const HELD_MS = 30_000;
const POLL_MS = 200;

/** Reads of keys with copies. */
export class HotKeys implements Workload {
  readonly name = 'hot keys';
  readonly text = 'what copies of hot keys answer is linearizable, while they are made, dropped and cut off';
  private keys: string[] = [];

  start(bench: Workbench): void {
    const { paceMs } = bench.options;
    this.keys = bench.keysOf('hot', 1).slice(0, KEYS);
    for (let lane = 0; lane < READERS; lane += 1)
      bench.lane(() => bench.client(lane).get(bench.pick(this.keys)), paceMs / 2);
    for (const [lane, key] of this.keys.entries())
      bench.lane(() => this.write(bench, lane, key), paceMs * WRITE_PACES);
    bench.lane(() => this.salt(bench), paceMs * SALT_PACES);
  }

  private async write(bench: Workbench, lane: number, key: string): Promise<void> {
    await bench.client(lane).put(key, bench.value());
    // By another client, which may be sent to a copy.
    await bench.client(lane + 1).get(key);
  }

  private async salt(bench: Workbench): Promise<void> {
    const { random } = bench.options;
    const admin = bench.admin(random.integer(bench.options.clients));
    const key = bench.pick(this.keys);
    if (bench.chance(0.2)) await admin.unsalt(key, bench.space);
    else await admin.salt(key, { ...bench.space, copies: 1 + random.integer(COPIES_MAX) });
  }

  async verify(bench: Workbench): Promise<void> {
    const { clients } = bench.options;
    try {
      for (const key of this.keys) await bench.admin(0).salt(key, { ...bench.space, copies: 1 });
    } catch (error) {
      // A cluster of one node has nowhere to put a copy.
      if (!(error instanceof RingkeepError) || error.code !== 'UNAVAILABLE') throw error;
      return;
    }
    const missing = await this.withoutCopies(bench);
    for (const key of missing)
      bench.breach('recovery', key, `has no copy ${HELD_MS / 1_000} s after the last fault`);
    for (const key of this.keys) {
      const reads = Array.from({ length: clients * 4 }, (_, at) =>
        bench.client(at).get(key, { timeoutMs: VERIFY_MS }),
      );
      await Promise.all(reads);
    }
    bench.held('G2', this.keys.length);
    for (const key of this.keys) await bench.admin(0).unsalt(key, bench.space);
  }

  /** Waits until every key has the copies that it is to have. Returns those that do not get them. */
  private async withoutCopies(bench: Workbench): Promise<string[]> {
    const until = performance.now() + HELD_MS;
    for (;;) {
      const { salts } = await bench.admin(0).hot();
      const held = salts.filter(({ keyspace, copies }) => {
        const isHere = keyspace === bench.options.keyspace;
        return isHere && copies.length > 0 && copies.every((copy) => copy.held);
      });
      const missing = this.keys.filter(
        (key) => !held.some((salt) => Buffer.from(salt.key).equals(Buffer.from(key))),
      );
      if (missing.length === 0 || performance.now() > until) return missing;
      await delay(POLL_MS);
    }
  }
}
