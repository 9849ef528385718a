/**
 * What the read levels are measured in: a cluster that is healthy, one that is at its limit, one with a slow follower, one whose
 * leader is paused. What is required of quorum reads then. No figures here, and nothing that runs.
 */
import type { ReadLevel } from '#src/client/index.ts';
import type { Pace, Size } from '../session.ts';

/** In the order in which a round has them: the one that changes the leader is last. */
export const CONDITIONS = ['healthy', 'full', 'slow', 'paused'] as const;

export type Condition = (typeof CONDITIONS)[number];

/** A part of a follower's time in which it is stopped, over and over. */
export interface DutyCycle {
  readonly stoppedMs: number;
  readonly periodMs: number;
}

/** How the levels are measured. */
export interface ReadPace extends Pace {
  readonly rounds: number;
  readonly levels: readonly ReadLevel[];
  readonly mode: 'routed' | 'direct';
  /** Reads per second of the open loops. */
  readonly rate: number;
  readonly records: number;
  readonly quick: boolean;
}

/** The duty cycle of the slow follower. */
export const SLOW: DutyCycle = { stoppedMs: 80, periodMs: 100 };
/** Reads in flight of the closed loop. */
export const FULL_IN_FLIGHT = 256;
/** Keys that are being written when the leader is paused, one write at a time each. */
export const PENDING_KEYS = 16;

/** What is required of quorum reads of keys without a pending write while the leader is paused. */
export const REQUIRED = { p99MsMax: 50, gapMsMax: 200 } as const;
/** A read of a key with a pending write that takes longer has waited for the next leader. */
export const WAITED_MS_MIN = REQUIRED.gapMsMax;

/** Returns the cluster: one partition, so that all keys have the same leader. */
export function sizeOf({ records }: ReadPace): Size {
  return { records, valueBytes: 100, partitions: 1, nodes: 3, inFlight: FULL_IN_FLIGHT };
}

/** Returns a condition in words. */
export function describeCondition(condition: Condition, { rate, seconds }: ReadPace): string {
  switch (condition) {
    case 'healthy':
      return `healthy, ${rate} reads/s`;
    case 'full':
      return `healthy, ${FULL_IN_FLIGHT} in flight`;
    case 'slow':
      return `a follower stopped for ${SLOW.stoppedMs} of each ${SLOW.periodMs} ms, ${rate} reads/s`;
    case 'paused':
      return `the leader stopped for ${seconds} s, ${rate} reads/s`;
  }
}

/** Returns the levels in the order of a round, from 1: no level is always first. */
export function orderOf(levels: readonly ReadLevel[], round: number): ReadLevel[] {
  const first = (round - 1) % levels.length;
  return [...levels.slice(first), ...levels.slice(0, first)];
}
