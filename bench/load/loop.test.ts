import { describe, expect, it } from 'vitest';
import { createRandom } from '#src/common/random.ts';
import { createArrivals } from './arrivals.ts';
import { addEncoded, createHistogram, type Histogram, latencyOf } from './histogram.ts';
import { Loop, type LoopOptions, type LoopTotals, type Slot } from './loop.ts';
import { type Interval, Recorder } from './recorder.ts';

const REFUSED = { code: 'OVERLOADED', outcome: 'not_applied' } as const;

interface Outcome {
  readonly totals: LoopTotals;
  readonly intervals: readonly Interval[];
  readonly latencies: Histogram;
  readonly inFlightMost: number;
}

/** When an operation that starts at `now` ends, and whether it fails. */
type Service = (now: number, count: number) => { readonly at: number; readonly fails?: boolean };

/** Runs a loop in virtual time: ends and the timer, ms by ms. */
async function simulate(
  options: Partial<LoopOptions>,
  rate: number | null,
  service: Service,
): Promise<Outcome> {
  const whole: LoopOptions = {
    arrivals:
      rate === null
        ? null
        : createArrivals({ kind: 'fixed', rate, from: 0, part: 0, parts: 1 }, createRandom(1)),
    ...{ inFlightMax: 10_000, measureFrom: 0, endAt: 3_000, drainUntil: 10_000 },
    operationsMax: Number.POSITIVE_INFINITY,
    ...options,
  };
  let now = 0;
  let count = 0;
  let most = 0;
  let pump = () => {};
  const open: { slot: Slot; at: number; fails: boolean }[] = [];
  const intervals: Interval[] = [];
  const recorder = new Recorder(whole.measureFrom, (interval) => intervals.push(interval));
  const host = {
    now: () => now,
    plan: () => {},
    issue: (slot: Slot) => {
      count += 1;
      const { at, fails = false } = service(now, count);
      open.push({ slot, at, fails });
      most = Math.max(most, open.length);
    },
    describe: () => REFUSED,
    eachTick: (run: () => void) => {
      pump = run;
      return () => {};
    },
  };
  const loop = new Loop(whole, host, recorder);
  let ended = false;
  const run = loop.run().then(() => {
    ended = true;
  });
  for (; !ended && now < 60_000; now += 1) {
    for (const end of open.filter(({ at }) => at <= now)) {
      open.splice(open.indexOf(end), 1);
      if (end.fails) end.slot.fail(REFUSED);
      else end.slot.succeed();
    }
    pump();
    await Promise.resolve();
  }
  await run;
  recorder.flush();
  const latencies = createHistogram();
  for (const { succeeded } of intervals) if (succeeded.READ) addEncoded(latencies, succeeded.READ);
  return { totals: loop.totals, intervals, latencies, inFlightMost: most };
}

/** Answers after 1 ms, but nothing from 1,000 to 2,000. */
const stalls: Service = (now) => ({ at: now >= 1_000 && now < 2_000 ? 2_000 : now + 1 });

describe('an open loop', () => {
  it('shows a stall in all operations that should have started in it', async () => {
    const { latencies, totals } = await simulate({}, 1_000, stalls);
    expect(totals).toMatchObject({ started: 3_000, succeeded: 3_000, failed: 0, abandoned: 0 });
    const { max, p50, p90 } = latencyOf(latencies);
    // A third of the operations should have started in the stall; they waited 1 to 1,000 ms.
    expect(max).toBeGreaterThan(999);
    expect(p50).toBeLessThan(2);
    expect(p90).toBeGreaterThan(650);
    expect(p90).toBeLessThan(750);
  });

  it('shows it as well when few may be in flight: the others wait with their times', async () => {
    const { latencies, totals, inFlightMost } = await simulate({ inFlightMax: 2 }, 1_000, stalls);
    expect(inFlightMost).toBe(2);
    expect(totals.started).toBe(totals.succeeded + totals.failed + totals.abandoned);
    expect(totals.started).toBe(3_000);
    expect(latencyOf(latencies).max).toBeGreaterThan(990);
    expect(latencyOf(latencies).p90).toBeGreaterThan(600);
  });

  it('a closed loop hides it: that is coordinated omission', async () => {
    const { latencies } = await simulate({ inFlightMax: 1 }, null, stalls);
    expect(latencyOf(latencies).p99).toBeLessThan(3);
  });

  it('reports what is waiting at the end, works it off, and counts what it cannot', async () => {
    const slow: Service = (now) => ({ at: now + 10 });
    const drained = await simulate({ inFlightMax: 5, endAt: 1_000, drainUntil: 60_000 }, 1_000, slow);
    expect(drained.totals).toMatchObject({ started: 1_000, succeeded: 1_000, abandoned: 0 });
    expect(drained.totals.backlog).toBeGreaterThan(400);
    expect(drained.totals.late).toBeGreaterThan(400);
    const cut = await simulate({ inFlightMax: 5, endAt: 1_000, drainUntil: 1_100 }, 1_000, slow);
    expect(cut.totals.started).toBe(1_000);
    expect(cut.totals.abandoned).toBeGreaterThan(300);
    expect(cut.totals.succeeded + cut.totals.abandoned).toBe(1_000);
    expect(cut.totals.backlog).toBeGreaterThanOrEqual(cut.totals.abandoned);
  });

  it('ends after as many operations as were asked for', async () => {
    const limits = {
      operationsMax: 77,
      endAt: Number.POSITIVE_INFINITY,
      drainUntil: Number.POSITIVE_INFINITY,
    };
    const { totals } = await simulate(limits, 100, (now) => ({ at: now + 3 }));
    expect(totals).toMatchObject({ started: 77, succeeded: 77, late: 0 });
  });
});

describe('a loop', () => {
  it('keeps so many in flight and no more when it is closed', async () => {
    const { totals, inFlightMost } = await simulate({ inFlightMax: 4 }, null, (now) => ({ at: now + 10 }));
    expect(inFlightMost).toBe(4);
    expect(totals.started).toBeGreaterThan(1_000);
    expect(totals.succeeded).toBe(totals.started);
  });

  it('measures nothing of its warm-up', async () => {
    const { totals, intervals } = await simulate({ measureFrom: 2_000 }, 1_000, (now) => ({ at: now + 1 }));
    expect(totals.started).toBe(1_000);
    expect(intervals.map(({ second }) => second)).toEqual([0, 1]);
  });

  it('counts failures by code and outcome, with latencies of their own', async () => {
    const every5th: Service = (now, count) => ({ at: now + 2, fails: count % 5 === 0 });
    const { totals, intervals, latencies } = await simulate({}, 1_000, every5th);
    expect(totals).toMatchObject({ started: 3_000, succeeded: 2_400, failed: 600 });
    const failures = intervals.flatMap((interval) => interval.failures);
    expect(failures.reduce((sum, { count }) => sum + count, 0)).toBe(600);
    expect(failures[0]).toMatchObject({ kind: 'READ', ...REFUSED });
    expect(latencies.totalCount).toBe(2_400);
    const failed = createHistogram();
    for (const interval of intervals) addEncoded(failed, interval.failed!);
    expect(failed.totalCount).toBe(600);
  });

  it('ends at a bug with the bug', async () => {
    const recorder = new Recorder(0, () => {});
    const bug = new Error('a bug');
    const host = {
      ...{ now: () => 0, plan: () => {}, describe: () => REFUSED, eachTick: () => () => {} },
      issue: () => {
        throw bug;
      },
    };
    const options = {
      arrivals: null,
      inFlightMax: 1,
      measureFrom: 0,
      endAt: 1,
      drainUntil: 1,
      operationsMax: 1,
    };
    await expect(new Loop(options, host, recorder).run()).rejects.toBe(bug);
  });
});
