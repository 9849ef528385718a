/**
 * Workloads that the linearizability checker judges: registers with conditions and times to live, and counters. What they read at
 * the end is in the history like everything before, so a write that was acknowledged and is gone shows as well.
 */
import { VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

/** Keys of each partition, and lanes that work on the keys of some partitions only: one that is away blocks the lanes of no others. */
const KEYS_EACH = 2;
const LANES = 6;
/** Lanes that work on all keys, so that two write to the same one at a time. */
const ROAMING = 2;
/** Lanes that only read, at `quorum`: no leader that is away blocks them. */
const READERS = 3;
const TTL_MS = 600;

/** Returns the keys that registers are. */
export function registerKeys(bench: Workbench): string[] {
  return bench.keysOf('register', KEYS_EACH);
}

/** Puts, deletes, conditions, times to live; reads at `linearizable` and `quorum`. */
export class Registers implements Workload {
  readonly name = 'registers';
  readonly text = 'every key is a register: its history is linearizable';
  private keys: string[] = [];

  start(bench: Workbench): void {
    this.keys = registerKeys(bench);
    for (let lane = 0; lane < LANES; lane += 1) {
      const own = this.keys.filter((_, at) => Math.floor(at / KEYS_EACH) % LANES === lane);
      if (own.length > 0) bench.lane(() => this.step(bench, bench.pick(own)));
    }
    for (let lane = 0; lane < ROAMING; lane += 1) bench.lane(() => this.step(bench, bench.pick(this.keys)));
    for (let lane = 0; lane < READERS; lane += 1)
      bench.lane(() => bench.client(lane).get(bench.pick(this.keys), { read: 'quorum' }));
  }

  private async step(bench: Workbench, key: string): Promise<unknown> {
    const number = bench.options.random.integer(bench.options.clients);
    const client = bench.client(number);
    const turn = bench.options.random.next();
    if (turn < 0.25) return client.get(key);
    if (turn < 0.5) return client.get(key, { read: 'quorum' });
    if (turn < 0.6) {
      const entry = await client.getEntry(key, { read: 'quorum' });
      const condition = entry === undefined ? { ifAbsent: true } : { ifVersion: entry.version };
      return client.put(key, bench.value(), condition);
    }
    if (turn < 0.65) return client.delete(key);
    if (turn < 0.72) return client.put(key, bench.value(), { ttlMs: TTL_MS });
    if (turn < 0.76) return client.put(key, bench.value(), { ack: 'leader' });
    if (turn < 0.8) return client.put(key, bench.value(), { ack: 'all' });
    await client.put(key, bench.value());
    // By another client, at once: a replica that is behind has not heard of it yet.
    return bench.client(number + 1).get(key, { read: 'quorum' });
  }

  async verify(bench: Workbench): Promise<void> {
    const client = bench.client(0);
    await Promise.all(this.keys.map((key) => client.get(key, { timeoutMs: VERIFY_MS })));
    bench.held('G1', this.keys.length);
  }
}

/** Increments under retries: each counts once. */
export class Counters implements Workload {
  readonly name = 'counters';
  readonly text = 'every acknowledged increment counts once, every other at most once';
  private keys: string[] = [];
  private readonly acknowledged = new Map<string, number>();
  private readonly asked = new Map<string, number>();
  private readonly refused = new Map<string, number>();

  start(bench: Workbench): void {
    this.keys = bench.keysOf('counter', 1);
    for (let lane = 0; lane < 3; lane += 1) bench.lane(() => this.step(bench, lane));
  }

  private async step(bench: Workbench, lane: number): Promise<void> {
    const key = bench.pick(this.keys);
    add(this.asked, key);
    try {
      await bench.client(lane).increment(key);
      add(this.acknowledged, key);
    } catch (error) {
      if ((error as { outcome?: string }).outcome === 'not_applied') add(this.refused, key);
      throw error;
    }
  }

  async verify(bench: Workbench): Promise<void> {
    for (const key of this.keys) {
      const value = (await bench.client(0).get<number>(key, { timeoutMs: VERIFY_MS })) ?? 0;
      const least = this.acknowledged.get(key) ?? 0;
      const most = (this.asked.get(key) ?? 0) - (this.refused.get(key) ?? 0);
      bench.held('G4', least);
      if (value < least) bench.breach('G1', key, `counts ${value}; ${least} increments were acknowledged`);
      if (value > most)
        bench.breach('G4', key, `counts ${value}; only ${most} increments may have taken effect`);
    }
  }
}

function add(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}
