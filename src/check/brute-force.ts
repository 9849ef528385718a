/**
 * Linearizability of one key's history by trying everything: every order that respects real time, with every subset of the
 * writes that may never have happened. For a handful of operations only; the search is tested against it. It shares no
 * code with the search, the model or the interpretation of events, on purpose: read it beside docs/HISTORIES.md.
 */
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';

/** What the key holds while an order is tried: value as JSON text, and whether it is a counter. */
interface Held {
  readonly text: string;
  readonly counter: boolean;
}

/** Versions as far as they are told: `writes` by place in the order, `told` by later operations. */
interface Told {
  readonly writes: readonly (number | null)[];
  /** Place of the write that is spoken of, and its version. */
  readonly told: readonly { readonly write: number; readonly version: number }[];
}

function mayBeMissing(event: HistoryEvent): boolean {
  const { output } = event;
  return output === null || output.result === 'unknown' || output.durability === 'leader';
}

/** Whether versions can be given to all writes, growing by at least one from each to the next. */
function versionsExist({ writes, told }: Told): boolean {
  const known = [...writes];
  for (const { write, version } of told) {
    if (write < 0) return false;
    if (known[write] !== null && known[write] !== version) return false;
    known[write] = version;
  }
  let lastPlace = -1;
  let lastVersion = 0;
  for (const [place, version] of known.entries()) {
    if (version === null) continue;
    if (version - lastVersion < place - lastPlace) return false;
    lastPlace = place;
    lastVersion = version;
  }
  return true;
}

interface Configuration {
  readonly held: Held | null;
  readonly versions: Told;
}

function written(at: Configuration, held: Held | null, version: number | null): Configuration {
  return { held, versions: { ...at.versions, writes: [...at.versions.writes, version] } };
}

function told(at: Configuration, version: number | undefined): Configuration {
  if (version === undefined) return at;
  const write = at.versions.writes.length - 1;
  return { held: at.held, versions: { ...at.versions, told: [...at.versions.told, { write, version }] } };
}

function executeRead(event: HistoryEvent, at: Configuration): Configuration | null {
  const output = event.output!;
  if (!output.found) return at.held === null ? at : null;
  if (at.held === null || at.held.text !== toJson(output.value)) return null;
  return told(at, output.version);
}

function executeRefused(event: HistoryEvent, at: Configuration): Configuration | null {
  const { ifAbsent, ifExists, ifVersion } = event.condition ?? { ifExists: true as const };
  const version = event.output!.version!;
  if (at.held === null) return version === 0 && !ifAbsent ? at : null;
  if (version === 0 || ifExists || ifVersion === version) return null;
  return told(at, version);
}

function executeIncrement(
  event: HistoryEvent,
  at: Configuration,
  version: number | null,
): Configuration | null {
  if (at.held !== null && !at.held.counter) return null;
  const sum = Number(at.held?.text ?? 0) + (event.input as number);
  const answered = mayBeMissing(event) ? undefined : event.output!.value;
  if (answered !== undefined && answered !== sum) return null;
  return written(at, { text: `${sum}`, counter: true }, version);
}

/** Executes an event that takes effect; null if its answer cannot be. */
function execute(event: HistoryEvent, at: Configuration): Configuration | null {
  if (event.op === 'get') return executeRead(event, at);
  if (event.output?.applied === false) return executeRefused(event, at);
  const version = mayBeMissing(event) ? null : (event.output!.version ?? null);
  if (event.op === 'increment') return executeIncrement(event, at, version);
  if (event.op === 'expire') {
    const ends = at.held !== null && (event.input === undefined || toJson(event.input) === at.held.text);
    return ends ? written(at, null, null) : null;
  }
  let before = at;
  const { condition } = event;
  if (condition !== undefined) {
    if ((condition.ifAbsent === true) !== (at.held === null)) return null;
    before = told(at, condition.ifVersion);
  }
  if (event.op === 'touch') return at.held === null ? null : written(before, at.held, version);
  const held = event.op === 'put' ? { text: toJson(event.input), counter: false } : null;
  return written(before, held, version);
}

function explore(
  needed: readonly HistoryEvent[],
  optional: readonly HistoryEvent[],
  at: Configuration,
): boolean {
  if (!versionsExist(at.versions)) return false;
  if (needed.length === 0) return true;
  const mayBeNext = (event: HistoryEvent) => needed.every((other) => other.return! >= event.call);
  const without = (events: readonly HistoryEvent[], event: HistoryEvent) =>
    events.filter((other) => other !== event);
  for (const event of needed) {
    const after = mayBeNext(event) ? execute(event, at) : null;
    if (after !== null && explore(without(needed, event), optional, after)) return true;
  }
  for (const event of optional) {
    const after = mayBeNext(event) ? execute(event, at) : null;
    if (after !== null && explore(needed, without(optional, event), after)) return true;
  }
  return false;
}

/** Whether the events of one key are linearizable. Exponential: for about ten events at most. */
export function isLinearizable(events: readonly HistoryEvent[]): boolean {
  const weak = (event: HistoryEvent) => event.level === 'session' || event.level === 'stale';
  const counted = events.filter((event) => {
    if (event.op === 'get') return event.output?.result === 'ok' && !weak(event);
    return event.output?.result !== 'not_applied';
  });
  const needed = counted.filter((event) => !mayBeMissing(event));
  const optional = counted.filter(mayBeMissing);
  return explore(needed, optional, { held: null, versions: { writes: [], told: [] } });
}
