/**
 * The cluster as a whole: forms a new one from fresh nodes, or, when the store is empty but the nodes are not, brings the
 * old one back. Partitions are then rebuilt one by one (`rebuild.ts`) or led for the first time (`failover.ts`).
 * INVARIANT: a new cluster is formed only from nodes that carry no cluster's data, and were not started to join one: where the store was
 * lost and all others are cut off, such a node must not make them forgotten; the cluster record is written last,
 * after every partition's, so a partition record that is missing beside it was lost, not forgotten.
 * INVARIANT: an old cluster is brought back into an empty store only, never beside the records of a begun new one.
 */
import { ACK_DEFAULTS } from '../../common/topology.ts';
import { placePartitions } from '../placement.ts';
import { type Context, emit } from './context.ts';
import type { NodeState } from './nodes.ts';
import { bootstrapRecord, checkTransition } from './record-rules.ts';
import type { ClusterRecord, Mode, StoreEntry } from './types.ts';

/** Where the formation stands: `waitingFor` is for operators. */
export interface Formation {
  readonly mode: Mode;
  readonly waitingFor: string;
}

function carriesData(node: NodeState): boolean {
  return node.clusterId !== '' || node.knownTopology !== null || node.reports.size > 0;
}

function clusterOf(node: NodeState): string {
  return node.clusterId !== '' ? node.clusterId : (node.knownTopology?.clusterId ?? '');
}

/** One step while the store has no cluster record. */
export function stepFormation(context: Context, newClusterId: string): Formation {
  const attached = context.nodes.attached().filter((node) => context.nodes.live(node.id) !== null);
  const withData = attached.filter(carriesData);
  if (withData.length > 0) return bringBack(context, withData);
  const { initialNodes } = context.options.bootstrap;
  const founders = attached.filter(({ register }) => !register.joins);
  if (founders.length < initialNodes) {
    const joining = attached.filter(({ register }) => register.joins).map(({ id }) => id);
    const others = joining.length === 0 ? '' : `; ${joining.join(', ')} may only join a cluster that exists`;
    const missing = `${initialNodes - founders.length} more of ${initialNodes} nodes`;
    return { mode: 'waiting', waitingFor: missing + others };
  }
  return form(context, founders, newClusterId);
}

/** Restores the cluster record from what the nodes were last pushed. */
function bringBack(context: Context, nodes: readonly NodeState[]): Formation {
  const clusters = [...new Set(nodes.map(clusterOf).filter((id) => id !== ''))];
  if (clusters.length > 1) {
    return { mode: 'fatal', waitingFor: `nodes of different clusters: ${clusters.sort().join(', ')}` };
  }
  // Begun before these nodes attached. Under the old cluster's id, those records would hide its data.
  if (hasPartitions(context)) {
    const text = `the store holds the beginnings of a new cluster, but ${nodes[0]!.id} carries data`;
    return { mode: 'fatal', waitingFor: `${text} of cluster ${clusters[0] ?? 'unknown'}: empty the store` };
  }
  const topologies = nodes.map((node) => node.knownTopology).filter((known) => known !== null);
  const newest = topologies.sort((a, b) => b.revision - a.revision)[0];
  if (newest === undefined) {
    return {
      mode: 'waiting',
      waitingFor: 'a node that knows the topology; the store is empty, nodes are not',
    };
  }
  const { clusterId, partitions, replicationFactor, acks = null, moves = null } = newest;
  if (!context.store.busy('cluster')) {
    emit(context, 'warn', 'cluster_record_rebuilt', { clusterId, partitions, replicationFactor });
    writeCluster(context, { clusterId, partitions, replicationFactor, acks, moves });
  }
  return { mode: 'forming', waitingFor: 'the cluster record' };
}

/** Whether there is a partition's record, or one may be on its way. */
function hasPartitions(context: Context): boolean {
  const { partitions } = context.options.bootstrap;
  if (context.store.partitions().length > 0) return true;
  return Array.from({ length: partitions }).some((_, partition) =>
    context.store.busy(`partition/${partition}`),
  );
}

function writeCluster(context: Context, value: ClusterRecord): void {
  context.store.write([{ key: 'cluster', revision: context.store.revisionOf('cluster') + 1, value }]);
}

/** Creates what is missing: partition records in chunks, then the cluster record. */
function form(context: Context, nodes: readonly NodeState[], clusterId: string): Formation {
  const { partitions, bootstrapChunk } = { ...context.options.bootstrap, ...context.options };
  const count = context.options.bootstrap.partitions;
  const missing: number[] = [];
  let busy = context.store.busy('cluster');
  for (let partition = 0; partition < count; partition += 1) {
    if (context.store.busy(`partition/${partition}`)) busy = true;
    else if (context.store.partition(partition) === null) missing.push(partition);
  }
  const progress = `${count - missing.length} of ${partitions} partition records`;
  if (busy) return { mode: 'forming', waitingFor: progress };
  const replicationFactor = Math.min(context.options.bootstrap.replicationFactor, nodes.length);
  if (missing.length === 0) {
    emit(context, 'info', 'cluster_formed', { clusterId, partitions: count, replicationFactor });
    const acks = { ...ACK_DEFAULTS, cluster: context.options.bootstrap.ack ?? ACK_DEFAULTS.cluster };
    const moves = context.options.bootstrap.moves ?? null;
    writeCluster(context, { clusterId, partitions: count, replicationFactor, acks, moves });
    return { mode: 'forming', waitingFor: 'the cluster record' };
  }
  const placement = placePartitions({
    partitions: count,
    replicationFactor,
    nodes: nodes.map((node) => ({ id: node.id, zone: node.register.zone })),
  });
  const entries = missing.slice(0, bootstrapChunk).map((partition): StoreEntry => {
    const first = placement.leaders[partition]!;
    // The voter that should lead first stands first.
    const order = [first, ...placement.voters[partition]!.filter((node) => node !== first)];
    const voters = order.map((node) => context.nodes.mintReplica(node, context.random));
    const record = bootstrapRecord(partition, voters);
    checkTransition(null, record);
    return { key: `partition/${partition}`, revision: 1, value: record };
  });
  context.store.write(entries);
  return { mode: 'forming', waitingFor: progress };
}
