import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { skippedText } from './document.ts';
import { answeredReads, etcdSystem, h2loadShape } from './etcd.ts';
import { MEASUREMENTS } from './measurements.ts';
import { redisSystem } from './redis.ts';
import { ringkeepSystem, settingsOf } from './ringkeep.ts';
import { missingPrograms, sortSystems } from './system.ts';

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true }));

/** A folder with programs that can be run, and files that cannot. */
function folder(name: string, programs: readonly string[], files: readonly string[] = []): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const file of [...programs, ...files]) writeFileSync(join(path, file), '');
  for (const program of programs) chmodSync(join(path, program), 0o755);
  return path;
}

const measurement = (name: string) => MEASUREMENTS.ringkeep.find((one) => one.name === name)!;

describe('missingPrograms', () => {
  it('looks for what can be run in all folders of the path', () => {
    const path = [folder('one', ['etcd']), '', join(root, 'none'), folder('two', [], ['h2load'])];
    expect(missingPrograms(['etcd', 'h2load', 'redis'], path.join(delimiter))).toEqual(['h2load', 'redis']);
    expect(missingPrograms(['etcd'], '')).toEqual(['etcd']);
    expect(missingPrograms([], '')).toEqual([]);
  });
});

describe('sortSystems', () => {
  const all = [etcdSystem, redisSystem, ringkeepSystem];

  it('skips a peer that is not installed, saying what is missing and how to install it', () => {
    const path = folder('partly', ['etcd', 'redis-server', 'redis-benchmark']);
    const { systems, skipped } = sortSystems(all, path);
    expect(systems.map(({ name }) => name)).toEqual(['redis', 'ringkeep']);
    expect(skipped.map(skippedText)).toEqual([
      expect.stringMatching(
        /^etcd is skipped: h2load not found; install: apt-get install etcd-server nghttp2/,
      ),
    ]);
  });

  it('runs Ringkeep alone where no peer is', () => {
    const { systems, skipped } = sortSystems(all, '');
    expect(systems).toEqual([ringkeepSystem]);
    expect(skipped.map(({ missing }) => missing)).toEqual([
      ['etcd', 'h2load'],
      ['redis-server', 'redis-benchmark'],
    ]);
  });
});

describe('h2loadShape', () => {
  it('has as many streams in all as operations are in flight', () => {
    expect(h2loadShape(measurement('put_256'))).toEqual({ connections: 8, streams: 32, rate: null });
    expect(h2loadShape(measurement('put_1024'))).toEqual({ connections: 32, streams: 32, rate: null });
    expect(h2loadShape(measurement('put_1'))).toEqual({ connections: 1, streams: 1, rate: null });
    const { connections, rate } = h2loadShape(measurement('put_at_2000'));
    expect(connections * rate!).toBe(2_000);
  });
});

describe('answeredReads', () => {
  it('reads the one metric of reads that ended well', () => {
    const metric = (code: string, method: string, value: string) =>
      `grpc_server_handled_total{grpc_code="${code}",grpc_method="${method}",grpc_service="etcdserverpb.KV",grpc_type="unary"} ${value}`;
    const lines = [
      metric('Aborted', 'Range', '3'),
      metric('OK', 'Put', '5'),
      metric('OK', 'Range', '1.5e+06'),
    ];
    expect(answeredReads(lines.join('\n'))).toBe(1_500_000);
    expect(() => answeredReads(lines[0]!)).toThrow(/no metric/);
  });
});

describe('settingsOf', () => {
  const pace = { rounds: 1, seconds: 8, warmUpSeconds: 2, records: 500 };
  const of = (name: string) =>
    settingsOf(measurement(name), { pace, seed: 1 }, { url: 'ringkeep://127.0.0.1:1', load: true });

  it('writes to a quorum and reads with values checked, uniformly over all records', () => {
    expect(of('get_256')).toMatchObject({
      ...{ ack: 'quorum', read: 'linearizable', mode: 'direct', inFlightMax: 256, rate: null },
      ...{ durationMs: 8_000, warmUpMs: 2_000, processes: 1, load: true },
      workload: {
        ...{ dataIntegrity: true, requestDistribution: 'uniform', recordCount: 500 },
        ...{ fieldCount: 1, fieldLength: 100, proportions: { READ: 1, UPDATE: 0 } },
      },
    });
    expect(of('put_1024')).toMatchObject({ inFlightMax: 1_024, workload: { proportions: { UPDATE: 1 } } });
    expect(of('put_at_2000')).toMatchObject({ rate: 2_000, arrival: 'fixed' });
    expect(of('routed_put_256')).toMatchObject({ mode: 'routed', inFlightMax: 256 });
  });
});
