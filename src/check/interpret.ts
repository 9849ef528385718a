/**
 * What an event of a history means to the checker: when it can have taken effect, whether it must have, and what of its
 * answer has to be explained. docs/HISTORIES.md has the same as a table.
 * INVARIANT: nothing is demanded that the project does not promise (docs/GUARANTEES.md, G2 to G5), and nothing that it
 * promises is let go: a write that was told `not_applied` has no effect, so a read that shows it is illegal.
 */
import { assert } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import type { Action, Condition } from './model.ts';

/** An action with the time in which it takes effect. */
export interface TimedAction extends Action {
  readonly call: number;
  /** Infinity: any time after the call. */
  readonly end: number;
  /** It may have taken effect once, or never. Else it has. */
  readonly open: boolean;
}

/** An event with its meaning. */
export interface Judged {
  readonly event: HistoryEvent;
  readonly action: TimedAction;
}

/** Returns an event of a key whose versions mean nothing; null: nothing is left of it. */
function withoutVersion(event: HistoryEvent): HistoryEvent | null {
  const { condition, output } = event;
  // It wrote nothing, and what it told was a version.
  if (output?.applied === false && output.version !== 0) return null;
  const held = condition?.ifVersion === undefined ? {} : { condition: { ifExists: true as const } };
  if (output === null || output.applied === false) return { ...event, ...held };
  const { version: _, ...rest } = output;
  return { ...event, ...held, output: rest };
}

/**
 * Returns the events of one key as far as they can be judged. Salting and unsalting a counter write it anew, as it is, under a new version, and
 * that is in no history: where there are increments that may be spread, no version is held against anybody.
 */
export function judgeable(events: readonly HistoryEvent[]): readonly HistoryEvent[] {
  if (!events.some(({ spread }) => spread)) return events;
  return events.map(withoutVersion).filter((event) => event !== null);
}

function conditionOf({ condition, op }: HistoryEvent): Condition | null {
  // Of an absent key there is nothing that could get another time, or end.
  if (condition === undefined) return op === 'touch' || op === 'expire' ? { kind: 'exists' } : null;
  if (condition.ifVersion !== undefined) return { kind: 'version', version: condition.ifVersion };
  return { kind: condition.ifAbsent ? 'absent' : 'exists' };
}

function meaningOfRead(event: HistoryEvent): TimedAction | null {
  const { output, call } = event;
  // A failed read has shown nothing, and weaker levels promise no order.
  if (output === null || output.result !== 'ok') return null;
  if (event.level === 'session' || event.level === 'stale') return null;
  assert(event.return !== null, 'an operation with an output has returned');
  const found = output.found === true;
  const text = found ? toJson(output.value) : null;
  const version = found ? (output.version ?? null) : null;
  const rest = { delta: 0, sum: null, condition: null, refused: false, open: false };
  return { kind: 'get', text, version, call, end: event.return, ...rest };
}

/**
 * Returns what an event means, or null if it explains nothing and need not be explained: failed reads, reads at weaker
 * levels, and writes that were told `not_applied`, of which nothing may ever be seen.
 */
export function interpret(event: HistoryEvent): TimedAction | null {
  if (event.op === 'get') return meaningOfRead(event);
  const { output, call, op } = event;
  if (output?.result === 'not_applied') return null;
  const asked = {
    kind: op,
    text: op === 'put' || (op === 'expire' && event.input !== undefined) ? toJson(event.input) : null,
    delta: op === 'increment' ? (event.input as number) : 0,
    condition: conditionOf(event),
    call,
  };
  // A `leader` acknowledgement is an unknown outcome (G2). Its version is not demanded either: if the entry is lost, a late
  // attempt of the same request may still be appended, at another index.
  const open = output === null || output.result === 'unknown' || output.durability === 'leader';
  if (open)
    return { ...asked, sum: null, refused: false, version: null, end: Number.POSITIVE_INFINITY, open };
  assert(event.return !== null, 'an operation with an output has returned');
  // Outcome `applied` with an error says that it is in effect, and no more.
  const sum = op === 'increment' && output.value !== undefined ? (output.value as number) : null;
  const refused = output.applied === false;
  return { ...asked, sum, refused, version: output.version ?? null, end: event.return, open };
}

/** Name of the client of an expiry. */
const EXPIRY_CLIENT = 'expiry';

/**
 * Returns the end of the value that a write may have given a time to live, as an event of its own, or null. It may come at any
 * time after that, by the caller's clock, or never: nobody is told.
 */
export function expiryOf(event: HistoryEvent): HistoryEvent | null {
  const { op, ttlMs, output, keyspace, key, input, call } = event;
  if (ttlMs === undefined || op === 'get' || op === 'delete' || op === 'expire') return null;
  if (output?.result === 'not_applied' || output?.applied === false) return null;
  const what = op === 'put' ? { input } : {};
  const open = { return: null, output: null };
  return { client: EXPIRY_CLIENT, keyspace, key, op: 'expire', ...what, call: call + ttlMs * 1_000, ...open };
}
