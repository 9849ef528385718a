/**
 * `npm run sim -- --seed N | --seeds A..B [--steps] [--faults LIST] [--minutes M] [--jobs J] [--hashes]`: runs seeds in child
 * processes (this file again, with `--child`), and sums up what they did. The summary is the last line. Exit status 1 on a
 * violation, which is shrunk and printed first, and 2 on a wrong command line. `--hashes` prints the hash of every trace. `--keep LIST` (places in the plan of the
 * faults) and `--clients N` repeat what the shrinker has left of a run.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type SimulationOptions, simulate } from './run.ts';
import { onlyFaults, shrink } from './shrink.ts';
import { Summary, shortfalls } from './summary.ts';
import { SimulationFailure } from './world.ts';

type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

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
    keep: { type: 'string' },
    clients: { type: 'string' },
    hashes: { type: 'boolean', default: false },
    child: { type: 'boolean', default: false },
  },
});

function usage(text: string): never {
  process.stderr.write(`sim: ${text}\n`);
  process.exit(2);
}

/** What the command line makes of every run. */
function runOptions(): SimulationOptions {
  const { faults, keep, clients } = values;
  const options: Mutable<SimulationOptions> = {};
  try {
    if (faults !== undefined) options.faults = onlyFaults(faults.split(','));
  } catch (error) {
    return usage((error as Error).message);
  }
  const kept = keep?.split(',').filter((place) => place !== '');
  if (kept?.some((place) => !/^\d+$/.test(place))) usage(`--keep takes numbers, not ${keep}`);
  if (kept !== undefined) options.keepFaults = new Set(kept.map(Number));
  if (clients !== undefined && !(Number(clients) >= 1)) usage(`--clients takes a number, not ${clients}`);
  if (clients !== undefined) options.shape = { clients: Number(clients) };
  const given = Object.entries({ faults, keep, clients }).filter(([, value]) => value !== undefined);
  options.flags = given.map(([name, value]) => ` --${name} ${value}`).join('');
  return options;
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
  const options = runOptions();
  try {
    const print = values.steps ? { print: (line: string) => void process.stdout.write(`${line}\n`) } : {};
    const result = simulate(seed, { ...options, ...print });
    return { kind: 'seed', result: { ...result, counts: [...result.counts] } };
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    const smaller = values.keep === undefined ? shrink(seed, options) : null;
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
        if (report.kind === 'seed') {
          summary.add(report.result);
          const { seed, traceHash } = report.result;
          if (values.hashes) process.stdout.write(`seed ${seed} trace ${traceHash}\n`);
        } else if (report.kind === 'idle') work(child, () => {});
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
  runOptions();
  const seeds = range();
  const startedAt = performance.now();
  const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : Number(values.minutes);
  if (!(minutes > 0)) usage(`--minutes takes a number, not ${values.minutes}`);
  let summary = new Summary();
  if (seeds.from === seeds.to) {
    const report = runSeed(seeds.from);
    if (report.kind === 'seed') {
      summary.add(report.result);
      process.stdout.write(`trace ${report.result.traceHash}\n`);
    } else if (report.kind === 'failed') {
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
  const missing = values.faults === undefined && values.keep === undefined ? shortfalls(summary) : [];
  for (const text of missing) process.stdout.write(`${text}\n`);
  process.stdout.write(`${summary.line(seconds)}\n`);
  process.exitCode = summary.failures.length > 0 || missing.length > 0 ? 1 : 0;
}

await main();
