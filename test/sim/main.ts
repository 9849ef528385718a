/**
 * `npm run sim -- --seed N | --seeds A..B [--steps] [--faults LIST] [--minutes M] [--jobs J]`: runs seeds in child processes
 * (this file again, with `--child`), and sums up what they did. The summary is the last line. Exit status 1 on a
 * violation, which is shrunk and printed first, and 2 on a wrong command line.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import type { FaultWeights } from './nemesis.ts';
import { simulate } from './run.ts';
import { onlyFaults, shrink } from './shrink.ts';
import { neverTaken, Summary } from './summary.ts';
import { SimulationFailure } from './world.ts';

interface Task {
  readonly from: number;
  readonly to: number;
}

type Report =
  | { readonly kind: 'seed'; readonly result: Parameters<Summary['add']>[0] }
  | { readonly kind: 'failed'; readonly seed: number; readonly text: string }
  | { readonly kind: 'idle' };

/** Seeds that a child gets at a time. */
const SEEDS_PER_TASK = 8;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    steps: { type: 'boolean', default: false },
    faults: { type: 'string' },
    minutes: { type: 'string' },
    jobs: { type: 'string' },
    child: { type: 'boolean', default: false },
  },
});

function usage(text: string): never {
  process.stderr.write(`sim: ${text}\n`);
  process.exit(2);
}

function weights(): Partial<FaultWeights> {
  try {
    return values.faults === undefined ? {} : onlyFaults(values.faults.split(','));
  } catch (error) {
    return usage((error as Error).message);
  }
}

function range(): Task {
  if (values.seed !== undefined) {
    const seed = Number(values.seed);
    if (!Number.isSafeInteger(seed)) usage(`--seed takes a number, not ${values.seed}`);
    return { from: seed, to: seed };
  }
  const match = /^(\d+)\.\.(\d+)$/.exec(
    values.seeds ?? (values.minutes === undefined ? '1..200' : '1..999999999'),
  );
  if (match === null || Number(match[1]) > Number(match[2])) usage('--seeds takes FROM..TO');
  return { from: Number(match![1]), to: Number(match![2]) };
}

/** Runs one seed here; returns what it did, or the text of its failure. */
function runSeed(seed: number): Report {
  const faults = weights();
  try {
    const print = values.steps ? (line: string) => process.stdout.write(`${line}\n`) : undefined;
    const result = simulate(seed, { faults, ...(print === undefined ? {} : { print }) });
    return { kind: 'seed', result: { ...result, counts: [...result.counts] } };
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    const smaller = shrink(seed, { faults });
    const what =
      smaller === null
        ? ''
        : `\nshrunk in ${smaller.tries} runs to ${smaller.keepFaults.length} faults (${smaller.keepFaults.join(' ')}) ` +
          `and ${smaller.clients} clients:\n${smaller.failure.message}`;
    return { kind: 'failed', seed, text: `${error.message}${what}` };
  }
}

function serve(): void {
  process.on('message', ({ from, to }: Task) => {
    for (let seed = from; seed <= to; seed += 1) process.send!(runSeed(seed));
    process.send!({ kind: 'idle' });
  });
  process.on('disconnect', () => process.exit(0));
}

/** Hands the seeds to child processes until they, or the minutes, are used up. */
async function spread(seeds: Task, jobs: number, untilMs: number): Promise<Summary> {
  const summary = new Summary();
  let next = seeds.from;
  const work = (child: ChildProcess, done: () => void): void => {
    if (next > seeds.to || performance.now() > untilMs) {
      child.disconnect();
      return done();
    }
    const to = Math.min(seeds.to, next + SEEDS_PER_TASK - 1);
    child.send({ from: next, to } satisfies Task);
    next = to + 1;
  };
  const job = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const child = fork(process.argv[1]!, ['--child', ...process.argv.slice(2)]);
      child.on('error', reject);
      child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a child ended with ${code}`))));
      child.on('message', (report: Report) => {
        if (report.kind === 'seed') summary.add(report.result);
        else if (report.kind === 'idle') work(child, () => {});
        else {
          summary.failures.push(report.seed);
          process.stdout.write(`${report.text}\n\n`);
        }
      });
      work(child, () => {});
    });
  await Promise.all(Array.from({ length: jobs }, job));
  return summary;
}

async function main(): Promise<void> {
  if (values.child) return serve();
  weights();
  const seeds = range();
  const startedAt = performance.now();
  const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : Number(values.minutes);
  if (!(minutes > 0)) usage(`--minutes takes a number, not ${values.minutes}`);
  let summary = new Summary();
  if (seeds.from === seeds.to) {
    const report = runSeed(seeds.from);
    if (report.kind === 'seed') summary.add(report.result);
    else if (report.kind === 'failed') {
      summary.failures.push(report.seed);
      process.stdout.write(`${report.text}\n\n`);
    }
  } else {
    const jobs = Math.min(Number(values.jobs ?? availableParallelism()), seeds.to - seeds.from + 1);
    if (!(jobs >= 1)) usage(`--jobs takes a number, not ${values.jobs}`);
    summary = await spread(seeds, jobs, startedAt + minutes * 60_000);
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  process.stdout.write(`${summary.describe()}\n`);
  const missing = values.faults === undefined ? neverTaken(summary) : [];
  if (missing.length > 0) process.stdout.write(`never taken: ${missing.join(', ')}\n`);
  process.stdout.write(`${summary.line(seconds)}\n`);
  process.exitCode = summary.failures.length > 0 || missing.length > 0 ? 1 : 0;
}

await main();
