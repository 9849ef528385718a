/**
 * What is done to the cluster while reads are measured: its leader is paused for a while, or a follower stopped over and over.
 * Both with SIGSTOP and SIGCONT, so that connections stay open and nothing is told to anybody.
 * INVARIANT: a process that was stopped here goes on when the function ends, however it ends.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { assert } from '#src/common/errors.ts';
import { monotonicMs } from '../load/monotonic.ts';
import type { ClusterUnderTest } from '../servers/cluster.ts';
import { nextLeadersOf } from '../servers/failover.ts';
import type { DutyCycle } from './conditions.ts';

type Paused = Pick<ClusterUnderTest, 'signal' | 'status'>;

interface Run {
  readonly measureFrom: number;
  readonly endAt: number;
}

/** The stop comes so long after the first read that counts, ms: those that are under way at the leader count too. */
const STOP_AFTER_MS = 10;

function waitUntil(time: number, stopped: AbortSignal): Promise<void> {
  return delay(Math.max(0, time - monotonicMs()), undefined, { signal: stopped });
}

/** A node that has ended meanwhile needs no signal. */
function resume(cluster: Paused, node: string): void {
  try {
    cluster.signal(node, 'SIGCONT');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Returns the leader of the one partition, and a follower of it. */
async function rolesIn(cluster: Paused) {
  const { partitions } = await cluster.status();
  const leader = partitions[0]?.leader ?? null;
  const follower = partitions[0]?.voters.find((voter) => voter !== leader);
  assert(leader !== null && follower !== undefined, 'the partition has a leader and a follower');
  return { partitions, leader, follower };
}

/**
 * Pauses the leader from the beginning of a run's measured part to its end; `paused` is called right after the stop. Resolves
 * with the time from there to an established leader of a later epoch, in ms; null: there was none yet. Rejects when stopped.
 */
export async function pauseLeader(
  cluster: Paused,
  { measureFrom, endAt }: Run,
  stopped: AbortSignal,
  paused: () => void = () => {},
): Promise<number | null> {
  const { partitions, leader } = await rolesIn(cluster);
  await waitUntil(measureFrom + STOP_AFTER_MS, stopped);
  const stoppedAt = cluster.signal(leader, 'SIGSTOP');
  try {
    paused();
    const back = nextLeadersOf(cluster, partitions, endAt);
    await waitUntil(endAt, stopped);
    const backAt = await back;
    return backAt === null ? null : backAt - stoppedAt;
  } finally {
    resume(cluster, leader);
  }
}

/**
 * Stops a follower for a part of each period until the end of a run, its warm-up included. Resolves with the part of the time in
 * which it was really stopped. Rejects when stopped.
 */
export async function slowFollower(
  cluster: Paused,
  { endAt }: Run,
  stopped: AbortSignal,
  { stoppedMs, periodMs }: DutyCycle,
): Promise<number> {
  const { follower } = await rolesIn(cluster);
  const from = monotonicMs();
  let sum = 0;
  for (let period = from; period < endAt; period = Math.max(period + periodMs, monotonicMs())) {
    await waitUntil(period, stopped);
    const stoppedAt = cluster.signal(follower, 'SIGSTOP');
    try {
      await waitUntil(period + stoppedMs, stopped);
    } finally {
      resume(cluster, follower);
      sum += monotonicMs() - stoppedAt;
    }
    // Behind its time, it still goes on for its part of the period.
    await delay(periodMs - stoppedMs, undefined, { signal: stopped });
  }
  return sum / (monotonicMs() - from);
}
