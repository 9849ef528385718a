/**
 * Whether a cluster takes writes: every process of it is known under its present pid, and every partition has an
 * established leader in a process that still runs. A record of before a restart names boots that are gone.
 */
import type { Topology } from '../../common/topology.ts';

/**
 * Returns what is still missing, for people, or null when the cluster takes writes. `pids` are the nodes' by id; `reasons`
 * are why partitions are not served, as the router says.
 */
export function whatIsMissing(
  topology: Topology | null,
  pids: ReadonlyMap<string, number>,
  reasons: ReadonlyMap<number, string> = new Map(),
): string | null {
  if (topology === null || topology.clusterId === '') return 'the cluster is not formed';
  const boots = new Map<string, number>();
  for (const node of topology.nodes) {
    if (node.alive && pids.get(node.id) === node.pid) boots.set(node.id, node.boot);
  }
  const away = [...pids.keys()].filter((id) => !boots.has(id));
  if (away.length > 0) return `not attached: ${away.join(', ')}`;
  const led = topology.records.filter(
    ({ established, leader }) => established && leader !== null && boots.get(leader.node) === leader.boot,
  );
  if (topology.partitions > 0 && led.length === topology.partitions) return null;
  const missing = `${topology.partitions - led.length} of ${topology.partitions} partitions have no leader yet`;
  const [first] = reasons;
  return first === undefined ? missing : `${missing}; partition ${first[0]}: ${first[1]}`;
}
