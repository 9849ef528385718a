/**
 * The comparison with real processes, as short as it can be: that every system that is installed is measured, and that
 * nothing is left behind. Peers that are not installed are skipped, and the test says so. How fast anything is, is not
 * looked at.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { CompareDocument } from '../../bench/compare/document.ts';
import { runProgram } from '../support/command.ts';
import { eventually } from '../support/processes.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/bench/compare/main.js', import.meta.url));
const TIMEOUT_MS = 150_000;

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Returns the processes that work in a folder, or in what was one. */
function processesIn(folder: string): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const named = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
      return Number(pid) !== process.pid && (named || readlinkSync(`/proc/${pid}/cwd`).startsWith(folder));
    } catch {
      return false;
    }
  });
}

describe('the comparison', () => {
  it('measures every system that is installed, skips the others, and leaves nothing behind', async () => {
    const data = join(root, 'data');
    const output = join(root, 'compare.json');
    const { status, stdout, stderr } = await runProgram(
      process.execPath,
      [PROGRAM, '--smoke', '--data', data, '--output', output],
      { timeoutMs: TIMEOUT_MS },
    );
    expect(status, stderr + stdout).toBe(0);
    const document = JSON.parse(readFileSync(output, 'utf8')) as CompareDocument;
    for (const { system, missing } of document.skipped)
      console.log(`${system} skipped: no ${missing.join(', ')}`);
    const measured = new Map<string, string[]>();
    for (const { system, name, p50, p99 } of document.measurements) {
      measured.set(system, [...(measured.get(system) ?? []), name]);
      expect(p50, `${system} ${name}`).toBeGreaterThan(0);
      expect(p99).toBeGreaterThanOrEqual(p50);
    }
    const there = (system: string) => !document.skipped.some((skipped) => skipped.system === system);
    const shared = ['get_256', 'put_256', 'put_1024', 'put_1', 'put_at_2000'];
    expect(Object.fromEntries(measured)).toEqual({
      ...(there('etcd') ? { etcd: shared } : {}),
      ...(there('redis') ? { redis: ['get_256', 'set_256', 'set_wait_256'] } : {}),
      ringkeep: [...shared, 'routed_put_256'],
    });
    // On a machine that is busy with other things, nothing at all may end within the second that is measured.
    const stalled = document.measurements.some(({ throughput }) => throughput === 0);
    for (const [name, ratio] of Object.entries(document.ratios)) {
      const peer = /_vs_(etcd|redis)/.exec(name)?.[1] ?? 'ringkeep';
      if (!stalled || !there(peer)) expect(ratio !== null, name).toBe(there(peer));
    }
    // What the tools count has happened, and what was read was right.
    for (const { system, name, errors } of document.measurements) {
      expect(errors ?? 0, `${system} ${name}`).toBe(0);
    }
    expect(readdirSync(data)).toEqual([]);
    expect(processesIn(root)).toEqual([]);
  });

  it.each(['etcd', 'ringkeep'])(
    'leaves nothing behind when %s is interrupted while it is measured',
    async (system) => {
      const data = join(root, `interrupted-${system}`);
      mkdirSync(data);
      const output = join(root, 'none.json');
      const pace = ['--seconds', '1', '--warmup', '0', '--rounds', '100', '--records', '1000'];
      const args = [PROGRAM, '--only', system, ...pace, '--data', data, '--output', output];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      let told = '';
      child.stderr.on('data', (chunk: Buffer) => {
        told += chunk.toString();
      });
      const exit = once(child, 'exit');
      await eventually(
        'the first measurement',
        (missing) => (/get_256: |is skipped/.test(told) ? true : missing(told)),
        TIMEOUT_MS,
      );
      if (told.includes('is skipped')) {
        console.log(told.split('\n')[0]);
        await exit;
        return;
      }
      expect(process.platform !== 'linux' || processesIn(data).length > 0).toBe(true);
      child.kill('SIGINT');
      expect(await exit, told).toEqual([130, null]);
      expect(readdirSync(data)).toEqual([]);
      expect(processesIn(data)).toEqual([]);
    },
  );

  it('refuses a wrong command line', async () => {
    const { status, stderr } = await runProgram(process.execPath, [PROGRAM, '--only', 'ringkeep,mysql']);
    expect(status).toBe(1);
    expect(stderr).toContain('There is no "mysql"; there are etcd, redis, ringkeep.');
  });
});
