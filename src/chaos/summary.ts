/**
 * A run in figures: what `--json` prints, the page shows and the command says. Everything in it comes from the run; nothing is
 * rounded but for show.
 */
import {
  outside,
  type PhaseFigures,
  phaseFigures,
  quantile,
  type Slice,
  slicesOf,
  type Window,
} from './figures.ts';
import type { ChaosRun, FaultRecord } from './run.ts';
import { breachesOf, type Evidence, type Ruling, ruleOn } from './verdict.ts';
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
    readonly rounds: number;
    readonly leaderChanges: number;
  };
  readonly calm: PhaseFigures;
  readonly kinds: readonly KindSummary[];
  readonly faults: readonly FaultRecord[];
  readonly slices: readonly Slice[];
  readonly leaderChanges: readonly LeaderChange[];
  /** Beginning of the run, µs of the history's clock. */
  readonly from: number;
}

const SLICE_MS = 500;
/** Memory that a node may take under a flood, docs/GUARANTEES.md (G9). */
const RESIDENT_BOUND = 1024 * 1024 * 1024;

/** Returns how values are spread. */
export function quantiles(values: readonly number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    count: sorted.length,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    max: sorted.at(-1) ?? Number.NaN,
  };
}

/** A loss at `leader` that no node has counted, though none has lost its disk. */
function uncounted({ early, watch, faults }: ChaosRun): Breach[] {
  const [key] = early.lost;
  if (key === undefined || watch.earlyCounted > 0 || faults.some(({ destroys }) => destroys)) return [];
  return [
    { guarantee: 'G3', key, text: 'a write acknowledged at leader is gone, and no node has counted it' },
  ];
}

function evidenceOf(run: ChaosRun): Evidence {
  const { faults, bench, check, watch, early, lonelyQuestions, history } = run;
  const writes = history.filter(({ op }) => op !== 'get');
  const routerless = faults.filter(({ kind }) => kind === 'kill-router').map(({ window }) => window);
  const inside = (at: number): boolean => routerless.some(({ from, to }) => at >= from && at < to);
  return {
    faults: faults.map((fault) => ({ ...fault, confirmed: fault.proof !== '' })),
    breaches: [...bench.breaches, ...breachesOf(check), ...uncounted(run)],
    exercised: bench.exercised,
    check,
    failedWrites: writes.filter(({ output }) => output !== null && output.result !== 'ok').length,
    increments: bench.exercised.get('G4') ?? 0,
    answersWithoutRouter: history.filter(
      ({ client, call, return: end, output }) =>
        output?.result === 'ok' && bench.direct.has(client) && inside(call) && inside(end ?? 0),
    ).length,
    earlyLost: early.lost.length,
    earlyCounted: watch.earlyCounted,
    lonelyQuestions,
    floodRequests: run.floodRequests,
    floodRefused: run.floodRefused,
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

/** Returns a run in figures. */
export function summarize(run: ChaosRun): ChaosSummary {
  const { options, whole, faults, history, check, watch } = run;
  const rulings = ruleOn(evidenceOf(run));
  const broken = rulings.some(({ result }) => result === 'broken');
  const held = rulings.some(({ result }) => result === 'held');
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
      rounds: new Set(faults.map(({ round }) => round)).size,
      leaderChanges: watch.leaderChanges.length,
    },
    calm: phaseFigures(history, outside(windows, whole)),
    kinds: kindsOf(run),
    faults,
    slices: slicesOf(history, whole, SLICE_MS),
    leaderChanges: watch.leaderChanges,
    from: whole.from,
  };
}
