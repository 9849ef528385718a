/**
 * Workloads that watch what the weaker read levels show, and how long the cluster is away: sessions whose token is passed on,
 * stale reads and their bound, and two probes of every partition, a write and a quorum read of a key that nobody writes.
 */
import type { Workbench, Workload } from './workbench.ts';

const RISES_KEPT = 4_000;

/** What is known of one key with a rising value. */
interface Rising {
  readonly key: string;
  /** Acknowledged at quorum: when, by performance.now(), and the version. */
  readonly rises: { readonly at: number; readonly version: number }[];
}

/** Sessions read their own writes and never go back, also by a token elsewhere; stale reads are as old as they say at most. */
export class Observers implements Workload {
  readonly name = 'observers';
  readonly text = 'sessions never go back, and stale reads are no older than they say';

  start(bench: Workbench): void {
    const keys = bench.keysOf('seen', 1).map((key): Rising => ({ key, rises: [] }));
    for (const [at, rising] of keys.entries())
      bench.lane(() => write(bench, at, rising), bench.options.paceMs * 3);
    bench.lane(() => this.staleRead(bench, 1, bench.pick(keys)));
    for (let lane = 0; lane < 2; lane += 1)
      bench.lane(() => this.session(bench, lane), bench.options.paceMs * 2);
  }

  /** A read at `stale` shows all that was acknowledged longer before its call than the bound that it tells. */
  private async staleRead(bench: Workbench, lane: number, { key, rises }: Rising): Promise<void> {
    const calledAt = performance.now();
    const entry = await bench.client(lane).getEntry(key, { read: 'stale' });
    // Of an absent key no bound is told.
    if (entry === undefined) return;
    const since = calledAt - (entry.stalenessMs ?? 0);
    const floor = rises.findLast(({ at }) => at < since)?.version ?? 0;
    bench.held('stale');
    if (entry.version < floor)
      bench.breach(
        'stale',
        key,
        `version ${entry.version} within ${entry.stalenessMs} ms; ${floor} was acknowledged before`,
      );
  }

  /** One session writes, another process goes on with its token, and both see what there is. */
  private async session(bench: Workbench, lane: number): Promise<void> {
    const key = `session-${lane}-${bench.options.random.integer(4)}`;
    const session = bench.client(lane).session();
    const { version } = await bench.client(lane).put(key, bench.value(), { session });
    const other = bench.client(lane + 1);
    const passed = other.session(session.token);
    let seen = version;
    for (let reads = 0; reads < 3; reads += 1) {
      const entry = await other.getEntry(key, { read: 'session', session: passed });
      bench.held('session');
      const shown = entry?.version ?? 0;
      if (shown < seen) bench.breach('session', key, `version ${shown} is shown after ${seen}`);
      seen = Math.max(seen, shown);
    }
  }

  async verify(): Promise<void> {}
}

async function write(bench: Workbench, lane: number, { key, rises }: Rising): Promise<void> {
  const { version } = await bench.client(lane).put(key, bench.value());
  rises.push({ at: performance.now(), version });
  if (rises.length > RISES_KEPT) rises.shift();
}

/** Keys of the probes, by what is asked of them. */
export const PROBE_WRITES = 'probe';
export const PROBE_READS = 'idle';
const PROBE_MS = 15;
/** Quorum reads of one key at a time: what one waits for, and the pause after it, is not taken for a time without answers. */
const PROBE_READERS = 2;

/** One write after the other in every partition, and quorum reads that overlap, so that every pause of one shows. */
export class Probes implements Workload {
  readonly name = 'probes';
  readonly text = 'writes and quorum reads in every partition all the time: how long it is away';

  start(bench: Workbench): void {
    const writes = bench.keysOf(PROBE_WRITES, 1);
    const reads = bench.keysOf(PROBE_READS, 1);
    for (const [at, key] of writes.entries())
      bench.lane(() => bench.client(at).put(key, bench.value()), PROBE_MS);
    for (const [at, key] of reads.entries()) {
      // Each through a client of the other kind than the write.
      const client = bench.client(at + 1);
      for (let reader = 0; reader < PROBE_READERS; reader += 1)
        bench.lane(() => client.get(key, { read: 'quorum' }), PROBE_MS * PROBE_READERS);
    }
  }

  async verify(): Promise<void> {}
}
