/**
 * Every fault of `ringkeep chaos` for which this machine has the programs takes effect on real processes, is undone and recovered
 * from, and breaks nothing: one run in which each comes once, alone, and one in which several are on at once.
 */
import { expect, it } from 'vitest';
import { DRIVERS } from '../../src/chaos/drivers.ts';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { runCommand } from '../support/command.ts';

it('each fault takes effect, and no guarantee is broken', { timeout: 900_000 }, async () => {
  const possible = DRIVERS.filter((driver) => driver.missing({ nodes: [1, 2, 3] }) === null);
  // Every kind comes before any comes again.
  const rounds = ['--rounds', `${possible.length}`, '--seconds', '900'];
  const args = ['chaos', '--scenario', 'alone', ...rounds, '--seed', '11', '--json'];
  const { status, stdout, stderr } = await runCommand(args, { timeoutMs: 880_000 });
  expect(stdout, stderr).not.toBe('');
  const summary = JSON.parse(stdout.trim()) as ChaosSummary;
  for (const { guarantee, result, reason } of summary.rulings)
    console.log(`${guarantee} ${result}: ${reason}`);
  expect(status, stderr).toBe(0);
  const problems = summary.faults.filter(({ proof }) => proof === '');
  expect(problems.map(({ kind, problem }) => `${kind}: ${problem}`)).toEqual([]);
  const missing = possible.filter(({ kind }) => !summary.kinds.some((one) => one.kind === kind));
  expect(missing.map(({ kind }) => kind)).toEqual([]);
});

it('faults beside each other break no guarantee, and the run comes to its end', {
  timeout: 900_000,
}, async () => {
  const rounds = ['--mixed', '100', '--rounds', '4', '--seconds', '600'];
  const args = ['chaos', '--scenario', 'all', ...rounds, '--seed', '5', '--json'];
  const { status, stdout, stderr } = await runCommand(args, { timeoutMs: 880_000 });
  expect(status, stderr).toBe(0);
  const { totals, faults } = JSON.parse(stdout.trim()) as ChaosSummary;
  expect(totals.rounds).toBe(4);
  expect(faults.length).toBeGreaterThan(6);
});
