/**
 * The command `scale`: more or fewer nodes in the cluster of a running `ringkeep up`. It tells that `up` how many to run (layout.ts), and
 * the cluster which nodes are to leave; the moves are the controller's.
 * INVARIANT: a node is ended, and then forgotten, only when nothing is left on it.
 */
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { RingkeepError } from '../../common/errors.ts';
import { type ClusterOptions, clusterStatus, count, withJson } from '../common-options.ts';
import { drained, drainedText } from '../members.ts';
import { askMoves, moveAll } from '../moves.ts';
import { EXIT, note, print, printJson } from '../output.ts';
import type { ShownMoves } from '../shown-moves.ts';
import { readRunning, wantNodes } from './layout.ts';

const NODES_MAX = 64;
const POLL_MS = 250;
const START_MS = 60_000;
const REQUEST_MS = 3_000;

interface ScaleFlags {
  readonly nodes: number;
  readonly data: string;
  readonly json: boolean;
}

function nodeName(at: number): string {
  return `n${at}`;
}

/** Waits until exactly these nodes of the cluster's run. */
async function whenRunning(options: ClusterOptions, nodes: number): Promise<void> {
  const until = performance.now() + START_MS;
  for (;;) {
    const { topology } = await clusterStatus(options);
    const alive = new Set((topology?.nodes ?? []).filter((node) => node.alive).map(({ id }) => id));
    const wanted = Array.from({ length: nodes }, (_, at) => nodeName(at + 1));
    if (wanted.every((id) => alive.has(id)) && alive.size === nodes) return;
    if (performance.now() > until) {
      const text = `${nodes} nodes do not run after ${START_MS / 1_000} s; see the logs of \`ringkeep up\``;
      throw new RingkeepError('NOT_READY', text);
    }
    await delay(POLL_MS);
  }
}

async function grow(
  options: ClusterOptions,
  directory: string,
  before: number,
  nodes: number,
): Promise<ShownMoves> {
  wantNodes(directory, nodes);
  await whenRunning(options, nodes);
  for (let at = before + 1; at <= nodes; at += 1)
    await askMoves(options, { order: 'MOVES_MEMBERSHIP', node: nodeName(at), membership: 'NODE_MEMBER' });
  return settled(options);
}

/** Moves everything to where it belongs. Rejects with RingkeepError NOT_READY if that cannot be, or somebody aborts it. */
async function settled(options: ClusterOptions): Promise<ShownMoves> {
  const shown = await moveAll(options);
  const { done, total, stuck } = shown;
  if (shown.state === 'aborted') {
    const text = `somebody has aborted the moves when ${done} of ${total} were done; \`ringkeep rebalance\` goes on`;
    throw new RingkeepError('NOT_READY', text);
  }
  if (stuck.length > 0) {
    const text = `${stuck.length} replicas should move and no other node can take them: see \`ringkeep status\``;
    throw new RingkeepError('NOT_READY', text);
  }
  return shown;
}

async function shrink(
  options: ClusterOptions,
  directory: string,
  before: number,
  nodes: number,
): Promise<ShownMoves> {
  const { replicationFactor } = await askMoves(options, { order: 'MOVES_TELL' });
  if (replicationFactor > nodes) {
    const text = `each partition is on ${replicationFactor} nodes: lower that first, by ringkeep rebalance --replication-factor`;
    throw new RingkeepError('INVALID_ARGUMENT', text);
  }
  const leaving = Array.from({ length: before - nodes }, (_, at) => nodeName(nodes + at + 1));
  for (const node of leaving)
    await askMoves(options, { order: 'MOVES_MEMBERSHIP', node, membership: 'NODE_LEAVING' });
  const plans: ShownMoves[] = [];
  for (const node of leaving) {
    const end = await drained(options, node);
    if (end.left > 0) throw new RingkeepError('NOT_READY', `${drainedText(node, end)} It runs on.`);
    plans.push(end.shown);
  }
  wantNodes(directory, nodes);
  await whenRunning(options, nodes);
  for (const node of leaving) await askMoves(options, { order: 'MOVES_FORGET', node });
  return plans.find(({ plan }) => plan !== '') ?? plans[0]!;
}

/**
 * Makes the `up` that runs in a directory run so many nodes, and resolves when every replica is where it belongs, with the plan that has
 * brought it there. Rejects with RingkeepError NOT_READY when something cannot be, or somebody aborts it, INVALID_ARGUMENT.
 */
export async function scaleTo(directory: string, nodes: number): Promise<ShownMoves> {
  const { nodes: before, router } = readRunning(directory);
  const options = { url: `ringkeep://${router}`, timeout: REQUEST_MS, json: false };
  if (nodes === before) return settled(options);
  return (nodes > before ? grow : shrink)(options, directory, before, nodes);
}

/** Adds the command `scale`. `done` is told its exit status. */
export function addScaleCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('scale').description('add nodes to a running `up`, or take some away');
  withJson(command)
    .requiredOption('--nodes <n>', 'as many as there are to be', count(1, NODES_MAX))
    .option('--data <dir>', 'data directory of that `up`', './ringkeep-data')
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep scale --nodes 5\n  ringkeep scale --nodes 3 --data ./five\n',
    )
    .action(async (flags: ScaleFlags) => {
      const directory = resolve(flags.data);
      const { nodes } = flags;
      const { nodes: before } = readRunning(directory);
      if (!flags.json && nodes !== before) note(`${before} nodes to ${nodes}`);
      const shown = await scaleTo(directory, nodes);
      if (flags.json) await printJson({ nodes, moves: shown });
      else await print(`${nodes} nodes run, and every replica is where it belongs.`);
      done(EXIT.OK);
    });
}
