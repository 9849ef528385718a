/** A scripted cluster whose replicas are moved, for the tests of plans. */
import type { PartitionRecord } from '../../src/common/topology.ts';
import type { Controller } from '../../src/router/controller/controller.ts';
import type { ControllerOptions } from '../../src/router/controller/types.ts';
import { ScriptedCluster } from './scripted-cluster.ts';

export const THREE = ['n1', 'n2', 'n3'];
export const PARTITIONS = 12;
/** Of a plan to be made, and to be carried out. */
export const LIMIT_MS = 60_000;

export interface Lab {
  readonly cluster: ScriptedCluster;
  readonly controller: Controller;
}

/** A formed, settled cluster with something in every log. */
export function lab(
  nodes: readonly string[] = THREE,
  options: Partial<ControllerOptions> = {},
  zones?: readonly string[],
): Lab {
  const cluster = new ScriptedCluster(nodes, PARTITIONS, zones);
  const { controller } = cluster.start(options);
  cluster.until('first leaders', () => cluster.settled());
  for (let partition = 0; partition < PARTITIONS; partition += 1) cluster.write(partition, 3);
  cluster.run(200);
  return { cluster, controller };
}

/** Voters of each node. */
export function loads(cluster: ScriptedCluster): Record<string, number> {
  const counts = Object.fromEntries([...cluster.nodes.keys()].map((id) => [id, 0]));
  for (const { voters } of cluster.store.records()) for (const { node } of voters) counts[node]! += 1;
  return counts;
}

/** How many plans were begun or made anew. */
export function plans(cluster: ScriptedCluster): number {
  return cluster.named('rebalance').filter(({ state }) => state === 'running').length;
}

/** Waits for a plan to be made and carried out. */
export function rebalanced({ cluster, controller }: Lab, before = 0): void {
  cluster.until('a plan', () => plans(cluster) > before, LIMIT_MS);
  cluster.until('the end of the plan', () => controller.moves.status(cluster.now).state === 'done', LIMIT_MS);
  cluster.until('quiet', () => cluster.settled() && cluster.isQuiet(), LIMIT_MS);
}

/** Changes settings, and waits until they are stored. */
export function configure(
  { cluster, controller }: Lab,
  change: Parameters<Controller['moves']['configure']>[0],
): void {
  controller.moves.configure(change);
  cluster.until('stored', () => controller.moves.configured);
}

export function votersOn(records: readonly PartitionRecord[], node: string): number {
  return records.filter(({ voters }) => voters.some((voter) => voter.node === node)).length;
}
