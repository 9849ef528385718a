/**
 * The command `chaos`: its options, what it says while it runs, the verdict at the end as text, as JSON and as a page, and its
 * exit status. What a run does is in src/chaos/.
 * INVARIANT: the status is 0 only if nothing was broken and something was shown to hold.
 * INVARIANT: a cluster that runs already is worked on only if it is named by --url: no environment variable is enough.
 */
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ProcessCluster } from '../chaos/cluster.ts';
import type { FaultFamily, PossibleFault } from '../chaos/fault.ts';
import { isNamed, SCENARIOS, TOGETHER_MAX } from '../chaos/plan.ts';
import type { ChaosEvent, ChaosRun } from '../chaos/run.ts';
import type { RunningCluster } from '../chaos/running-cluster.ts';
import type { ChaosSummary, Quantiles } from '../chaos/summary.ts';
import type { ChaosCluster, Target } from '../chaos/target.ts';
import { RingkeepError } from '../common/errors.ts';
import { toJson } from '../common/text.ts';
import { count, unreachable, withJson } from './common-options.ts';
import { EXIT, print, showError } from './output.ts';

interface ChaosFlags {
  readonly scenario: string;
  readonly faults?: string;
  readonly mixed?: number;
  readonly together?: number;
  readonly seconds: number;
  readonly rounds?: number;
  readonly seed?: number;
  readonly nodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly clients: number;
  readonly html?: string;
  readonly history?: string;
  readonly keep: boolean;
  readonly list: boolean;
  readonly json: boolean;
  /** A cluster that runs already. */
  readonly url?: string;
  /** Whether --scenario was given. */
  readonly scenarioNamed: boolean;
}

/** Flags that say how a cluster is made. */
const OF_OWN_CLUSTER = ['nodes', 'partitions', 'replicationFactor', 'keep'] as const;

const SECONDS_MAX = 24 * 3_600;
/** Mean pause of a lane between two operations, ms: some hundred operations a second, which leaves room for the faults. */
const PACE_MS = 12;
/** What the command ends with when a guarantee is broken. */
const MARKS = { held: '✓', broken: '✗', 'not exercised': '–' } as const;

function ms(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value >= 1_000 ? `${(value / 1_000).toFixed(2)} s` : `${Math.round(value)} ms`;
}

function percent(part: number): string {
  return Number.isFinite(part) ? `${(part * 100).toFixed(part > 0.9995 ? 0 : 2)} %` : '–';
}

function both({ p50, max }: Quantiles): string {
  return `${ms(p50)} / ${ms(max)}`;
}

/** Returns rows with their columns under each other. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join('  ')
      .trimEnd(),
  );
}

/** What the times without answers leave out, where that is worth knowing. */
function standstills({ standstillMs: { count, max } }: ChaosSummary): string[] {
  if (count === 0) return [];
  return [
    `this program itself stood still ${count} times, for ${max.toFixed(0)} ms at most: not counted as away`,
  ];
}

/** Returns the verdict as lines for people. */
export function verdictLines(summary: ChaosSummary, repeat: string): string[] {
  const { rulings, kinds, totals, calm, seed, seconds, verdict } = summary;
  const head = [
    'fault',
    'times',
    'confirmed',
    'available',
    'p99',
    'writes away p50/max',
    'reads away',
    'whole after',
  ];
  const rows = kinds.map(({ kind, times, confirmed, phase, writeGapMs, readGapMs, wholeMs }) => [
    kind,
    `${times}`,
    `${confirmed}`,
    percent(phase.availability),
    ms(phase.p99Ms),
    both(writeGapMs),
    both(readGapMs),
    both(wholeMs),
  ]);
  const quiet = ['none', '', '', percent(calm.availability), ms(calm.p99Ms), '', '', ''];
  const broken = rulings.filter(({ result }) => result === 'broken');
  return [
    ...aligned([head, ...rows, quiet]),
    '',
    ...aligned(
      rulings.map(({ guarantee, title, result, reason }) => [
        `${MARKS[result]} ${guarantee}`,
        title,
        result,
        reason,
      ]),
    ),
    '',
    `${verdict}: ${totals.operations} operations, ${totals.failed} not applied, ${totals.unknown} unknown; ` +
      `${totals.faults} faults in ${totals.rounds} rounds, ${totals.leaderChanges} changes of leaders; ` +
      `${seconds.toFixed(0)} s, seed ${seed}`,
    ...standstills(summary),
    ...Object.entries(totals.skipped).map(([kind, times]) => `${kind} could not be injected, ${times} times`),
    ...(broken.length > 0 ? [`repeat with: ${repeat}`] : []),
  ];
}

/** Returns the command that draws the same rounds, on a machine with the same programs. */
function commandOf(flags: ChaosFlags, { seed }: ChaosSummary): string {
  const { url, faults, scenario, mixed, together, seconds, rounds } = flags;
  const { nodes, partitions, replicationFactor, clients } = flags;
  const size = url === undefined ? { nodes, partitions, 'replication-factor': replicationFactor } : {};
  const options = {
    url,
    ...(faults === undefined ? { scenario } : { faults }),
    mixed,
    together,
    seconds,
    rounds,
    seed,
  };
  return Object.entries({ ...options, ...size, clients })
    .filter(([, value]) => value !== undefined)
    .reduce((text, [name, value]) => `${text} --${name} ${value}`, 'ringkeep chaos');
}

function described(event: ChaosEvent): string {
  if (event.event === 'started') {
    const where = event.directory === '' ? `keyspace ${event.keyspace}` : `data in ${event.directory}`;
    return `cluster at ${event.url}, ${where}`;
  }
  if (event.event === 'left') return event.text;
  if (event.event === 'checking') return `checking ${event.operations} operations`;
  if (event.event === 'fault') return `${event.round}: ${event.kind} ${event.target}`;
  if (event.event === 'skipped') return `${event.round}: no ${event.kind}: ${event.reason}`;
  const { fault } = event;
  const shown = fault.proof !== '' ? fault.proof : `NOT CONFIRMED: ${fault.problem}`;
  return `${event.round}: over, whole after ${ms(fault.wholeMs)}; ${shown}`;
}

/** A fault of the list, and why it is not possible; empty: it is. */
interface Offer<C extends ChaosCluster> {
  readonly kind: string;
  readonly family: FaultFamily;
  readonly text: string;
  readonly lack: string;
  /** Of what is possible. */
  readonly driver: PossibleFault<C> | null;
}

/** What faults there are, where they may be made, and where they are. */
interface Stage<C extends ChaosCluster> {
  readonly offers: readonly Offer<C>[];
  readonly prepare: (seed: number) => Promise<Target<C>>;
  /** Faults where none are named. */
  readonly usual: readonly string[] | null;
  readonly leave: () => void;
}

/** What is in brackets behind a fault that is not possible. */
function bracketed({ lack }: { readonly lack: string }): string {
  return lack === '' ? '' : ` [not here: ${lack}]`;
}

function chosen<C extends ChaosCluster>(
  offers: readonly Offer<C>[],
  names: readonly string[],
): PossibleFault<C>[] {
  for (const name of names) {
    if (!offers.some((offer) => isNamed(offer, name)))
      throw new RingkeepError('INVALID_ARGUMENT', `there is no fault ${name}; see: ringkeep chaos --list`);
  }
  const meant = offers.filter((offer) => names.some((name) => isNamed(offer, name)));
  const possible = meant.flatMap(({ driver }) => (driver === null ? [] : [driver]));
  // One that is named by its own name is not left out in silence.
  const refused = meant.filter(({ driver, kind }) => driver === null && names.includes(kind));
  if (possible.length > 0 && refused.length === 0) return possible;
  const reasons = (refused.length > 0 ? refused : meant).map((offer) => `${offer.kind}${bracketed(offer)}`);
  const what = refused.length > 0 ? 'not possible' : 'no fault is possible';
  throw new RingkeepError('INVALID_ARGUMENT', `${what}: ${reasons.join(', ')}`);
}

async function list(offers: readonly Offer<never>[]): Promise<void> {
  await print(
    [
      ...aligned(offers.map((offer) => [offer.family, offer.kind, offer.text + bracketed(offer)])),
      '',
      ...aligned(SCENARIOS.map(({ name, text }) => ['scenario', name, text])),
    ].join('\n'),
  );
}

/** A cluster of the run's own. */
async function ownStage(flags: ChaosFlags): Promise<Stage<ProcessCluster>> {
  const { DRIVERS } = await import('../chaos/drivers.ts');
  const { ownCluster } = await import('../chaos/own-cluster.ts');
  const { nodes, partitions, keep } = flags;
  const size = { nodes, partitions, replicationFactor: Math.min(flags.replicationFactor, nodes) };
  const offers = DRIVERS.map((driver) => {
    const { replicationFactor } = size;
    const lack = driver.missing({ nodes: Array.from({ length: nodes }), replicationFactor }) ?? '';
    return { ...driver, lack, driver: lack === '' ? driver : null };
  });
  const prepare = (seed: number) => ownCluster({ ...size, seed, keep });
  return { offers, prepare, usual: null, leave: () => {} };
}

/** Somebody else's cluster. */
async function runningStage(url: string): Promise<Stage<RunningCluster>> {
  const { DRIVERS, RUNNING_DRIVERS } = await import('../chaos/drivers.ts');
  const { RunningCluster } = await import('../chaos/running-cluster.ts');
  const { runningTarget } = await import('../chaos/running-target.ts');
  const cluster = await RunningCluster.attach(url).catch((error: unknown) => {
    throw error instanceof RingkeepError ? unreachable(url, error) : error;
  });
  const offers = DRIVERS.map(({ kind, family, text }) => {
    const driver = RUNNING_DRIVERS.find((each) => each.kind === kind) ?? null;
    if (driver === null) return { kind, family, text, lack: 'needs a cluster of its own', driver };
    const lack = driver.missing(cluster) ?? '';
    return { kind, family, text: driver.text, lack, driver: lack === '' ? driver : null };
  });
  // What hits processes of others is done only if it was asked for.
  const usual = ['clients'];
  return { offers, prepare: () => runningTarget(cluster), usual, leave: () => cluster.release() };
}

async function inject<C extends ChaosCluster>(stage: Stage<C>, flags: ChaosFlags): Promise<ChaosRun> {
  const { runChaos } = await import('../chaos/run.ts');
  const scenario = SCENARIOS.find(({ name }) => name === flags.scenario)!;
  const usual = flags.scenarioNamed ? null : stage.usual;
  const named = flags.faults?.split(',').map((name) => name.trim()) ?? usual;
  // Faults that are named are on alone, unless it is said how often they are not.
  const mixed = named === null ? scenario.mixed : 0;
  const drivers = chosen(stage.offers, named ?? scenario.faults);
  const seed = flags.seed ?? Math.floor(Math.random() * 2 ** 32);
  const stop = new AbortController();
  const interrupted = (): void => stop.abort();
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const options = {
      seed,
      seconds: flags.seconds,
      ...(flags.rounds === undefined ? {} : { rounds: flags.rounds }),
      drivers,
      mixed: flags.mixed === undefined ? mixed : flags.mixed / 100,
      ...(flags.together === undefined ? {} : { together: flags.together }),
      clients: flags.clients,
      paceMs: PACE_MS,
      signal: stop.signal,
      on: (event: ChaosEvent) =>
        void process.stderr.write(flags.json ? `${toJson(event)}\n` : `${described(event)}\n`),
    };
    return await runChaos(options, await stage.prepare(seed));
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

async function onStage<C extends ChaosCluster>(stage: Stage<C>, flags: ChaosFlags): Promise<number> {
  if (flags.list) {
    await list(stage.offers);
    return EXIT.OK;
  }
  // Loaded only where it runs.
  const { summarize } = await import('../chaos/summary.ts');
  const { renderChaos } = await import('../chaos/page.ts');
  const run = await inject(stage, flags);
  const summary = summarize(run);
  if (flags.history !== undefined)
    await writeFile(flags.history, run.history.map((event) => `${toJson(event)}\n`).join(''));
  if (flags.html !== undefined) await writeFile(flags.html, renderChaos(summary, run.check));
  const repeat = commandOf(flags, summary);
  await print(flags.json ? toJson({ ...summary, repeat }) : verdictLines(summary, repeat).join('\n'));
  return { held: EXIT.OK, broken: EXIT.FAILED, 'not exercised': EXIT.UNDECIDED }[summary.verdict];
}

async function chaos(flags: ChaosFlags): Promise<number> {
  if (flags.url === undefined) return onStage(await ownStage(flags), flags);
  const stage = await runningStage(flags.url);
  try {
    return await onStage(stage, flags);
  } finally {
    stage.leave();
  }
}

function seedOf(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It must be a whole number.');
}

const HELP = `
The status is 0 if nothing was broken, 1 if a guarantee was, 3 if nothing was exercised. Without --url it starts processes of its
own, and ends them; docs/CHAOS.md says what each fault does and how to read the report.

With --url nothing is started. A cluster that others use becomes slower for them, and refuses requests of theirs, while it is
flooded: do not name one whose users may not notice. Faults of clients are the only ones unless others are named; pause, kill,
terminate and kill-router hit processes of this machine, and what they end has to be started again by whatever watches over it,
such as \`ringkeep up\`. The run works in a keyspace of its own and deletes it at the end.

Examples:
  ringkeep chaos --faults split-one,kill,pause --seconds 60 --seed 1 --html chaos.html
  ringkeep chaos --url ringkeep://127.0.0.1:7400 --list
  ringkeep chaos --url ringkeep://127.0.0.1:7400 --faults pause,kill,clients
`;

/** Adds the command `chaos`. `done` is told its exit status. */
export function addChaosCommand(program: Command, done: (status: number) => void): void {
  const command = program
    .command('chaos')
    .description(
      'inject faults into a cluster of its own or a running one, and show that the guarantees held',
    );
  withJson(command)
    .option(
      '--url <url>',
      'a running cluster instead, ringkeep://HOST:PORT[,HOST:PORT]; its users will notice',
    )
    .addOption(
      new Option('--scenario <name>', 'which faults')
        .choices(SCENARIOS.map(({ name }) => name))
        .default(SCENARIOS[0]!.name),
    )
    .option('--faults <names>', 'kinds or families of faults instead, with commas: split-one,kill,disk')
    .option('--mixed <percent>', 'part of the rounds with several faults at once', count(0, 100))
    .option(
      '--together <n>',
      `faults at once at most, where several are; default: ${TOGETHER_MAX}`,
      count(2, 8),
    )
    .option('--seconds <n>', 'time for faults; one that has begun is ended', count(1, SECONDS_MAX), 60)
    .option('--rounds <n>', 'end after so many rounds, if that is sooner', count(1, 1_000_000))
    .option('--seed <n>', 'which faults, in which order; default: any', seedOf)
    .option('--nodes <n>', 'storage nodes', count(1, 9), 3)
    .option('--partitions <n>', 'partitions', count(1, 64), 6)
    .option('--replication-factor <n>', 'voters of each partition', count(1, 7), 3)
    .option('--clients <n>', 'clients; half of them go to the leaders directly', count(2, 64), 6)
    .option('--html <file>', 'write a report')
    .option('--history <file>', 'write every operation, for check-history')
    .option('--keep', 'keep the data directories and the logs', false)
    .option('--list', 'print all faults and scenarios', false)
    .addHelpText('after', HELP)
    .action(async (given: Omit<ChaosFlags, 'scenarioNamed'>) => {
      const isGiven = (name: string): boolean => command.getOptionValueSource(name) === 'cli';
      const flags = { ...given, scenarioNamed: isGiven('scenario') };
      const own = OF_OWN_CLUSTER.filter(isGiven).map(
        (name) => command.options.find((option) => option.attributeName() === name)!.long,
      );
      if (flags.url !== undefined && own.length > 0)
        command.error(
          `error: ${own.join(', ')} with --url: a running cluster is as large as it is, and keeps its data`,
        );
      try {
        done(await chaos(flags));
      } catch (error) {
        const status = showError(error, flags.json);
        done(status === EXIT.FAILED ? EXIT.USAGE : status);
      }
    });
}
