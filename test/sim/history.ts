/**
 * The history of a simulated run in the form in which clients record theirs, judged by the linearizability checker that
 * ships (src/check). It knows nothing of logs, so it finds what the ghost and the cluster might be wrong about alike.
 * INVARIANT: bounded by steps, never by time, so that a seed always ends in the same way.
 */
import { checkKey, type KeyReport } from '../../src/check/key-check.ts';
import { SEARCH_LIMITS } from '../../src/check/search.ts';
import { historyCondition } from '../../src/client/history.ts';
import type { HistoryEvent } from '../../src/common/history.ts';
import { toJson } from '../../src/common/text.ts';
import type { Operation } from './client-checks.ts';

const LIMITS = {
  stepsMax: SEARCH_LIMITS.stepsMax,
  configurationsMax: SEARCH_LIMITS.configurationsMax,
  now: () => 0,
  deadline: Number.POSITIVE_INFINITY,
  minimizeMs: 1,
};

/** Microseconds; what the clock cannot tell apart counts as concurrent. */
function micros(ms: number): number {
  return Math.floor(ms * 1_000);
}

/** Returns an operation as a client of the SDK would have recorded it. */
export function toEvent(operation: Operation): HistoryEvent {
  const { client, key, input, ack, condition, ttlMs, level, call, end, result } = operation;
  // Batches are in the history by their parts, and their checks not at all.
  const kind = operation.kind as HistoryEvent['op'];
  return {
    client,
    keyspace: '',
    key,
    op: kind,
    ...(kind === 'put' ? { input } : kind === 'increment' ? { input: Number(input) } : {}),
    ...(condition === null ? {} : { condition: historyCondition(condition) }),
    // The clocks of simulated nodes are seconds apart, and an expiry comes by those; the ghost checks its log time.
    ...(ttlMs === 0 ? {} : { ttlMs: 1 }),
    ...(kind === 'get' ? { level } : { ack }),
    call: micros(call),
    return: end === null ? null : micros(end),
    output: result,
  };
}

/** Returns the keys whose history is not linearizable, or could not be decided. */
export function judge(history: readonly Operation[]): KeyReport[] {
  const keys = new Map<string, HistoryEvent[]>();
  for (const operation of history) {
    const events = keys.get(operation.key);
    if (events === undefined) keys.set(operation.key, [toEvent(operation)]);
    else events.push(toEvent(operation));
  }
  return [...keys.values()].map((events) => checkKey(events, LIMITS)).filter(({ result }) => result !== 'ok');
}

/** Says what is wrong with a key, with the smallest history that shows it, one event a line. */
export function describeKey({ key, result, unknown, illegal }: KeyReport): string {
  if (illegal === undefined) return `the history of ${key} is ${result}: ${unknown}`;
  return [`the history of ${key} is not linearizable: ${illegal.reason}`, ...illegal.events.map(toJson)].join(
    '\n',
  );
}
