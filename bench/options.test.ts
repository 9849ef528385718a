import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, describe, expect, it } from 'vitest';
import { addOptions, type BenchFlags, readSettings } from './options.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

function read(...args: string[]): ReturnType<typeof readSettings> {
  const command = addOptions(new Command('bench'))
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  command.parse(args, { from: 'user' });
  return readSettings(command.opts<BenchFlags>(), command.getOptionValueSource('url') === 'cli');
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('readSettings', () => {
  it('is workload A in a closed loop for ten seconds when nothing is said', () => {
    expect(read().settings).toMatchObject({
      ...{ workloadName: 'a', rate: null, durationMs: 10_000, operations: null, inFlightMax: 64 },
      ...{ ack: 'quorum', read: 'linearizable', mode: 'routed', load: true, sweep: null, kill: null },
      workload: { recordCount: 10_000, requestDistribution: 'zipfian' },
    });
  });

  it('lets flags count more than -p, -p more than files, and these more than the preset', () => {
    const path = file(
      'one',
      'recordcount=1\noperationcount=50\nreadallfields=true\nfieldlength=7\ncassandra.x=1\n',
    );
    const { settings, ignored } = read(
      '-P',
      path,
      '-p',
      'recordcount=2',
      '-p',
      'fieldlength=8',
      '--recordcount',
      '3',
    );
    expect(settings).toMatchObject({ workloadName: null, operations: 50, durationMs: null });
    expect(settings.workload).toMatchObject({
      recordCount: 3,
      fieldLength: 8,
      requestDistribution: 'uniform',
    });
    expect(ignored).toEqual(['readallfields', 'cassandra.x']);
    const named = read('--workload', 'd', '-P', path, '--value-size', '33').settings;
    expect(named.workload).toMatchObject({ requestDistribution: 'latest', fieldCount: 1, fieldLength: 33 });
    expect(read('-p', 'workload=e').settings.workloadName).toBe('e');
  });

  it('takes a target as an open loop with a wide bound, and threadcount as that bound', () => {
    expect(read('--target', '500', '--processes', '2').settings).toMatchObject({
      rate: 500,
      inFlightMax: 8_192,
    });
    expect(read('--target', '500', '-p', 'threadcount=10').settings.inFlightMax).toBe(10);
    expect(read('--operationcount', '100', '--maxexecutiontime', '5').settings).toMatchObject({
      ...{ operations: 100, durationMs: 5_000 },
    });
  });

  it('reads sweeps, kills, clusters to start and servers to ask', () => {
    expect(read('--sweep', '--target', '50').settings.sweep).toMatchObject({
      rates: [],
      from: 50,
      achievedMin: 0.95,
    });
    expect(read('--sweep', '1,20', '--p99-limit', '9').settings.sweep).toMatchObject({
      rates: [1, 20],
      p99MsMax: 9,
    });
    const { kill, url, spawn } = read('--spawn', '5', '--partitions', '8', '--kill', 'leader@2.5s').settings;
    expect({ kill, url, spawn }).toEqual({
      ...{ kill: { who: 'leader', second: 2.5 }, url: null, spawn: { nodes: 5, partitions: 8 } },
    });
    expect(read('--prometheus', 'r=http://h:1/metrics').settings.servers).toEqual([
      { name: 'r', pid: null, metricsUrl: 'http://h:1/metrics' },
    ]);
  });

  it('refuses what makes no sense', () => {
    const cases: readonly (readonly [readonly string[], RegExp])[] = [
      [['-p', 'recordcont=1'], /there is no parameter "recordcont"/],
      [['--workload', 'z'], /there is no workload "z"/],
      [['--kill', 'leader@1'], /--kill is for a cluster that is started here/],
      [['--spawn', '--kill', 'leader@10'], /after the end of the run/],
      [['--spawn', '--kill', 'leader@1', '--operationcount', '5'], /needs a run by time/],
      [['--spawn', '--url', 'ringkeep://a:1'], /exclude each other/],
      [['--partitions', '4'], /are for --spawn/],
      [['--sweep', '2,1'], /rising rates/],
      [['--sweep', '1,2', '--target', '5'], /leave target out/],
      [['--kill', 'leader'], /NODE@SECONDS/],
      [['--prometheus', 'http://x'], /NAME=URL/],
      [['--read', 'dirty'], /Allowed choices are linearizable, quorum, session, stale/],
      [['--operationcount', '1', '--processes', '2'], /less than one per process/],
      [['-P', join(folder, 'absent')], /ENOENT/],
    ];
    for (const [args, text] of cases) expect(() => read(...args), args.join(' ')).toThrow(text);
  });
});
