/** Faults of the control plane, and planned changes: controllers, the topology store, moves of voters, changes that are cut short. */
import { type PartitionRecord, quorumSize } from '../../src/common/topology.ts';
import type { StoreState } from '../../src/router/topology-store.ts';
import type { Injection } from './injection.ts';
import { both, cutFor } from './network-faults.ts';
import type { SimNode } from './sim-node.ts';

/** Crashes a controller, unless it is needed to find out an old copy, or starts one that is down. */
export function controller(injection: Injection): boolean {
  const { controllers, nodes } = injection.cluster;
  const chosen = injection.pick(controllers);
  if (!chosen.running) {
    chosen.start();
    return true;
  }
  if (nodes.some(({ directory }) => directory.needsWitness)) return false;
  chosen.crash();
  injection.later(injection.between(50, 1_500), () => {
    if (!chosen.running && (!injection.healed || chosen === controllers[0])) chosen.start();
  });
  return true;
}

/** Takes the topology store away, or lets it leave outcomes unknown. */
export function store(injection: Injection): boolean {
  const { cluster } = injection;
  if (injection.chance(0.5)) cluster.store.unavailable = true;
  else cluster.storeUnsure = true;
  injection.later(injection.between(50, 1_000), () => cluster.healStore());
  return true;
}

/**
 * Puts the topology store back to what it held at an earlier moment, or empties it. As production asks for, no controller
 * with later contents goes on, and none of their writes arrives. Waits until no replica is lost: the store's newest
 * writes and the disk of a replica are not promised to be lost at once.
 */
export function restored(injection: Injection): boolean {
  const { cluster } = injection;
  let left = 50;
  const poll = (): void => {
    if (injection.mayForget()) putBack(injection);
    else if (left > 0) injection.unlessHealed(20, poll);
    left -= 1;
  };
  const putBack = ({ cluster: { controllers, world } }: Injection): void => {
    const backup = pickBackup(injection);
    const what = backup.entries.size === 0 ? 'emptied' : 'put back';
    injection.trace(`the topology store is ${what}, to commit ${backup.revision}`);
    world.count(`store ${what}`);
    injection.bites();
    cluster.restoreStore(backup);
    for (const each of controllers) {
      injection.later(injection.between(10, 400), () => {
        if (!each.running && (!injection.healed || each === controllers[0])) each.start();
      });
    }
  };
  poll();
  return false;
}

/** What the store held at some moment since the cluster was formed; often a recent one, sometimes nothing. */
function pickBackup(injection: Injection): StoreState {
  const { backups, store } = injection.cluster;
  // Before that, nodes hold data that the beginnings of a new cluster would hide: an operator has to empty the store.
  const formed = backups.filter(({ entries }) => entries.has('cluster'));
  if (injection.chance(0.2)) return { ...store.state(), revision: 0, entries: new Map() };
  return injection.pick(injection.chance(0.5) ? formed : formed.slice(-12));
}

/**
 * Asks the controllers to move a voter to a node that has none of that partition. Now and then the leader is cut off from
 * them as soon as the new voters are reserved, so that the change goes on without its answer.
 */
export function move(injection: Injection): boolean {
  const { invariants, ghosts } = injection.cluster;
  const { partition } = injection.pick(ghosts);
  const record = invariants.record(partition);
  const node = moveAway(injection, partition);
  if (node === null || record === null) return false;
  whenNamed(injection, partition, node);
  if (!injection.patient && injection.chance(0.3)) silenceOnceReserved(injection, record);
  return false;
}

/** A move bites when the record names the node it goes to. */
function whenNamed(injection: Injection, partition: number, node: SimNode): void {
  const { recordListeners } = injection.cluster;
  const listener = (record: PartitionRecord): void => {
    const named = [...record.voters, ...record.learners].some((replica) => replica.node === node.id);
    if (record.partition !== partition || !named) return;
    recordListeners.delete(listener);
    injection.bites();
  };
  recordListeners.add(listener);
  injection.later(3_000, () => recordListeners.delete(listener));
}

/** Cuts the leader of a partition off from the controllers when other voters are reserved. */
function silenceOnceReserved(
  injection: Injection,
  { partition, configuration, leader }: PartitionRecord,
): void {
  const { recordListeners, controllers } = injection.cluster;
  let last = leader;
  const listener = (record: PartitionRecord): void => {
    if (record.partition !== partition) return;
    last = record.leader ?? last;
    if (record.configuration === configuration || last === null) return;
    recordListeners.delete(listener);
    const { node } = last;
    const links = controllers.flatMap(({ id }) => both(node, id));
    cutFor(injection, `silences ${node}`, links, injection.between(200, 1_500));
  };
  recordListeners.add(listener);
  injection.later(3_000, () => recordListeners.delete(listener));
}

/**
 * Moves a voter, and once the new voters have a leader, cuts off a quorum of them that leaves one of the previous voters:
 * it commits what only the pair of both sets tells of, and the controllers hear nothing of it and go back.
 */
export function strand(injection: Injection): boolean {
  const { cluster } = injection;
  const { partition } = injection.pick(cluster.ghosts);
  const { world } = cluster;
  moveAway(injection, partition);
  const listener = (record: PartitionRecord): void => {
    if (record.partition !== partition || record.leader === null || record.previousVoters.length === 0)
      return;
    const inside = quorumAround(injection, record);
    if (inside === null) return;
    cluster.recordListeners.delete(listener);
    const outside = cluster.nodes.map(({ id }) => id).filter((id) => !inside.includes(id));
    const links = inside.flatMap((node) => [
      ...outside.flatMap((other) => both(node, other)),
      // The other way stays open, or its leader would not hear that it is one.
      ...cluster.controllers.map(({ id }) => [node, id] as const),
    ]);
    cutFor(injection, `strands ${inside.join(' ')}`, links, injection.between(500, 2_500));
    injection.bites();
  };
  cluster.recordListeners.add(listener);
  world.schedule(injection.between(500, 3_000), () => cluster.recordListeners.delete(listener));
  return false;
}

/**
 * Moves a voter to a node with a slow store, and deposes the leader while its snapshot is installed there; the next leader
 * is heard of there, but its own snapshot does not come: the install ends under a later promise than it began.
 */
export function overtake(injection: Injection): boolean {
  const { cluster } = injection;
  const { partition } = injection.pick(cluster.ghosts);
  const node = moveAway(injection, partition);
  if (node === null) return false;
  const { store } = node;
  store.slowDown(injection.between(100, 400));
  injection.later(3_000, () => store.slowDown(0));
  let epoch = 0;
  const listener = (record: PartitionRecord): void => {
    const { leader } = record;
    if (record.partition !== partition || leader === null) return;
    if (epoch === 0 && record.learners.some((learner) => learner.node === node.id)) {
      epoch = record.epoch;
      const links = cluster.controllers.flatMap(({ id }) => both(leader.node, id));
      injection.unlessHealed(injection.between(0, 150), () => cutFor(injection, 'deposes', links, 2_000));
    } else if (epoch > 0 && record.epoch > epoch) {
      cluster.recordListeners.delete(listener);
      if (leader.node !== node.id) silenceOnceHeard(injection, node, record, leader.node);
    }
  };
  cluster.recordListeners.add(listener);
  injection.later(3_000, () => cluster.recordListeners.delete(listener));
  return false;
}

/** Cuts a leader off from a node as soon as that one has promised its epoch. */
function silenceOnceHeard(
  injection: Injection,
  node: SimNode,
  record: PartitionRecord,
  leader: string,
): void {
  const { partition, epoch } = record;
  let left = 300;
  const poll = (): void => {
    const report = node.core?.reportAll().find((found) => found.partition === partition);
    if (report !== undefined && report.promiseEpoch >= epoch) {
      cutFor(injection, 'overtakes', both(leader, node.id), injection.between(300, 1_000));
      injection.bites();
    } else if (left > 0) {
      left -= 1;
      injection.unlessHealed(1, poll);
    }
  };
  poll();
}

/**
 * Asks the controllers to move a voter to a node that has none of that partition, again and again because they forget it
 * when they crash. Returns the node; null if there is none.
 */
function moveAway(injection: Injection, partition: number): SimNode | null {
  const { controllers, invariants, nodes } = injection.cluster;
  const record = invariants.record(partition);
  const free = nodes.filter(({ id }) => record?.voters.every(({ node }) => node !== id));
  if (record === null || free.length === 0) return null;
  const voter = injection.pick(record.voters);
  const node = injection.pick(free);
  let left = 20;
  const ask = (): void => {
    for (const each of controllers) each.moveVoter(partition, voter.id, node.id);
    left -= 1;
    if (left > 0) injection.unlessHealed(100, ask);
  };
  ask();
  return node;
}

/** The nodes of a smallest quorum of the voters around their leader, the newcomers first; null if it is no voter. */
function quorumAround(
  injection: Injection,
  { voters, previousVoters, leader }: PartitionRecord,
): string[] | null {
  const rank = ({ id }: { id: string }): number => {
    if (id === leader?.replica) return 0;
    return previousVoters.some((previous) => previous.id === id) ? 2 : 1;
  };
  const sorted = injection.shuffle(voters).sort((a, b) => rank(a) - rank(b));
  if (sorted[0]?.id !== leader?.replica) return null;
  return sorted.slice(0, quorumSize(voters.length)).map(({ node }) => node);
}
