/**
 * The course of a benchmark: the cluster, the client processes, the load, then runs: one after the other at one rate, or at
 * rising rates up to the knee. Decides nothing about figures; that is report/.
 * INVARIANT: whatever happens, no process that was started here is left.
 */
import { partitionOf } from '#src/common/hash.ts';
import { Clients } from './load/clients.ts';
import { percentileMs } from './load/histogram.ts';
import type { Job, RunPlan } from './load/messages.ts';
import { monotonicMs } from './load/monotonic.ts';
import type { Progress } from './progress.ts';
import { mergeRuns, type Step } from './report/document.ts';
import type { RunEvent } from './report/events.ts';
import { nextRate, type SweepPoint } from './report/knee.ts';
import { RunCollector, type RunResult } from './report/run-result.ts';
import { attachCluster, type ClusterUnderTest, spawnCluster } from './servers/cluster.ts';
import { judgeFailover, type Kill, killDuring } from './servers/failover.ts';
import { fileSystemOf } from './servers/machine.ts';
import { ServerSampler } from './servers/sampler.ts';
import type { Settings } from './settings.ts';
import { Records } from './workload/records.ts';

/** What is known of the cluster. */
export interface ClusterFacts {
  readonly clusterId: string;
  readonly nodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly spawned: boolean;
  /** Under the data of a cluster that was started here; null for others. */
  readonly fileSystem: string | null;
  /** Servers whose CPU and memory are sampled. */
  readonly sampled: readonly string[];
}

export interface LoadFacts {
  readonly records: number;
  readonly elapsedMs: number;
}

/** Everything that was measured. */
export interface Experiment {
  readonly startedAt: Date;
  readonly cluster: ClusterFacts;
  readonly load: LoadFacts | null;
  /** One per rate, in the order in which they were run. */
  readonly steps: readonly Step[];
}

/** Something that goes on while a run is measured, from its start on; times are monotonic, in ms. */
export type During = (run: { readonly measureFrom: number; readonly endAt: number }) => Promise<void>;

/** Time for the client processes to get ready for a run. */
const LEAD_MS = 200;
/** What a process without a rate may reach, for what has to be known beforehand. */
const GUESSED_RATE = 20_000;
const LOAD_IN_FLIGHT = 256;

class Course {
  readonly #settings: Settings;
  readonly #cluster: ClusterUnderTest;
  readonly #clients: Clients;
  readonly #progress: Progress;
  readonly #during: During | null;
  #runs = 0;

  constructor(
    settings: Settings,
    cluster: ClusterUnderTest,
    clients: Clients,
    progress: Progress,
    during: During | null,
  ) {
    this.#settings = settings;
    this.#cluster = cluster;
    this.#clients = clients;
    this.#progress = progress;
    this.#during = during;
  }

  async load(): Promise<LoadFacts> {
    const { workload, inFlightMax } = this.#settings;
    const from = monotonicMs();
    this.#progress.say(`loading ${workload.recordCount} records`);
    const records = await this.#clients.load(Math.min(inFlightMax, LOAD_IN_FLIGHT), (loaded) =>
      this.#progress.say(`loaded ${loaded} of ${workload.recordCount} records`),
    );
    return { records, elapsedMs: monotonicMs() - from };
  }

  async steps(): Promise<Step[]> {
    const { sweep, rate } = this.#settings;
    if (sweep === null) return [await this.#step(rate)];
    const steps: Step[] = [];
    const points: SweepPoint[] = [];
    for (let next = nextRate(points, sweep); next !== null; next = nextRate(points, sweep)) {
      const step = await this.#step(next);
      const merged = mergeRuns(step.runs);
      steps.push(step);
      const { offered, throughput: achieved, all } = merged;
      points.push({ rate: next, offered, achieved, p99Ms: percentileMs(all, 99) });
    }
    return steps;
  }

  async #step(rate: number | null): Promise<Step> {
    const { runs, kill } = this.#settings;
    const results: RunResult[] = [];
    for (let run = 1; run <= runs; run += 1) {
      this.#progress.runStarts(run, runs, rate);
      results.push(await this.#run(rate));
      if (kill !== null && run < runs) await this.#cluster.whole();
    }
    return { rate, runs: results };
  }

  #plan(rate: number | null): RunPlan {
    const { warmUpMs, durationMs, operations, arrival, inFlightMax, drainMs, spin, kill, seed } =
      this.#settings;
    this.#runs += 1;
    return {
      startAt: monotonicMs() + LEAD_MS,
      noteGaps: kill !== null || this.#during !== null,
      // Every run has arrivals of its own, in a way that can be repeated.
      seed: seed + this.#runs * 1_000_000,
      ...{ warmUpMs, durationMs, operations, rate, arrival, inFlightMax, drainMs, spin },
    };
  }

  async #run(rate: number | null): Promise<RunResult> {
    const plan = this.#plan(rate);
    const measureFrom = plan.startAt + plan.warmUpMs;
    const collector = new RunCollector();
    const sampler = new ServerSampler(() => this.#cluster.servers(), measureFrom);
    const waiting = new Map<number, number>();
    const rows = this.#progress.rows(measureFrom, collector, () =>
      [...waiting.values()].reduce((sum, one) => sum + one, 0),
    );
    const seenEvents = this.#cluster.events.length;
    const endAt = measureFrom + (plan.durationMs ?? 0);
    const killing = this.#kill(measureFrom);
    const during = this.#during?.({ measureFrom, endAt });
    // They are waited for after the clients, which may fail first.
    for (const beside of [killing, during]) beside?.catch(() => {});
    try {
      const reports = await this.#clients.run(plan, (told) => {
        waiting.set(told.process, told.waiting);
        collector.add(told.interval);
      });
      const kill = await killing;
      await during;
      const judged =
        kill === null
          ? null
          : judgeFailover(
              kill,
              reports.map(({ gaps }) => gaps),
              { measureFrom, endAt },
            );
      const { durationMs, operations } = plan;
      return collector.finish({ rate, measureFrom, durationMs, operations }, reports, {
        servers: sampler.stop(),
        events: [
          ...(judged?.events ?? []),
          ...this.#processEvents(seenEvents, measureFrom, kill?.node ?? null),
        ].sort((a, b) => a.second - b.second),
        failover: judged?.failover ?? null,
      });
    } finally {
      sampler.stop();
      rows();
      // What it does to the cluster, it also ends.
      await during?.catch(() => {});
    }
  }

  async #kill(measureFrom: number): Promise<Kill | null> {
    const { kill, durationMs, workload, drainMs } = this.#settings;
    if (kill === null) return null;
    const { partitions } = await this.#cluster.status();
    const hotKey = new Records({ ...workload, part: 0, parts: 1 }).key(0);
    const isHot = workload.requestDistribution === 'hotkey';
    const hotPartition = isHot ? partitionOf(Buffer.from(hotKey), partitions.length) : null;
    const until = measureFrom + (durationMs ?? 0) + drainMs;
    const killing = await killDuring(this.#cluster, kill, { measureFrom, until, hotPartition });
    this.#progress.say(`killed ${killing.node}`);
    return killing;
  }

  #processEvents(from: number, measureFrom: number, killed: string | null): RunEvent[] {
    return this.#cluster.events.slice(from).flatMap(({ node, event, at, reason }): RunEvent[] => {
      const second = (at - measureFrom) / 1_000;
      if (event === 'restarted') return [{ event: 'node back', second, detail: `${node} runs again` }];
      // Its end is the mark `kill` already.
      return node === killed ? [] : [{ event: 'ended', second, detail: `${node} ${reason}` }];
    });
  }
}

async function factsOf(cluster: ClusterUnderTest): Promise<ClusterFacts> {
  const { clusterId, nodes, partitions, replicationFactor } = await cluster.status();
  const { spawned, dataDirectory } = cluster;
  return {
    ...{ clusterId, nodes: nodes.length, partitions: partitions.length, replicationFactor, spawned },
    fileSystem: dataDirectory === null ? null : fileSystemOf(dataDirectory),
    sampled: cluster.servers().map(({ name }) => name),
  };
}

/** Returns what client processes are told of the settings. */
export function jobOf(settings: Settings, url: string): Omit<Job, 'part' | 'parts'> {
  const { mode, ack, read, requestTimeoutMs, workload, operations, durationMs, warmUpMs, rate, runs } =
    settings;
  const seconds = ((durationMs ?? 0) + warmUpMs) / 1_000;
  const expectedOperations = runs * (operations ?? seconds * (rate ?? GUESSED_RATE));
  return { url, mode, ack, read, requestTimeoutMs, workload, expectedOperations, seed: settings.seed };
}

/** Settles as `work` does, or rejects with the reason of `stopped`, whichever is first. */
export async function unlessStopped<T>(work: Promise<T>, stopped: AbortSignal): Promise<T> {
  // What becomes of the work after a stop matters no more.
  work.catch(() => {});
  stopped.throwIfAborted();
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      stopped.addEventListener('abort', () => reject(stopped.reason as Error), { once: true });
    }),
  ]);
}

/**
 * Runs a benchmark. Rejects with RingkeepError, or with the reason of `stopped`. Client processes of the caller's are used as
 * many as there are, and left to it: they are warm from the experiment before. `during` goes on beside every run.
 */
export async function runExperiment(
  settings: Settings,
  progress: Progress,
  stopped: AbortSignal,
  warmClients: Clients | null = null,
  during: During | null = null,
): Promise<Experiment> {
  const startedAt = new Date();
  if (settings.url === null) progress.say('starting a cluster');
  const cluster = await (settings.url === null
    ? spawnCluster(settings.spawn, stopped)
    : attachCluster(settings.url, settings.servers));
  const clients = warmClients ?? new Clients(settings.processes);
  const course = new Course(settings, cluster, clients, progress, during);
  const work = async (): Promise<Experiment> => {
    await clients.connect(jobOf(settings, cluster.url));
    const load = settings.load ? await course.load() : null;
    return { startedAt, cluster: await factsOf(cluster), load, steps: await course.steps() };
  };
  try {
    return await unlessStopped(work(), stopped);
  } finally {
    if (warmClients === null) await clients.close();
    await cluster.stop();
  }
}
