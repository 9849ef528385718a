/**
 * A client process of the benchmark: started by the command, told by messages what to do, ended with it. It keeps its client
 * and its records from one run to the next.
 */
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { connect, type Keyspace, type RingkeepClient } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { describe } from '#src/common/failure.ts';
import { createRandom } from '#src/common/random.ts';
import { expectedRecords, Sequence, valueBytesMax } from '../workload/workload.ts';
import { createArrivals } from './arrivals.ts';
import { GapRecorder } from './gaps.ts';
import { encodeHistogram } from './histogram.ts';
import { Loop, type LoopHost, type LoopOptions, type Slot } from './loop.ts';
import type { ClientReport, FromClient, Job, RunPlan, ToClient } from './messages.ts';
import { monotonicMs } from './monotonic.ts';
import { Recorder } from './recorder.ts';
import { createTarget, describeFailure } from './target.ts';

const TICK_MS = 1;
/** The client's own bound is no reason for a benchmark's operation to fail; the bound here is `inFlightMax`. */
const CLIENT_OPERATIONS_MAX = 1e6;
const CLIENT_BYTES_MAX = 2 ** 32;
const LOAD_ATTEMPTS = 5;

function say(message: FromClient): void {
  process.send?.(message);
}

function everyTick(pump: () => void): () => void {
  const timer = setInterval(pump, TICK_MS);
  return () => clearInterval(timer);
}

function everyTurn(pump: () => void): () => void {
  let stopped = false;
  const turn = (): void => {
    if (stopped) return;
    pump();
    setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    stopped = true;
  };
}

/** CPU time and event loop since its making. */
class Usage {
  readonly #cpu = process.cpuUsage();
  readonly #loop: EventLoopUtilization = performance.eventLoopUtilization();
  readonly #at = monotonicMs();

  now(): { readonly cpuMs: number; readonly busy: number; readonly elapsedMs: number } {
    const { user, system } = process.cpuUsage(this.#cpu);
    const { utilization } = performance.eventLoopUtilization(this.#loop);
    return { cpuMs: (user + system) / 1_000, busy: utilization, elapsedMs: monotonicMs() - this.#at };
  }
}

function wait(untilMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, untilMs - monotonicMs())));
}

class ClientProcess {
  readonly #job: Job;
  readonly #client: RingkeepClient;
  readonly #space: Keyspace<Uint8Array>;
  readonly #sequence: Sequence;
  #partitions = 0;

  constructor(job: Job) {
    const { url, mode, ack, requestTimeoutMs, workload, part, parts } = job;
    const limits = { operationsMax: CLIENT_OPERATIONS_MAX, operationBytesMax: CLIENT_BYTES_MAX };
    this.#job = job;
    this.#client = connect(url, { mode, requestTimeoutMs, ...limits });
    this.#space = this.#client.keyspace<Uint8Array>(workload.table, { codec: 'bytes', ack });
    const expected = expectedRecords(workload, job.expectedOperations);
    this.#sequence = new Sequence(workload, { part, parts, seed: job.seed, expected });
  }

  async open(): Promise<number> {
    this.#partitions = await this.#client.partitions();
    return this.#partitions;
  }

  /**
   * Writes this process's share of the records from number `from` on. Rejects with the error of a record that could not be
   * written.
   */
  async load(inFlightMax: number, from: number): Promise<number> {
    const { workload, part, parts } = this.#job;
    const { records } = this.#sequence;
    let next = from + ((part + parts - (from % parts)) % parts);
    let loaded = 0;
    const worker = async (): Promise<void> => {
      for (; next < workload.recordCount; ) {
        const record = next;
        next += parts;
        await this.#write(records.key(record));
        loaded += 1;
      }
    };
    const progress = setInterval(() => say({ type: 'loading', records: loaded }), 1_000);
    try {
      await Promise.all(Array.from({ length: inFlightMax }, worker));
    } finally {
      clearInterval(progress);
    }
    return loaded;
  }

  async #write(key: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#space.put(key, this.#sequence.value(key));
        return;
      } catch (error) {
        // The same value again does no harm, whatever became of the first.
        if (attempt === LOAD_ATTEMPTS) throw error;
      }
    }
  }

  async run(plan: RunPlan): Promise<ClientReport> {
    const measureFrom = plan.startAt + plan.warmUpMs;
    const endAt = plan.durationMs === null ? Number.POSITIVE_INFINITY : measureFrom + plan.durationMs;
    let loop: Loop | null = null;
    const recorder = new Recorder(measureFrom, (interval) => {
      say({ type: 'interval', interval, inFlight: loop?.inFlight ?? 0, waiting: loop?.waiting ?? 0 });
    });
    const gaps = plan.noteGaps ? new GapRecorder(this.#partitions, measureFrom) : null;
    loop = new Loop(this.#loopOptions(plan, measureFrom, endAt), this.#host(plan, gaps), recorder);
    await wait(plan.startAt);
    const usage = this.#usageBetween(measureFrom, endAt);
    await loop.run();
    recorder.flush();
    return {
      totals: loop.totals,
      ...usage(),
      rssBytes: process.memoryUsage.rss(),
      startDelay: plan.rate === null ? null : encodeHistogram(loop.startDelay),
      gaps: gaps?.end(Math.max(monotonicMs(), measureFrom)) ?? [],
    };
  }

  #loopOptions(plan: RunPlan, measureFrom: number, endAt: number): LoopOptions {
    const { part, parts } = this.#job;
    const { rate, arrival: kind, startAt: from } = plan;
    const random = createRandom(plan.seed);
    return {
      arrivals: rate === null ? null : createArrivals({ kind, rate, from, part, parts }, random),
      inFlightMax: plan.inFlightMax,
      measureFrom,
      endAt,
      drainUntil: endAt + plan.drainMs,
      operationsMax: plan.operations ?? Number.POSITIVE_INFINITY,
    };
  }

  #host(plan: RunPlan, gaps: GapRecorder | null): LoopHost {
    const target = {
      client: this.#client,
      table: this.#job.workload.table,
      space: this.#space,
      sequence: this.#sequence,
      partitions: this.#partitions,
      valueBytes: valueBytesMax(this.#job.workload),
      read: this.#job.read,
    };
    const note = (slot: Slot, now: number) => gaps?.success(slot.partition, now);
    return {
      now: monotonicMs,
      plan: (planned) => this.#sequence.next(planned),
      issue: createTarget({ ...target, tellPartition: gaps !== null }),
      describe: describeFailure,
      eachTick: plan.spin ? everyTurn : everyTick,
      ...(gaps === null ? {} : { succeeded: note }),
    };
  }

  /** Returns what was used in the measured part, or in the part of it that is over. */
  #usageBetween(from: number, to: number): () => ReturnType<Usage['now']> {
    let usage: Usage | null = null;
    let ended: ReturnType<Usage['now']> | null = null;
    const starting = setTimeout(() => {
      usage = new Usage();
    }, from - monotonicMs());
    const ending = Number.isFinite(to)
      ? setTimeout(() => {
          ended = usage?.now() ?? null;
        }, to - monotonicMs())
      : undefined;
    return () => {
      clearTimeout(starting);
      clearTimeout(ending);
      return ended ?? (usage ?? new Usage()).now();
    };
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

let opened: ClientProcess | null = null;

async function answer(message: ToClient): Promise<void> {
  if (message.type === 'connect') {
    await opened?.close();
    opened = new ClientProcess(message.job);
    say({ type: 'connected', partitions: await opened.open() });
    return;
  }
  if (message.type === 'load') {
    say({ type: 'loaded', records: (await opened?.load(message.inFlightMax, message.from)) ?? 0 });
  } else if (message.type === 'run' && opened !== null) {
    say({ type: 'done', report: await opened.run(message.plan) });
  } else if (message.type === 'close') {
    await opened?.close();
    process.disconnect();
  }
}

process.on('message', (message: ToClient) => {
  answer(message).catch((error: unknown) => {
    const known = error instanceof RingkeepError;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say({ type: 'error', code: known ? error.code : 'INTERNAL', message: known ? describe(error) : text });
  });
});
// Whatever ends the command ends this too. Interrupts of a terminal go to both; the command says when to end.
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {});
