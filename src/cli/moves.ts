/**
 * The command `rebalance`: shows what would be moved, begins and aborts moves, changes how they are made. The moves themselves are the
 * controller's and go on without us.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { RingkeepError } from '../common/errors.ts';
import { LOST_AFTER_S_MAX, MOVES_PER_NODE_MAX, REPLICATION_FACTOR_MAX } from '../common/limits.ts';
import type { MoveChange, MovesReply } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { MovesCall } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { atCluster, type ClusterOptions, count, withCluster } from './common-options.ts';
import { EXIT, note, print, printJson, showLine } from './output.ts';
import {
  endText,
  movesLines,
  planText,
  progressText,
  type ShownMoves,
  settingsText,
  showMoves,
  waitingLines,
} from './shown-moves.ts';

const POLL_MS = 500;
/** A router that is away for longer than this ends the command; the moves go on. */
const GONE_MS = 60_000;
/** When no move has gone on for so long, it is said what they wait for. */
const STILL_MS = 10_000;
/** What a router says, or is silent with, that starts or stops. */
const PASSING: ReadonlySet<string> = new Set([
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'NOT_READY',
  'SHUTTING_DOWN',
]);
/** Asks the cluster. Rejects with RingkeepError, VERSION_MISMATCH if its router is from before moves. */
export async function askMoves(flags: ClusterOptions, call: MovesCall): Promise<MovesReply> {
  try {
    return await atCluster(flags, (address, timeoutMs) =>
      grpcConnector.moves(address, makeHello({ role: 'client' }), call, timeoutMs),
    );
  } catch (cause) {
    if (!(cause instanceof RingkeepError) || cause.code !== 'VERSION_MISMATCH') throw cause;
    const text = 'the router is of a version that moves no replicas: update it first (docs/UPGRADES.md)';
    throw new RingkeepError('VERSION_MISMATCH', text, 'not_applied', { cause });
  }
}

/** Asks again while the router is away or not ready, for a while. Rejects with RingkeepError. */
async function insist(flags: ClusterOptions, call: MovesCall): Promise<MovesReply> {
  const until = performance.now() + GONE_MS;
  for (;;) {
    try {
      return await askMoves(flags, call);
    } catch (error) {
      const passes = error instanceof RingkeepError && PASSING.has(error.code);
      if (!passes || performance.now() > until) throw error;
    }
    await delay(POLL_MS);
  }
}

/**
 * Moves everything to where it belongs, plan after plan, whoever has begun the one that runs. Resolves with the last plan, which may
 * have been aborted, or with state `none` if nothing was to be moved. Rejects with RingkeepError.
 */
export async function moveAll(flags: ClusterOptions): Promise<ShownMoves> {
  let last: ShownMoves | null = null;
  for (;;) {
    const reply = await insist(flags, { order: 'MOVES_RUN' });
    if (reply.plan === '')
      return last === null ? showMoves(reply) : { ...last, stuck: reply.stuck, overfull: reply.overfull };
    last = await follow(flags, reply);
    if (last.state === 'aborted') return last;
  }
}

/** Says what moves wait for that do not go on, each reason once: it may be for the operator to mend. */
function noteWaiting(shown: ShownMoves, told: Set<string>): void {
  for (const [reason, line] of waitingLines(shown)) {
    if (!told.has(reason)) note(line);
    told.add(reason);
  }
}

/** Follows the moves until they have come to an end. Rejects with RingkeepError. */
export async function follow(flags: ClusterOptions, first: MovesReply): Promise<ShownMoves> {
  let shown = showMoves(first);
  const hide = showLine(() => progressText(shown));
  const told = new Set<string>();
  try {
    let heardAt = performance.now();
    let goesOnAt = heardAt;
    while (shown.state === 'running' || shown.state === 'aborting') {
      await delay(POLL_MS);
      try {
        shown = showMoves(await askMoves(flags, { order: 'MOVES_TELL' }));
        heardAt = performance.now();
        if (shown.active > 0) goesOnAt = heardAt;
        else if (heardAt - goesOnAt > STILL_MS && !flags.json) noteWaiting(shown, told);
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

/** Changes the settings that are named; what is not, the router leaves as it is. */
function configure(flags: RebalanceFlags): Promise<MovesReply> {
  const { rate, perNode, lostAfter, automatic, replicationFactor = 0 } = flags;
  const settings: MoveChange = {
    ...(rate === undefined ? {} : { bytesPerSecond: rate }),
    ...(perNode === undefined ? {} : { perNode }),
    ...(lostAfter === undefined ? {} : { lostAfterSeconds: lostAfter }),
    ...(automatic === undefined ? {} : { automatic: automatic === 'on' }),
  };
  return askMoves(flags, { order: 'MOVES_CONFIGURE', settings, replicationFactor });
}

/** Prints how the moves stand, as JSON or in words. */
export async function tell(flags: ClusterOptions, shown: ShownMoves, text: string): Promise<void> {
  if (flags.json) await printJson(shown);
  else await print(text);
}

const HELP = `
Without options it plans what has to be moved, begins, and shows how far it is; the moves go on when this command is ended. They also
begin by themselves once nodes have joined, leave, or were lost, unless --automatic off is set.

Exit status: 0 when they are done, or nothing was to be moved; 1 if somebody has aborted them.

Examples:
  ringkeep rebalance --plan
  ringkeep rebalance
  ringkeep rebalance --abort
  ringkeep rebalance --rate 64MiB --per-node 4
  ringkeep rebalance --replication-factor 5
`;

/** Begins a plan or ends one. Returns the exit status: somebody may end a plan that is waited for. */
async function order(flags: RebalanceFlags): Promise<number> {
  const reply = await askMoves(flags, { order: flags.abort ? 'MOVES_ABORT' : 'MOVES_RUN' });
  const shown = flags.wait ? await follow(flags, reply) : showMoves(reply);
  const end = endText(shown, flags.abort ? 'No moves are under way.' : 'Nothing is to be moved.');
  await tell(flags, shown, flags.wait ? end : progressText(shown) || end);
  return shown.state === 'aborted' && !flags.abort ? EXIT.FAILED : EXIT.OK;
}

async function rebalance(flags: RebalanceFlags): Promise<number> {
  if (isChange(flags)) {
    const shown = showMoves(await configure(flags));
    await tell(flags, shown, settingsText(shown));
  } else if (flags.show) {
    const shown = showMoves(await askMoves(flags, { order: 'MOVES_TELL' }));
    await tell(flags, shown, [settingsText(shown), ...movesLines(shown)].join('\n'));
  } else if (flags.plan) {
    const shown = showMoves(await askMoves(flags, { order: 'MOVES_PREVIEW' }));
    await tell(flags, shown, planText(shown));
  } else return order(flags);
  return EXIT.OK;
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
      done(await rebalance(flags));
    });
}

function onOrOff(text: string): 'on' | 'off' {
  if (text !== 'on' && text !== 'off') throw new InvalidArgumentError('It must be on or off.');
  return text;
}
