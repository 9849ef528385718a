/**
 * What the processes of a run tell of themselves: resident memory, changes of leaders, losses that nodes have counted, planned
 * changes that became others. From their metrics, their logs and the system; never from what clients saw.
 */
import { readFileSync } from 'node:fs';
import type { ProcessCluster } from './cluster.ts';

/** A partition has another leader. */
export interface LeaderChange {
  /** µs of the history's clock. */
  readonly at: number;
  readonly partition: number;
  readonly node: string;
  readonly epoch: number;
}

/** What was seen. */
export interface WatchFacts {
  /** The most resident memory of any process, bytes. */
  readonly residentMax: number;
  readonly leaderChanges: readonly LeaderChange[];
  /** Writes at `leader` that replicas have found lost in their own logs. */
  readonly earlyCounted: number;
  /** Lines of all logs, by event. */
  readonly events: ReadonlyMap<string, number>;
}

const LOOK_MS = 250;
const LOST = 'leader_writes_lost';
const UNPLANNED = 'planned_change_became_unplanned';

function residentOf(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1_024;
  } catch {
    return 0;
  }
}

/** Looks at a cluster several times a second. */
export class Watch {
  private readonly cluster: ProcessCluster;
  private readonly epochs = new Map<number, number>();
  private readonly changes: LeaderChange[] = [];
  private residentMax = 0;
  private unplanned = 0;
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<void> = Promise.resolve();

  constructor(cluster: ProcessCluster) {
    this.cluster = cluster;
  }

  async start(): Promise<void> {
    await this.look();
    this.changes.length = 0;
    this.unplanned = (await this.cluster.router.logged(UNPLANNED)).length;
    this.timer = setInterval(() => {
      this.looking = this.looking.then(() => this.look());
    }, LOOK_MS);
  }

  private async look(): Promise<void> {
    for (const { pid } of this.cluster.processes)
      if (pid > 0) this.residentMax = Math.max(this.residentMax, residentOf(pid));
    const topology = await this.cluster.topology().catch(() => null);
    const at = Number(process.hrtime.bigint() / 1_000n);
    for (const { partition, epoch, leader } of topology?.records ?? []) {
      if (leader === null || (this.epochs.get(partition) ?? -1) >= epoch) continue;
      this.epochs.set(partition, epoch);
      this.changes.push({ at, partition, node: leader.node, epoch });
    }
  }

  /** Whether a planned change has become another since this was asked last. */
  async unplannedSinceLast(): Promise<boolean> {
    const before = this.unplanned;
    this.unplanned = (await this.cluster.router.logged(UNPLANNED)).length;
    return this.unplanned > before;
  }

  async stop(): Promise<WatchFacts> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.looking;
    const events = new Map<string, number>();
    let earlyCounted = 0;
    for (const process of this.cluster.processes) {
      for (const line of await process.logLines()) {
        const name = String(line.event ?? '');
        events.set(name, (events.get(name) ?? 0) + 1);
        if (name === LOST) earlyCounted += Number(line.lost ?? 0);
      }
    }
    return { residentMax: this.residentMax, leaderChanges: this.changes, earlyCounted, events };
  }
}
