/**
 * The command `bench`: measures throughput and latency of a cluster. Tells its progress on stderr and its result on stdout, as
 * a table or as one JSON document; docs/BENCHMARKS.md has the method. Loaded by the command line only when it is called.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT, note, print, printJson } from '#src/cli/output.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { describe } from '#src/common/failure.ts';
import { type Experiment, runExperiment } from './experiment.ts';
import { type Histogram, percentileFile } from './load/histogram.ts';
import { addOptions, type BenchFlags, readSettings } from './options.ts';
import { Progress } from './progress.ts';
import { createDocument, mergeRuns } from './report/document.ts';
import { renderBenchmark } from './report/page.ts';
import { documentText } from './report/table.ts';
import { describeMachine, readCommit, readVersion } from './servers/machine.ts';
import type { Settings } from './settings.ts';

const HELP = `
Without --target it is a closed loop: --threadcount operations in flight, the next starts when one ends. With --target it
is an open loop: operations start at their times, and latencies count from there. Workload E scans in the order of one
partition, since keys are hashed to partitions.

Examples:
  ringkeep bench --spawn
  ringkeep bench --workload b --target 5000 --maxexecutiontime 60 --runs 3 --html report.html
  ringkeep bench --workload c -p requestdistribution=uniform --mode direct --processes 4
  ringkeep bench --spawn --sweep --p99-limit 50 --json > sweep.json
  ringkeep bench --spawn --target 2000 --maxexecutiontime 30 --kill leader@10s --html failover.html
`;

/** The stop that a signal asks for. */
class Interrupted extends Error {}

function histogramFiles({ steps }: Experiment): Map<string, Histogram> {
  const files = new Map<string, Histogram>();
  for (const { rate, runs } of steps) {
    const prefix = steps.length === 1 ? '' : `${rate}-`;
    const { all, byKind, failed } = mergeRuns(runs);
    files.set(`${prefix}all`, all);
    for (const [kind, histogram] of byKind) files.set(`${prefix}${kind.toLowerCase()}`, histogram);
    if (failed.totalCount > 0) files.set(`${prefix}failed`, failed);
    for (const [run, result] of runs.entries()) {
      if (runs.length > 1) files.set(`${prefix}run-${run + 1}`, result.all);
    }
  }
  return files;
}

function writeHistograms(folder: string, experiment: Experiment): void {
  for (const [name, histogram] of histogramFiles(experiment)) {
    writeFileSync(join(folder, `${name}.hgrm`), percentileFile(histogram));
  }
}

/** Files are tried before the run: nobody should lose an hour to a misspelt folder. */
function prepareFiles({ html, hgrm }: BenchFlags): void {
  if (html !== undefined) writeFileSync(html, '', { flag: 'a' });
  if (hgrm !== undefined) mkdirSync(hgrm, { recursive: true });
}

async function run(flags: BenchFlags, settings: Settings): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Interrupted());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const circumstances = { machine: describeMachine(), version: readVersion(), commit: readCommit() };
  let experiment: Experiment;
  try {
    experiment = await runExperiment(settings, new Progress(), stop.signal);
  } catch (error) {
    // A start that is interrupted ends with an error of its own.
    if (stop.signal.aborted) return EXIT.INTERRUPTED;
    throw error;
  }
  const document = createDocument(experiment, settings, circumstances);
  if (flags.hgrm !== undefined) writeHistograms(flags.hgrm, experiment);
  if (flags.html !== undefined) writeFileSync(flags.html, renderBenchmark(document));
  if (flags.json) await printJson(document);
  else await print(documentText(document));
  return EXIT.OK;
}

/** Returns settings; ends the command as a wrong command line if there are none. */
function settingsOf(flags: BenchFlags, command: Command): Settings {
  try {
    const urlGiven = command.getOptionValueSource('url') === 'cli';
    const { settings, ignored } = readSettings(flags, urlGiven);
    if (ignored.length > 0) note(`without effect here: ${ignored.join(', ')}`);
    prepareFiles(flags);
    return settings;
  } catch (error) {
    if (error instanceof RingkeepError) command.error(`error: ${describe(error)}`);
    if (error instanceof Error && 'syscall' in error) command.error(`error: ${error.message}`);
    throw error;
  }
}

/** Adds the command `bench`. `done` is told its exit status. */
export function addBenchCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('bench').description('measure throughput and latency');
  addOptions(command)
    .addHelpText('after', HELP)
    .action(async (flags: BenchFlags) => {
      done(await run(flags, settingsOf(flags, command)));
    });
}
