/**
 * Nodes that join, are replaced and are lost for good in a run, alone and while others of the cluster, the controller among them, are
 * killed, paused and cut off: every move comes to its end, and the guarantees hold.
 */
import { describe, expect, it } from 'vitest';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { runCommand } from '../support/command.ts';

const TIMEOUT_MS = 420_000;

async function chaos(...args: string[]): Promise<ChaosSummary> {
  const { status, stdout, stderr } = await runCommand(['chaos', ...args, '--json'], {
    timeoutMs: TIMEOUT_MS - 10_000,
  });
  expect(status, stderr + stdout).toBe(0);
  return JSON.parse(stdout.trim()) as ChaosSummary;
}

describe('nodes that come and go', () => {
  it('one after the other: each is seen to have moved, nothing is lost at any level', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const faults = ['--faults', 'join,replace,lose', '--rounds', '3', '--seconds', '300'];
    const { verdict, rulings, faults: met, totals } = await chaos(...faults, '--seed', '1');
    expect(verdict).toBe('held');
    expect(new Set(met.map(({ kind }) => kind))).toEqual(new Set(['join', 'replace', 'lose']));
    for (const { kind, proof, problem } of met) expect(proof, `${kind}: ${problem}`).not.toBe('');
    const results = new Map(rulings.map(({ guarantee, result }) => [guarantee, result]));
    for (const guarantee of ['G1', 'G2', 'G7', 'recovery'] as const)
      expect(results.get(guarantee), guarantee).toBe('held');
    expect(totals.operations).toBeGreaterThan(1_000);
  });

  it('while sources, targets and the controller of the moves are hit', { timeout: TIMEOUT_MS }, async () => {
    const faults = ['--faults', 'join,kill,kill-router,pause,split-one', '--mixed', '100'];
    const { verdict, faults: met } = await chaos(...faults, '--rounds', '4', '--seconds', '300', '--seed', '6');
    expect(verdict).toBe('held');
    const rounds = new Map<number, Set<string>>();
    for (const { round, kind } of met) rounds.set(round, (rounds.get(round) ?? new Set()).add(kind));
    expect([...rounds.values()].some((kinds) => kinds.has('join') && kinds.size > 1)).toBe(true);
  });
});
