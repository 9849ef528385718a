/**
 * What is measured of which system, and how the figures of two systems are put in relation. All systems have the same
 * value size, number of records and operations in flight; who is favoured by what is left is in docs/BENCHMARKS.md.
 * INVARIANT: a ratio is made of figures of one round only; what is said of all rounds is a median of ratios.
 */
import { type Spread, spreadOf } from '../report/spread.ts';

/** The systems, in the order in which the first round starts them. */
export const SYSTEMS = ['etcd', 'redis', 'ringkeep'] as const;

export type SystemName = (typeof SYSTEMS)[number];

export const VALUE_BYTES = 100;
/** Operations per second of the open loops. */
export const OPEN_RATE = 2_000;

/** One measurement of one system. */
export interface Measurement {
  readonly name: string;
  readonly operation: 'put' | 'get';
  /** Operations in flight; of an open loop, its bound. */
  readonly inFlight: number;
  /** Operations per second; null: a closed loop. */
  readonly rate: number | null;
}

/** What a measurement has found. Latencies in ms, of successes. */
export interface Figures {
  /** Successes in the measured part. */
  readonly count: number;
  /** Null: the tool does not tell. */
  readonly errors: number | null;
  readonly seconds: number;
  /** Successes per second. */
  readonly throughput: number;
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
}

/** The figures of one measurement in one round, from 1. */
export interface Measured {
  readonly round: number;
  readonly system: SystemName;
  readonly name: string;
  readonly figures: Figures;
}

const closed = (name: string, operation: 'put' | 'get', inFlight: number): Measurement => ({
  ...{ name, operation, inFlight, rate: null },
});
/** An open loop's bound is one for memory, far above what is in flight. */
const OPEN_IN_FLIGHT = 4_096;

/** The measurements that etcd and Ringkeep share: latencies last, of servers that have been at work as those of users have. */
const SHARED: readonly Measurement[] = [
  closed('get_256', 'get', 256),
  closed('put_256', 'put', 256),
  closed('put_1024', 'put', 1_024),
  closed('put_1', 'put', 1),
  { name: 'put_at_2000', operation: 'put', inFlight: OPEN_IN_FLIGHT, rate: OPEN_RATE },
];

/** What is measured, in this order, which is the same for all systems. */
export const MEASUREMENTS: Readonly<Record<SystemName, readonly Measurement[]>> = {
  etcd: SHARED,
  redis: [closed('get_256', 'get', 256), closed('set_256', 'put', 256), closed('set_wait_256', 'put', 256)],
  ringkeep: [...SHARED, closed('routed_put_256', 'put', 256)],
};

interface Term {
  readonly system: SystemName;
  readonly name: string;
}

/** Two figures of one kind, and what their ratio has to be. */
export interface RatioPlan {
  readonly name: string;
  readonly figure: 'throughput' | 'p50' | 'p99';
  readonly ours: Term;
  readonly theirs: Term;
  /** A throughput is at least that many times the other one; a latency at most. */
  readonly required: number;
}

const ringkeep = (name: string): Term => ({ system: 'ringkeep', name });
const etcd = (name: string): Term => ({ system: 'etcd', name });

const ratio = (
  name: string,
  figure: RatioPlan['figure'],
  ours: Term,
  theirs: Term,
  required: number,
): RatioPlan => ({ name, figure, ours, theirs, required });

/** The ratios, by the names that they have in the document. */
export const RATIOS: readonly RatioPlan[] = [
  ratio('put_quorum_256_vs_etcd', 'throughput', ringkeep('put_256'), etcd('put_256'), 2),
  ratio('put_quorum_1024_vs_etcd', 'throughput', ringkeep('put_1024'), etcd('put_1024'), 2.5),
  ratio('get_linearizable_256_vs_etcd', 'throughput', ringkeep('get_256'), etcd('get_256'), 4),
  ratio('put_p99_at_2000_vs_etcd', 'p99', ringkeep('put_at_2000'), etcd('put_at_2000'), 1),
  ratio('put_1_p50_vs_etcd', 'p50', ringkeep('put_1'), etcd('put_1'), 1.2),
  ratio(
    'put_quorum_256_vs_redis_wait',
    'throughput',
    ringkeep('put_256'),
    { system: 'redis', name: 'set_wait_256' },
    1,
  ),
  ratio('routed_vs_direct', 'throughput', ringkeep('routed_put_256'), ringkeep('put_256'), 0.45),
];

/** A ratio over all rounds that have both of its figures. */
export interface RatioResult extends Spread {
  /** By round; null where one of the figures is missing or zero. */
  readonly byRound: readonly (number | null)[];
  readonly met: boolean;
}

/** Returns whether a ratio is good enough. */
export function isMet({ figure, required }: RatioPlan, value: number): boolean {
  return figure === 'throughput' ? value >= required : value <= required;
}

/** Returns the ratio over `rounds` rounds; null if no round has both figures. */
export function ratioOver(
  plan: RatioPlan,
  measured: readonly Measured[],
  rounds: number,
): RatioResult | null {
  const find = ({ system, name }: Term, round: number) =>
    measured.find((one) => one.system === system && one.name === name && one.round === round)?.figures[
      plan.figure
    ] ?? 0;
  const byRound = Array.from({ length: rounds }, (_, at) => {
    const [ours, theirs] = [find(plan.ours, at + 1), find(plan.theirs, at + 1)];
    return ours > 0 && theirs > 0 ? ours / theirs : null;
  });
  const known = byRound.filter((value) => value !== null);
  if (known.length === 0) return null;
  const spread = spreadOf(known);
  return { ...spread, byRound, met: isMet(plan, spread.median) };
}

/** Returns the systems of a round, each round beginning with another one: nobody is always first. */
export function orderOf(systems: readonly SystemName[], round: number): SystemName[] {
  const from = (round - 1) % Math.max(1, systems.length);
  return [...systems.slice(from), ...systems.slice(0, from)];
}

/** How long and how often. */
export interface Pace {
  readonly rounds: number;
  /** Of the measured part. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly records: number;
}

/** Seconds of a system besides its measurements: its start and its end, about. */
const START_SECONDS: Readonly<Record<SystemName, number>> = { etcd: 4, redis: 3, ringkeep: 6 };
/** Records per second that are loaded, about. etcd has one only. */
const LOAD_RATE: Readonly<Record<SystemName, number>> = { etcd: Infinity, redis: 50_000, ringkeep: 6_000 };
/** Start and end of a load generator, about. */
const MEASUREMENT_SECONDS = 1.5;

/** Returns how long a comparison takes, about. */
export function estimateSeconds(systems: readonly SystemName[], pace: Pace): number {
  const each = pace.warmUpSeconds + pace.seconds + MEASUREMENT_SECONDS;
  const ofRound = systems.map(
    (name) => START_SECONDS[name] + pace.records / LOAD_RATE[name] + MEASUREMENTS[name].length * each,
  );
  return pace.rounds * ofRound.reduce((sum, seconds) => sum + seconds, 0);
}
