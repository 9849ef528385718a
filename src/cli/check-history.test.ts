import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { get, open, put } from '../../test/support/histories.ts';
import type { CheckReport } from '../check/check.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import { addCheckHistoryCommand } from './check-history.ts';

const directory = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(directory, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
});

function fileOf(events: readonly HistoryEvent[]): string {
  const path = join(directory, 'history.jsonl');
  writeFileSync(path, events.map((event) => `${toJson(event)}\n`).join(''));
  return path;
}

async function run(...args: readonly string[]) {
  let stdout = '';
  let stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += text;
    return true;
  });
  let status = -1;
  const program = new Command().exitOverride();
  addCheckHistoryCommand(program, (result) => {
    status = result;
  });
  await program.parseAsync(['node', 'ringkeep', 'check-history', ...args]);
  return { status, stdout, stderr };
}

describe('check-history', () => {
  const legal = [put('a', 1, [0, 1_000]), get('b', 1, [2_000, 3_000], 7)];
  const stale = [...legal, put('a', 2, [4_000, 5_000]), get('b', 1, [6_000, 7_500]), open('c', 'put', 3, 1)];

  it('ends with 0 for a linearizable history', async () => {
    const { status, stdout } = await run(fileOf(legal));
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^k: ok, 2 operations, [\d.]+ ms\nok: 2 operations on 1 key checked in 0\.\d s\n$/,
    );
  });

  it('ends with 1 for an illegal one, and prints the smallest illegal sub-history', async () => {
    const { status, stdout } = await run(fileOf(stale));
    expect(status).toBe(1);
    expect(stdout).toContain('k: illegal, 5 operations');
    expect(stdout).toContain(
      'no order explains the answer to get by b; the smallest illegal sub-history found:',
    );
    expect(stdout).toContain('    1  a  put 1  ok  0.000 to 1.000 ms\n');
    expect(stdout).toContain('    ✗  b  get    1   6.000 to 7.500 ms\n');
  });

  it('prints the report as one line of JSON, whose sub-history can be checked again', async () => {
    const { status, stdout } = await run(fileOf(stale), '--json');
    expect(status).toBe(1);
    expect(stdout.split('\n')).toHaveLength(2);
    const { result, keys } = JSON.parse(stdout) as CheckReport;
    expect({ result, key: keys[0]!.key }).toEqual({ result: 'illegal', key: 'k' });
    expect((await run(fileOf(keys[0]!.illegal!.events))).status).toBe(1);
  });

  it('writes a page', async () => {
    const page = join(directory, 'page.html');
    expect((await run(fileOf(stale), '--html', page)).status).toBe(1);
    expect(readFileSync(page, 'utf8')).toMatch(/^<!doctype html>[\s\S]*✗ get[\s\S]*<\/html>\n$/);
  });

  it('ends with 3 if it runs out of time', async () => {
    const { status, stdout } = await run(fileOf(legal), '--timeout', '0.0000001');
    expect(status).toBe(3);
    expect(stdout).toContain('k: unknown, 2 operations, 0.0 ms: the time ran out before it');
  });

  it('ends with 2 for what it cannot read, and says which line', async () => {
    const path = join(directory, 'bad.jsonl');
    writeFileSync(path, `${toJson(legal[0])}\n{"op":"put"}\n`);
    const { status, stdout, stderr } = await run(path);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain('line 2: client is no text');
    expect(await run(join(directory, 'none'), '--json')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('"code":"ENOENT"'),
    });
    await expect(run(path, '--timeout', 'soon')).rejects.toThrow('It must be a number of seconds');
  });
});
