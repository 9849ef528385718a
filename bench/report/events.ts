/**
 * What happened to the cluster during a run, as marks on its timeline. Times are seconds since the measured part began.
 */

/**
 * `kill`: a node was killed. `first success`: the first one on a partition that it led, after that was without. `all served`:
 * the last such partition has one too. `leader back`: all of them have an established leader again, as the router says.
 * `node back`: the node runs again.
 */
export const EVENTS = ['kill', 'first success', 'all served', 'leader back', 'node back', 'ended'] as const;

export interface RunEvent {
  readonly event: (typeof EVENTS)[number];
  readonly second: number;
  /** For people. */
  readonly detail: string;
}

/** What a failover has cost. */
export interface Failover {
  readonly node: string;
  readonly killSecond: number;
  /** Partitions that the node led, and those of them that were in use. */
  readonly led: number;
  readonly used: number;
  /** After the kill, in ms; null if it did not happen in the run. */
  readonly firstSuccessMs: number | null;
  readonly allServedMs: number | null;
  readonly leaderBackMs: number | null;
  /** Longest time without a success on one of these partitions. */
  readonly longestGapMs: number;
  readonly longestGapPartition: number | null;
}
