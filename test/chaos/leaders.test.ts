/**
 * How long a partition is away when its leader is cut off: the bounds that docs/CHAOS.md states, over splits of the node that leads
 * most. The machine must not be busy with anything else.
 */
import { expect, it } from 'vitest';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { runCommand } from '../support/command.ts';

const SPLITS = 12;
/** Until writes are taken again, ms. */
const WRITES_P50_MS = 2_000;
const WRITES_MAX_MS = 5_000;
/** The longest time without an answer to a quorum read of a key that nobody writes, ms. */
const READS_P50_MS = 200;

it('leaders that are cut off are replaced in time, and quorum reads go on', {
  timeout: 400_000,
}, async () => {
  const rounds = ['--rounds', `${SPLITS}`, '--seconds', '300'];
  const args = ['chaos', '--faults', 'split-one', ...rounds, '--seed', '21', '--json'];
  const { status, stdout, stderr } = await runCommand(args, { timeoutMs: 390_000 });
  expect(status, stderr).toBe(0);
  const { kinds, rulings } = JSON.parse(stdout.trim()) as ChaosSummary;
  const [{ writeGapMs, readGapMs, times, confirmed }] = kinds as [ChaosSummary['kinds'][number]];
  console.log(`writes away ${JSON.stringify(writeGapMs)}, quorum reads away ${JSON.stringify(readGapMs)}`);
  expect({ times, confirmed }).toEqual({ times: SPLITS, confirmed: SPLITS });
  expect(writeGapMs.p50).toBeLessThanOrEqual(WRITES_P50_MS);
  expect(writeGapMs.max).toBeLessThanOrEqual(WRITES_MAX_MS);
  expect(readGapMs.p50).toBeLessThanOrEqual(READS_P50_MS);
  expect(rulings.find(({ guarantee }) => guarantee === 'G6')?.result).toBe('held');
});
