/**
 * What the record of a run shows to be wrong, besides what workloads find themselves: illegal histories, values that nobody wrote,
 * losses that nobody counted, partitions that were away because the router was. Each names the key that shows it.
 */
import type { CheckReport } from '../check/check.ts';
import { partitionOf } from '../common/hash.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import type { Window } from './figures.ts';
import type { Breach } from './workload/workbench.ts';

/** Returns the breaches of linearizability that a check has found. */
export function illegalHistories({ keys }: Pick<CheckReport, 'keys'>): Breach[] {
  return keys
    .filter(({ result }) => result === 'illegal')
    .map(({ key, illegal }) => ({
      guarantee: 'G2' as const,
      key,
      text: illegal?.reason ?? 'its history is not linearizable',
    }));
}

/** Returns a breach for every key of which a value was read, at any level, that nobody wrote to it. */
export function inventedValues(history: readonly HistoryEvent[]): Breach[] {
  const written = new Map<string, Set<string>>();
  // What counters show is the sum of what was written.
  const counted = new Set<string>();
  for (const { op, key, input } of history) {
    if (op === 'increment') counted.add(key);
    if (op !== 'put') continue;
    const values = written.get(key);
    if (values === undefined) written.set(key, new Set([toJson(input)]));
    else values.add(toJson(input));
  }
  const breaches = new Map<string, Breach>();
  for (const { op, key, output } of history) {
    if (op !== 'get' || output?.found !== true || counted.has(key) || breaches.has(key)) continue;
    const value = toJson(output.value);
    // Who writes without a record, as rude clients do, has keys that no recorded write names.
    if (written.get(key)?.has(value) ?? true) continue;
    breaches.set(key, { guarantee: 'G8', key, text: `${value} was read, which nobody wrote` });
  }
  return [...breaches.values()];
}

/** What is known of writes at `leader`. */
export interface EarlyFacts {
  /** Keys that were acknowledged and are gone. */
  readonly lost: readonly string[];
  /** Losses that nodes have counted; null: nobody can read what they log. */
  readonly counted: number | null;
}

/** Returns a breach if more is lost than nodes have counted. Who has lost its log, or part of it, cannot count. */
export function uncountedLosses(
  { lost, counted }: EarlyFacts,
  faults: readonly { readonly family: string; readonly destroys: boolean }[],
): Breach[] {
  const [key] = lost;
  if (key === undefined || counted === null || lost.length <= counted) return [];
  if (faults.some(({ destroys, family }) => destroys || family === 'disk')) return [];
  const text = `${lost.length} writes acknowledged at leader are gone, and nodes have counted ${counted}`;
  return [{ guarantee: 'G3', key, text }];
}

/** From when to when a router that was killed is certainly away, and the leaders are those that were there before, µs. */
const AWAY = { from: 500_000, to: 2_500_000 } as const;
/** An operation is answered within that while nothing else is wrong, µs. */
const ANSWER_US = 1_000_000;
/** A leadership that was being handed over when the router went is taken up again after its return: within that, µs. */
const HANDED_OVER_US = 10_000_000;

/** What there was while the router, and nothing else, was away. */
export interface RouterlessFacts {
  readonly windows: readonly Window[];
  readonly history: readonly HistoryEvent[];
  /** Clients that go to leaders directly. */
  readonly direct: ReadonlySet<string>;
  readonly partitions: number;
  readonly leaderChanges: readonly { readonly at: number; readonly partition: number }[];
}

/** Returns a breach for every partition that answered direct clients nothing while the router was away, though it had a leader. */
export function unansweredWithoutRouter(facts: RouterlessFacts): Breach[] {
  return facts.windows
    .filter(({ from, to }) => to - from >= AWAY.to)
    .flatMap((window) => unansweredIn(window, facts));
}

function unansweredIn(
  window: Window,
  { history, direct, partitions, leaderChanges }: RouterlessFacts,
): Breach[] {
  const from = window.from + AWAY.from;
  const to = window.from + AWAY.to;
  const asked = new Map<number, { readonly key: string; readonly count: number }>();
  const answered = new Set<number>();
  for (const { client, call, return: end, output, key } of history) {
    const until = end ?? Number.POSITIVE_INFINITY;
    // Open at some time of it, and soon enough to be answered in it: who gets no answer asks only once.
    if (!direct.has(client) || until < from || call > to - ANSWER_US) continue;
    const partition = partitionOf(Buffer.from(key), partitions);
    const before = asked.get(partition);
    asked.set(partition, { key: before?.key ?? key, count: (before?.count ?? 0) + 1 });
    if (output?.result === 'ok' && until <= to) answered.add(partition);
  }
  const changing = leaderChanges.filter(
    ({ at }) => at >= window.from - ANSWER_US && at <= window.to + HANDED_OVER_US,
  );
  return [...asked].flatMap(([partition, { key, count }]) => {
    if (answered.has(partition) || changing.some((change) => change.partition === partition)) return [];
    const text = `${count} operations of direct clients on partition ${partition} have no answer without a router`;
    return [{ guarantee: 'G10' as const, key, text }];
  });
}

/** Returns a breach if a process has taken more memory than it may, bytes; null: it cannot be seen. */
export function boundlessMemory(residentMax: number | null, bound: number): Breach[] {
  if (residentMax === null || residentMax <= bound) return [];
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  const text = `a process has taken ${mib(residentMax)}, more than ${mib(bound)}`;
  return [{ guarantee: 'G9', key: null, text }];
}
