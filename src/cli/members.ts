/**
 * The commands `drain` and `forget`: take nodes out, back in, and out of sight once they have no replicas any more. The moves
 * themselves are the controller's and go on without us.
 */
import type { Command } from 'commander';
import { type ClusterOptions, withCluster } from './common-options.ts';
import { askMoves, moveAll, tell } from './moves.ts';
import { EXIT, print, printJson } from './output.ts';
import { type ShownMoves, showMoves } from './shown-moves.ts';

interface DrainFlags extends ClusterOptions {
  readonly undo: boolean;
  readonly wait: boolean;
}

/** How a node has given its replicas away. */
export interface Drained {
  /** The last plan that was carried out, or was aborted by somebody. */
  readonly shown: ShownMoves;
  /** Replicas that are left on it. */
  readonly left: number;
}

/**
 * Begins to move everything away from a node that leaves, also where moves do not begin by themselves, and waits for the end. Rejects
 * with RingkeepError.
 */
export async function drained(flags: ClusterOptions, node: string): Promise<Drained> {
  const shown = await moveAll(flags);
  const { moves, stuck } = await askMoves(flags, { order: 'MOVES_PREVIEW' });
  const here = [
    ...stuck.filter((voter) => voter.node === node),
    ...moves.filter(({ from }) => from === node),
  ];
  return { shown, left: here.length };
}

/** What became of a drain, for people. */
export function drainedText(node: string, { shown, left }: Drained): string {
  if (left === 0) return `${node} has no replicas any more and can be stopped.`;
  const stay = `${left} ${left === 1 ? 'replica stays' : 'replicas stay'} on ${node}`;
  if (shown.state === 'aborted') return `${stay}: somebody has aborted the moves. Drain it again to go on.`;
  return `${stay}: no other node can take them. Add a node, or lower the replication factor.`;
}

async function drain(node: string, flags: DrainFlags): Promise<number> {
  const membership = flags.undo ? 'NODE_MEMBER' : 'NODE_LEAVING';
  const reply = await askMoves(flags, { order: 'MOVES_MEMBERSHIP', node, membership });
  if (flags.undo) {
    await tell(flags, showMoves(reply), `${node} is a member again.`);
    return EXIT.OK;
  }
  if (!flags.wait) {
    const begun = await askMoves(flags, { order: 'MOVES_RUN' });
    await tell(flags, showMoves(begun), `${node} gives its replicas away.`);
    return EXIT.OK;
  }
  const end = await drained(flags, node);
  await tell(flags, end.shown, drainedText(node, end));
  if (end.left === 0) return EXIT.OK;
  return end.shown.state === 'aborted' ? EXIT.FAILED : EXIT.UNDECIDED;
}

const DRAIN_HELP = `
The node goes on serving until others have its replicas; then it can be stopped for good. It gets none back, also when it is started
again, until --undo. A node that does not answer any more can leave as well. The moves begin at once, also with --automatic off; with
--undo it gets its share again as soon as moves begin.

Exit status: 0 when nothing is left on it; 1 if somebody has aborted the moves; 3 if something cannot go anywhere.

Examples:
  ringkeep drain n4
  ringkeep drain n4 --undo
`;

/** Adds the command `drain`. `done` is told its exit status. */
export function addDrainCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('drain').description('let a node give all of its replicas away');
  withCluster(command)
    .argument('<node>', 'its id')
    .option('--undo', 'let it be a member again', false)
    .option('--no-wait', 'do not wait until nothing is left on it')
    .addHelpText('after', DRAIN_HELP)
    .action(async (node: string, flags: DrainFlags) => done(await drain(node, flags)));
}

const FORGET_HELP = `
Only a node that has no replicas (ringkeep drain), and does not run any more. It is not shown then, and does not count as one of the nodes.
A process that attaches under this name later is a member like a new one.

Examples:
  ringkeep forget n4
`;

/** Adds the command `forget`. `done` is told its exit status. */
export function addForgetCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('forget').description('let a node go that was stopped for good');
  withCluster(command)
    .argument('<node>', 'its id')
    .addHelpText('after', FORGET_HELP)
    .action(async (node: string, flags: ClusterOptions) => {
      await askMoves(flags, { order: 'MOVES_FORGET', node });
      if (flags.json) await printJson({ forgotten: node });
      else await print(`${node} is forgotten.`);
      done(EXIT.OK);
    });
}
