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
  it('one after the other: it is seen to have moved, nothing is lost at any level', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const faults = ['--faults', 'join,drain,replace,lose', '--rounds', '4', '--seconds', '300'];
    const { verdict, rulings, faults: met, totals } = await chaos(...faults, '--seed', '1');
    expect(verdict).toBe('held');
    expect(new Set(met.map(({ kind }) => kind))).toEqual(new Set(['join', 'drain', 'replace', 'lose']));
    for (const { kind, proof, problem } of met) expect(proof, `${kind}: ${problem}`).not.toBe('');
    const results = new Map(rulings.map(({ guarantee, result }) => [guarantee, result]));
    for (const guarantee of ['G1', 'G2', 'G7', 'recovery'] as const)
      expect(results.get(guarantee), guarantee).toBe('held');
    expect(totals.operations).toBeGreaterThan(1_000);
  });

  it('while the source, the target and the controller of a move are killed at each of its steps', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const faults = ['--faults', 'kill-source,kill-target,kill-controller', '--rounds', '3'];
    const { verdict, faults: met } = await chaos(...faults, '--seconds', '300', '--seed', '2');
    expect(verdict).toBe('held');
    expect(met).toHaveLength(3);
    for (const { kind, proof, problem } of met)
      expect(proof, `${kind}: ${problem}`).toMatch(
        /^killed \w+ when its learner is there, \w+ when its voters change, \w+ when it is done$/,
      );
  });

  it('beside other faults', { timeout: TIMEOUT_MS }, async () => {
    const faults = ['--faults', 'join,drain,kill,kill-router,pause,split-one', '--mixed', '100'];
    const { verdict, faults: met } = await chaos(...faults, '--rounds', '2', '--seconds', '300');
    expect(verdict).toBe('held');
    const rounds = new Map<number, Set<string>>();
    for (const { round, kind } of met) rounds.set(round, (rounds.get(round) ?? new Set()).add(kind));
    const moved = [...rounds.values()].filter((kinds) => kinds.has('join') || kinds.has('drain'));
    expect(moved.some((kinds) => kinds.size > 1)).toBe(true);
  });
});
