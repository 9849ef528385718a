/**
 * Counters that are salted and unsalted while everybody adds to them: an add counts once, in whichever partition it was sent to, whatever dies or
 * is cut off there. All adds are equal, so what is read is a sum that the counter has had: the checker judges it like any other history.
 */
import { RingkeepError } from '../../common/errors.ts';
import { VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

const KEYS = 2;
const ADDERS = 4;
/** The pauses of who reads and of who salts, in those of who adds. */
const READ_PACES = 4;
const SALT_PACES = 40;
const COPIES_MAX = 2;

interface Told {
  asked: number;
  acknowledged: number;
  refused: number;
}

/** Adds to salted counters. */
export class SaltedCounters implements Workload {
  readonly name = 'salted counters';
  readonly text = 'an add to a counter that is spread over partitions counts once, and sums are linearizable';
  private readonly told = new Map<string, Told>();

  start(bench: Workbench): void {
    const { paceMs } = bench.options;
    const keys = bench.keysOf('spread', 1).slice(0, KEYS);
    for (const key of keys) this.told.set(key, { asked: 0, acknowledged: 0, refused: 0 });
    for (let lane = 0; lane < ADDERS; lane += 1) bench.lane(() => this.add(bench, lane, bench.pick(keys)));
    for (const [lane, read] of (['linearizable', 'quorum'] as const).entries())
      bench.lane(() => bench.client(lane).get(bench.pick(keys), { read }), paceMs * READ_PACES);
    bench.lane(() => this.salt(bench, bench.pick(keys)), paceMs * SALT_PACES);
  }

  private async add(bench: Workbench, lane: number, key: string): Promise<void> {
    const told = this.told.get(key)!;
    told.asked += 1;
    try {
      await bench.client(lane).add(key);
      told.acknowledged += 1;
    } catch (error) {
      if (error instanceof RingkeepError && error.outcome === 'not_applied') told.refused += 1;
      throw error;
    }
  }

  private async salt(bench: Workbench, key: string): Promise<void> {
    const { random, clients } = bench.options;
    // What is absent becomes a counter of 0 by that, which no history has a write of.
    if (this.told.get(key)!.acknowledged === 0) return;
    const admin = bench.admin(random.integer(clients));
    if (bench.chance(0.3)) await admin.unsalt(key, bench.space);
    else await admin.saltCounter(key, { ...bench.space, copies: 1 + random.integer(COPIES_MAX) });
  }

  async verify(bench: Workbench): Promise<void> {
    for (const [key, { asked, acknowledged, refused }] of this.told) {
      const value = (await bench.client(0).get<number>(key, { timeoutMs: VERIFY_MS })) ?? 0;
      bench.held('G4', acknowledged);
      if (value < acknowledged)
        bench.breach('G1', key, `counts ${value}; ${acknowledged} adds were acknowledged`);
      if (value > asked - refused)
        bench.breach('G4', key, `counts ${value}; only ${asked - refused} adds may have taken effect`);
      await bench.admin(0).unsalt(key, { ...bench.space, timeoutMs: VERIFY_MS });
      const whole = (await bench.client(1).get<number>(key, { timeoutMs: VERIFY_MS })) ?? 0;
      if (whole !== value) bench.breach('G1', key, `counts ${value}, and ${whole} once it is unsalted`);
    }
  }
}
