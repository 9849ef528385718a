/**
 * The commands `rebalance` and `drain`: show what would be moved, begin and abort moves, change how they are made, take nodes out and back
 * in; and what `status` shows of moves. The moves themselves are the controller's and go on without us.
 * The JSON is a contract for scripts: fields are added, never renamed or removed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { RingkeepError } from '../common/errors.ts';
import { LOST_AFTER_S_MAX, MOVES_PER_NODE_MAX, REPLICATION_FACTOR_MAX } from '../common/limits.ts';
import { formatBytes } from '../common/report/format.ts';
import { MOVE_SETTINGS, type MoveSettings } from '../common/topology.ts';
import type { Move, MovesReply, StuckVoter } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { MovesCall } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { atCluster, type ClusterOptions, count, withCluster } from './common-options.ts';
import { EXIT, print, printJson, showLine } from './output.ts';

const POLL_MS = 500;
/** A router that is away for longer than this ends the command; the moves go on. */
const GONE_MS = 60_000;
/** Besides its bytes a move takes about so long: rounds between controller and replicas, s. */
const MOVE_SECONDS = 1;

/** What is shown of moves. */
export interface ShownMoves {
  readonly state: string;
  /** Why there is this plan; empty: there is none. */
  readonly reason: string;
  /** Moves, and those of them that are done and that have begun. */
  readonly total: number;
  readonly done: number;
  readonly active: number;
  /** Of all moves, about, and of these already copied. */
  readonly bytes: number;
  readonly copied: number;
  /** Copied in the last seconds, all nodes together. */
  readonly bytesPerSecond: number;
  /** About, of what is left; null: nothing is, or nothing goes on. */
  readonly secondsLeft: number | null;
  readonly settings: MoveSettings;
  readonly replicationFactor: number;
  readonly moves: readonly Move[];
  /** Voters that should not stay where they are and have nowhere to go. */
  readonly stuck: readonly StuckVoter[];
}

/**
 * Returns how long moves take at their rate, about: the busiest node sends, or takes, what is left, and takes part in as many moves at
 * a time as it may.
 */
export function estimateSeconds(moves: readonly Move[], { bytesPerSecond, perNode }: MoveSettings): number {
  const seconds = new Map<string, number>();
  for (const { from, to, bytes, copied } of moves)
    for (const node of [from, to])
      if (node !== '') {
        const own = (bytes - copied) / bytesPerSecond + MOVE_SECONDS / perNode;
        seconds.set(node, (seconds.get(node) ?? 0) + own);
      }
  return Math.max(0, ...seconds.values());
}

/** Returns what is shown of a reply. */
export function showMoves(reply: MovesReply): ShownMoves {
  const { state, reason, moves, stuck, replicationFactor, bytesPerSecond } = reply;
  const settings = reply.settings ?? MOVE_SETTINGS;
  const open = moves.filter((move) => move.state !== 'done');
  const goesOn = state === 'running' || state === 'preview';
  return {
    state,
    reason,
    total: moves.length,
    done: moves.length - open.length,
    active: moves.filter((move) => move.state === 'active').length,
    bytes: moves.reduce((sum, { bytes }) => sum + bytes, 0),
    copied: moves.reduce((sum, { copied }) => sum + copied, 0),
    bytesPerSecond,
    secondsLeft: goesOn && open.length > 0 ? Math.ceil(estimateSeconds(open, settings)) : null,
    settings,
    replicationFactor,
    moves,
    stuck,
  };
}

function stepText({ partition, from, to, bytes }: Move): string {
  const size = bytes === 0 ? '' : `, ${formatBytes(bytes)}`;
  if (from === '') return `partition ${partition}: a voter is added on ${to}${size}`;
  if (to === '') return `partition ${partition}: the voter on ${from} is given up`;
  return `partition ${partition}: ${from} to ${to}${size}`;
}

/** Voters with nowhere to go, by node. */
function stuckLines(stuck: readonly StuckVoter[]): string[] {
  const byNode = new Map<string, number>();
  for (const { node } of stuck) byNode.set(node, (byNode.get(node) ?? 0) + 1);
  return [...byNode].map(
    ([node, voters]) =>
      `${voters} ${voters === 1 ? 'replica' : 'replicas'} on ${node} should move, and no other node can take them`,
  );
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

function counts({ total, bytes }: ShownMoves): string {
  return `${total} ${total === 1 ? 'move' : 'moves'}, ${formatBytes(bytes)}`;
}

/** What waits, by reason: the same reason is told once. */
function waitingLines({ moves }: ShownMoves): string[] {
  const reasons = new Map<string, number>();
  for (const { state, reason } of moves)
    if (state === 'waiting' && reason !== '') reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  return [...reasons].map(([reason, times]) => `${times} waiting: ${reason}`);
}

/** Returns how the moves stand, in one line; empty: there is nothing to tell. */
export function progressText(shown: ShownMoves): string {
  const { state, reason, total, done, active, bytes, copied, bytesPerSecond, secondsLeft } = shown;
  if (state !== 'running' && state !== 'aborting') return '';
  const what = state === 'running' ? `Moves replicas (${reason})` : 'Ends its moves';
  const rate = bytesPerSecond === 0 ? '' : `, ${formatBytes(bytesPerSecond)}/s`;
  const left = secondsLeft === null ? '' : `, about ${duration(secondsLeft)} left`;
  return `${what}: ${done} of ${total} done, ${active} under way; ${formatBytes(copied)} of ${formatBytes(bytes)}${rate}${left}`;
}

/** Returns the lines that `status` has of moves. */
export function movesLines(shown: ShownMoves): string[] {
  const progress = progressText(shown);
  const waiting = progress === '' ? [] : waitingLines(shown);
  return [...(progress === '' ? [] : [progress]), ...waiting, ...stuckLines(shown.stuck)];
}

function planText(shown: ShownMoves): string {
  if (shown.total === 0) return ['Nothing is to be moved.', ...stuckLines(shown.stuck)].join('\n');
  const left = shown.secondsLeft === null ? '' : `, about ${duration(shown.secondsLeft)}`;
  const rate = `${formatBytes(shown.settings.bytesPerSecond)}/s per node, ${shown.settings.perNode} at a time`;
  return [
    ...shown.moves.map(stepText),
    `${counts(shown)}${left} at ${rate}`,
    ...stuckLines(shown.stuck),
  ].join('\n');
}

function endText(shown: ShownMoves): string {
  if (shown.state === 'none' || shown.total === 0)
    return ['Nothing is to be moved.', ...stuckLines(shown.stuck)].join('\n');
  if (shown.state === 'aborted') return `Aborted: ${shown.done} of ${shown.total} moves were done.`;
  return [`Done: ${counts(shown)} (${shown.reason}).`, ...stuckLines(shown.stuck)].join('\n');
}

function settingsText({ settings, replicationFactor }: ShownMoves): string {
  const { bytesPerSecond, perNode, lostAfterSeconds, automatic } = settings;
  const lost = lostAfterSeconds === 0 ? 'never' : `after ${duration(lostAfterSeconds)}`;
  return [
    `Each partition is on ${replicationFactor} nodes.`,
    `Moves begin ${automatic ? 'by themselves' : 'when they are asked for'}, at ${formatBytes(bytesPerSecond)}/s per node, ${perNode} at a time.`,
    `A node that is away is replaced: ${lost}.`,
  ].join('\n');
}

/** Asks the cluster. Rejects with RingkeepError. */
export function askMoves(flags: ClusterOptions, call: MovesCall): Promise<MovesReply> {
  return atCluster(flags, (address, timeoutMs) =>
    grpcConnector.moves(address, makeHello({ role: 'client' }), call, timeoutMs),
  );
}

/** Follows the moves until they have come to an end. Rejects with RingkeepError. */
export async function follow(flags: ClusterOptions, first: MovesReply): Promise<ShownMoves> {
  let shown = showMoves(first);
  const hide = showLine(() => progressText(shown));
  try {
    let heardAt = performance.now();
    while (shown.state === 'running' || shown.state === 'aborting') {
      await delay(POLL_MS);
      try {
        shown = showMoves(await askMoves(flags, { order: 'MOVES_TELL' }));
        heardAt = performance.now();
      } catch (error) {
        if (!(error instanceof RingkeepError) || performance.now() - heardAt > GONE_MS) throw error;
      }
    }
  } finally {
    hide();
  }
  return shown;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, KIB: 1024, MIB: 1024 ** 2, GIB: 1024 ** 3 };

function bytes(text: string): number {
  const [, number, unit = ''] = /^(\d+)\s*([kmg]ib)?$/i.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('It must be bytes, such as 8388608 or 8MiB.');
  return Number(number) * UNITS[unit.toUpperCase()]!;
}

interface RebalanceFlags extends ClusterOptions {
  readonly plan: boolean;
  readonly abort: boolean;
  readonly show: boolean;
  readonly wait: boolean;
  readonly rate?: number;
  readonly perNode?: number;
  readonly lostAfter?: number;
  readonly automatic?: 'on' | 'off';
  readonly replicationFactor?: number;
}

function isChange(flags: RebalanceFlags): boolean {
  const { rate, perNode, lostAfter, automatic, replicationFactor } = flags;
  return [rate, perNode, lostAfter, automatic, replicationFactor].some((value) => value !== undefined);
}

/** Changes the settings that are named, and leaves the others. */
async function configure(flags: RebalanceFlags): Promise<MovesReply> {
  const { settings } = await askMoves(flags, { order: 'MOVES_TELL' });
  const before = settings ?? MOVE_SETTINGS;
  return askMoves(flags, {
    order: 'MOVES_CONFIGURE',
    settings: {
      bytesPerSecond: flags.rate ?? before.bytesPerSecond,
      perNode: flags.perNode ?? before.perNode,
      lostAfterSeconds: flags.lostAfter ?? before.lostAfterSeconds,
      automatic: flags.automatic === undefined ? before.automatic : flags.automatic === 'on',
    },
    replicationFactor: flags.replicationFactor ?? 0,
  });
}

async function tell(flags: ClusterOptions, shown: ShownMoves, text: string): Promise<void> {
  if (flags.json) await printJson(shown);
  else await print(text);
}

const HELP = `
Without options it plans what has to be moved, begins, and shows how far it is; the moves go on when this command is ended. They also
begin by themselves once nodes have joined, leave, or were lost, unless --automatic off is set.

Examples:
  ringkeep rebalance --plan
  ringkeep rebalance
  ringkeep rebalance --abort
  ringkeep rebalance --rate 64MiB --per-node 4
  ringkeep rebalance --replication-factor 5
`;

async function rebalance(flags: RebalanceFlags): Promise<void> {
  if (isChange(flags)) {
    const shown = showMoves(await configure(flags));
    return tell(flags, shown, settingsText(shown));
  }
  if (flags.show) {
    const shown = showMoves(await askMoves(flags, { order: 'MOVES_TELL' }));
    return tell(flags, shown, [settingsText(shown), ...movesLines(shown)].join('\n'));
  }
  if (flags.plan) {
    const shown = showMoves(await askMoves(flags, { order: 'MOVES_PREVIEW' }));
    return tell(flags, shown, planText(shown));
  }
  const reply = await askMoves(flags, { order: flags.abort ? 'MOVES_ABORT' : 'MOVES_RUN' });
  const shown = flags.wait ? await follow(flags, reply) : showMoves(reply);
  await tell(flags, shown, flags.wait ? endText(shown) : progressText(shown) || endText(shown));
}

/** Adds the command `rebalance`. `done` is told its exit status. */
export function addRebalanceCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('rebalance').description('move replicas to where they belong');
  withCluster(command)
    .option('--plan', 'show what would be moved, with bytes and an estimate, and move nothing', false)
    .option('--abort', 'end what runs: what has begun is taken back, or ended where that cannot be', false)
    .option('--show', 'show how replicas are moved, and how far that is', false)
    .option('--no-wait', 'begin, and do not wait for the end')
    .option('--rate <bytes>', 'what a node sends, and what it takes, per second for moves: 16MiB', bytes)
    .option('--per-node <n>', 'moves that a node takes part in at a time', count(1, MOVES_PER_NODE_MAX))
    .option(
      '--lost-after <s>',
      'replace a node that is away for so long; 0: never',
      count(0, LOST_AFTER_S_MAX),
    )
    .option('--automatic <on|off>', 'whether moves begin by themselves', onOrOff)
    .option('--replication-factor <n>', 'voters of each partition', count(1, REPLICATION_FACTOR_MAX))
    .addHelpText('after', HELP)
    .action(async (flags: RebalanceFlags) => {
      const modes = [flags.plan, flags.abort, flags.show, isChange(flags)].filter(Boolean).length;
      if (modes > 1) command.error('error: --plan, --abort, --show and changes of settings go one at a time');
      await rebalance(flags);
      done(EXIT.OK);
    });
}

function onOrOff(text: string): 'on' | 'off' {
  if (text !== 'on' && text !== 'off') throw new InvalidArgumentError('It must be on or off.');
  return text;
}

interface DrainFlags extends ClusterOptions {
  readonly undo: boolean;
  readonly wait: boolean;
}

/** Waits until a node has given everything away; tells how the moves stand then, and how many replicas have nowhere to go. */
export async function drained(
  flags: ClusterOptions,
  node: string,
): Promise<{ shown: ShownMoves; left: number }> {
  for (;;) {
    const reply = await askMoves(flags, { order: 'MOVES_TELL' });
    const running = reply.state === 'running' || reply.state === 'aborting';
    const shown = running ? await follow(flags, reply) : showMoves(reply);
    const { moves, stuck } = await askMoves(flags, { order: 'MOVES_PREVIEW' });
    const left = stuck.filter((voter) => voter.node === node).length;
    if (left > 0) return { shown, left };
    if (!moves.some(({ from }) => from === node)) return { shown, left: 0 };
    await delay(POLL_MS);
  }
}

async function drain(node: string, flags: DrainFlags): Promise<number> {
  const membership = flags.undo ? 'NODE_MEMBER' : 'NODE_LEAVING';
  const reply = await askMoves(flags, { order: 'MOVES_MEMBERSHIP', node, membership });
  if (flags.undo || !flags.wait) {
    const text = flags.undo ? `${node} is a member again.` : `${node} gives its replicas away.`;
    await tell(flags, showMoves(reply), text);
    return EXIT.OK;
  }
  const { shown, left } = await drained(flags, node);
  const text =
    left === 0
      ? `${node} has no replicas any more and can be stopped.`
      : `${left} replicas stay on ${node}: no other node can take them. Add a node, or lower the replication factor.`;
  await tell(flags, shown, text);
  return left === 0 ? EXIT.OK : EXIT.UNDECIDED;
}

const DRAIN_HELP = `
The node goes on serving until others have its replicas; then it can be stopped for good. It gets none back, also when it is started
again, until --undo. A node that does not answer any more can leave as well.

Exit status: 0 when nothing is left on it; 3 if something cannot go anywhere.

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
