/**
 * What brings a cluster back after faults, as whoever watches over it would: processes that have ended are started again, a node
 * that refuses to start with a damaged directory is emptied, and damage that nobody has met is looked for by a scrub.
 * INVARIANT: a fault that takes data begins only when every replica is whole and no damage is left over from an earlier one: two
 * damaged replicas of a partition are more than docs/GUARANTEES.md (A2) allows.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import { badReplicas } from '../common/scrub.ts';
import type { ScrubReply } from '../common/wire/admin-messages.ts';
import type { ProcessCluster } from './cluster.ts';
import type { FaultDriver } from './fault.ts';
import type { ClusterProcess } from './process.ts';
import type { Recovery } from './target.ts';

const STARTS_MAX = 3;
const LOOK_MS = 2_000;
const SCRUB_MS = 60_000;
const POLL_MS = 100;

/**
 * Starts a node until it keeps running. One that cannot start with what it has is emptied, as docs/GUARANTEES.md (G8) says: it is
 * filled again from the others. Returns whether it was.
 */
export async function revive(node: ClusterProcess): Promise<boolean> {
  for (let tries = 0; tries < STARTS_MAX; tries += 1) {
    if (node.running) return false;
    await node.start().catch(() => {});
  }
  if (node.running) return false;
  await node.wipe();
  await node.start();
  return true;
}

/** Brings a cluster of the run's own back. */
export class OwnRecovery implements Recovery {
  /** Processes that have ended and were not asked to. */
  private ends: { readonly name: string; readonly how: string }[] = [];
  private readonly cluster: ProcessCluster;
  /** Nodes whose directory was damaged: they may end, and refuse to start, at any time until the scrub is through. */
  private readonly damaged = new Set<string>();
  /** Nodes that a fault hits at present: it may end them. */
  private readonly hit = new Set<string>();

  constructor(cluster: ProcessCluster) {
    this.cluster = cluster;
    for (const process of [...cluster.processes, ...cluster.spares]) {
      const { name } = process;
      process.onOwnEnd = (how) => void this.ends.push({ name, how });
    }
  }

  /** A fault is on. Those of disks and limits may end the node that they hit, and no others may. */
  begins(target: string, { family, destroys }: Pick<FaultDriver, 'family' | 'destroys'>): void {
    if (family !== 'disk' && family !== 'limits') return;
    for (const { name } of this.cluster.nodes) {
      if (!new RegExp(`\\b${name}\\b`).test(target)) continue;
      this.hit.add(name);
      if (destroys === true) this.damaged.add(name);
    }
  }

  /** Returns what processes did since this was asked last that no fault explains which was on meanwhile. The faults are over. */
  unexplained(): string[] {
    const findings = this.ends.filter(({ name }) => !this.hit.has(name) && !this.damaged.has(name));
    this.ends = [];
    this.hit.clear();
    return findings.map(({ name, how }) => `${name} has ended by itself, ${how}`);
  }

  /**
   * Starts what has ended and waits until every replica is whole; faults that were on are over then. Resolves with how long that
   * took, ms. Rejects with RingkeepError NOT_READY if it is not within the time.
   */
  async whole(timeoutMs: number): Promise<number> {
    const start = performance.now();
    for (;;) {
      try {
        // A node may end by itself more than once: on a disk that failed, under another incarnation.
        await this.startAll();
        await this.cluster.whenHealthy(LOOK_MS);
        return performance.now() - start;
      } catch (error) {
        if (!(error instanceof RingkeepError) || performance.now() - start > timeoutMs) throw error;
      }
    }
  }

  private async startAll(): Promise<void> {
    const ended = this.cluster.processes.filter(({ running }) => !running);
    await Promise.all(
      ended.map(async (process) => {
        if (this.damaged.has(process.name)) await revive(process);
        else await process.start();
      }),
    );
  }

  /**
   * Scrubs until all replicas agree and every bad one has been replaced. Resolves with how many were bad. Rejects with RingkeepError
   * NOT_READY if that does not come about.
   */
  async scrub(): Promise<number> {
    const until = performance.now() + SCRUB_MS;
    let bad = 0;
    let last = 'no scrub has ended';
    while (performance.now() < until) {
      try {
        const { partitions } = await this.oneScrub(until);
        const found = partitions.reduce((sum, each) => sum + badReplicas(each).length, 0);
        bad += found;
        if (found === 0 && partitions.every(({ state }) => state === 'SCRUB_AGREED')) {
          if (await this.areCleared()) {
            // Until now they might.
            this.ends = this.ends.filter(({ name }) => !this.damaged.has(name));
            this.damaged.clear();
            return bad;
          }
          last = 'a damaged node has not removed all yet that it had of replicas that were replaced';
          await delay(POLL_MS);
          continue;
        }
        last = partitions.map(({ partition, state, reason }) => `${partition} ${state} ${reason}`).join('; ');
      } catch (error) {
        // A node ends by itself where its store meets what is damaged.
        if (!(error instanceof RingkeepError)) throw error;
        last = error.message;
      }
      await this.whole(Math.max(LOOK_MS, until - performance.now()));
    }
    throw new RingkeepError('NOT_READY', `the scrub finds no end: ${last}`);
  }

  /** Whether damaged nodes have removed what they had of replicas that were replaced: they may end where they meet the damage. */
  private async areCleared(): Promise<boolean> {
    const nodes = this.cluster.nodes.filter(({ name }) => this.damaged.has(name));
    const replies = await Promise.all(nodes.map((node) => this.cluster.status(node)));
    return replies.every(({ json }) => (JSON.parse(json) as { readonly clearing: number }).clearing === 0);
  }

  private async oneScrub(until: number): Promise<ScrubReply> {
    let reply = await this.cluster.scrub({ run: 0, partitions: [] });
    while (reply.partitions.some(({ state }) => state === 'SCRUB_RUNNING') && performance.now() < until) {
      await delay(POLL_MS);
      reply = await this.cluster.scrub({ run: reply.run, partitions: [] });
    }
    return reply;
  }
}
