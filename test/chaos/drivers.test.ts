/**
 * Every fault that needs no privileges takes effect on real processes, is undone and recovered from, and breaks nothing: one run in
 * which each comes at least once, alone.
 */
import { expect, it } from 'vitest';
import { DRIVERS } from '../../src/chaos/drivers.ts';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { runCommand } from '../support/command.ts';

it('each fault takes effect, and no guarantee is broken', { timeout: 900_000 }, async () => {
  // Every kind comes before any comes again.
  const rounds = `${DRIVERS.length}`;
  const args = [
    'chaos',
    '--scenario',
    'alone',
    '--rounds',
    rounds,
    '--seconds',
    '900',
    '--seed',
    '11',
    '--json',
  ];
  const { status, stdout, stderr } = await runCommand(args, { timeoutMs: 880_000 });
  expect(stdout, stderr).not.toBe('');
  const summary = JSON.parse(stdout.trim()) as ChaosSummary;
  for (const { guarantee, result, reason } of summary.rulings)
    console.log(`${guarantee} ${result}: ${reason}`);
  expect(status, stderr).toBe(0);
  const problems = summary.faults.filter(({ proof }) => proof === '');
  expect(problems.map(({ kind, problem }) => `${kind}: ${problem}`)).toEqual([]);
  const missing = DRIVERS.map(({ kind }) => kind).filter(
    (kind) => !summary.kinds.some((one) => one.kind === kind),
  );
  expect(missing).toEqual([]);
});
