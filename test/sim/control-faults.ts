/** Faults of the control plane, and planned changes: controllers, the topology store, moves of voters. */
import type { Injection } from './injection.ts';

/** Crashes a controller, or starts one that is down. */
export function controller(injection: Injection): void {
  const { controllers } = injection.cluster;
  const chosen = injection.pick(controllers);
  if (!chosen.running) {
    chosen.start();
    return;
  }
  chosen.crash();
  injection.later(injection.between(50, 1_500), () => {
    if (!chosen.running && (!injection.healed || chosen === controllers[0])) chosen.start();
  });
}

/** Takes the topology store away, or lets it leave outcomes unknown. */
export function store(injection: Injection): void {
  const { cluster } = injection;
  if (injection.chance(0.5)) cluster.store.unavailable = true;
  else cluster.storeUnsure = true;
  injection.later(injection.between(50, 1_000), () => cluster.healStore());
}

/** Asks the controllers to move a voter to a node that has none of that partition. */
export function move(injection: Injection): void {
  const { controllers, invariants, ghosts } = injection.cluster;
  const node = injection.victim();
  const record = invariants.record(injection.pick(ghosts).partition);
  if (record === null || record.voters.some((voter) => voter.node === node.id)) return;
  const voter = injection.pick(record.voters);
  for (const each of controllers) each.moveVoter(record.partition, voter.id, node.id);
}
