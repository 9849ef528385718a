/**
 * Histories for tests of the checker: written by hand, or made by an atomic key under clients whose operations overlap, and
 * then perhaps damaged. Everything random comes from one seeded generator.
 */
import type { HistoryCondition, HistoryEvent, HistoryOutput } from '../../src/common/history.ts';
import type { Random } from '../../src/common/random.ts';

type Times = readonly [call: number, end: number | null];

function event(
  client: string,
  op: HistoryEvent['op'],
  [call, end]: Times,
  output: HistoryOutput | null,
  more: { input?: unknown; condition?: HistoryCondition } = {},
): HistoryEvent {
  return { client, keyspace: '', key: 'k', op, ...more, call, return: output === null ? null : end, output };
}

/** A put that was acknowledged at `quorum`, or ended as `output` says. */
export function put(client: string, input: unknown, times: Times, output: Partial<HistoryOutput> = {}) {
  return event(client, 'put', times, { result: 'ok', ...output }, { input });
}

/** A put under a condition. */
export function putIf(
  client: string,
  input: unknown,
  condition: HistoryCondition,
  times: Times,
  output: Partial<HistoryOutput> = {},
) {
  return event(client, 'put', times, { result: 'ok', applied: true, ...output }, { input, condition });
}

/** A delete. */
export function del(client: string, times: Times, output: Partial<HistoryOutput> = {}) {
  return event(client, 'delete', times, { result: 'ok', ...output });
}

/** A delete under a condition. */
export function delIf(
  client: string,
  condition: HistoryCondition,
  times: Times,
  output: Partial<HistoryOutput> = {},
) {
  return event(client, 'delete', times, { result: 'ok', applied: true, ...output }, { condition });
}

/** An increment that returned `value`. */
export function increment(client: string, delta: number, value: number, times: Times, version?: number) {
  const told = version === undefined ? {} : { version };
  return event(client, 'increment', times, { result: 'ok', value, ...told }, { input: delta });
}

/** An increment that ended otherwise. */
export function lostIncrement(client: string, delta: number, times: Times, output: HistoryOutput | null) {
  return event(client, 'increment', times, output, { input: delta });
}

/** A read that returned `value`; undefined: absent. */
export function get(client: string, value: unknown, times: Times, version?: number) {
  if (value === undefined) return event(client, 'get', times, { result: 'ok', found: false });
  const told = version === undefined ? {} : { version };
  return event(client, 'get', times, { result: 'ok', found: true, value, ...told });
}

/** A write that had not ended when the recording did. */
export function open(client: string, op: 'put' | 'delete' | 'increment', input: unknown, call: number) {
  return event(client, op, [call, null], null, op === 'delete' ? {} : { input });
}

/** What to make. */
export interface Recipe {
  readonly operations: number;
  readonly clients: number;
  /** Values that puts choose from. */
  readonly values: number;
  readonly kinds: readonly HistoryEvent['op'][];
  /** Parts of the writes, in [0, 1]. */
  readonly conditions: number;
  readonly unknown: number;
  readonly notApplied: number;
  /** Part of the answers that tell their version. */
  readonly versions: number;
  /** Longest operation, in time units. */
  readonly durationMax: number;
  /** Distinct values instead of `values`. */
  readonly distinct?: boolean;
}

interface Planned {
  readonly client: string;
  readonly op: HistoryEvent['op'];
  readonly call: number;
  readonly end: number;
  /** When it takes effect; null: never. */
  readonly point: number | null;
  readonly fate: 'ok' | 'unknown' | 'not_applied' | 'open' | 'applied';
}

interface Atomic {
  value: unknown;
  counter: boolean;
  present: boolean;
  version: number;
  lastVersion: number;
}

function planOne(random: Random, recipe: Recipe, client: string, call: number): Planned {
  const op = recipe.kinds[random.integer(recipe.kinds.length)]!;
  const end = call + 1 + random.integer(recipe.durationMax);
  const at = call + random.next() * (end - call);
  if (op === 'expire') return { client, op, call, end, point: random.next() < 0.3 ? null : at, fate: 'open' };
  if (op === 'get') return { client, op, call, end, point: at, fate: 'ok' };
  if (random.next() < recipe.notApplied) return { client, op, call, end, point: null, fate: 'not_applied' };
  if (random.next() < recipe.unknown) {
    const late = random.next() < 0.5 ? at + random.next() * 4 * recipe.durationMax : at;
    const point = random.next() < 0.4 ? null : late;
    return { client, op, call, end, point, fate: random.next() < 0.5 ? 'unknown' : 'open' };
  }
  return { client, op, call, end, point: at, fate: random.next() < 0.1 ? 'applied' : 'ok' };
}

function makeCondition(random: Random, key: Atomic, op: HistoryEvent['op']): HistoryCondition {
  const kind = random.integer(3);
  if (kind === 0 && op !== 'touch') return { ifAbsent: true };
  if (kind === 1) return { ifExists: true };
  return { ifVersion: random.next() < 0.6 && key.present ? key.version : 1 + random.integer(6) };
}

function holds(condition: HistoryCondition | undefined, key: Atomic): boolean {
  if (condition === undefined) return true;
  if (condition.ifAbsent) return !key.present;
  return key.present && (condition.ifExists === true || condition.ifVersion === key.version);
}

/** Lets the write take effect on the key. Returns the answer of a client that hears of it. */
function writeTo(
  key: Atomic,
  op: HistoryEvent['op'],
  input: unknown,
  condition?: HistoryCondition,
): HistoryOutput {
  if (op === 'increment' && key.present && !key.counter) {
    return { result: 'not_applied', code: 'NOT_A_COUNTER' };
  }
  if (op === 'expire') {
    if (key.present && (input === undefined || key.value === input)) {
      key.lastVersion++;
      key.present = false;
    }
    return { result: 'ok' };
  }
  key.lastVersion++;
  if (!holds(condition, key) || (op === 'touch' && !key.present)) {
    return { result: 'ok', applied: false, version: key.present ? key.version : 0 };
  }
  key.version = key.lastVersion;
  if (op === 'touch') return { result: 'ok', version: key.version, applied: true };
  const value = op === 'increment' ? ((key.present ? key.value : 0) as number) + (input as number) : input;
  Object.assign(key, { value, counter: op === 'increment', present: op !== 'delete' });
  const result = { result: 'ok', version: key.version } as const;
  if (op === 'increment') return { ...result, value };
  return condition === undefined ? result : { ...result, applied: true };
}

function readFrom(key: Atomic): HistoryOutput {
  if (!key.present) return { result: 'ok', found: false };
  return { result: 'ok', found: true, value: key.value, version: key.version };
}

/** Makes a legal history of one key: every operation takes effect at one moment between its call and its end. */
export function makeHistory(random: Random, recipe: Recipe): HistoryEvent[] {
  const free = Array.from({ length: recipe.clients }, () => random.integer(recipe.durationMax));
  const planned = Array.from({ length: recipe.operations }, () => {
    const client = random.integer(recipe.clients);
    const call = free[client]! + random.integer(3);
    const one = planOne(random, recipe, `c${client}`, call);
    free[client] = one.end + random.integer(3);
    return one;
  });
  const key: Atomic = { value: null, counter: false, present: false, version: 0, lastVersion: 0 };
  const events: HistoryEvent[] = [];
  const inOrder = [...planned].sort((a, b) => (a.point ?? a.call) - (b.point ?? b.call));
  for (const [number, { client, op, call, end, point, fate }] of inOrder.entries()) {
    const value = recipe.distinct ? `v${number}` : random.integer(recipe.values);
    const named = op === 'put' || (op === 'expire' && random.next() < 0.7);
    const input = named ? value : op === 'increment' ? 1 + random.integer(2) : undefined;
    const conditional = !['increment', 'get', 'expire'].includes(op) && random.next() < recipe.conditions;
    const condition = conditional ? { condition: makeCondition(random, key, op) } : {};
    const done =
      point === null ? null : op === 'get' ? readFrom(key) : writeTo(key, op, input, condition.condition);
    const output = answer(random, recipe, fate, done);
    const given = input === undefined ? {} : { input };
    const asked = { client, keyspace: '', key: 'k', op, ...given, ...condition, call };
    events.push({ ...asked, return: output === null ? null : end, output });
  }
  return events;
}

function answer(
  random: Random,
  recipe: Recipe,
  fate: Planned['fate'],
  done: HistoryOutput | null,
): HistoryOutput | null {
  if (fate === 'open') return null;
  if (done === null || fate === 'unknown' || fate === 'not_applied') return { result: fate };
  if (fate === 'applied' && done.result === 'ok' && done.applied !== false) return { result: 'applied' };
  if (done.version === undefined || done.applied === false || random.next() < recipe.versions) return done;
  const { version: _, ...rest } = done;
  return rest;
}

/** Changes one answer or one time, so that the history may be illegal now. */
export function damage(random: Random, events: readonly HistoryEvent[], values: number): HistoryEvent[] {
  const changed = [...events];
  const at = random.integer(events.length);
  const one = events[at]!;
  const { output } = one;
  const shift = 1 + random.integer(6);
  const kind = random.integer(4);
  if (kind === 0 && output?.found)
    changed[at] = { ...one, output: { ...output, value: random.integer(values) } };
  else if (kind === 1 && output?.version !== undefined && output.version > 0) {
    changed[at] = {
      ...one,
      output: { ...output, version: Math.max(1, output.version + (random.next() < 0.5 ? 1 : -1)) },
    };
  } else if (kind === 2 && one.op !== 'get' && one.op !== 'expire') {
    changed[at] = { ...one, return: one.return ?? one.call + 1, output: { result: 'not_applied' } };
  } else if (one.op === 'get' && output?.found) {
    changed[at] = { ...one, output: { result: 'ok', found: false } };
  } else {
    changed[at] = { ...one, call: one.call + shift, return: one.return === null ? null : one.return + shift };
  }
  return changed;
}
