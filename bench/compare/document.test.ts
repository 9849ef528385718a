import { describe, expect, it } from 'vitest';
import { type Circumstances, createDocument, documentText } from './document.ts';
import { MEASUREMENTS, type Measured, SYSTEMS } from './measurements.ts';

const CIRCUMSTANCES: Circumstances = {
  ...{
    version: '0.1.0',
    commit: null,
    fileSystem: 'ext4',
    elapsedSeconds: 60,
    startedAt: '1970-01-01T00:00:00.000Z',
  },
  machine: { cpu: 'a cpu', cores: 2, memoryBytes: 1, kernel: 'Linux', node: 'v20' },
  loadAverage: 0.1,
  systems: SYSTEMS.map((name) => ({ name, versions: { [name]: '1' }, setting: 'so' })),
  skipped: [],
};
const PACE = { rounds: 3, seconds: 8, warmUpSeconds: 2, records: 100_000 };

/** All systems in all rounds, Ringkeep three times as fast. */
function measureAll(errors: number | null = 0): Measured[] {
  return [1, 2, 3].flatMap((round) =>
    SYSTEMS.flatMap((system) =>
      MEASUREMENTS[system].map(({ name }) => {
        const speed = (system === 'ringkeep' ? 3 : 1) * round;
        const latency = { mean: 1 / speed, p50: 1 / speed, p99: 1 / speed };
        const figures = { count: 1, errors, seconds: 8, throughput: 2_000 * speed, ...latency };
        return { round, system, name, figures };
      }),
    ),
  );
}

describe('createDocument', () => {
  it('has the ratios as numbers by their names, with their spread, and all figures beside them', () => {
    const document = createDocument({ measured: measureAll(), failures: [] }, PACE, CIRCUMSTANCES);
    expect(document.rounds).toBe(3);
    expect(Object.keys(document.ratios)).toEqual([
      ...['put_quorum_256_vs_etcd', 'put_quorum_1024_vs_etcd', 'get_linearizable_256_vs_etcd'],
      ...['put_p99_at_2000_vs_etcd', 'put_1_p50_vs_etcd', 'put_quorum_256_vs_redis_wait', 'routed_vs_direct'],
    ]);
    expect(document.ratios.put_quorum_256_vs_etcd).toBeCloseTo(3);
    expect(document.ratios.put_1_p50_vs_etcd).toBeCloseTo(1 / 3);
    expect(document.ratios.routed_vs_direct).toBe(1);
    expect(document.spread.get_linearizable_256_vs_etcd).toMatchObject({
      ...{ figure: 'throughput', required: { atLeast: 4 }, met: false },
    });
    expect(document.measurements).toHaveLength(3 * (5 + 3 + 6));
    expect(document.measurements[0]).toMatchObject({ round: 1, system: 'etcd', throughput: 2_000 });
    const etcd = document.medians.find(({ system, name }) => system === 'etcd' && name === 'put_256');
    expect(etcd?.throughput).toEqual({ median: 4_000, min: 2_000, max: 6_000 });
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  it('has null for a ratio whose peer was skipped, and says how to install it', () => {
    const measured = measureAll().filter(({ system }) => system !== 'redis');
    const skipped = [{ system: 'redis', missing: ['redis-server'], install: 'apt-get install it' }] as const;
    const document = createDocument({ measured, failures: [] }, PACE, { ...CIRCUMSTANCES, skipped });
    expect(document.ratios.put_quorum_256_vs_redis_wait).toBeNull();
    expect(document.ratios.routed_vs_direct).toBe(1);
    const text = documentText(document);
    expect(text).toContain('redis is skipped: redis-server not found; install: apt-get install it');
    expect(text).toMatch(/put_quorum_256_vs_redis_wait +– +not measured/);
    expect(text).toMatch(/put_quorum_256_vs_etcd +3\.00 +>= 2 +met/);
    expect(text).toMatch(/get_linearizable_256_vs_etcd +3\.00 +>= 4 +not met/);
  });

  it('warns of errors, rates that were not reached, data in memory and a machine that was busy', () => {
    const slow = measureAll(2).map((one) => ({ ...one, figures: { ...one.figures, throughput: 1_000 } }));
    const facts = { ...CIRCUMSTANCES, fileSystem: 'tmpfs', loadAverage: 1.5 };
    const failures = [{ round: 2, system: 'etcd', measurement: null, message: 'no disk' }];
    const document = createDocument({ measured: slow, failures }, PACE, facts);
    const warnings = document.warnings.join('\n');
    expect(warnings).toContain('etcd put_256 in round 1 had 2 errors');
    expect(warnings).toContain('ringkeep put_at_2000 in round 3 has achieved 1000 of 2000');
    expect(warnings).toContain('tmpfs');
    expect(warnings).toContain('load average was 1.5');
    expect(documentText(document)).toContain('failed: etcd start in round 2: no disk');
    expect(createDocument({ measured: [], failures: [] }, PACE, CIRCUMSTANCES).warnings).toHaveLength(1);
  });
});
