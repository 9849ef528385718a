/**
 * What one call of the benchmark is to do: YCSB's parameters with the options of this one, all defaults filled in.
 */

import type { WantedShape } from '#src/cli/up/layout.ts';
import type { Ack, ReadLevel } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import type { ArrivalKind } from './load/arrivals.ts';
import type { SweepPlan } from './report/knee.ts';
import type { KillPlan } from './servers/failover.ts';
import type { Server } from './servers/sampler.ts';
import type { Parameters } from './workload/parameters.ts';
import type { Workload } from './workload/workload.ts';

export interface Settings {
  /** Null: one is started, of the shape `spawn`. */
  readonly url: string | null;
  readonly spawn: WantedShape;
  readonly workload: Workload;
  /** `a` to `f`; null: made up of parameters. */
  readonly workloadName: string | null;
  readonly mode: 'routed' | 'direct';
  readonly ack: Ack;
  readonly read: ReadLevel;
  /** Write the records before the first run. */
  readonly load: boolean;
  readonly processes: number;
  readonly runs: number;
  readonly warmUpMs: number;
  /** Of the measured part; null: until `operations` have ended. */
  readonly durationMs: number | null;
  /** Null: until the time is up. */
  readonly operations: number | null;
  /** Operations per second; null: a closed loop. Of a sweep, it is not used. */
  readonly rate: number | null;
  readonly arrival: ArrivalKind;
  /** Over all processes. */
  readonly inFlightMax: number;
  readonly requestTimeoutMs: number;
  readonly drainMs: number;
  readonly spin: boolean;
  readonly seed: number;
  readonly sweep: SweepPlan | null;
  readonly kill: KillPlan | null;
  /** Servers that are asked over HTTP. */
  readonly servers: readonly Server[];
}

const SECOND_MS = 1_000;
const DURATION_MS = 10 * SECOND_MS;
const CLOSED_IN_FLIGHT = 64;
/** Per process, in an open loop: a bound for memory, not for speed. */
const OPEN_IN_FLIGHT = 4_096;

/** How long, how fast and how many at once, as YCSB's parameters say it, with defaults that YCSB has not. */
export function paceOf(
  parameters: Parameters,
  processes: number,
  isSweep: boolean,
): Pick<Settings, 'durationMs' | 'operations' | 'rate' | 'inFlightMax'> {
  const { operationCount, maxExecutionTimeS, threadCount, target } = parameters;
  const open = target !== null || isSweep;
  const byTime = maxExecutionTimeS !== null ? maxExecutionTimeS * SECOND_MS : null;
  return {
    durationMs: byTime ?? (operationCount === null ? DURATION_MS : null),
    operations: operationCount,
    rate: target,
    inFlightMax: threadCount ?? (open ? OPEN_IN_FLIGHT * processes : CLOSED_IN_FLIGHT),
  };
}

/** @throws RingkeepError INVALID_ARGUMENT for options that do not go together */
export function checkSettings(settings: Settings): Settings {
  const { kill, sweep, url, durationMs, operations, rate, processes } = settings;
  const refuse = (text: string) => {
    throw new RingkeepError('INVALID_ARGUMENT', text);
  };
  if (kill !== null) {
    if (url !== null) refuse('--kill is for a cluster that is started here: give --spawn instead of --url');
    if (sweep !== null) refuse('--kill and --sweep exclude each other');
    if (durationMs === null || operations !== null)
      refuse('--kill needs a run by time: maxexecutiontime, no operationcount');
    else if (kill.second * SECOND_MS >= durationMs) refuse('--kill is after the end of the run');
  }
  if (sweep !== null && rate !== null && sweep.rates.length > 0) {
    refuse('--sweep has rates already: leave target out');
  }
  if (operations !== null && operations < processes) refuse('operationcount is less than one per process');
  return settings;
}
