/**
 * Which run of a node's process is the present one. A directory (incarnation) knows its last admitted run and all since, each
 * written down before it began; the store names the last run of every directory, and a node takes part only in a run that
 * the store names. So a directory that was put back from a copy is found out before it has answered anything: the store names a
 * later run that it knows nothing of. An earlier one that it has forgotten tells that the store was put back, not the directory.
 * INVARIANT: a run is named only after a run that its directory knows. A run that is not named is silent.
 * What remains: docs/decisions/0012-a-run-is-admitted.md.
 */
import type { FormerRun, NodeRecord } from '../../common/topology.ts';
import type { NodeState } from './nodes.ts';

/** Directories of one node that are remembered beside the present one. */
export const FORMER_RUNS_MAX = 8;

/** Returns how the directory of a node is shown to be an old copy, or the empty text. `stored` is its confirmed record. */
export function rollbackProblem(
  stored: NodeRecord | null,
  { incarnation, register }: Pick<NodeState, 'incarnation' | 'register'>,
): string {
  const known = stored === null ? [] : [stored, ...stored.formerRuns];
  const last = known.find((former) => former.incarnation === incarnation);
  if (last === undefined || register.runs.includes(last.run) || last.boot < register.admittedBoot) return '';
  return `it knows nothing of run ${last.run} (boot ${last.boot}), and was last admitted with boot ${register.admittedBoot}`;
}

/**
 * Whether a run on another directory of the node has been named since this one attached: this one is over, or nobody knows which
 * of them lives. Whoever does attaches again.
 */
export function isOvertaken(
  stored: NodeRecord | null,
  { incarnation, storedRun }: Pick<NodeState, 'incarnation' | 'storedRun'>,
): boolean {
  return stored !== null && stored.incarnation !== incarnation && stored.run !== storedRun;
}

/** Whether the store names this very run: only then may the node take part. */
export function isAdmitted(
  stored: NodeRecord | null,
  { incarnation, run }: Pick<NodeState, 'incarnation' | 'run'>,
): boolean {
  return stored !== null && stored.incarnation === incarnation && stored.run === run;
}

/** Returns the former runs to be stored beside a run on the directory `incarnation`. */
export function formerRuns(stored: NodeRecord | null, incarnation: string): readonly FormerRun[] {
  if (stored === null || stored.incarnation === incarnation) return stored?.formerRuns ?? [];
  const others = stored.formerRuns.filter((former) => former.incarnation !== incarnation);
  const { boot, run } = stored;
  return [{ incarnation: stored.incarnation, boot, run }, ...others].slice(0, FORMER_RUNS_MAX);
}
