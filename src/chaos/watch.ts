/**
 * What the processes of a run tell of themselves: resident memory, changes of leaders, losses that nodes have counted, planned
 * changes that became others. From their metrics, their logs and the system; never from what clients saw.
 */
import { readFileSync } from 'node:fs';
import type { Window } from './figures.ts';
import { Standstills } from './standstills.ts';
import type { ChaosCluster } from './target.ts';
import { nowUs } from './workload/workbench.ts';

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
  /** The most resident memory of any process, bytes; null: not all of them can be seen. */
  readonly residentMax: number | null;
  readonly leaderChanges: readonly LeaderChange[];
  /** While the router did not answer: from the first time that it was asked in vain to the last. */
  readonly routerless: readonly Window[];
  /** Writes at `leader` that replicas have found lost in their own logs; null: nobody can read what they log. */
  readonly earlyCounted: number | null;
  /** When this program itself stood still. */
  readonly standstills: readonly Window[];
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
  private readonly cluster: ChaosCluster;
  private readonly epochs = new Map<number, number>();
  private readonly changes: LeaderChange[] = [];
  private readonly absences: Window[] = [];
  private answered = true;
  private residentMax = 0;
  private unplanned = 0;
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<void> = Promise.resolve();
  private standstills: Standstills | null = null;

  constructor(cluster: ChaosCluster) {
    this.cluster = cluster;
  }

  async start(): Promise<void> {
    this.standstills = new Standstills();
    await this.look();
    this.changes.length = 0;
    this.unplanned = await this.countUnplanned();
    this.timer = setInterval(() => {
      this.looking = this.looking.then(() => this.look());
    }, LOOK_MS);
  }

  private async look(): Promise<void> {
    for (const { pid } of this.cluster.processes)
      if (pid > 0) this.residentMax = Math.max(this.residentMax, residentOf(pid));
    const asked = nowUs();
    const topology = await this.cluster.topology().catch(() => null);
    if (topology === null) {
      const from = this.answered ? asked : this.absences.pop()!.from;
      this.absences.push({ from, to: asked });
    }
    this.answered = topology !== null;
    const at = nowUs();
    for (const { partition, epoch, leader } of topology?.records ?? []) {
      if (leader === null || (this.epochs.get(partition) ?? -1) >= epoch) continue;
      this.epochs.set(partition, epoch);
      this.changes.push({ at, partition, node: leader.node, epoch });
    }
  }

  private async countUnplanned(): Promise<number> {
    const lines = (this.cluster.journals ?? []).map((journal) => journal.logged(UNPLANNED));
    return (await Promise.all(lines)).flat().length;
  }

  /** Whether a planned change has become another since this was asked last; null: nobody can read what processes log. */
  async unplannedSinceLast(): Promise<boolean | null> {
    if (this.cluster.journals === null) return null;
    const before = this.unplanned;
    this.unplanned = await this.countUnplanned();
    return this.unplanned > before;
  }

  /** Looks no more. */
  cease(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.standstills?.stop();
  }

  async stop(): Promise<WatchFacts> {
    this.cease();
    await this.looking;
    const { journals, oneMachine } = this.cluster;
    let earlyCounted = 0;
    for (const journal of journals ?? []) {
      for (const line of await journal.logLines()) {
        if (line.event === LOST) earlyCounted += Number(line.lost ?? 0);
      }
    }
    return {
      residentMax: oneMachine ? this.residentMax : null,
      leaderChanges: this.changes,
      routerless: this.absences,
      earlyCounted: journals === null ? null : earlyCounted,
      standstills: this.standstills?.windows ?? [],
    };
  }
}
