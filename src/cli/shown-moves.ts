/**
 * What commands show of moves: figures and texts of what the controller tells. Nothing here asks anybody.
 * The JSON is a contract for scripts: fields are added, never renamed or removed.
 */
import { formatBytes } from '../common/report/format.ts';
import { MOVE_SETTINGS, type MoveSettings } from '../common/topology.ts';
import type { Move, MovesReply, OverfullNode, StuckVoter } from '../common/wire/admin-messages.ts';

/** Besides its bytes a move takes about so long: rounds between controller and replicas, s. */
const MOVE_SECONDS = 1;
/** Of their rate, what copies have at least when they give way to clients. */
const LEAST_SHARE = 1 / 32;

/** What is shown of moves. */
export interface ShownMoves {
  /** Of the plan; empty: there is none. */
  readonly plan: string;
  readonly state: string;
  /** Why there is this plan; empty: there is none. */
  readonly reason: string;
  /** Moves, and those of them that are done and that have begun. */
  readonly total: number;
  readonly done: number;
  readonly active: number;
  /** Of all moves, about, as far as replicas are in tables on disk; and of these already copied. */
  readonly bytes: number;
  readonly copied: number;
  /** Copied in the last seconds, all nodes together. */
  readonly bytesPerSecond: number;
  /** About, of what is left; null: nothing is, or no move goes on. */
  readonly secondsLeft: number | null;
  readonly settings: MoveSettings;
  readonly replicationFactor: number;
  readonly moves: readonly Move[];
  /** Voters that should not stay where they are and have nowhere to go. */
  readonly stuck: readonly StuckVoter[];
  /** Nodes with more voters than their share allows, now or, of a preview, afterwards: only they have the zones that are needed. */
  readonly overfull: readonly OverfullNode[];
}

/**
 * Returns how long moves take at their rate, about: the busiest node sends, or takes, what is left, and takes part in as many moves at
 * a time as it may.
 */
export function estimateSeconds(moves: readonly Move[], { bytesPerSecond, perNode }: MoveSettings): number {
  const seconds = new Map<string, number>();
  for (const { to, bytes, copied, sender } of moves) {
    const own = Math.max(0, bytes - copied) / bytesPerSecond + MOVE_SECONDS / perNode;
    for (const node of [sender, to]) if (node !== '') seconds.set(node, (seconds.get(node) ?? 0) + own);
  }
  return Math.max(0, ...seconds.values());
}

/**
 * Returns how long open moves go on, about: at their rate, or at the pace of the last seconds where copies give way to clients, which do not
 * go below a part of the rate. A pace that is slower than that is one of moves that copy nothing at the moment.
 */
function estimateLeft(open: readonly Move[], settings: MoveSettings, bytesPerSecond: number): number {
  const left = open.reduce((sum, { bytes, copied }) => sum + Math.max(0, bytes - copied), 0);
  const atPace = bytesPerSecond === 0 ? 0 : left / bytesPerSecond;
  const slowest = { ...settings, bytesPerSecond: settings.bytesPerSecond * LEAST_SHARE };
  return Math.max(estimateSeconds(open, settings), Math.min(atPace, estimateSeconds(open, slowest)));
}

/** Returns what is shown of a reply. */
export function showMoves(reply: MovesReply): ShownMoves {
  const { plan, state, reason, moves, stuck, overfull, replicationFactor, bytesPerSecond } = reply;
  const settings = reply.settings ?? MOVE_SETTINGS;
  const open = moves.filter((move) => move.state !== 'done');
  const active = moves.filter((move) => move.state === 'active').length;
  const goesOn = (state === 'running' && active > 0) || state === 'preview';
  return {
    plan,
    state,
    reason,
    total: moves.length,
    done: moves.length - open.length,
    active,
    bytes: moves.reduce((sum, { bytes }) => sum + bytes, 0),
    copied: moves.reduce((sum, { copied }) => sum + copied, 0),
    bytesPerSecond,
    secondsLeft: goesOn && open.length > 0 ? Math.ceil(estimateLeft(open, settings, bytesPerSecond)) : null,
    settings,
    replicationFactor,
    moves,
    stuck,
    overfull,
  };
}

function stepText({ partition, from, to, bytes }: Move): string {
  const size = bytes === 0 ? '' : `, ${formatBytes(bytes)}`;
  if (from === '') return `partition ${partition}: a voter is added on ${to}${size}`;
  if (to === '') return `partition ${partition}: the voter on ${from} is given up`;
  return `partition ${partition}: ${from} to ${to}${size}`;
}

/** Returns what becomes of a move that is not done. */
export function openMoveText(move: Move): string {
  const how = move.state === 'active' ? 'under way' : `waits${move.reason === '' ? '' : `: ${move.reason}`}`;
  return `By the plan, ${stepText(move)}: ${how}`;
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

/** Nodes above their bound. */
function overfullLines({ overfull, state }: ShownMoves): string[] {
  const verb = state === 'preview' ? 'will have' : 'has';
  return overfull.map(
    ({ node, voters, bound }) =>
      `${node} ${verb} ${voters} replicas, more than the ${bound} of its share: no other node has a zone that they need`,
  );
}

/** What does not suit, and stays so. */
function exceptionLines(shown: ShownMoves): string[] {
  return [...stuckLines(shown.stuck), ...overfullLines(shown)];
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}

/** Of replicas that are in memory only, which is so much at most, nobody knows the size; nor before nodes have told. */
const UNKNOWN_SIZE = 'less than 16 MiB on each node, or not known yet';

function counts({ total, bytes, moves }: ShownMoves): string {
  const text = `${total} ${total === 1 ? 'move' : 'moves'}`;
  if (!moves.some(({ to }) => to !== '')) return text;
  return `${text}, ${bytes === 0 ? UNKNOWN_SIZE : formatBytes(bytes)}`;
}

/** Returns what waits, in a line by reason. */
export function waitingLines({ moves }: Pick<ShownMoves, 'moves'>): Map<string, string> {
  const reasons = new Map<string, number>();
  for (const { state, reason } of moves)
    if (state === 'waiting' && reason !== '') reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  return new Map([...reasons].map(([reason, times]) => [reason, `${times} waiting: ${reason}`]));
}

/** Returns how the moves stand, in one line; empty: there is nothing to tell. */
export function progressText(shown: ShownMoves): string {
  const { state, reason, total, done, active, bytes, copied, bytesPerSecond, secondsLeft } = shown;
  if (state !== 'running' && state !== 'aborting') return '';
  const what = state === 'running' ? `Moves replicas (${reason})` : 'Ends its moves';
  const size = bytes === 0 ? '' : `; ${formatBytes(copied)} of ${formatBytes(bytes)}`;
  const rate = bytesPerSecond === 0 ? '' : `, ${formatBytes(bytesPerSecond)}/s`;
  const left = secondsLeft === null ? '' : `, about ${duration(secondsLeft)} left`;
  return `${what}: ${done} of ${total} done, ${active} under way${size}${rate}${left}`;
}

/** Returns the lines that `status` has of moves. */
export function movesLines(shown: ShownMoves): string[] {
  const progress = progressText(shown);
  const waiting = progress === '' ? [] : waitingLines(shown).values();
  return [...(progress === '' ? [] : [progress]), ...waiting, ...exceptionLines(shown)];
}

/** Returns what `rebalance --plan` tells. */
export function planText(shown: ShownMoves): string {
  if (shown.total === 0) return ['Nothing is to be moved.', ...exceptionLines(shown)].join('\n');
  const left = shown.secondsLeft === null ? '' : `, about ${duration(shown.secondsLeft)}`;
  const rate = `${formatBytes(shown.settings.bytesPerSecond)}/s per node, ${shown.settings.perNode} at a time`;
  return [...shown.moves.map(stepText), `${counts(shown)}${left} at ${rate}`, ...exceptionLines(shown)].join(
    '\n',
  );
}

/** Returns how a plan has ended that was asked for, or was asked to end; `none` is said if there is none. */
export function endText(shown: ShownMoves, none: string): string {
  if (shown.state === 'none' || shown.total === 0) return [none, ...exceptionLines(shown)].join('\n');
  if (shown.state === 'aborted') return `Aborted: ${shown.done} of ${shown.total} moves were done.`;
  return [`Done: ${counts(shown)} (${shown.reason}).`, ...exceptionLines(shown)].join('\n');
}

/** Returns what `rebalance --show` tells of settings. */
export function settingsText({ settings, replicationFactor }: ShownMoves): string {
  const { bytesPerSecond, perNode, lostAfterSeconds, automatic } = settings;
  const lost = lostAfterSeconds === 0 ? 'never' : `after ${duration(lostAfterSeconds)}`;
  return [
    `Each partition is on ${replicationFactor} nodes.`,
    `Moves begin ${automatic ? 'by themselves' : 'when they are asked for'}, at ${formatBytes(bytesPerSecond)}/s per node, ${perNode} at a time.`,
    `A node that is away is replaced: ${lost}.`,
  ].join('\n');
}
