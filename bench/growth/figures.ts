/**
 * The figures of one point: what operations cost and how long they took, and how much memory the largest node had. Pure:
 * made of the result of a run of the harness.
 */
import { latencyOf } from '../load/histogram.ts';
import type { RunResult } from '../report/run-result.ts';
import type { ServerSample } from '../servers/sample.ts';
import type { Loaded } from '../session.ts';
import type { Point } from './dimensions.ts';

/** One run of puts, or of gets. Null: the servers could not be looked at (not on Linux), or nothing succeeded. */
export interface Figures {
  /** Successes per second. */
  readonly throughput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  /** µs of CPU per operation: all nodes and the router together, and all client processes. */
  readonly serverCpuUs: number | null;
  readonly clientCpuUs: number | null;
  /** Highest RssAnon of any node in a sample of the run. */
  readonly nodeRssAnonBytes: number | null;
}

/** A point with what was measured there. */
export interface MeasuredPoint extends Omit<Point, 'dimension' | 'goesOn'> {
  /** What the load of what was missing took; null: everything was there. */
  readonly load: Loaded | null;
  readonly puts: Figures;
  readonly gets: Figures;
  /** After both; on a cluster that goes on, with all that was before. Null: no node has told. */
  readonly storage: WorstStorage | null;
}

/** Storage since the start of the cluster: the worst of its nodes, of each figure by itself. */
export interface WorstStorage {
  readonly writeAmplification: number | null;
  readonly spaceAmplification: number | null;
  /** Batches of the store that took over 100 ms, and the time that they took in all. */
  readonly slowBatches: number;
  readonly slowBatchMs: number;
}

/** Returns the worst of what nodes say of their storage; null if none has told anything. */
export function worstOf(nodes: readonly WorstStorage[]): WorstStorage | null {
  if (nodes.length === 0) return null;
  const ratio = (pick: (node: WorstStorage) => number | null): number | null => {
    const told = nodes.flatMap((node) => pick(node) ?? []);
    return told.length === 0 ? null : Math.max(...told);
  };
  return {
    writeAmplification: ratio((node) => node.writeAmplification),
    spaceAmplification: ratio((node) => node.spaceAmplification),
    slowBatches: Math.max(...nodes.map(({ slowBatches }) => slowBatches)),
    slowBatchMs: Math.max(...nodes.map(({ slowBatchMs }) => slowBatchMs)),
  };
}

export const OPERATIONS = ['puts', 'gets'] as const;

export type Operation = (typeof OPERATIONS)[number];

/** Percent of a core, and operations per second, to µs per operation. */
const US_PER_PERCENT = 10_000;

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Whether a sample is of a node; the other server of a spawned cluster is its router. */
export function isNode({ server }: Pick<ServerSample, 'server'>): boolean {
  return server !== 'router';
}

/** Returns the CPU of all servers together in percent of a core, on average over the samples; null without any. */
export function serversCpuPercent(samples: readonly ServerSample[]): number | null {
  if (samples.length === 0) return null;
  const servers = [...new Set(samples.map(({ server }) => server))];
  return servers.reduce((sum, name) => {
    const own = samples.filter(({ server }) => server === name);
    return sum + mean(own.map(({ cpuPercent }) => cpuPercent));
  }, 0);
}

/** Returns the figures of a run. */
export function figuresOf({ throughput, all, counts, clients, servers }: RunResult): Figures {
  const { p50: p50Ms, p99: p99Ms } = latencyOf(all);
  const perOperation = (percent: number | null) =>
    percent === null || throughput === 0 ? null : (percent * US_PER_PERCENT) / throughput;
  const memory = servers.filter(isNode).flatMap(({ rssAnonBytes }) => rssAnonBytes ?? []);
  return {
    ...{ throughput, p50Ms, p99Ms },
    errors: counts.failed + counts.abandoned,
    serverCpuUs: perOperation(serversCpuPercent(servers)),
    clientCpuUs: perOperation(clients.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0)),
    nodeRssAnonBytes: memory.length === 0 ? null : Math.max(...memory),
  };
}
