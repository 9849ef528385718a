/**
 * Replica ids: `node.incarnation.boot.random`. They name the one process run that may create the replica.
 * Why: an id that was in use and whose directory (or drop) made the node forget it must never come back as an empty
 * replica, whatever stale record is pushed: it would acknowledge to a leader that counts on its lost promise.
 * INVARIANT: a node creates an empty replica for an id only in the boot that the id names, and at most once in it; so
 * an id is never reused (DESIGN section 5, invariant 9). Controllers mint an id for a node's present boot only.
 * Node ids, incarnations and random parts have no dot, save that a node id may: the last three dots count.
 */
import { assert } from './errors.ts';

/** One run of a node's process on one data directory. */
export interface ProcessRun {
  readonly node: string;
  readonly incarnation: string;
  readonly boot: number;
}

/** Returns a new replica id for `run`; `unique` is fresh random text without a dot. */
export function makeReplicaId(run: ProcessRun, unique: string): string {
  assert(run.node !== '' && run.incarnation !== '' && unique !== '', 'replica id parts are not empty');
  assert(!run.incarnation.includes('.') && !unique.includes('.'), 'replica id parts have no dot');
  return `${run.node}.${run.incarnation}.${run.boot}.${unique}`;
}

/** Returns the run that a replica id was made for, or null when the id is not of this format. */
export function parseReplicaId(id: string): ProcessRun | null {
  const parts = id.split('.');
  if (parts.length < 4) return null;
  const incarnation = parts.at(-3)!;
  const boot = Number(parts.at(-2)!);
  const node = parts.slice(0, -3).join('.');
  if (node === '' || incarnation === '' || !Number.isSafeInteger(boot) || parts.at(-1) === '') return null;
  return { node, incarnation, boot };
}

/**
 * Returns whether the process `run` may create an empty replica under `id`. The caller still has to refuse an id that
 * it has already held since it started.
 */
export function mayCreateReplica(id: string, run: ProcessRun): boolean {
  const made = parseReplicaId(id);
  if (made === null) return false;
  return made.node === run.node && made.incarnation === run.incarnation && made.boot === run.boot;
}
