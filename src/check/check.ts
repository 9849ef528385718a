/**
 * The linearizability checker: splits a history by key, checks every key in a small pool of threads, and says what came
 * of it. The order of the report does not depend on threads.
 * INVARIANT: `ok` only if every key is; `illegal` if any key is; else `unknown`.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { HistoryEvent } from '../common/history.ts';
import { clockMs, type Job, type JobResult, runJob } from './job.ts';
import type { CheckResult, KeyReport } from './key-check.ts';
import { SEARCH_LIMITS } from './search.ts';

/** Options of a check. */
export interface CheckOptions {
  /** Time for the whole check, in ms; what is not decided by then is `unknown`. Default 60,000. */
  readonly timeoutMs?: number;
  /** Actions that the search of one key may try. Default 20 million. */
  readonly stepsMax?: number;
  /** Threads; default as many as there are cores. Without a build, as in tests, there are none. */
  readonly workers?: number;
  /** Time to make the illegal history of one key small, in ms. Default 5,000. */
  readonly minimizeMs?: number;
}

/** What a check found. */
export interface CheckReport {
  readonly result: CheckResult;
  readonly operations: number;
  readonly elapsedMs: number;
  /** One per key: illegal ones first, then undecided ones, then the others, each by keyspace and key. */
  readonly keys: readonly KeyReport[];
}

/** Default time for a check, in ms. */
export const CHECK_TIMEOUT_MS = 60_000;
const MINIMIZE_MS = 5_000;
/** Illegal keys that are made small; the first ones tell what is wrong. */
const MINIMIZED_MAX = 20;
/** Operations that one message to a thread carries, about; and what is not worth starting threads for. */
const JOB_OPERATIONS = 4_000;

/** What is still to do and what is done, shared by the threads' conversations. */
interface Work {
  readonly jobs: (readonly (readonly HistoryEvent[])[])[];
  readonly reports: KeyReport[];
  readonly limits: Job['limits'];
  illegal: number;
}

function splitByKey(events: Iterable<HistoryEvent>): HistoryEvent[][] {
  const keys = new Map<string, HistoryEvent[]>();
  for (const event of events) {
    const name = JSON.stringify([event.keyspace, event.key]);
    const known = keys.get(name);
    if (known === undefined) keys.set(name, [event]);
    else known.push(event);
  }
  return [...keys.values()];
}

/** Long keys first, so that none of them is left for the end; short ones together. */
function makeJobs(keys: readonly HistoryEvent[][]): HistoryEvent[][][] {
  const jobs: HistoryEvent[][][] = [];
  let room = 0;
  for (const events of [...keys].sort((a, b) => b.length - a.length)) {
    if (room < events.length) {
      jobs.push([]);
      room = JOB_OPERATIONS;
    }
    jobs[jobs.length - 1]!.push(events);
    room -= events.length;
  }
  return jobs;
}

function nextJob(work: Work): Job | null {
  const keys = work.jobs.shift();
  if (keys === undefined) return null;
  const minimizeMs = work.illegal < MINIMIZED_MAX ? work.limits.minimizeMs : 0;
  return { keys, limits: { ...work.limits, minimizeMs } };
}

function finish(work: Work, reports: JobResult): void {
  work.reports.push(...reports);
  work.illegal += reports.filter(({ result }) => result === 'illegal').length;
}

/** What a thread had that ran out of memory is not decided. */
function undecided({ keys }: Job): JobResult {
  const unknown = 'its thread ran out of memory';
  return keys.map((events) => {
    const { keyspace, key } = events[0]!;
    return { keyspace, key, result: 'unknown', operations: events.length, steps: 0, elapsedMs: 0, unknown };
  });
}

function converse(work: Work): Promise<void> {
  return new Promise((resolve, reject) => {
    let job = nextJob(work);
    if (job === null) return resolve();
    const worker = new Worker(new URL('./worker.js', import.meta.url));
    const proceed = () => {
      job = nextJob(work);
      if (job !== null) worker.postMessage(job);
      else void worker.terminate().then(() => resolve());
    };
    worker.on('message', (reports: JobResult) => {
      finish(work, reports);
      proceed();
    });
    worker.once('error', (error: NodeJS.ErrnoException) => {
      // Anything else is a bug.
      if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return reject(error);
      finish(work, undecided(job!));
      resolve(converse(work));
    });
    worker.postMessage(job);
  });
}

async function runJobs(work: Work, workers: number): Promise<void> {
  const built = import.meta.url.endsWith('.js');
  if (built && workers > 1 && work.jobs.length > 1) {
    await Promise.all(Array.from({ length: Math.min(workers, work.jobs.length) }, () => converse(work)));
    return;
  }
  for (let job = nextJob(work); job !== null; job = nextJob(work)) finish(work, runJob(job));
}

const RANK: Readonly<Record<CheckResult, number>> = { illegal: 0, unknown: 1, ok: 2 };

function inOrder(a: KeyReport, b: KeyReport): number {
  const [left, right] = [JSON.stringify([a.keyspace, a.key]), JSON.stringify([b.keyspace, b.key])];
  return RANK[a.result] - RANK[b.result] || (left < right ? -1 : 1);
}

/**
 * Checks that a history is linearizable, key by key. Events may come in any order; what they mean is docs/HISTORIES.md.
 * Short histories are checked in this thread, and block it.
 *
 * Resolves with the report; never rejects because of what is in the history.
 *
 * @example
 * const { result, keys } = await checkHistory(events, { timeoutMs: 10_000 });
 */
export async function checkHistory(
  events: Iterable<HistoryEvent>,
  options: CheckOptions = {},
): Promise<CheckReport> {
  const {
    timeoutMs = CHECK_TIMEOUT_MS,
    minimizeMs = MINIMIZE_MS,
    workers = availableParallelism(),
  } = options;
  const { stepsMax = SEARCH_LIMITS.stepsMax } = options;
  const start = clockMs();
  const { configurationsMax } = SEARCH_LIMITS;
  const limits = { stepsMax, configurationsMax, deadline: start + timeoutMs, minimizeMs };
  const work: Work = { jobs: makeJobs(splitByKey(events)), reports: [], limits, illegal: 0 };
  await runJobs(work, workers);
  const keys = work.reports.sort(inOrder);
  return {
    result: keys[0]?.result ?? 'ok',
    operations: keys.reduce((sum, { operations }) => sum + operations, 0),
    elapsedMs: clockMs() - start,
    keys,
  };
}
