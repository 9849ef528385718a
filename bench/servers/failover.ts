/**
 * A kill in the middle of a run: chooses the node, kills it at its time, watches until its partitions have leaders again, and
 * puts it together with the times without success that the clients saw.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ShownStatus } from '#src/cli/status.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { commonGaps, type Gap, outageOf } from '../load/gaps.ts';
import { monotonicMs } from '../load/monotonic.ts';
import type { Failover, RunEvent } from '../report/events.ts';
import type { ClusterUnderTest } from './cluster.ts';

/** Whom to kill, and when. */
export interface KillPlan {
  /** A node's id, or `leader`. */
  readonly who: string;
  /** Since the measured part began. */
  readonly second: number;
}

/** What the kill has met and what was seen of it. Times are monotonic, in ms. */
export interface Kill {
  readonly node: string;
  readonly at: number;
  /** Partitions that the node led. */
  readonly partitions: readonly number[];
  /** When all of them had an established leader again; null: not before the watch ended. */
  readonly leaderBackAt: number | null;
}

/** The status is read this long before the kill, so that the kill is in time. */
const LOOK_MS = 300;
const POLL_MS = 25;

/** Returns whom to kill: `leader` is who leads `partition`, or, if that is null, the node that leads most partitions. */
export function chooseVictim(status: ShownStatus, who: string, partition: number | null): string {
  const alive = status.nodes.filter((node) => node.alive);
  if (who === 'leader') {
    const hot = status.partitions.find((candidate) => candidate.partition === partition)?.leader;
    const [most] = [...alive].sort((a, b) => b.leads - a.leads);
    const victim = hot ?? most?.id;
    if (victim !== undefined) return victim;
  } else if (alive.some(({ id }) => id === who)) return who;
  throw new RingkeepError(
    'INVALID_ARGUMENT',
    `there is no node ${who} to kill; there are ${alive.map(({ id }) => id).join(', ')}`,
  );
}

/** Resolves with the time at which all of `led` have an established leader of a later epoch; null: not until `until`. */
export async function nextLeadersOf(
  cluster: Pick<ClusterUnderTest, 'status'>,
  led: ShownStatus['partitions'],
  until: number,
): Promise<number | null> {
  const epochs = new Map(led.map(({ partition, epoch }) => [partition, epoch]));
  while (monotonicMs() < until) {
    // A cluster in trouble may not answer; it is asked again.
    const status = await cluster.status().catch(() => null);
    const back = (status?.partitions ?? []).filter(
      ({ partition, epoch, established }) => established && epoch > (epochs.get(partition) ?? Infinity),
    );
    if (back.length === led.length) return monotonicMs();
    await delay(POLL_MS);
  }
  return null;
}

/** Waits for the time of the kill, kills, and watches until the partitions are led again, at most until `until`. */
export async function killDuring(
  cluster: ClusterUnderTest,
  plan: KillPlan,
  run: { readonly measureFrom: number; readonly until: number; readonly hotPartition: number | null },
): Promise<Kill> {
  const killAt = run.measureFrom + plan.second * 1_000;
  await delay(Math.max(0, killAt - LOOK_MS - monotonicMs()));
  const before = await cluster.status();
  const node = chooseVictim(before, plan.who, run.hotPartition);
  const led = before.partitions.filter(({ leader }) => leader === node);
  await delay(Math.max(0, killAt - monotonicMs()));
  const at = cluster.signal(node, 'SIGKILL');
  const leaderBackAt = await nextLeadersOf(cluster, led, run.until);
  return { node, at, partitions: led.map(({ partition }) => partition), leaderBackAt };
}

/** Returns what a kill has cost, and the marks of the timeline. */
export function judgeFailover(
  kill: Kill,
  gaps: readonly (readonly Gap[])[],
  run: { readonly measureFrom: number; readonly endAt: number },
): { readonly failover: Failover; readonly events: RunEvent[] } {
  const { node, at, partitions, leaderBackAt } = kill;
  const outage = outageOf(commonGaps(gaps), partitions, at, { from: run.measureFrom, to: run.endAt });
  const second = (time: number) => (time - run.measureFrom) / 1_000;
  const after = (time: number | null) => (time === null ? null : Math.max(0, time - at));
  const events: RunEvent[] = [{ event: 'kill', second: second(at), detail: `${node} by SIGKILL` }];
  const mark = (event: RunEvent['event'], time: number | null, detail: string) => {
    if (time !== null) events.push({ event, second: second(time), detail });
  };
  const led = `partitions that ${node} led`;
  mark('first success', outage.firstSuccess, `on one of the ${partitions.length} ${led}`);
  mark('all served', outage.allServed, `the last of the ${led} has a success again`);
  mark('leader back', leaderBackAt, `all ${led} have a leader again`);
  return {
    failover: {
      node,
      killSecond: second(at),
      led: partitions.length,
      used: outage.partitions,
      firstSuccessMs: after(outage.firstSuccess),
      allServedMs: after(outage.allServed),
      leaderBackMs: after(leaderBackAt),
      longestGapMs: outage.longestGapMs,
      longestGapPartition: outage.longestGapPartition,
    },
    events,
  };
}
