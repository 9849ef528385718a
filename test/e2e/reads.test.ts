/**
 * `npm run bench:reads` with real processes, as short as it can be: that every level is measured in every condition and written,
 * that what is paused goes on, and that nothing is left behind. How fast anything is is not looked at.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { ReadDocument } from '../../bench/reads/document.ts';
import { runProgram } from '../support/command.ts';
import { eventually } from '../support/processes.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/bench/reads/main.js', import.meta.url));
const TIMEOUT_MS = 150_000;

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function childrenOf(parent: number): { readonly pid: number; readonly state: string }[] {
  const text = execFileSync('ps', ['-A', '-o', 'ppid=', '-o', 'pid=', '-o', 'stat='], { encoding: 'utf8' });
  const rows = text.split('\n').map((line) => line.trim().split(/ +/));
  return rows.flatMap(([ppid, pid, state = '']) =>
    Number(ppid) === parent ? [{ pid: Number(pid), state }] : [],
  );
}

describe('the measurement of reads', () => {
  it('measures every level in every condition, and leaves nothing behind', async () => {
    const data = join(root, 'data');
    const output = join(root, 'reads.json');
    const flags = ['--quick', '--processes', '2', '--data', data, '--output', output];
    const { status, stdout, stderr } = await runProgram(process.execPath, [PROGRAM, ...flags], {
      timeoutMs: TIMEOUT_MS,
    });
    expect(status, stderr + stdout).toBe(0);
    const { cells, pending, verdicts, failures } = JSON.parse(readFileSync(output, 'utf8')) as ReadDocument;
    expect(failures).toEqual([]);
    const levels = ['linearizable', 'quorum', 'session', 'stale'];
    const expected = ['healthy', 'full', 'slow', 'paused'].flatMap((condition) =>
      levels.map((level) => [condition, level]),
    );
    expect(cells.map(({ condition, level }) => [condition, level])).toEqual(expected);
    for (const { level, condition, throughput, p50Ms, p999Ms, stoppedShare, errors } of cells) {
      const what = `${level}, ${condition}`;
      expect(p999Ms.median, what).toBeGreaterThanOrEqual(p50Ms.median);
      if (condition === 'slow') expect(stoppedShare?.median, what).toBeGreaterThan(0);
      // Without a leader, only these reads may fail; all others go on.
      if (condition === 'paused' && level === 'linearizable') continue;
      expect(throughput.median, what).toBeGreaterThan(0);
      expect(errors, what).toBe(0);
    }
    expect(pending).toMatchObject({ errors: 0 });
    expect(pending!.reads).toBeGreaterThan(0);
    expect(verdicts.map(({ of }) => of)).toEqual(['paused', 'pending']);
    expect(stdout).toContain('quorum reads of keys without a pending write');
    expect(readFileSync(join(root, 'reads.html'), 'utf8')).toContain('Read levels');
    expect(readdirSync(data)).toEqual([]);
  });

  it('leaves nothing behind when it is interrupted while a node is stopped', async () => {
    const data = join(root, 'interrupted');
    const flags = ['--quick', '--only', 'quorum', '--seconds', '2', '--data', data];
    const args = [PROGRAM, ...flags, '--output', join(root, 'none.json')];
    const child = spawn(process.execPath, args, { stdio: 'ignore' });
    const exit = once(child, 'exit');
    const children = await eventually(
      'a stopped node',
      (missing) => {
        const all = childrenOf(child.pid!);
        const text = all.map(({ pid, state }) => `${pid} ${state}`).join(', ');
        return all.some(({ state }) => state.startsWith('T')) ? all : missing(text);
      },
      TIMEOUT_MS,
    );
    child.kill('SIGINT');
    expect(await exit).toEqual([130, null]);
    for (const { pid } of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(readdirSync(data)).toEqual([]);
  });

  it('refuses a wrong command line', async () => {
    const { status, stderr } = await runProgram(process.execPath, [PROGRAM, '--only', 'quorum,any']);
    expect(status).toBe(1);
    expect(stderr).toContain('There is no "any"; there are linearizable, quorum, session, stale.');
  });
});
