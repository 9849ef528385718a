/**
 * Metrics: one prom-client registry per process, with process metrics and the labels that every series carries. Names
 * start with `ringkeep_`, in base units (`_seconds`, `_bytes`, `_total`).
 * INVARIANT: the number of series is bounded: a label takes values from a fixed set, or goes through `boundedLabel`.
 */
import { collectDefaultMetrics, Registry } from 'prom-client';
import { assert } from './errors.ts';

export type { Registry } from 'prom-client';
export { Counter, Gauge, Histogram } from 'prom-client';

/** Upper bounds in seconds for request latencies: 0.25 ms to 10 s. */
export const LATENCY_BUCKETS: readonly number[] = [
  0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
  10,
];

/** Creates a process's registry, process metrics (memory, CPU, event-loop delay, GC) included. */
export function createRegistry(labels: { readonly process: string; readonly node: string }): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ ...labels });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** What a label says once it has taken as many values as it may. */
export const OTHER_LABEL = 'other';

/**
 * Returns a function that lets the first `max` distinct values of a label through and turns the rest into `other`, so
 * that what strangers send (keyspaces, addresses) cannot grow the registry.
 */
export function boundedLabel(max: number): (value: string) => string {
  assert(Number.isInteger(max) && max > 0, 'a label takes at least one value');
  const seen = new Set<string>();
  return (value) => {
    if (seen.has(value)) return value;
    if (seen.size >= max) return OTHER_LABEL;
    seen.add(value);
    return value;
  };
}
