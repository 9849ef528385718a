import { describe, expect, it } from 'vitest';
import type { ShownStatus } from '#src/cli/status.ts';
import { chooseVictim } from './failover.ts';
import { readMetrics, readProc } from './sample.ts';
import { figuresOf } from './sampler.ts';

describe('readProc', () => {
  it('finds CPU and memory, whatever the program is called', () => {
    const stat = '42 (a ) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 11 0 100 1000 10';
    const status = 'Name:\tnode\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\n';
    expect(readProc(stat, status)).toEqual({ cpuMs: 3_000, rssBytes: 2_097_152, rssAnonBytes: 1_048_576 });
    expect(readProc(stat, 'Name:\tzombie\n')).toBeNull();
  });

  it.runIf(process.platform === 'linux')('reads this process, and none that is not there', () => {
    expect(figuresOf(process.pid)!.rssBytes).toBeGreaterThan(1024 * 1024);
    expect(figuresOf(2 ** 22 + 1)).toBeNull();
  });
});

describe('readMetrics', () => {
  it('reads the process metrics of Prometheus clients', () => {
    const text =
      '# HELP x\nprocess_cpu_seconds_total{node="n1"} 1.5\nprocess_resident_memory_bytes{node="n1"} 123\n';
    expect(readMetrics(text)).toEqual({ cpuMs: 1_500, rssBytes: 123, rssAnonBytes: null });
    expect(readMetrics('up 1\n')).toBeNull();
  });
});

describe('chooseVictim', () => {
  const node = (id: string, leads: number, alive = true) => ({ id, leads, alive });
  const status = {
    nodes: [node('n1', 3), node('n2', 5), node('n3', 9, false)],
    partitions: [{ partition: 0, leader: 'n1' }],
  } as unknown as ShownStatus;

  it('is the leader of the hot partition, else who leads most of those alive, or the node named', () => {
    expect(chooseVictim(status, 'leader', 0)).toBe('n1');
    expect(chooseVictim(status, 'leader', null)).toBe('n2');
    expect(chooseVictim(status, 'n1', null)).toBe('n1');
    expect(() => chooseVictim(status, 'n3', null)).toThrow(/no node n3 to kill; there are n1, n2/);
  });
});
