/**
 * From an illegal history of one key to a small illegal one, which explains itself. Three reductions, in this order:
 *
 *   prefix  What was called after a time is cut off; what had not returned then is open, or, if it is a read, dropped.
 *   base    Only with conditions or increments, whose writes are rarely dropped: a required operation that overlaps no other
 *           required one, and whose answer tells the state, stands for everything that returned before it. Those are
 *           dropped, and it becomes a write of that state, which stays, since it says what was there.
 *   drop    Reads are dropped. Writes are dropped together with the reads that show them: see `mayDrop`.
 *
 * INVARIANT: a reduced history is linearizable if the whole one is. So an illegal one proves the whole one illegal, and no
 * reduction can make up a fault. Of a linearization of the whole history:
 *   prefix  its beginning up to the last operation that returned in time is one of the prefix: nothing called later can
 *           precede an operation that had returned.
 *   base    the part behind the base is one of the rest. What is open stays in, since it may come after the base; if it
 *           came before, it now never happens.
 *   drop    reads change nothing. Of a write that is dropped, what follows it up to the next write are reads that show it.
 *           If there are none, the next write follows at once. Without conditions, a put or delete does not look at the
 *           state. An increment does, so with increments left no delete is dropped, and an increment never is; a put may
 *           be, since no increment can follow it. Versions only get more room.
 * The result is minimal in that no single further drop leaves it illegal, if time was enough.
 */
import type { HistoryEvent } from '../common/history.ts';
import { interpret, type Judged } from './interpret.ts';
import { isRead } from './model.ts';
import { SEARCH_LIMITS, type SearchLimits, search } from './search.ts';

/** Name of the client of a base. */
export const BASE_CLIENT = 'before';

type History = readonly Judged[];

function isIllegal(history: History, limits: SearchLimits): boolean {
  // A search that ran out of steps has shown nothing.
  const actions = history.map(({ action }) => action);
  return search(actions, limits).result === 'illegal';
}

/** Returns the least n in [low, high] with `holds(n)`, which is true at `high` and never becomes false again. */
function leastThat(low: number, high: number, holds: (n: number) => boolean): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if (holds(middle)) to = middle;
    else from = middle + 1;
  }
  return to;
}

// ------------------------------------------------------------ prefix

function opened({ event }: Judged): Judged {
  const open: HistoryEvent = { ...event, return: null, output: null };
  return { event: open, action: interpret(open)! };
}

/** The history as it was at a time. */
export function cutAt(history: History, time: number): History {
  const called = history.filter(({ action }) => action.call <= time);
  const kept = called.filter(({ action }) => action.end <= time || !isRead(action));
  return kept.map((one) => (one.action.end <= time || one.action.open ? one : opened(one)));
}

function shortestPrefix(history: History, limits: SearchLimits): History {
  const ends = history.filter(({ action }) => !action.open).map(({ action }) => action.end);
  const times = [...new Set(ends)].sort((a, b) => a - b);
  const at = leastThat(0, times.length - 1, (n) => isIllegal(cutAt(history, times[n]!), limits));
  return cutAt(history, times[at]!);
}

// ------------------------------------------------------------ base

/** Returns what an operation becomes as a base: a write, or nothing for absence; null if its answer tells no state. */
function baseOf({ event, action }: Judged, counters: boolean, puts: boolean): History | null {
  if (action.refused || action.kind === 'touch' || (counters && puts)) return null;
  // Absent is how a history begins. A delete instead would claim a version, and there may have been no write at all.
  if (action.kind === 'get' && action.text === null) return [];
  const { call, return: end, keyspace, key } = event;
  const version = action.version === null ? {} : { version: action.version };
  const about = { client: BASE_CLIENT, keyspace, key, call, return: end };
  const output = { result: 'ok', ...version } as const;
  let base: HistoryEvent;
  if (action.kind === 'delete') base = { ...about, op: 'delete', output };
  else if (counters) {
    const value = action.kind === 'get' ? Number(action.text) : action.sum;
    if (value === null || !Number.isSafeInteger(value)) return null;
    base = { ...about, op: 'increment', input: value, output: { ...output, value } };
  } else {
    base = { ...about, op: 'put', input: action.kind === 'get' ? event.output!.value : event.input, output };
  }
  return [{ event: base, action: interpret(base)! }];
}

/** Returns what may replace the history, the shortest last: each a base and what it leaves. */
export function basesOf(history: History): History[] {
  const counters = history.some(({ action }) => action.kind === 'increment');
  const puts = history.some(({ action }) => action.kind === 'put' || action.kind === 'delete');
  const open = history.filter(({ action }) => action.open);
  const required = history.filter(({ action }) => !action.open).sort((a, b) => a.action.call - b.action.call);
  const found: History[] = [];
  let ended = Number.NEGATIVE_INFINITY;
  for (const [at, one] of required.entries()) {
    const next = required[at + 1];
    const alone = ended < one.action.call && (next === undefined || one.action.end < next.action.call);
    ended = Math.max(ended, one.action.end);
    if (at === 0 || next === undefined || !alone) continue;
    const base = baseOf(one, counters, puts);
    if (base !== null) found.push([...base, ...open, ...required.slice(at + 1)]);
  }
  return found;
}

/** The latest base that leaves it illegal. What it leaves is part of what earlier ones leave, so they do then, too. */
function latestBase(history: History, limits: SearchLimits): History {
  if (history.every(({ action }) => action.condition === null && action.kind !== 'increment')) return history;
  const bases = [history, ...basesOf(history)].reverse();
  return bases[leastThat(0, bases.length - 1, (n) => isIllegal(bases[n]!, limits))]!;
}

// ------------------------------------------------------------ drop

/** Whether a write may be dropped from `history`, which includes it and no read that shows it. */
function mayDrop(history: ReadonlySet<Judged>, { action, event }: Judged): boolean {
  if (action.kind === 'increment' || event.client === BASE_CLIENT) return false;
  for (const { action: other } of history) {
    if (other === action) continue;
    if (other.condition !== null) return false;
    if (other.kind === 'increment' && (action.kind === 'delete' || action.kind === 'expire')) return false;
  }
  return true;
}

/** Drops what may be dropped of `part`, with the reads that show its writes. */
export function without(history: History, part: History): History {
  const left = new Set(history);
  const texts = new Set<string | null>();
  for (const one of part) {
    if (isRead(one.action)) left.delete(one);
    else if (one.action.kind === 'put') texts.add(one.action.text);
    else if (one.action.kind === 'delete' || one.action.kind === 'expire') texts.add(null);
  }
  for (const one of history) {
    if (one.action.kind === 'get' && texts.has(one.action.text)) left.delete(one);
  }
  for (const one of part) {
    if (left.has(one) && mayDrop(left, one)) left.delete(one);
  }
  return history.filter((one) => left.has(one));
}

/** Drops halves, quarters, and so on down to single operations, as long as it stays illegal. */
function dropAll(history: History, limits: SearchLimits): History {
  let current = history;
  for (let size = Math.ceil(current.length / 2); size >= 1; size = Math.floor(size / 2)) {
    let again = true;
    while (again) {
      again = false;
      for (let from = 0; from < current.length; ) {
        if (limits.stop()) return current;
        const fewer = without(current, current.slice(from, from + size));
        if (fewer.length < current.length && isIllegal(fewer, limits)) {
          current = fewer;
          again = size === 1;
        } else from += size;
      }
    }
  }
  return current;
}

/**
 * Returns a small illegal history that proves `history` illegal, in the order of calls. `limits.stop` ends it early with
 * what it has come to; `history` itself must have been found illegal.
 */
export function minimize(history: History, limits: SearchLimits = SEARCH_LIMITS): History {
  let current = shortestPrefix(history, limits);
  if (!isIllegal(current, limits)) return history;
  current = latestBase(current, limits);
  current = dropAll(current, limits);
  return [...current].sort((a, b) => a.action.call - b.action.call);
}
