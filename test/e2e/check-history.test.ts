/** The checker as it ships: the command with its threads, on a history too long for one of them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { CheckReport } from '../../src/check/check.ts';
import type { HistoryEvent } from '../../src/common/history.ts';
import { createRandom } from '../../src/common/random.ts';
import { toJson } from '../../src/common/text.ts';
import { runCommand } from '../support/command.ts';
import { makeHistory, type Recipe } from '../support/histories.ts';

const KEYS = 60;
const RECIPE: Recipe = {
  operations: 200,
  clients: 4,
  values: 1,
  distinct: true,
  conditions: 0,
  unknown: 0.05,
  notApplied: 0.02,
  versions: 1,
  durationMax: 20,
  kinds: ['get', 'put'],
};

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('checks keys in threads, and finds the two that are illegal', async () => {
  const events = Array.from({ length: KEYS }, (_, n) =>
    makeHistory(createRandom(n), RECIPE).map((event): HistoryEvent => {
      const lie =
        (n === 7 || n === 42) && event.op === 'get' && event.output?.found === true && event.call > 500;
      const output = lie ? { ...event.output!, value: 'never written' } : event.output;
      return { ...event, key: `k${n}`, output };
    }),
  ).flat();
  const file = join(root, 'history.jsonl');
  writeFileSync(file, events.map((event) => `${toJson(event)}\n`).join(''));
  const { status, stdout, stderr } = await runCommand(['check-history', file, '--json']);
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
  const report = JSON.parse(stdout) as CheckReport;
  expect(report).toMatchObject({ result: 'illegal', operations: KEYS * RECIPE.operations });
  const illegal = report.keys.filter(({ result }) => result === 'illegal');
  expect(illegal.map(({ key, illegal: shown }) => [key, shown!.events.length])).toEqual([
    ['k42', 1],
    ['k7', 1],
  ]);
  expect(report.keys.filter(({ result }) => result === 'ok')).toHaveLength(KEYS - 2);
});
