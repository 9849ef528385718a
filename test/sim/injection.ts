/**
 * One injected fault: the cluster that it hurts, random numbers of its own, and what it may do later. Its numbers come
 * from its own stream, so that a fault does the same when others are left out (shrink.ts).
 * It knows nothing of kinds of faults: those are the functions in *-faults.ts.
 */
import { createRandom, type Random } from '../../src/common/random.ts';
import type { Cluster } from './cluster.ts';
import type { SimNode } from './sim-node.ts';

/** What the nemesis tells a fault of the run. */
export interface InjectionHost {
  readonly cluster: Cluster;
  /** Without crashes, processes end gracefully only: then nothing at all may be lost (G7). */
  readonly patient: boolean;
  /** Every fault has ended; none may begin or go on. */
  readonly healed: boolean;
}

/**
 * Hurts the cluster once; what ends later ends by itself, or when the nemesis heals. Returns whether it bit: a fault that
 * waits for its moment returns false, and says so later with `bites`.
 */
export type Fault = (injection: Injection) => boolean;

export class Injection {
  readonly cluster: Cluster;
  private readonly host: InjectionHost;
  private readonly random: Random;
  private readonly kind: string;
  private bit = false;

  constructor(host: InjectionHost, kind: string, seed: number) {
    this.host = host;
    this.kind = kind;
    this.cluster = host.cluster;
    this.random = createRandom(seed);
  }

  /** The fault has hurt something; counted once. */
  bites(): void {
    if (this.bit) return;
    this.bit = true;
    this.cluster.world.count(`fault ${this.kind}`);
  }

  get patient(): boolean {
    return this.host.patient;
  }

  get healed(): boolean {
    return this.host.healed;
  }

  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  /** Returns a number in [from, to). */
  between(from: number, to: number): number {
    return from + this.random.next() * (to - from);
  }

  /** Returns one of `items`, which is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.random.integer(items.length)]!;
  }

  /** Returns the items in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let at = result.length - 1; at > 0; at -= 1) {
      const other = this.random.integer(at + 1);
      [result[at], result[other]] = [result[other]!, result[at]!];
    }
    return result;
  }

  /** Runs something later, also when everything has been healed meanwhile. */
  later(delayMs: number, run: () => void): void {
    this.cluster.world.schedule(delayMs, run);
  }

  /** Runs something later unless everything has been healed by then. */
  unlessHealed(delayMs: number, run: () => void): void {
    this.later(delayMs, () => {
      if (!this.healed) run();
    });
  }

  trace(line: string): void {
    this.cluster.world.trace(`nemesis: ${line}`);
  }

  /** A node to hurt: leaders have most to lose. */
  victim(): SimNode {
    const { nodes, invariants, ghosts } = this.cluster;
    const leader = invariants.record(this.pick(ghosts).partition)?.leader?.node;
    const led = nodes.find(({ id }) => id === leader);
    return led !== undefined && this.chance(0.5) ? led : this.pick(nodes);
  }

  /** Whether the loss of what a node holds leaves every partition its quorum of intact replicas. */
  mayInjure(node: SimNode): boolean {
    const { invariants, ghosts } = this.cluster;
    if (!node.running || node.paused || ghosts.some(({ length }) => length === 0)) return false;
    return ghosts.every(({ partition }) => invariants.toleratesLoss(partition, node.id));
  }

  /** Whether the topology store may lose records: no replica that they name is lost, or may turn out to be. */
  mayForget(): boolean {
    const { invariants, ghosts, nodes } = this.cluster;
    if (nodes.some(({ directory }) => directory.isOldCopy)) return false;
    return ghosts.every(({ partition }) => invariants.toleratesForgetting(partition));
  }

  /** Ends a process and starts it again, unless something else has happened to the node by then. */
  restart(node: SimNode, kind: 'power' | 'process', downMs: number): void {
    this.cluster.stopNode(node, kind);
    const { boot, incarnation } = node;
    this.later(this.between(20, Math.max(21, downMs)), () => {
      if (!node.running && node.boot === boot && node.incarnation === incarnation) node.start();
    });
  }
}
