import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Standstills } from './standstills.ts';
import { nowUs } from './workload/workbench.ts';

it('notes when this program stood still, and for how long', async () => {
  const standstills = new Standstills();
  await delay(50);
  const from = nowUs();
  while (nowUs() - from < 200_000);
  const to = nowUs();
  await delay(50);
  standstills.stop();
  const longest = standstills.windows.reduce((a, b) => (b.to - b.from > a.to - a.from ? b : a));
  expect(Math.abs(longest.from - from)).toBeLessThan(30_000);
  expect(longest.to).toBeGreaterThanOrEqual(to);
  expect(longest.to - to).toBeLessThan(100_000);
});
