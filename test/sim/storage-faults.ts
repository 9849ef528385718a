/** Faults of node disks: flipped bits, a full disk, slow fsyncs and reads, and one that fails and takes its process with it. */
import type { Injection } from './injection.ts';
import type { DirectoryCopy } from './sim-directory.ts';
import type { SimNode } from './sim-node.ts';

/** Flips a bit in a node's WAL, and restarts it at once or lets it find out. */
export function damage(injection: Injection): boolean {
  const node = injection.victim();
  if (!injection.mayInjure(node) || node.directory.needsWitness || !node.flipWalBit()) return false;
  injection.cluster.world.count('damaged');
  if (injection.chance(0.7)) injection.restart(node, 'process', 300);
  return true;
}

/**
 * Copies a stopped node's directory, and puts it back in the place of what the node has become. A later run of the node has
 * been admitted meanwhile: a copy of the last one is not found out by its runs (docs/GUARANTEES.md, A3).
 */
export function oldCopy(injection: Injection): boolean {
  const { cluster } = injection;
  const node = injection.victim();
  if (!node.running || node.paused) return false;
  if (injection.chance(0.4)) return copyOfThisRun(injection, node);
  cluster.stopNode(node, 'process');
  const copy = node.directory.copy();
  injection.restart(node, 'process', 100);
  const isLater = (): boolean => {
    const record = cluster.nodeRecords.get(node.id);
    const runs = record === undefined ? [] : [record, ...record.formerRuns];
    return runs.some(({ incarnation, boot }) => incarnation === copy.incarnation && boot > copy.boot);
  };
  const poll = (): void => {
    if (!isLater() || !injection.mayInjure(node)) return injection.unlessHealed(20, poll);
    putBack(injection, node, copy);
  };
  injection.unlessHealed(injection.between(20, 300), poll);
  return false;
}

/**
 * Copies the directory of a running node, and puts it back when every controller has heard that the log of the same
 * directory is durable beyond what is in the copy. While they run it is found out, whatever runs the copy knows.
 */
function copyOfThisRun(injection: Injection, node: SimNode): boolean {
  const { cluster } = injection;
  if (node.core === null) return false;
  const copy = node.directory.copy(node.core.appendedLsn);
  const isHeard = (): boolean => cluster.controllers.every((each) => each.hasHeard(node, copy.lsn));
  const poll = (): void => {
    const { incarnation, boot } = node;
    if (incarnation !== copy.incarnation || boot !== copy.boot) return;
    if (!isHeard() || !injection.mayInjure(node)) return injection.unlessHealed(20, poll);
    cluster.world.count('old copy of the same run put back');
    putBack(injection, node, copy);
    node.directory.needsWitness = true;
  };
  injection.unlessHealed(injection.between(20, 300), poll);
  return false;
}

function putBack(injection: Injection, node: SimNode, copy: DirectoryCopy): void {
  const { cluster } = injection;
  injection.trace(`${node.id} gets back its directory of boot ${copy.boot}`);
  cluster.world.count('old copy put back');
  injection.bites();
  cluster.stopNode(node, 'power');
  node.directory.putBack(copy);
  injection.restart(node, 'process', 300);
}

/** Leaves a node little room on its disk for a while. */
export function diskFull(injection: Injection): boolean {
  const node = injection.victim();
  const bytes = Math.floor(injection.between(0, 4_000));
  injection.trace(`${node.id} has ${bytes} bytes left on its disk`);
  const { disk, fullTimes } = node;
  disk.limitFreeBytes(bytes);
  injection.later(injection.between(50, 1_500), () => {
    disk.limitFreeBytes(Number.POSITIVE_INFINITY);
    if (node.fullTimes > fullTimes) injection.bites();
  });
  return false;
}

/** Makes fsyncs slow for a while. */
export function slowDisk(injection: Injection): boolean {
  const node = injection.victim();
  const ms = injection.between(2, 120);
  injection.trace(`${node.id} syncs ${ms.toFixed(0)} ms slower`);
  const { disk } = node;
  disk.slowSyncs(ms);
  injection.later(injection.between(100, 2_000), () => disk.slowSyncs(0));
  return node.running;
}

/** Makes a node's store slow for a while: decisions and installs wait for it, while the log and the promise go on. */
export function slowStore(injection: Injection): boolean {
  const node = injection.victim();
  const ms = injection.between(5, 300);
  injection.trace(`${node.id} has a store that is ${ms.toFixed(0)} ms slower`);
  const { store } = node;
  store.slowDown(ms);
  injection.later(injection.between(100, 2_000), () => store.slowDown(0));
  return node.running;
}

/** The next fsync of a node fails and loses what it should have written: the process must end and recover. */
export function failedSync(injection: Injection): boolean {
  const node = injection.victim();
  if (!node.running || node.paused) return false;
  injection.trace(`the next sync of ${node.id} fails`);
  const { boot, incarnation } = node;
  node.disk.failSyncs(1);
  const poll = (): void => {
    if (node.boot !== boot || node.incarnation !== incarnation) return;
    if (node.running && node.failure === null) {
      if (injection.healed) node.disk.failSyncs(0);
      else injection.later(10, poll);
      return;
    }
    injection.cluster.world.count('sync failed');
    injection.bites();
    injection.restart(node, 'process', 300);
  };
  injection.later(10, poll);
  return false;
}
