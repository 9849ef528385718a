/**
 * The command `scrub`: has the leaders compare the replicas of every partition now, shows how far that is, waits until what
 * was found bad has been replaced, and says what was not fine. The scrub itself is the nodes'; it goes on without us.
 * The JSON is a contract for scripts: fields are added, never renamed or removed.
 * INVARIANT: what was found once is not forgotten, also if the router is restarted meanwhile.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { RingkeepError } from '../common/errors.ts';
import { formatBytes } from '../common/report/format.ts';
import { badReplicas, withRepair } from '../common/scrub.ts';
import { quorumSize, type Replica } from '../common/topology.ts';
import type { PartitionScrub, ScrubReply, ScrubState } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { ScrubOrder } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { atCluster, clusterStatus, count, REACH_MS, withJson, withUrl } from './common-options.ts';
import { EXIT, print, printJson, showError, showLine } from './output.ts';

const POLL_MS = 250;
/** A router that is away for longer than this ends the command, with what is known by then. */
const GONE_MS = 30_000;
const TIMEOUT_MS_MAX = 31 * 24 * 3_600_000;

interface ScrubFlags {
  readonly url: string;
  readonly json: boolean;
  readonly partition: readonly number[];
  readonly timeout?: number;
  readonly waitRepaired: boolean;
}

/** The states as the command shows them. */
export type ShownState =
  | 'agreed'
  | 'damaged'
  | 'differs'
  | 'no_quorum'
  | 'undecided'
  | 'unavailable'
  | 'running';

const SHOWN: Readonly<Record<ScrubState, ShownState>> = {
  SCRUB_AGREED: 'agreed',
  SCRUB_DAMAGED: 'damaged',
  SCRUB_DIFFERS: 'differs',
  SCRUB_NO_QUORUM: 'no_quorum',
  SCRUB_UNDECIDED: 'undecided',
  SCRUB_UNAVAILABLE: 'unavailable',
  SCRUB_RUNNING: 'running',
};

/** What has been found is in no case fine: also where it has been repaired since. */
const BAD: readonly ShownState[] = ['damaged', 'differs', 'no_quorum'];

/** A partition in the output of `scrub --json`. */
export interface ShownScrub extends Omit<PartitionScrub, 'state'> {
  readonly state: ShownState;
}

/** The output of `scrub --json`. */
export interface ShownScrubs {
  /** Partitions by state; states that none is in are 0. */
  readonly counts: Readonly<Record<ShownState, number>>;
  /** Looked at on one replica of each. */
  readonly rows: number;
  readonly bytes: number;
  /** Replicas that were found bad, and those of them that were replaced. */
  readonly bad: number;
  readonly repaired: number;
  readonly partitions: readonly ShownScrub[];
}

/** Returns what is shown of scrubs, by partition. */
export function showScrubs(scrubs: readonly PartitionScrub[]): ShownScrubs {
  const names = Object.values(SHOWN).map((state) => [state, 0] as const);
  const counts = Object.fromEntries(names) as Record<ShownState, number>;
  const totals = { rows: 0, bytes: 0, bad: 0, repaired: 0 };
  for (const scrub of scrubs) {
    const bad = badReplicas(scrub).length;
    counts[SHOWN[scrub.state]] += 1;
    totals.rows += scrub.rows;
    totals.bytes += scrub.bytes;
    totals.bad += bad;
    totals.repaired += scrub.repaired ? bad : 0;
  }
  const sorted = [...scrubs].sort((a, b) => a.partition - b.partition);
  return { counts, ...totals, partitions: sorted.map((scrub) => ({ ...scrub, state: SHOWN[scrub.state] })) };
}

/** Returns the exit status: 1 if anything was found, 3 if something is not known, else 0. */
export function scrubStatus({ counts, partitions }: ShownScrubs): number {
  if (BAD.some((state) => counts[state] > 0)) return EXIT.FAILED;
  return counts.agreed === partitions.length ? EXIT.OK : EXIT.UNDECIDED;
}

/** The others are enough to replace what was found bad. */
function isRepairable(scrub: PartitionScrub): boolean {
  const bad = badReplicas(scrub).length;
  return bad > 0 && scrub.voters - bad >= quorumSize(scrub.voters);
}

/** Whether nothing more is to be expected of a scrub. */
export function isOver(scrub: PartitionScrub, waitRepaired: boolean): boolean {
  if (scrub.state === 'SCRUB_RUNNING') return false;
  return !waitRepaired || scrub.repaired || !isRepairable(scrub);
}

function nodesOf(replicas: readonly Replica[]): string {
  return replicas.map(({ node }) => node).join(', ');
}

function lineOf(scrub: ShownScrub): string {
  const { partition, state, damaged, differing, repaired, reason, index } = scrub;
  const parts: string[] = [];
  if (damaged.length > 0) parts.push(`${nodesOf(damaged)} met a row that fails its checksum`);
  if (differing.length > 0) parts.push(`${nodesOf(differing)} differs from a quorum of the others`);
  if (reason !== '') parts.push(reason);
  if (damaged.length + differing.length > 0) {
    parts.push(repaired ? 'replaced from the others' : 'not replaced yet');
  }
  const as = index > 0 ? ` at ${index}` : '';
  return `partition ${partition}${as}: ${state.replace('_', ' ')}${parts.length > 0 ? `: ${parts.join('; ')}` : ''}`;
}

/** Returns the text for people: a line for every partition that is not fine, and a summary. */
export function scrubText(shown: ShownScrubs): string {
  const { counts, rows, bytes, bad, repaired, partitions } = shown;
  const lines = partitions.filter(({ state }) => state !== 'agreed').map(lineOf);
  const states = Object.entries(counts).filter(([state, n]) => n > 0 || state === 'agreed');
  const told = states.map(([state, n]) => `${n} ${state.replace('_', ' ')}`).join(', ');
  const replaced = bad > 0 ? `; ${repaired} of ${bad} bad replicas replaced` : '';
  const of = `${partitions.length} partition${partitions.length === 1 ? '' : 's'}`;
  const size = `${rows.toLocaleString('en')} rows, ${formatBytes(bytes)}`;
  return [...lines, `${of}: ${told}; ${size} compared${replaced}`].join('\n');
}

/** A scrub of the cluster as this command has heard of it. */
class Following {
  readonly #flags: ScrubFlags;
  readonly #found = new Map<number, PartitionScrub>();
  #at: { readonly address: string; readonly run: number } | null = null;

  constructor(flags: ScrubFlags) {
    this.#flags = flags;
  }

  get scrubs(): PartitionScrub[] {
    return [...this.#found.values()];
  }

  get over(): boolean {
    return this.scrubs.every((scrub) => isOver(scrub, this.#flags.waitRepaired));
  }

  async begin(partitions: readonly number[]): Promise<void> {
    this.#take(
      await atCluster(this.#options, async (address, timeoutMs) => {
        const reply = await call(address, { run: 0, partitions }, timeoutMs);
        this.#at = { address, run: reply.run };
        return reply;
      }),
    );
  }

  /** Asks how it stands; begins again what was not decided where nobody knows of it any more. */
  async poll(): Promise<void> {
    const at = this.#at;
    if (at === null) return this.#again();
    try {
      const reply = await call(at.address, { run: at.run, partitions: [] }, REACH_MS);
      this.#take(reply);
      // Of what was found before the router was restarted it knows nothing.
      if (reply.partitions.length < this.#found.size) await this.#refresh();
    } catch (error) {
      if (!(error instanceof RingkeepError) || error.code !== 'INVALID_ARGUMENT') throw error;
      this.#at = null;
      await this.#again();
    }
  }

  async #again(): Promise<void> {
    const running = this.scrubs.filter(({ state }) => state === 'SCRUB_RUNNING');
    await this.#refresh();
    if (running.length > 0) await this.begin(running.map(({ partition }) => partition));
  }

  async #refresh(): Promise<void> {
    const { topology } = await clusterStatus(this.#options);
    for (const [partition, scrub] of this.#found) this.#found.set(partition, withRepair(scrub, topology));
  }

  #take(reply: ScrubReply): void {
    for (const scrub of reply.partitions) this.#found.set(scrub.partition, scrub);
  }

  get #options() {
    return { url: this.#flags.url, json: this.#flags.json, timeout: REACH_MS };
  }
}

function call(address: string, order: ScrubOrder, timeoutMs: number): Promise<ScrubReply> {
  return grpcConnector.scrub(address, makeHello({ role: 'client' }), order, timeoutMs);
}

function progressText({ counts, bytes, bad, repaired, partitions }: ShownScrubs): string {
  const ended = partitions.length - counts.running;
  const found = bad > 0 ? `, ${bad} bad replicas, ${repaired} replaced` : '';
  return `${ended} of ${partitions.length} partitions, ${formatBytes(bytes)}${found}`;
}

async function runScrub(flags: ScrubFlags): Promise<ShownScrubs> {
  const until = performance.now() + (flags.timeout ?? Number.POSITIVE_INFINITY);
  const following = new Following(flags);
  await following.begin(flags.partition);
  const hide = showLine(() => progressText(showScrubs(following.scrubs)));
  try {
    let heardAt = performance.now();
    while (!following.over && performance.now() < until) {
      await delay(Math.min(POLL_MS, Math.max(0, until - performance.now())));
      try {
        await following.poll();
        heardAt = performance.now();
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        if (performance.now() - heardAt < GONE_MS) continue;
        // What was found by then is told all the same.
        hide();
        showError(error, flags.json);
        break;
      }
    }
  } finally {
    hide();
  }
  return showScrubs(following.scrubs);
}

const HELP = `
Every replica reads all its rows, checks their checksums and hashes them, as of one entry of the log; the leader compares.
What is damaged, or differs from a quorum, is replaced from the others, and this command waits for that. The nodes read
at the rate of their --scrub-bytes-per-second, and go on when this command is ended.

Exit status: 0 if all replicas agree; 1 if any was damaged or differed, also if it was replaced since; 3 if something is
not known.

Examples:
  ringkeep scrub
  ringkeep scrub --partition 3 --json
`;

/** Adds the command `scrub`. `done` is told its exit status. */
export function addScrubCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('scrub').description('compare all replicas now, and repair what is bad');
  withJson(withUrl(command))
    .option('--partition <n>', 'this partition only; repeatable', collectPartition, [])
    .option('--timeout <ms>', 'wait no longer than this (default: as long as it takes)', timeoutMs)
    .option('--no-wait-repaired', 'do not wait until bad replicas have been replaced')
    .addHelpText('after', HELP)
    .action(async (flags: ScrubFlags) => {
      const shown = await runScrub(flags);
      if (flags.json) await printJson(shown);
      else await print(scrubText(shown));
      done(scrubStatus(shown));
    });
}

const timeoutMs = count(1, TIMEOUT_MS_MAX);
const partitionNumber = count(0, 2 ** 32 - 1);

function collectPartition(text: string, earlier: readonly number[]): readonly number[] {
  return [...earlier, partitionNumber(text)];
}
