/**
 * The command `chaos`: its options, what it says while it runs, the verdict at the end as text, as JSON and as a page, and its
 * exit status. What a run does is in src/chaos/.
 * INVARIANT: the status is 0 only if nothing was broken and something was shown to hold.
 */
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { FaultDriver } from '../chaos/fault.ts';
import { isNamed, SCENARIOS } from '../chaos/plan.ts';
import type { ChaosEvent } from '../chaos/run.ts';
import type { ChaosSummary, Quantiles } from '../chaos/summary.ts';
import { RingkeepError } from '../common/errors.ts';
import { toJson } from '../common/text.ts';
import { count, withJson } from './common-options.ts';
import { EXIT, print, showError } from './output.ts';

interface ChaosFlags {
  readonly scenario: string;
  readonly faults?: string;
  readonly mixed?: number;
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
}

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

/** Returns the verdict as lines for people. */
export function verdictLines(summary: ChaosSummary): string[] {
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
    ...(broken.length > 0
      ? [`repeat with: ringkeep chaos --seed ${seed} --seconds ${Math.ceil(seconds)}`]
      : []),
  ];
}

function described(event: ChaosEvent): string {
  if (event.event === 'started') return `cluster at ${event.url}, data in ${event.directory}`;
  if (event.event === 'checking') return `checking ${event.operations} operations`;
  if (event.event === 'fault') return `${event.round}: ${event.kind} ${event.target}`;
  const { fault } = event;
  const shown = fault.proof !== '' ? fault.proof : `NOT CONFIRMED: ${fault.problem}`;
  return `${event.round}: over, whole after ${ms(fault.wholeMs)}; ${shown}`;
}

function chosen(drivers: readonly FaultDriver[], names: readonly string[]): FaultDriver[] {
  for (const name of names) {
    if (!drivers.some((driver) => isNamed(driver, name)))
      throw new RingkeepError('INVALID_ARGUMENT', `there is no fault ${name}; see: ringkeep chaos --list`);
  }
  return drivers.filter((driver) => names.some((name) => isNamed(driver, name)));
}

async function list(): Promise<void> {
  const { DRIVERS } = await import('../chaos/drivers.ts');
  await print(
    [
      ...aligned(DRIVERS.map(({ kind, family, text }) => [family, kind, text])),
      '',
      ...aligned(SCENARIOS.map(({ name, text }) => ['scenario', name, text])),
    ].join('\n'),
  );
}

async function chaos(flags: ChaosFlags): Promise<number> {
  if (flags.list) {
    await list();
    return EXIT.OK;
  }
  // Loaded only where it runs.
  const { DRIVERS } = await import('../chaos/drivers.ts');
  const { runChaos } = await import('../chaos/run.ts');
  const { summarize } = await import('../chaos/summary.ts');
  const { renderChaos } = await import('../chaos/page.ts');
  const scenario = SCENARIOS.find(({ name }) => name === flags.scenario)!;
  // Faults that are named are on alone, unless it is said how often they are not.
  const mixed = flags.faults === undefined ? scenario.mixed : 0;
  const names =
    flags.faults === undefined ? scenario.faults : flags.faults.split(',').map((name) => name.trim());
  const seed = flags.seed ?? Math.floor(Math.random() * 2 ** 32);
  const stop = new AbortController();
  const interrupted = (): void => stop.abort();
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const run = await runChaos({
      seed,
      seconds: flags.seconds,
      ...(flags.rounds === undefined ? {} : { rounds: flags.rounds }),
      drivers: chosen(DRIVERS, names),
      mixed: flags.mixed === undefined ? mixed : flags.mixed / 100,
      nodes: flags.nodes,
      partitions: flags.partitions,
      replicationFactor: Math.min(flags.replicationFactor, flags.nodes),
      clients: flags.clients,
      paceMs: PACE_MS,
      keep: flags.keep,
      signal: stop.signal,
      on: (event) => process.stderr.write(flags.json ? `${toJson(event)}\n` : `${described(event)}\n`),
    });
    const summary = summarize(run);
    if (flags.history !== undefined)
      await writeFile(flags.history, run.history.map((event) => `${toJson(event)}\n`).join(''));
    if (flags.html !== undefined) await writeFile(flags.html, renderChaos(summary, run.check));
    await print(flags.json ? toJson(summary) : verdictLines(summary).join('\n'));
    return { held: EXIT.OK, broken: EXIT.FAILED, 'not exercised': EXIT.UNDECIDED }[summary.verdict];
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

function seedOf(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('It must be a whole number.');
}

/** Adds the command `chaos`. `done` is told its exit status. */
export function addChaosCommand(program: Command, done: (status: number) => void): void {
  const command = program
    .command('chaos')
    .description('inject faults into a cluster of its own, and show that the guarantees held');
  withJson(command)
    .addOption(
      new Option('--scenario <name>', 'which faults')
        .choices(SCENARIOS.map(({ name }) => name))
        .default(SCENARIOS[0]!.name),
    )
    .option('--faults <names>', 'kinds or families of faults instead, with commas: split-one,kill,disk')
    .option('--mixed <percent>', 'part of the rounds with several faults at once', count(0, 100))
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
    .addHelpText(
      'after',
      '\nThe status is 0 if nothing was broken, 1 if a guarantee was, 3 if nothing was exercised. It starts processes of its own, and\n' +
        'ends them; docs/CHAOS.md says what each fault does and how to read the report.\n' +
        '\nExample:\n  ringkeep chaos --faults split-one,kill,pause --seconds 60 --seed 1 --html chaos.html\n',
    )
    .action(async (flags: ChaosFlags) => {
      try {
        done(await chaos(flags));
      } catch (error) {
        const status = showError(error, flags.json);
        done(status === EXIT.FAILED ? EXIT.USAGE : status);
      }
    });
}
