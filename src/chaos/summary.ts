/**
 * A run in figures: what `--json` prints, the page shows and the command says. Everything in it comes from the run; nothing is
 * rounded but for show.
 */
import type { Illegal } from '../check/key-check.ts';
import type { ShownOperations } from '../check/timeline.ts';
import type { HistoryEvent } from '../common/history.ts';
import {
  boundlessMemory,
  illegalHistories,
  inventedValues,
  unansweredWithoutRouter,
  uncountedLosses,
} from './breaches.ts';
import {
  outside,
  type PhaseFigures,
  phaseFigures,
  type Slice,
  slicesOf,
  spread,
  type Window,
} from './figures.ts';
import type { ChaosRun, FaultRecord } from './run.ts';
import { type Evidence, type Ruling, ruleOn } from './verdict.ts';
import type { LeaderChange } from './watch.ts';
import type { Breach } from './workload/workbench.ts';

/** What the faults of one kind have done. */
export interface KindSummary {
  readonly kind: string;
  readonly family: string;
  readonly times: number;
  /** Those that have shown that they took effect. */
  readonly confirmed: number;
  /** Over its faults that were on alone, ms: until every partition took writes, and answered quorum reads, again. */
  readonly writeGapMs: Quantiles;
  readonly readGapMs: Quantiles;
  /** From its end until every replica was whole. */
  readonly wholeMs: Quantiles;
  /** Operations that were called while it was on. */
  readonly phase: PhaseFigures;
}

/** NaN, in JSON null, of none. */
export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A key without an order of its operations, and a small history that proves it. */
export interface IllegalKey extends Illegal {
  readonly keyspace: string;
  readonly key: string;
}

/** A run in figures. */
export interface ChaosSummary {
  readonly verdict: 'held' | 'broken' | 'not exercised';
  readonly seed: number;
  readonly seconds: number;
  readonly nodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly rulings: readonly Ruling[];
  readonly totals: {
    readonly operations: number;
    readonly succeeded: number;
    readonly failed: number;
    readonly unknown: number;
    readonly histories: number;
    readonly faults: number;
    readonly unconfirmed: number;
    /** Faults that could not be injected, by kind. */
    readonly skipped: Readonly<Record<string, number>>;
    readonly rounds: number;
    readonly leaderChanges: number;
  };
  readonly calm: PhaseFigures;
  readonly kinds: readonly KindSummary[];
  readonly faults: readonly FaultRecord[];
  /** Of each key whose history is illegal the smallest part that no order of operations explains, of the first ones. */
  readonly illegal: readonly IllegalKey[];
  /** Of the first other keys that a breach names the last operations. */
  readonly failing: readonly ShownOperations[];
  readonly slices: readonly Slice[];
  readonly leaderChanges: readonly LeaderChange[];
  /** How long this program itself stood still, ms: times without answers do not count it. */
  readonly standstillMs: Quantiles;
  /** Beginning of the run, µs of the history's clock. */
  readonly from: number;
}

const SLICE_MS = 500;
const FAILING_MAX = 10;
const OPERATIONS_MAX = 60;
/** Memory that a process may take, docs/GUARANTEES.md (G9), bytes. */
const RESIDENT_BOUND = 1024 * 1024 * 1024;

/** Returns how values are spread. */
export function quantiles(values: readonly number[]): Quantiles {
  return { count: values.length, ...spread(values) };
}

/** The time that two windows share; one that ends before it begins: none. */
function common(one: Window, other: Window): Window {
  return { from: Math.max(one.from, other.from), to: Math.min(one.to, other.to) };
}

/** All that is wrong. */
function breachesOf({ bench, check, watch, early, faults, history, options }: ChaosRun): Breach[] {
  const alone = faults.filter(({ round }) => faults.filter((other) => other.round === round).length === 1);
  const kills = alone.filter(({ kind }) => kind === 'kill-router').map(({ window }) => window);
  // Whoever watches over it may have started it again before the fault was over.
  const windows = kills.flatMap((kill) => watch.routerless.map((away) => common(kill, away)));
  const { direct } = bench;
  const { leaderChanges } = watch;
  return [
    ...bench.breaches,
    ...illegalHistories(check),
    ...inventedValues(history),
    ...uncountedLosses({ lost: early.lost, counted: watch.earlyCounted }, faults),
    ...boundlessMemory(watch.residentMax, RESIDENT_BOUND),
    ...unansweredWithoutRouter({ windows, history, direct, partitions: options.partitions, leaderChanges }),
  ];
}

function evidenceOf(run: ChaosRun): Evidence {
  const { faults, bench, check, watch, early, lonelyQuestions, history } = run;
  const writes = history.filter(({ op }) => op !== 'get');
  const kills = faults.filter(({ kind }) => kind === 'kill-router').map(({ window }) => window);
  const within = (windows: readonly Window[], call: number, end: number): boolean =>
    windows.some(({ from, to }) => call >= from && end < to);
  return {
    faults: faults.map((fault) => ({ ...fault, confirmed: fault.proof !== '' })),
    breaches: breachesOf(run),
    exercised: bench.exercised,
    check,
    failedWrites: writes.filter(({ output }) => output !== null && output.result !== 'ok').length,
    increments: bench.exercised.get('G4') ?? 0,
    answersWithoutRouter: history.filter(
      ({ client, call, return: end, output }) =>
        output?.result === 'ok' &&
        end !== null &&
        bench.direct.has(client) &&
        // It may have been started again before the fault was over.
        within(kills, call, end) &&
        within(watch.routerless, call, end),
    ).length,
    earlyLost: early.lost.length,
    earlyCounted: watch.earlyCounted,
    lonelyQuestions,
    floodRequests: run.floodRequests,
    floodRefused: run.floodRefused,
    uncompared: run.uncompared,
    residentMax: watch.residentMax,
    residentBound: RESIDENT_BOUND,
  };
}

function kindsOf({ faults, history }: ChaosRun): KindSummary[] {
  const kinds = [...new Set(faults.map(({ kind }) => kind))].sort();
  const together = (round: number): number => faults.filter((fault) => fault.round === round).length;
  return kinds.map((kind) => {
    const own = faults.filter((fault) => fault.kind === kind);
    const alone = own.filter(({ round }) => together(round) === 1);
    return {
      kind,
      family: own[0]!.family,
      times: own.length,
      confirmed: own.filter(({ proof }) => proof !== '').length,
      writeGapMs: quantiles(alone.map(({ writeGapMs }) => writeGapMs)),
      readGapMs: quantiles(alone.map(({ readGapMs }) => readGapMs)),
      wholeMs: quantiles(own.map(({ wholeMs }) => wholeMs)),
      phase: phaseFigures(
        history,
        own.map(({ window }) => window),
      ),
    };
  });
}

/** The operations on keys that breaches name, and that the checker has not shown to be illegal by themselves. */
function failingOf(
  rulings: readonly Ruling[],
  history: readonly HistoryEvent[],
  check: ChaosRun['check'],
): ShownOperations[] {
  const illegal = new Set(check.keys.filter((key) => key.illegal !== undefined).map(({ key }) => key));
  const reasons = new Map<string, string>();
  for (const { guarantee, breaches } of rulings)
    for (const { key, text } of breaches)
      if (key !== null && !illegal.has(key) && !reasons.has(key)) reasons.set(key, `${guarantee}: ${text}`);
  return [...reasons].slice(0, FAILING_MAX).map(([key, reason]) => {
    const all = history.filter((event) => event.key === key).sort((a, b) => a.call - b.call);
    const events = all.slice(-OPERATIONS_MAX);
    const keyspace = events[0]?.keyspace ?? '';
    return { keyspace, key, reason, events, earlier: all.length - events.length };
  });
}

/** Returns a run in figures. */
export function summarize(run: ChaosRun): ChaosSummary {
  const { options, whole, faults, history, check, watch } = run;
  const rulings = ruleOn(evidenceOf(run));
  const broken = rulings.some(({ result }) => result === 'broken');
  // What the checker could not decide is not a pass.
  const held = check.result !== 'unknown' && rulings.some(({ result }) => result === 'held');
  const windows: Window[] = faults.map(({ window }) => window);
  const results = history.map(({ output }) => output?.result ?? 'unknown');
  return {
    verdict: broken ? 'broken' : held ? 'held' : 'not exercised',
    seed: options.seed,
    seconds: (whole.to - whole.from) / 1e6,
    nodes: options.nodes,
    partitions: options.partitions,
    replicationFactor: options.replicationFactor,
    rulings,
    totals: {
      operations: history.length,
      succeeded: results.filter((result) => result === 'ok').length,
      failed: results.filter((result) => result === 'not_applied' || result === 'applied').length,
      unknown: results.filter((result) => result === 'unknown').length,
      histories: check.keys.length,
      faults: faults.length,
      unconfirmed: faults.filter(({ proof }) => proof === '').length,
      skipped: run.skipped,
      rounds: new Set(faults.map(({ round }) => round)).size,
      leaderChanges: watch.leaderChanges.length,
    },
    calm: phaseFigures(history, outside(windows, whole)),
    kinds: kindsOf(run),
    faults,
    illegal: check.keys.flatMap(({ keyspace, key, illegal }) =>
      illegal === undefined ? [] : [{ keyspace, key, ...illegal }],
    ),
    failing: failingOf(rulings, history, check),
    slices: slicesOf(history, whole, SLICE_MS),
    leaderChanges: watch.leaderChanges,
    standstillMs: quantiles(watch.standstills.map(({ from, to }) => (to - from) / 1_000)),
    from: whole.from,
  };
}
