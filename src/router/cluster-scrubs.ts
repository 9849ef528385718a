/**
 * Scrubs of the whole cluster on demand: asks the leader of every partition for one, follows them to their ends, and goes on
 * with the next leader where one has changed meanwhile. It compares nothing itself: the leaders do.
 * INVARIANT: a run ends by itself, whether anybody asks for it or not: a partition without a leader, and one that stays
 * undecided, is given up after a stated time.
 * INVARIANT: a replica that was found damaged while a run was under way is in what the run tells, also where the leader that had begun to
 * compare has changed meanwhile, and the next one finds the replica replaced.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import { SCRUB_RUNS_MAX } from '../common/limits.ts';
import { badReplicas, blankScrub, withRepair } from '../common/scrub.ts';
import type { NodeRecord, Replica, Topology } from '../common/topology.ts';
import type { PartitionScrub, ScrubReply } from '../common/wire/admin-messages.ts';
import type { ScrubOrder } from '../common/wire/contract.ts';

/** What it needs of its router; times in ms. */
export interface ScrubSurroundings {
  topology(): Topology | null;
  /** Why partitions are not served. */
  unavailable(): ReadonlyMap<number, string>;
  /** Calls Admin.Scrub of a node. */
  ask(node: NodeRecord, order: ScrubOrder): Promise<ScrubReply>;
  readonly pollMs?: number;
  /** After so long without a leader that answers, a partition is given up. */
  readonly leaderlessMs?: number;
}

const POLL_MS = 200;
const LEADERLESS_MS = 15_000;
/** An undecided scrub is asked for again so often, in case it met a restart or a change of leaders. */
const ATTEMPTS = 3;
const AGAIN_MS = 1_000;
/** Runs under way at a time; further ones are refused. */
const OPEN_MAX = 16;

/** One partition of a run. */
interface Part {
  readonly partition: number;
  status: PartitionScrub;
  settled: boolean;
  /** Where it was asked for, and the number of the run there; null: nowhere at present. */
  at: { readonly node: string; readonly run: number } | null;
  attempts: number;
  notBefore: number;
  /** Since when nobody leads it or answers for it. */
  lostAt: number;
  /** Replicas whose nodes have said since it began that they are damaged, by id. */
  readonly damaged: Map<string, Replica>;
}

/** Runs of this router process by number. */
export class ClusterScrubs {
  readonly #around: ScrubSurroundings;
  readonly #runs = new Map<number, readonly Part[]>();
  #stopped = false;

  constructor(around: ScrubSurroundings) {
    this.#around = around;
  }

  /**
   * Begins a run (`run` 0), or tells how one stands.
   * @throws RingkeepError NOT_READY before the cluster is formed, INVALID_ARGUMENT for a partition or run that there is
   * not, OVERLOADED
   */
  answer({ run, partitions }: ScrubOrder): ScrubReply {
    const topology = this.#around.topology();
    if (topology === null) throw new RingkeepError('NOT_READY', 'the cluster is not formed yet');
    const number = run === 0 ? this.#begin(partitions, topology) : run;
    const parts = this.#runs.get(number);
    if (parts === undefined)
      throw new RingkeepError('INVALID_ARGUMENT', `this process knows of no scrub ${run}`);
    return { run: number, partitions: parts.map(({ status }) => withRepair(status, topology)) };
  }

  /** A node has said that its replica is damaged. */
  meetDamage(partition: number, replica: Replica): void {
    for (const parts of this.#runs.values())
      for (const part of parts)
        if (part.partition === partition && !part.settled) part.damaged.set(replica.id, replica);
  }

  /** Follows nothing any more. */
  stop(): void {
    this.#stopped = true;
  }

  #begin(asked: readonly number[], topology: Topology): number {
    const unknown = asked.find((partition) => partition >= topology.partitions);
    if (unknown !== undefined)
      throw new RingkeepError('INVALID_ARGUMENT', `there is no partition ${unknown}`);
    const open = [...this.#runs.values()].filter((parts) => parts.some(({ settled }) => !settled));
    if (open.length >= OPEN_MAX) {
      const details = { retryAfterMs: AGAIN_MS };
      throw new RingkeepError('OVERLOADED', `${OPEN_MAX} scrubs are under way`, 'not_applied', details);
    }
    const all = Array.from({ length: topology.partitions }, (_, partition) => partition);
    const now = performance.now();
    const parts = [...new Set(asked.length > 0 ? asked : all)].map((partition): Part => {
      const status = blankScrub(partition);
      const times = { notBefore: now, lostAt: now };
      return { partition, status, settled: false, at: null, attempts: 0, ...times, damaged: new Map() };
    });
    // No other process has this number: whoever asks a router that has restarted since is told so.
    const run = randomInt(1, 2 ** 47);
    this.#runs.set(run, parts);
    for (const [old, ended] of this.#runs) {
      if (this.#runs.size <= SCRUB_RUNS_MAX) break;
      if (ended.every(({ settled }) => settled)) this.#runs.delete(old);
    }
    void this.#follow(parts);
    return run;
  }

  async #follow(parts: readonly Part[]): Promise<void> {
    while (!this.#stopped) {
      const open = parts.filter(({ settled }) => !settled);
      if (open.length === 0) return;
      await Promise.all([...this.#orders(open)].map((order) => this.#carryOut(order)));
      await delay(this.#around.pollMs ?? POLL_MS, undefined, { ref: false });
    }
  }

  /** What to ask of which node next: to begin, and how runs stand that it has begun. Gives up what has no leader. */
  #orders(open: readonly Part[]): Iterable<{ node: NodeRecord; run: number; parts: Part[] }> {
    const topology = this.#around.topology();
    const nodes = new Map(topology?.nodes.map((node) => [node.id, node]));
    const records = new Map(topology?.records.map((record) => [record.partition, record]));
    const orders = new Map<string, { node: NodeRecord; run: number; parts: Part[] }>();
    const now = performance.now();
    for (const part of open) {
      const leader = records.get(part.partition)?.leader;
      const at = part.at ?? { node: leader?.node ?? '', run: 0 };
      const node = nodes.get(at.node);
      if (node === undefined) this.#lose(part, 'it has no leader', now);
      if (node === undefined || now < part.notBefore) continue;
      const key = `${at.node} ${at.run}`;
      const order = orders.get(key);
      if (order === undefined) orders.set(key, { node, run: at.run, parts: [part] });
      else order.parts.push(part);
    }
    return orders.values();
  }

  async #carryOut(order: { node: NodeRecord; run: number; parts: readonly Part[] }): Promise<void> {
    const { node, run, parts } = order;
    try {
      const partitions = run === 0 ? parts.map(({ partition }) => partition) : [];
      const reply = await this.#around.ask(node, { run, partitions });
      const found = new Map(reply.partitions.map((scrub) => [scrub.partition, scrub]));
      for (const part of parts) {
        const scrub = found.get(part.partition);
        part.at = { node: node.id, run: reply.run };
        if (scrub !== undefined) this.#take(part, scrub);
      }
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      // A process that was started since knows nothing of the run: whoever leads now is asked again.
      const older = error.code === 'VERSION_MISMATCH';
      const forgotten = error.code === 'INVALID_ARGUMENT' || older;
      const why = older
        ? `${node.id} speaks an earlier protocol, without scrubs on demand`
        : `${node.id} does not answer: ${error.message}`;
      for (const part of parts) {
        if (forgotten || part.at === null || this.#leaderOf(part) !== node.id) part.at = null;
        this.#lose(part, why, performance.now());
      }
    }
  }

  #leaderOf({ partition }: Part): string | undefined {
    return this.#around.topology()?.records.find((record) => record.partition === partition)?.leader?.node;
  }

  #take(part: Part, scrub: PartitionScrub): void {
    const now = performance.now();
    const { state, reason } = scrub;
    if (state === 'SCRUB_UNAVAILABLE') {
      part.at = null;
      return this.#lose(part, reason, now);
    }
    part.lostAt = now;
    if (state === 'SCRUB_UNDECIDED') part.attempts += 1;
    if (state === 'SCRUB_UNDECIDED' && part.attempts < ATTEMPTS) {
      part.at = null;
      part.notBefore = now + AGAIN_MS;
      part.status = { ...part.status, reason };
      return;
    }
    part.status = scrub;
    if (state !== 'SCRUB_RUNNING') this.#settle(part);
  }

  /** What it tells is final, with the damage that was met on the way. */
  #settle(part: Part): void {
    const { status } = part;
    part.settled = true;
    for (const { id } of badReplicas(status)) part.damaged.delete(id);
    if (part.damaged.size === 0) return;
    const damaged = [...status.damaged, ...part.damaged.values()];
    part.status = { ...status, state: 'SCRUB_DAMAGED', damaged };
  }

  #lose(part: Part, reason: string, now: number): void {
    const why = this.#around.unavailable().get(part.partition) ?? reason;
    part.status = { ...part.status, reason: why };
    if (now - part.lostAt < (this.#around.leaderlessMs ?? LEADERLESS_MS)) return;
    part.status = { ...part.status, state: 'SCRUB_UNAVAILABLE' };
    this.#settle(part);
  }
}
