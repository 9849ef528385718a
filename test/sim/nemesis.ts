/**
 * The nemesis: plans all faults of a run from the seed before the run begins, injects them, and heals. A plan is a list,
 * so that a failing run can be tried again without some of them (shrink.ts).
 * It injures no more than the promises allow: every set of voters that a record names keeps a quorum that is neither wiped
 * nor damaged, at any time, and none is injured from the moment at which the topology store is put back until every
 * partition is established again; nor is the store put back while a replica is lost. What a fault does is up to *-faults.ts.
 */
import { createRandom } from '../../src/common/random.ts';
import type { Cluster } from './cluster.ts';
import * as control from './control-faults.ts';
import { type Fault, Injection, type InjectionHost } from './injection.ts';
import * as members from './member-faults.ts';
import * as network from './network-faults.ts';
import * as process from './process-faults.ts';
import * as routers from './router-faults.ts';
import * as storage from './storage-faults.ts';

/** Every kind of fault, with its weight among the others. */
const FAULTS = {
  crash: { weight: 8, inject: process.crash },
  pause: { weight: 4, inject: process.pause },
  drain: { weight: 2, inject: process.drain },
  wipe: { weight: 2, inject: process.wipe },
  damage: { weight: 2, inject: storage.damage },
  oldCopy: { weight: 2, inject: storage.oldCopy },
  diskFull: { weight: 1, inject: storage.diskFull },
  slowDisk: { weight: 1, inject: storage.slowDisk },
  slowStore: { weight: 1, inject: storage.slowStore },
  failedSync: { weight: 1, inject: storage.failedSync },
  split: { weight: 5, inject: network.split },
  isolate: { weight: 2, inject: network.isolate },
  minority: { weight: 1, inject: network.minority },
  halves: { weight: 1, inject: network.halves },
  ring: { weight: 1, inject: network.ring },
  bridge: { weight: 1, inject: network.bridge },
  flap: { weight: 1, inject: network.flap },
  swizzle: { weight: 1, inject: network.swizzle },
  loss: { weight: 2, inject: network.loss },
  controller: { weight: 4, inject: control.controller },
  router: { weight: 3, inject: routers.router },
  store: { weight: 2, inject: control.store },
  restored: { weight: 1, inject: control.restored },
  move: { weight: 3, inject: control.move },
  strand: { weight: 4, inject: control.strand },
  overtake: { weight: 4, inject: control.overtake },
  join: { weight: 2, inject: members.join },
  leave: { weight: 2, inject: members.leave },
  factor: { weight: 1, inject: members.factor },
  rebalance: { weight: 1, inject: members.rebalance },
} as const satisfies Record<string, { readonly weight: number; readonly inject: Fault }>;

/** Name of a kind of fault. */
export type FaultKind = keyof typeof FAULTS;

/** Relative weights; 0 turns a fault off. */
export type FaultWeights = Readonly<Record<FaultKind, number>>;

export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

export const FAULT_WEIGHTS = Object.fromEntries(
  FAULT_KINDS.map((kind) => [kind, FAULTS[kind].weight]),
) as FaultWeights;

/** A fault to come: its place in the plan, when (ms after the start), what, and the seed of its own numbers. */
export interface PlannedFault {
  readonly index: number;
  readonly atMs: number;
  readonly kind: FaultKind;
  readonly seed: number;
}

/** Draws the faults of a run. `meanMs` is the mean time between two. */
export function planFaults(
  seed: number,
  weights: FaultWeights,
  durationMs: number,
  meanMs: number,
): PlannedFault[] {
  const random = createRandom(seed);
  const total = FAULT_KINDS.reduce((sum, kind) => sum + weights[kind], 0);
  const plan: PlannedFault[] = [];
  for (let atMs = 0; total > 0; ) {
    atMs += random.next() * meanMs * 2;
    if (atMs >= durationMs) break;
    let left = random.next() * total;
    const kind = FAULT_KINDS.find((candidate) => {
      left -= weights[candidate];
      return left < 0;
    });
    plan.push({ index: plan.length, atMs, kind: kind ?? 'crash', seed: random.integer(2 ** 32) });
  }
  return plan;
}

export class Nemesis implements InjectionHost {
  readonly cluster: Cluster;
  readonly patient: boolean;
  healed = false;

  constructor(cluster: Cluster, weights: FaultWeights) {
    this.cluster = cluster;
    this.patient = [weights.crash, weights.wipe, weights.oldCopy, weights.failedSync].every(
      (weight) => weight === 0,
    );
  }

  /** Injects what is planned, from now on. */
  start(plan: readonly PlannedFault[]): void {
    const { world } = this.cluster;
    for (const { index, atMs, kind, seed } of plan) {
      world.schedule(atMs, () => {
        if (this.healed) return;
        world.count(`planned ${kind}`);
        world.trace(`nemesis: fault ${index}, ${kind}`);
        const injection = new Injection(this, kind, seed);
        if (FAULTS[kind].inject(injection)) injection.bites();
      });
    }
  }

  /** Ends every fault: all processes run, nothing is cut, disks have room, the topology store answers. */
  heal(): void {
    const { cluster } = this;
    const { world, network: links, nodes, controllers } = cluster;
    this.healed = true;
    world.trace('nemesis: heals');
    links.heal();
    links.profile = { ...cluster.calm, breakChance: 0, dropChance: 0, duplicateChance: 0 };
    cluster.healStore();
    cluster.recordListeners.clear();
    for (const node of nodes) {
      node.disk.limitFreeBytes(Number.POSITIVE_INFINITY);
      node.disk.slowSyncs(0);
      node.store.slowDown(0);
      if (!node.running) node.start();
      else if (node.draining && !this.patient) this.end(node);
      else if (node.paused) node.resume();
    }
    const [first, ...others] = controllers;
    for (const other of others) other.crash();
    if (first?.running === false) first.start();
    // Those whose controller is loading start with it.
    for (const router of cluster.routers) router.start();
  }

  private end(node: Cluster['nodes'][number]): void {
    new Injection(this, 'drain', 1).restart(node, 'process', 1);
  }
}
