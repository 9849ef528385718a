/** What the replicas of a node hold in memory that is not applied yet or has to be remembered, and which bounds that has reached. */
import { SESSION_BYTES_MAX } from '../../common/limits.ts';
import type { Replica } from './replica.ts';

/** Entries of led partitions that are not applied yet, bytes: what a quorum of slow followers can make a node hold. */
const LED_UNAPPLIED_BYTES_MAX = 32 * 1024 * 1024;
/**
 * Committed entries that are not applied yet, bytes. Uncommitted ones do not count: only taking more lets them commit,
 * so a bound on them could stop a cluster for good (each node full of what the others wait for). Their leaders bound
 * them.
 */
const COMMITTED_UNAPPLIED_BYTES_MAX = 96 * 1024 * 1024;

/** Bounds that are reached. */
export interface Weights {
  /** By what is led here. */
  readonly overloaded: boolean;
  /** By the deduplication tables. */
  readonly sessionsFull: boolean;
  /** By what is committed and waits to be applied. */
  readonly applyBehind: boolean;
}

/** Weighs the replicas of a node. */
export function weigh(replicas: Iterable<Replica>): Weights {
  let led = 0;
  let committed = 0;
  let remembered = 0;
  for (const { log, machine, leadership, usable } of replicas) {
    remembered += machine.sessions.weight;
    if (!usable || machine.appliedIndex >= log.lastIndex) continue;
    committed += log.weightBetween(machine.appliedIndex, log.commitIndex);
    if (leadership !== null) led += log.weightBetween(machine.appliedIndex, log.lastIndex);
  }
  return {
    overloaded: led > LED_UNAPPLIED_BYTES_MAX,
    sessionsFull: remembered > SESSION_BYTES_MAX,
    applyBehind: committed > COMMITTED_UNAPPLIED_BYTES_MAX,
  };
}
