/** Faults of node processes: crashes with and without a power cut, pauses, graceful restarts, wiped directories. */
import type { Injection } from './injection.ts';

/** Crashes a node; now and then everything loses power at once. */
export function crash(injection: Injection): boolean {
  const { nodes } = injection.cluster;
  const node = injection.victim();
  const chosen = injection.chance(0.1) ? nodes : [node];
  const kind = injection.chance(0.7) ? 'power' : 'process';
  const victims = chosen.filter(({ running }) => running);
  for (const victim of victims) injection.restart(victim, kind, 1_500);
  return victims.length > 0;
}

/** Stops a process from running for a while. */
export function pause(injection: Injection): boolean {
  const { world } = injection.cluster;
  const node = injection.victim();
  if (!node.running || node.paused) return false;
  world.trace(`${node.id}: paused`);
  node.pause();
  const { boot } = node;
  injection.later(injection.between(30, 1_500), () => {
    if (!node.running || !node.paused || node.boot !== boot) return;
    world.trace(`${node.id}: resumed`);
    node.resume();
  });
  return true;
}

/** A graceful restart: the process ends when it leads nothing, or when somebody loses patience. */
export function drain(injection: Injection): boolean {
  const { world } = injection.cluster;
  const node = injection.victim();
  if (!node.running || node.paused || node.draining) return false;
  world.trace(`${node.id}: drains`);
  node.drain();
  const { boot, incarnation } = node;
  const limit = injection.patient ? Number.POSITIVE_INFINITY : world.now + injection.between(200, 2_500);
  const poll = (): void => {
    if (!node.running || node.boot !== boot || node.incarnation !== incarnation) return;
    if (node.core?.leaderCount() === 0 || world.now >= limit) {
      injection.cluster.sessions.goaway(node.id);
      injection.later(injection.between(1, 100), () => {
        if (node.running && node.boot === boot && node.incarnation === incarnation)
          injection.restart(node, 'process', 300);
      });
    } else if (injection.patient || !injection.healed) injection.later(20, poll);
  };
  injection.later(20, poll);
  return true;
}

/** Takes everything that a node has stored. */
export function wipe(injection: Injection): boolean {
  const { world } = injection.cluster;
  const node = injection.victim();
  if (!injection.mayInjure(node)) return false;
  world.trace(`${node.id}: wiped`);
  world.count('wiped');
  injection.cluster.stopNode(node, 'power');
  node.directory.wipe();
  const { incarnation } = node;
  injection.later(injection.between(20, 800), () => {
    if (!node.running && node.incarnation === incarnation) node.start();
  });
  return true;
}
