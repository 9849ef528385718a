/**
 * The result of a benchmark as one JSON document, which is also what the table and the page are made of. Its shape is
 * described in docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same.
 * Latencies are in ms, times in s since the measured part of a run began, unless a name says otherwise.
 */
import type { ClusterFacts, Experiment } from '../experiment.ts';
import {
  curveOf,
  type Histogram,
  type Latency,
  latencyOf,
  mergeHistograms,
  percentileMs,
} from '../load/histogram.ts';
import type { FailureCount } from '../load/recorder.ts';
import type { Commit, Machine } from '../servers/machine.ts';
import type { ServerSample } from '../servers/sample.ts';
import type { Settings } from '../settings.ts';
import { KINDS, type Kind } from '../workload/workload.ts';
import type { Failover, RunEvent } from './events.ts';
import { findKnee, type SweepPoint } from './knee.ts';
import {
  type ClientUsage,
  type Counts,
  mergeFailures,
  type RunResult,
  type SeriesPoint,
} from './run-result.ts';
import { type Spread, spreadOf } from './spread.ts';
import { warningsOf } from './warnings.ts';

export const FORMAT = 1;

/** The runs at one rate. */
export interface Step {
  readonly rate: number | null;
  readonly runs: readonly RunResult[];
}

/** All runs at one rate as if they were one. */
export interface Merged {
  /** Operations per second that were due. */
  readonly offered: number;
  readonly throughput: number;
  readonly all: Histogram;
  readonly byKind: ReadonlyMap<Kind, Histogram>;
  readonly failed: Histogram;
}

export interface ShownLatency extends Latency {
  /** Points of the percentile curve: [percentile, ms]. */
  readonly curve: readonly (readonly [number, number])[];
}

export interface ShownRun {
  readonly elapsedSeconds: number;
  readonly throughput: number;
  readonly counts: Counts;
  readonly latency: Latency;
  readonly byKind: Readonly<Partial<Record<Kind, Latency>>>;
  readonly failedLatency: Latency;
  readonly failures: readonly FailureCount[];
  readonly startDelay: Latency | null;
  readonly series: readonly SeriesPoint[];
  readonly clients: readonly ClientUsage[];
  readonly servers: readonly ServerSample[];
  readonly events: readonly RunEvent[];
  readonly failover: Failover | null;
}

export interface ShownStep {
  readonly rate: number | null;
  /** Over all runs: sums, and percentiles of all operations together. */
  readonly merged: {
    readonly offered: number;
    readonly throughput: number;
    readonly counts: Counts;
    readonly latency: ShownLatency;
    readonly byKind: Readonly<Partial<Record<Kind, ShownLatency>>>;
    readonly failedLatency: Latency;
    readonly failures: readonly FailureCount[];
  };
  /** Over the figures of the single runs. */
  readonly spread: Readonly<Record<'throughput' | 'p50' | 'p90' | 'p99' | 'p999' | 'max', Spread>>;
  readonly runs: readonly ShownRun[];
}

export interface ShownSweep {
  readonly achievedMin: number;
  /** Null: none. */
  readonly p99MsMax: number | null;
  /** Null: even the first rate was beyond the limits. */
  readonly knee: SweepPoint | null;
}

export interface Durability {
  /** Of writes. */
  readonly ack: Settings['ack'];
  readonly description: string;
  readonly replicationFactor: number;
  /** Under the data; null if it is not known. */
  readonly fileSystem: string | null;
}

export interface BenchmarkDocument {
  readonly format: typeof FORMAT;
  readonly version: string;
  readonly startedAt: string;
  readonly machine: Machine;
  readonly commit: Commit | null;
  readonly durability: Durability;
  readonly options: object;
  readonly cluster: ClusterFacts;
  readonly load: { readonly records: number; readonly elapsedSeconds: number } | null;
  readonly steps: readonly ShownStep[];
  readonly sweep: ShownSweep | null;
  readonly warnings: readonly string[];
}

/** What a document says besides what was measured. */
export interface Circumstances {
  readonly version: string;
  readonly machine: Machine;
  readonly commit: Commit | null;
}

/** Returns all runs of one rate together. */
export function mergeRuns(runs: readonly RunResult[]): Merged {
  const byKind = new Map<Kind, Histogram>();
  for (const kind of KINDS) {
    const histograms = runs.flatMap((run) => run.byKind.get(kind) ?? []);
    if (histograms.length > 0) byKind.set(kind, mergeHistograms(histograms));
  }
  const ended = runs.reduce((sum, run) => sum + (run.throughput * run.elapsedMs) / 1_000, 0);
  const seconds = runs.reduce((sum, run) => sum + run.elapsedMs / 1_000, 0);
  return {
    offered: sumCounts(runs).started / seconds,
    throughput: ended / seconds,
    all: mergeHistograms(runs.map((run) => run.all)),
    byKind,
    failed: mergeHistograms(runs.map((run) => run.failed)),
  };
}

/** Returns the sums over runs. */
export function sumCounts(runs: readonly { readonly counts: Counts }[]): Counts {
  const sum = (name: keyof Counts) => runs.reduce((all, { counts }) => all + counts[name], 0);
  return {
    ...{ started: sum('started'), succeeded: sum('succeeded'), failed: sum('failed') },
    ...{ abandoned: sum('abandoned'), backlog: sum('backlog'), late: sum('late'), absent: sum('absent') },
  };
}

function showKinds<T>(
  byKind: ReadonlyMap<Kind, Histogram>,
  show: (histogram: Histogram) => T,
): Partial<Record<Kind, T>> {
  return Object.fromEntries([...byKind].map(([kind, histogram]) => [kind, show(histogram)]));
}

function showRun(run: RunResult): ShownRun {
  const { throughput, counts, failures, series, clients, servers, events, failover } = run;
  return {
    elapsedSeconds: run.elapsedMs / 1_000,
    throughput,
    counts,
    latency: latencyOf(run.all),
    byKind: showKinds(run.byKind, latencyOf),
    failedLatency: latencyOf(run.failed),
    failures,
    startDelay: run.startDelay === null ? null : latencyOf(run.startDelay),
    ...{ series, clients, servers, events, failover },
  };
}

function withCurve(histogram: Histogram): ShownLatency {
  return { ...latencyOf(histogram), curve: curveOf(histogram) };
}

function showStep({ rate, runs }: Step): ShownStep {
  const merged = mergeRuns(runs);
  const of = (pick: (run: RunResult) => number) => spreadOf(runs.map(pick));
  const percentile = (at: number) => of((run) => percentileMs(run.all, at));
  return {
    rate,
    merged: {
      offered: merged.offered,
      throughput: merged.throughput,
      counts: sumCounts(runs),
      latency: withCurve(merged.all),
      byKind: showKinds(merged.byKind, withCurve),
      failedLatency: latencyOf(merged.failed),
      failures: mergeFailures(runs.map(({ failures }) => failures)),
    },
    spread: {
      throughput: of((run) => run.throughput),
      ...{ p50: percentile(50), p90: percentile(90), p99: percentile(99) },
      ...{ p999: percentile(99.9), max: percentile(100) },
    },
    runs: runs.map(showRun),
  };
}

function showSweep(steps: readonly ShownStep[], { sweep }: Settings): ShownSweep | null {
  if (sweep === null) return null;
  const points = steps.map(({ rate, merged }) => ({
    rate: rate ?? 0,
    offered: merged.offered,
    achieved: merged.throughput,
    p99Ms: merged.latency.p99,
  }));
  return {
    achievedMin: sweep.achievedMin,
    p99MsMax: Number.isFinite(sweep.p99MsMax) ? sweep.p99MsMax : null,
    knee: findKnee(points, sweep),
  };
}

const ACKNOWLEDGED = {
  leader: 'synced to the disk of the leader before a write is acknowledged',
  quorum: 'synced to the disks of a majority of the voters before a write is acknowledged',
  all: 'synced to the disks of all voters before a write is acknowledged',
} as const;

/** The settings as they are shown: what is null or infinite was not asked for. */
function showOptions(settings: Settings): object {
  const { spawn, servers, sweep, url, ...rest } = settings;
  return {
    url,
    ...(url === null ? { spawn } : {}),
    ...rest,
    sweep:
      sweep === null ? null : { ...sweep, p99MsMax: Number.isFinite(sweep.p99MsMax) ? sweep.p99MsMax : null },
    servers: servers.map(({ name }) => name),
  };
}

/** Returns the document of an experiment. */
export function createDocument(
  experiment: Experiment,
  settings: Settings,
  circumstances: Circumstances,
): BenchmarkDocument {
  const { cluster, load, startedAt } = experiment;
  const steps = experiment.steps.map(showStep);
  return {
    format: FORMAT,
    version: circumstances.version,
    startedAt: startedAt.toISOString(),
    machine: circumstances.machine,
    commit: circumstances.commit,
    durability: {
      ack: settings.ack,
      description: ACKNOWLEDGED[settings.ack],
      replicationFactor: cluster.replicationFactor,
      fileSystem: cluster.fileSystem,
    },
    options: showOptions(settings),
    cluster,
    load: load === null ? null : { records: load.records, elapsedSeconds: load.elapsedMs / 1_000 },
    steps,
    sweep: showSweep(steps, settings),
    warnings: warningsOf(steps, settings, cluster),
  };
}
