/**
 * Faults of processes of a cluster that runs already and belongs to somebody else: those of this machine are paused, killed, asked to
 * end. Nobody here starts them again: `ringkeep up` does, or whatever else watches over them.
 * INVARIANT: a process is signalled only while it surely is the one that the cluster tells of (local-process.ts).
 */
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, type FaultDriver, pickNode } from '../fault.ts';
import { whenIn } from '../local-process.ts';
import type { RunningCluster, RunningMember } from '../running-cluster.ts';

/** A node that is asked to end hands over for some seconds. */
const CONFIRM_MS = 20_000;

/** A fault of a cluster that runs already. */
export type RunningDriver = FaultDriver<RunningCluster, RunningCluster>;

/** Why no node can be signalled; null: some can. */
function missingNodes({ nodes }: RunningCluster): string | null {
  if (nodes.some(({ running }) => running)) return null;
  return [...new Set(nodes.map(({ name, missing }) => missing || `${name} has ended`))].join('; ');
}

function missingRouter({ router, addresses }: RunningCluster): string | null {
  if (addresses.length > 1) return 'the URL names several routers';
  return router.running ? null : router.missing || `${router.name} has ended`;
}

/** Returns a node of this machine; throws RingkeepError NOT_READY if there is none any more. */
async function pickHere(context: Parameters<RunningDriver['inject']>[0]): Promise<RunningMember> {
  const node = await pickNode(context);
  if (!node.running) throw new RingkeepError('NOT_READY', `${node.name} does not run here`);
  return node;
}

function down(cluster: RunningCluster, member: RunningMember, signal: 'SIGKILL' | 'SIGTERM'): ActiveFault {
  const { run } = member;
  const victim = cluster.end(member, signal);
  const confirmed = whenIn(victim, '', `${signal} has ended ${victim.pid}`, CONFIRM_MS);
  let back: Promise<void> | null = null;
  const undo = (): Promise<void> => {
    back ??= cluster.whenBack(member, run);
    return back;
  };
  return { target: member.name, cutOff: [], confirmed, undo };
}

const pause: RunningDriver = {
  kind: 'pause',
  family: 'process',
  text: 'SIGSTOP to one node, then SIGCONT',
  missing: missingNodes,
  inject: async (context) => {
    const node = await pickHere(context);
    const { process, resume } = await context.cluster.pause(node);
    const confirmed = whenIn(process, 'T', `${process.pid} is stopped`, CONFIRM_MS);
    return { target: node.name, cutOff: [], confirmed, undo: async () => resume() };
  },
};

const kill: RunningDriver = {
  kind: 'kill',
  family: 'process',
  group: 'restart',
  text: 'SIGKILL to one node, which somebody else has to start again',
  missing: missingNodes,
  inject: async (context) => down(context.cluster, await pickHere(context), 'SIGKILL'),
};

const terminate: RunningDriver = {
  kind: 'terminate',
  family: 'process',
  group: 'restart',
  planned: true,
  text: 'SIGTERM to one node, which hands its leaderships over and ends, and which somebody else has to start again',
  missing: missingNodes,
  inject: async (context) => down(context.cluster, await pickHere(context), 'SIGTERM'),
};

const killRouter: RunningDriver = {
  kind: 'kill-router',
  family: 'process',
  group: 'restart',
  text: 'SIGKILL to the router, which somebody else has to start again',
  missing: missingRouter,
  inject: async ({ cluster }) => down(cluster, cluster.router, 'SIGKILL'),
};

/** Every fault of processes of a cluster that runs already. */
export const RUNNING_PROCESS_FAULTS: readonly RunningDriver[] = [kill, killRouter, terminate, pause];
