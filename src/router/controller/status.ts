/** What operators see of the controller: where it is, why a partition is not served, what is thought of each node. */
import type { Context, PartitionState } from './context.ts';
import type { Formation } from './formation.ts';
import { isGone } from './members.ts';
import type { ControllerStatus, PartitionStatus } from './types.ts';

function phaseOf(state: PartitionState): PartitionStatus['phase'] {
  const { record } = state;
  if (record === null || state.rebuilding) return 'rebuilding';
  if (record.epoch === 0) return 'reserving';
  if (record.leader === null) return 'revoking';
  if (!record.established) return 'propagating';
  return state.plan === null ? 'established' : 'preparing';
}

function shownIds({ nodes, store }: Context): string[] {
  return nodes.watchedIds().filter((id) => !isGone(store.node(id)));
}

/** Returns the status; `unavailable` is empty for every partition with an established leader that nothing speaks against. */
export function statusOf(context: Context, formation: Formation): ControllerStatus {
  return {
    mode: formation.mode,
    waitingFor: formation.waitingFor,
    partitions: [...context.partitions.values()].map((state) => ({
      partition: state.partition,
      phase: phaseOf(state),
      unavailable: state.unavailable,
    })),
    nodes: shownIds(context).map((id) => {
      const { alive, reason, phi } = context.nodes.verdict(id);
      const heartbeat = context.nodes.get(id)?.heartbeat;
      return {
        id,
        alive,
        reason,
        phi,
        draining: heartbeat?.draining === true,
        diskFull: heartbeat?.diskFull === true,
        leaders: context.leaderCounts.get(id) ?? 0,
      };
    }),
  };
}
