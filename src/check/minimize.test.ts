import { describe, expect, it } from 'vitest';
import { damage, makeHistory, type Recipe } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { isLinearizable } from './brute-force.ts';
import { interpret, type Judged } from './interpret.ts';
import { BASE_CLIENT, basesOf, cutAt, minimize, without } from './minimize.ts';
import { search } from './search.ts';

const COUNT = Number(process.env.RINGKEEP_HISTORIES ?? 600);
const FIRST_SEED = Number(process.env.RINGKEEP_SEED ?? 1);

const SMALL = { clients: 3, values: 3, unknown: 0.2, notApplied: 0.05, versions: 0.5, durationMax: 5 };
const RECIPES: Readonly<Record<string, Recipe>> = {
  register: { ...SMALL, operations: 8, conditions: 0, kinds: ['get', 'get', 'put', 'delete'] },
  conditions: { ...SMALL, operations: 8, conditions: 0.4, kinds: ['get', 'put', 'put', 'delete'] },
  counter: { ...SMALL, operations: 8, conditions: 0, kinds: ['get', 'increment', 'increment'] },
  mixed: {
    ...SMALL,
    operations: 8,
    conditions: 0.1,
    kinds: ['get', 'increment', 'increment', 'put', 'delete'],
  },
};

function judge(events: readonly HistoryEvent[]): Judged[] {
  return events
    .map((event) => ({ event, action: interpret(event) }))
    .filter((one): one is Judged => one.action !== null);
}

const eventsOf = (history: readonly Judged[]) => history.map(({ event }) => event);
const isLegal = (history: readonly Judged[]) => search(history.map(({ action }) => action)).result === 'ok';

describe('minimize', () => {
  describe.each(Object.entries(RECIPES))('(%s)', (_, recipe) => {
    it('makes no legal history illegal, by whatever reduction', () => {
      for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
        const random = createRandom(seed);
        const history = judge(makeHistory(random, recipe));
        const at = random.integer(Math.max(1, history.length));
        const part = history.slice(at, at + 1 + random.integer(4));
        const cut = cutAt(history, random.integer(30));
        for (const reduced of [
          cut,
          without(history, part),
          without(cut, part),
          ...basesOf(history),
          ...basesOf(cut),
        ]) {
          expect(
            isLegal(reduced),
            `seed ${seed}\n${eventsOf(reduced)
              .map((e) => JSON.stringify(e))
              .join('\n')}`,
          ).toBe(true);
        }
      }
    });

    it('finds an illegal history from which nothing more can be dropped', () => {
      let found = 0;
      for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
        const random = createRandom(seed);
        const history = judge(damage(random, makeHistory(random, recipe), recipe.values));
        if (isLegal(history)) continue;
        found++;
        const small = minimize(history);
        expect(isLinearizable(eventsOf(small)), `seed ${seed}`).toBe(false);
        expect(small.length).toBeLessThanOrEqual(history.length);
        for (const one of small) {
          const fewer = without(small, [one]);
          if (fewer.length < small.length) expect(isLegal(fewer), `seed ${seed}`).toBe(true);
        }
      }
      if (COUNT > 100) expect(found).toBeGreaterThan(COUNT / 20);
    });
  });

  it('finds the few operations that matter among thousands', () => {
    const recipe: Recipe = { ...RECIPES.register!, operations: 4_000, clients: 8, distinct: true };
    const events = makeHistory(createRandom(7), recipe);
    const reads = events.filter(({ op, output }) => op === 'get' && output?.found);
    const [early, late] = [reads[50]!, reads[reads.length - 50]!];
    const stale = {
      ...late,
      output: { ...late.output!, value: early.output!.value, version: early.output!.version! },
    };
    const small = minimize(judge(events.map((event) => (event === late ? stale : event))));
    expect(small.length).toBeLessThanOrEqual(4);
    expect(isLinearizable(eventsOf(small))).toBe(false);
  });

  it('lets one operation stand for everything before it, where writes cannot be dropped', () => {
    const recipe: Recipe = {
      ...RECIPES.counter!,
      operations: 500,
      clients: 2,
      unknown: 0,
      notApplied: 0,
      versions: 0,
    };
    const events = makeHistory(createRandom(3), recipe);
    const last = events.findLast(({ op }) => op === 'increment')!;
    const twice = { ...last, output: { ...last.output!, value: (last.output!.value as number) + 1 } };
    const small = minimize(judge(events.map((event) => (event === last ? twice : event))));
    expect(small.length).toBeLessThan(12);
    expect(small[0]!.event.client).toBe(BASE_CLIENT);
  });
});
