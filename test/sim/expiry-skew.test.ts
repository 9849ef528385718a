/**
 * What docs/CLIENT.md says of times to live and clocks: a value goes by the clock of the leader, so another leader shifts its end by
 * the difference of the two clocks, and by no more.
 */
import { expect, it } from 'vitest';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import { Bench } from '../support/sim-bench.ts';

const TTL_MS = 6_000;
/** What looking, proposing and committing take, the simulation's slow ticks included, ms. */
const LATE_MS = 600;
/** Clocks of the simulation run up to 5 % fast or slow. */
const RATE = 0.05;

it.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'another leader shifts the end of a value by the skew at most (seed %i)',
  (seed) => {
    const bench = new Bench(3, seed);
    const first = bench.leader;
    bench.put('living', TTL_MS);
    const writtenAt = bench.now;
    const goesAt = first.wallMs + TTL_MS;
    bench.isolate(first);
    bench.until('another leader', () => {
      const { established, leader } = bench.cluster.invariants.record(0)!;
      return established && leader!.node !== first.id;
    });
    bench.until('it to serve', () => bench.read(bench.leader, LINEARIZABLE_GET) !== 'NOT_LEADER');
    const second = bench.leader;
    const skewMs = Math.abs(second.wallMs - first.wallMs);
    expect(bench.read(second, LINEARIZABLE_GET)).toBe('living');
    bench.until('its end', () => bench.read(second, LINEARIZABLE_GET) === 'absent', 3 * TTL_MS);
    const livedMs = bench.now - writtenAt;
    // Never before the new leader's clock says so, and soon after it.
    expect(second.wallMs).toBeGreaterThanOrEqual(goesAt - 1);
    expect(second.wallMs - goesAt).toBeLessThan(LATE_MS);
    expect(livedMs).toBeGreaterThan(TTL_MS * (1 - RATE) - skewMs);
    expect(livedMs).toBeLessThan(TTL_MS * (1 + RATE) + skewMs + LATE_MS);
  },
);
