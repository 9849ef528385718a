import { describe, expect, it } from 'vitest';
import { createRandom } from '../common/random.ts';
import { FailureDetector } from './failure-detector.ts';

/** Beats of node `n` every `everyMs` (plus jitter) until `until`, ticks every 20 ms; returns the time of the last beat. */
function beat(detector: FailureDetector, from: number, until: number, everyMs: number, jitterMs = 0): number {
  const random = createRandom(1);
  let next = from + everyMs;
  let last = from;
  for (let now = from; now <= until; now += 20) {
    if (now >= next) {
      detector.heartbeat(now, 'n');
      last = now;
      next = now + everyMs + (jitterMs === 0 ? 0 : random.integer(jitterMs));
    }
    detector.tick(now);
  }
  return last;
}

/** Ticks in silence and returns the silence after which the node is called dead. */
function silenceUntilDeath(detector: FailureDetector, from: number): number {
  for (let now = from; now < from + 60_000; now += 20) {
    detector.tick(now);
    if (!detector.verdict(now, 'n').alive) return now - from;
  }
  return Number.POSITIVE_INFINITY;
}

describe('FailureDetector', () => {
  it('calls a regular node dead soon after the floor, never before it', () => {
    const detector = new FailureDetector();
    detector.connected(0, 'n');
    const last = beat(detector, 0, 5_000, 100);
    const silence = silenceUntilDeath(detector, last);
    expect(silence).toBeGreaterThanOrEqual(700);
    expect(silence).toBeLessThan(800);
  });

  it('gives an irregular node more time than a regular one', () => {
    const detector = new FailureDetector({ floorMs: 1_000 });
    detector.connected(0, 'n');
    const last = beat(detector, 0, 30_000, 100, 900);
    expect(silenceUntilDeath(detector, last)).toBeGreaterThan(1_200);
  });

  it('takes a closed stream for death after 200 ms, unless it comes back', () => {
    const detector = new FailureDetector();
    detector.connected(0, 'n');
    const last = beat(detector, 0, 1_000, 100);
    detector.disconnected(last, 'n');
    for (let later = 60; later <= 180; later += 60) detector.tick(last + later);
    expect(detector.verdict(last + 180, 'n').alive).toBe(true);
    expect(detector.verdict(last + 200, 'n')).toMatchObject({
      alive: false,
      reason: 'control stream closed for 200 ms',
    });
    detector.connected(last + 210, 'n');
    expect(detector.verdict(last + 210, 'n')).toMatchObject({
      alive: true,
      reason: '',
      phi: expect.any(Number),
    });
  });

  it('forgives everybody the time in which it was not ticked', () => {
    const detector = new FailureDetector();
    detector.connected(0, 'n');
    const last = beat(detector, 0, 2_000, 100);
    detector.disconnected(last, 'n');
    detector.tick(last + 10_000);
    expect(detector.verdict(last + 10_000, 'n').alive).toBe(true);
    expect(silenceUntilDeath(detector, last + 10_020)).toBeLessThan(220);
  });

  it('does not learn from intervals that its own stall has stretched', () => {
    const detector = new FailureDetector();
    detector.connected(0, 'n');
    let last = beat(detector, 0, 3_000, 100);
    for (let stall = 0; stall < 10; stall += 1) {
      detector.heartbeat(last + 3_000, 'n');
      detector.tick(last + 3_000);
      last = beat(detector, last + 3_000, last + 3_400, 100);
    }
    expect(silenceUntilDeath(detector, last)).toBeLessThan(800);
  });

  it('gives a node that was never heard of its time, and then says so', () => {
    const detector = new FailureDetector();
    detector.watch(0, 'n');
    expect(silenceUntilDeath(detector, 0)).toBe(3_000);
    expect(detector.verdict(3_000, 'n').reason).toBe('not heard of for 3000 ms');
  });

  it('suspects more the longer the silence', () => {
    const detector = new FailureDetector();
    detector.connected(0, 'n');
    const last = beat(detector, 0, 3_000, 100);
    const phis = [50, 150, 250, 400, 2_000].map((silence) => detector.verdict(last + silence, 'n').phi);
    expect([...phis].sort((a, b) => a - b)).toEqual(phis);
    expect(phis[0]).toBeLessThan(0.5);
    expect(phis[4]).toBeGreaterThan(100);
  });
});
