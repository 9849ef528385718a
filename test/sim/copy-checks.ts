/**
 * Invariant 12: a copy of a hot key that can answer has what its key holds. Looked at all the time, of all nodes, so that a copy which nobody
 * happens to ask is found as well.
 */
import { partitionOf } from '../../src/common/hash.ts';
import { quorumSize } from '../../src/common/topology.ts';
import { splitUserKey } from '../../src/node/core/layout.ts';
import type { Leadership } from '../../src/node/core/leadership.ts';
import type { GhostPartition } from './ghost.ts';
import type { Invariants } from './invariants.ts';
import type { SimNode } from './sim-node.ts';
import type { World } from './world.ts';

/** Time between two looks, ms. */
const EVERY_MS = 3;

/** What is looked at. */
export interface CopySurroundings {
  readonly world: World;
  readonly nodes: readonly SimNode[];
  readonly ghosts: readonly GhostPartition[];
  readonly invariants: Invariants;
}

/** Begins to look, and never ends. */
export function watchCopies(around: CopySurroundings): void {
  around.world.schedule(EVERY_MS, () => {
    for (const node of around.nodes) {
      for (const leadership of node.core?.leaderships() ?? []) check(around, node.id, leadership);
    }
    watchCopies(around);
  });
}

function check(around: CopySurroundings, node: string, leadership: Leadership): void {
  const { ghosts } = around;
  const world: World = around.world;
  const { partition } = leadership.replica;
  for (const [name, value] of leadership.copies.all()) {
    if (!mayBeConfirmed(around, leadership)) return;
    const { key } = splitUserKey(Buffer.from(name, 'latin1'));
    const states = ghosts[partitionOf(key, ghosts.length)]!.history(name);
    const last = states.at(-1);
    const present = last === undefined || last.kind === 'absent' ? 0 : last.index;
    const held = value.found ? value.version : 0;
    world.count('copy looked at');
    world.check(
      held === present,
      () =>
        `invariant 12: ${node} holds ${Buffer.from(key)} as of ${held} in p${partition}, it is as of ${present}`,
    );
  }
}

/** Whether a quorum may still answer that it has promised no later epoch. */
function mayBeConfirmed({ invariants }: CopySurroundings, { replica, epoch, voters }: Leadership): boolean {
  const loyal = voters.filter(({ id, node }) => {
    const meta = invariants.durableLog(node, replica.partition)?.meta;
    return meta?.replica === id && meta.promiseEpoch <= epoch;
  });
  return loyal.length >= quorumSize(voters.length);
}
