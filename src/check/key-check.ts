/**
 * The check of one key from its events to its report: interpretation, search, and for an illegal one the smallest illegal
 * sub-history with the place where it gets stuck. Keys are independent of each other: a history is linearizable if the part
 * of every key is (Herlihy and Wing, locality).
 */
import { assert } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import { describeCall } from './describe.ts';
import { expiryOf, interpret, type Judged, judgeable } from './interpret.ts';
import { minimize } from './minimize.ts';
import { type SearchLimits, search, searchInFull } from './search.ts';

/** `unknown`: the check ran out of time or steps. Never a pass. */
export type CheckResult = 'ok' | 'illegal' | 'unknown';

/** A small illegal history that proves the whole one illegal. */
export interface Illegal {
  /** In the order of their calls. A history of its own, which can be checked again. */
  readonly events: readonly HistoryEvent[];
  /** Longest beginning of an order that explains them, as positions in `events`. */
  readonly order: readonly number[];
  /** Position of the operation at which that order gets stuck. */
  readonly stuck: number;
  /** One sentence. */
  readonly reason: string;
}

/** What the check of one key found. */
export interface KeyReport {
  readonly keyspace: string;
  readonly key: string;
  readonly result: CheckResult;
  /** Operations of the key in the history. */
  readonly operations: number;
  /** Actions tried. */
  readonly steps: number;
  readonly elapsedMs: number;
  /** Why it is unknown. */
  readonly unknown?: string;
  readonly illegal?: Illegal;
}

/** Time for a key, as the caller's clock has it. */
export interface KeyLimits {
  readonly stepsMax: number;
  readonly configurationsMax: number;
  /** Monotonic, in ms. */
  readonly now: () => number;
  /** When the search must end, and how long minimizing may take, in ms; 0: none. */
  readonly deadline: number;
  readonly minimizeMs: number;
}

/** Steps of one search while minimizing: one that takes longer than that is not worth waiting for. */
const MINIMIZE_STEPS_MAX = 200_000;

/** Writes that were told `not_applied` and are shown all the same: they have no place in an order, but explain much. */
function liesAmong(events: readonly HistoryEvent[], all: readonly HistoryEvent[]): HistoryEvent[] {
  const texts = (kind: 'get' | 'put') =>
    events.flatMap(({ op, output, input }) => {
      if (op !== kind) return [];
      return [toJson(op === 'put' ? input : output?.found ? output.value : null)];
    });
  const written = new Set(texts('put'));
  const unexplained = new Set(texts('get').filter((text) => !written.has(text)));
  return all.filter(
    ({ op, output, input }) =>
      op === 'put' && output?.result === 'not_applied' && unexplained.has(toJson(input)),
  );
}

function reasonOf(
  events: readonly HistoryEvent[],
  stuck: HistoryEvent,
  lies: readonly HistoryEvent[],
): string {
  const what = `${describeCall(stuck)} by ${stuck.client}`;
  if (stuck.op !== 'get' || !stuck.output?.found) return `no order explains the answer to ${what}`;
  const shown = toJson(stuck.output.value);
  if (lies.some(({ input }) => toJson(input) === shown)) {
    return `${what} shows a value whose put was told not_applied`;
  }
  const others = events.filter(({ op }) => op === 'put' || op === 'increment');
  const written = others.some(({ op, input }) => op === 'increment' || toJson(input) === shown);
  return written
    ? `no order explains the answer to ${what}`
    : `${what} shows a value that nobody had written`;
}

function explain(history: readonly Judged[], all: readonly HistoryEvent[], limits: SearchLimits): Illegal {
  const found = searchInFull(
    history.map(({ action }) => action),
    limits,
  );
  const reduced = history.map(({ event }) => event);
  const lies = liesAmong(reduced, all);
  const events = [...reduced, ...lies].sort((a, b) => a.call - b.call);
  const positions = new Map(events.map((event, position) => [event, position]));
  const order = found.order.map((at) => positions.get(reduced[at]!)!);
  const stuck = reduced[found.stuck]!;
  return { events, order, stuck: positions.get(stuck)!, reason: reasonOf(events, stuck, lies) };
}

/** Checks one key. `recorded` are all of its events, in any order. */
export function checkKey(recorded: readonly HistoryEvent[], limits: KeyLimits): KeyReport {
  const { now, deadline, minimizeMs, stepsMax, configurationsMax } = limits;
  const [first] = recorded;
  assert(first !== undefined, 'a key has events');
  const start = now();
  const about = { keyspace: first.keyspace, key: first.key, operations: recorded.length };
  if (start >= deadline) {
    return { ...about, result: 'unknown', steps: 0, elapsedMs: 0, unknown: 'the time ran out before it' };
  }
  const events = judgeable(recorded);
  const expiries = events.map(expiryOf).filter((expiry) => expiry !== null);
  const history = [...events, ...expiries]
    .map((event) => ({ event, action: interpret(event) }))
    .filter((one): one is Judged => one.action !== null);
  const until = (time: number, steps: number) => ({
    stepsMax: steps,
    configurationsMax,
    stop: () => now() >= time,
  });
  const { result, steps } = search(
    history.map(({ action }) => action),
    until(deadline, stepsMax),
  );
  const done = { ...about, result, steps, elapsedMs: now() - start };
  if (result === 'ok') return done;
  if (result === 'unknown') {
    const unknown = now() >= deadline ? 'the time ran out' : `undecided after ${steps} steps`;
    return { ...done, unknown };
  }
  const end = now() + minimizeMs;
  const small = minimizeMs > 0 ? minimize(history, until(end, MINIMIZE_STEPS_MAX)) : history;
  const illegal = explain(small, events, until(end + minimizeMs, stepsMax));
  return { ...done, illegal, elapsedMs: now() - start };
}
