import { describe, expect, it } from 'vitest';
import { damage, makeHistory, type Recipe } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { isLinearizable } from './brute-force.ts';
import { interpret, type TimedAction } from './interpret.ts';
import { INITIAL, step } from './model.ts';
import { search, searchInFull } from './search.ts';

const COUNT = Number(process.env.RINGKEEP_HISTORIES ?? 1_500);
const FIRST_SEED = Number(process.env.RINGKEEP_SEED ?? 1);

const SMALL: Omit<Recipe, 'kinds'> = {
  operations: 7,
  clients: 3,
  values: 3,
  conditions: 0,
  unknown: 0.25,
  notApplied: 0.05,
  versions: 0.4,
  durationMax: 6,
};
const RECIPES: Readonly<Record<string, Recipe>> = {
  register: { ...SMALL, kinds: ['get', 'get', 'put', 'delete'] },
  'register without versions': { ...SMALL, versions: 0, kinds: ['get', 'get', 'put', 'put', 'delete'] },
  'register with all versions': { ...SMALL, versions: 1, kinds: ['get', 'put', 'put', 'delete'] },
  'distinct values': { ...SMALL, distinct: true, unknown: 0.4, kinds: ['get', 'get', 'put'] },
  conditions: { ...SMALL, conditions: 0.6, kinds: ['get', 'put', 'put', 'delete'] },
  'values that expire': { ...SMALL, kinds: ['get', 'get', 'put', 'put', 'delete', 'expire'] },
  'times to live': { ...SMALL, versions: 0.8, kinds: ['get', 'get', 'put', 'touch', 'expire'] },
  'everything about times to live': {
    ...SMALL,
    conditions: 0.4,
    versions: 0.9,
    kinds: ['get', 'get', 'put', 'put', 'delete', 'touch', 'expire'],
  },
  'counters that expire': { ...SMALL, kinds: ['get', 'increment', 'increment', 'touch', 'expire'] },
  counter: { ...SMALL, kinds: ['get', 'increment', 'increment'] },
  'counter and register': {
    ...SMALL,
    conditions: 0.2,
    kinds: ['get', 'increment', 'increment', 'put', 'delete'],
  },
};

function actionsOf(events: readonly HistoryEvent[]): TimedAction[] {
  return events.map(interpret).filter((action) => action !== null);
}

/** Follows an order by the model and real time. */
function explains(order: readonly number[], actions: readonly TimedAction[]): boolean {
  const left = new Set(actions.keys());
  let state = INITIAL;
  for (const at of order) {
    const action = actions[at]!;
    for (const other of left) if (actions[other]!.end < action.call) return false;
    const after = step(state, action);
    if (after === null || !left.delete(at)) return false;
    state = after;
  }
  return true;
}

describe('search', () => {
  describe.each(Object.entries(RECIPES))('on small histories (%s)', (_, recipe) => {
    it('agrees with trying every order, and proves what it calls legal', () => {
      const seen = { ok: 0, illegal: 0 };
      for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
        const random = createRandom(seed);
        const legal = makeHistory(random, recipe);
        const events = seed % 2 === 0 ? legal : damage(random, legal, recipe.values);
        const actions = actionsOf(events);
        const { result, order } = search(actions);
        const expected = isLinearizable(events) ? 'ok' : 'illegal';
        const repeat = `RINGKEEP_SEED=${seed} RINGKEEP_HISTORIES=1 npx vitest run src/check/search.test.ts`;
        expect(result, `seed ${seed}: ${repeat}\n${events.map((e) => JSON.stringify(e)).join('\n')}`).toBe(
          expected,
        );
        if (seed % 2 === 0) expect(result, `seed ${seed} is made legal`).toBe('ok');
        expect(searchInFull(actions).result, `seed ${seed}, in full`).toBe(expected);
        if (result === 'ok') {
          const required = actions.filter((action) => !action.open).length;
          expect(order.filter((at) => !actions[at]!.open).length).toBe(required);
          expect(explains(order, actions), `seed ${seed}: its order is no linearization`).toBe(true);
        }
        seen[expected]++;
      }
      if (COUNT > 100) expect(Math.min(seen.ok, seen.illegal)).toBeGreaterThan(COUNT / 20);
    });
  });
});
