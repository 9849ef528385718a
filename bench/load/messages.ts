/**
 * What the command and its client processes say to each other. Times are of the machine's monotonic clock, in ms.
 */
import type { Ack, ReadLevel } from '#src/client/index.ts';
import type { Workload } from '../workload/workload.ts';
import type { ArrivalKind } from './arrivals.ts';
import type { Gap } from './gaps.ts';
import type { LoopTotals } from './loop.ts';
import type { Interval } from './recorder.ts';

/** What a client process is, for all of its runs. */
export interface Job {
  readonly url: string;
  readonly mode: 'routed' | 'direct';
  readonly ack: Ack;
  readonly read: ReadLevel;
  readonly requestTimeoutMs: number;
  readonly workload: Workload;
  /** Operations that this process may make, for what has to be known beforehand. */
  readonly expectedOperations: number;
  readonly seed: number;
  /** Its number, in [0, parts). */
  readonly part: number;
  readonly parts: number;
}

/** One run of one process. */
export interface RunPlan {
  readonly startAt: number;
  readonly warmUpMs: number;
  /** Of the measured part; null: until `operations` have ended. */
  readonly durationMs: number | null;
  /** Of this process; null: until the time is up. */
  readonly operations: number | null;
  /** Operations per second of all processes; null: a closed loop. */
  readonly rate: number | null;
  readonly arrival: ArrivalKind;
  /** Of this process. */
  readonly inFlightMax: number;
  readonly drainMs: number;
  /** Starts what is due in every turn of the event loop instead of every ms. */
  readonly spin: boolean;
  /** Notes the times without a success, per partition. */
  readonly noteGaps: boolean;
  /** Of arrivals. */
  readonly seed: number;
}

export type ToClient =
  | { readonly type: 'connect'; readonly job: Job }
  /** Writes the records from number `from` on: those before are there. */
  | { readonly type: 'load'; readonly inFlightMax: number; readonly from: number }
  | { readonly type: 'run'; readonly plan: RunPlan }
  | { readonly type: 'close' };

/** How one process has fared in one run. */
export interface ClientReport {
  readonly totals: LoopTotals;
  /** Over the measured part: user and system time in ms, and the share of the time in which the event loop was busy. */
  readonly cpuMs: number;
  readonly busy: number;
  readonly elapsedMs: number;
  readonly rssBytes: number;
  /** Encoded histogram of how late operations were started; null in a closed loop. */
  readonly startDelay: string | null;
  readonly gaps: readonly Gap[];
}

export type FromClient =
  | { readonly type: 'connected'; readonly partitions: number }
  | { readonly type: 'loading'; readonly records: number }
  | { readonly type: 'loaded'; readonly records: number }
  | {
      readonly type: 'interval';
      readonly interval: Interval;
      readonly inFlight: number;
      readonly waiting: number;
    }
  | { readonly type: 'done'; readonly report: ClientReport }
  | { readonly type: 'error'; readonly code: string; readonly message: string };
