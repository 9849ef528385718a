/**
 * The course of growth: for every dimension its points, smallest first, each a run of puts and a run of gets on a cluster of
 * its own, or on one that grows with it. What fails is noted, and the next point starts anew.
 * INVARIANT: one cluster runs at a time, and none is left, nor its directory, whatever happens.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { askStorage } from '#src/cli/status.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { describe } from '#src/common/failure.ts';
import { jobOf, runExperiment, unlessStopped } from '../experiment.ts';
import { Clients } from '../load/clients.ts';
import { monotonicMs } from '../load/monotonic.ts';
import { SILENT } from '../progress.ts';
import type { RunResult } from '../report/run-result.ts';
import { type ClusterUnderTest, spawnCluster } from '../servers/cluster.ts';
import type { Settings } from '../settings.ts';
import { readParameters } from '../workload/parameters.ts';
import type { Dimension, Point, Size } from './dimensions.ts';
import { figuresOf, type MeasuredPoint, type WorstStorage, worstOf } from './figures.ts';

/** How everything is measured. */
export interface Pace {
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly processes: number;
}

/** What the measurements run on and tell. */
export interface Host {
  readonly pace: Pace;
  /** Where the directories of the clusters are made. */
  readonly directory: string;
  readonly stopped: AbortSignal;
  say(text: string): void;
}

/** A point that could not be measured. */
export interface PointFailure {
  readonly x: number;
  readonly message: string;
}

const REQUEST_MS = 10_000;
/** Of 100 bytes: enough to make large groups, far from what a client may hold. */
const LOAD_IN_FLIGHT = 1_024;
/** Larger records are loaded with fewer at once. */
const LOAD_BYTES_IN_FLIGHT = 8 * 1024 * 1024;
/** Progress of a load is told this often. */
const TELL_MS = 10_000;
const REPLICATION_FACTOR = 3;

/** Returns a run at a size as settings of the harness; `putShare` of the operations are puts, the others gets. */
export function settingsOf(
  { records, valueBytes, inFlight }: Size,
  pace: Pace,
  putShare: number,
  url: string,
): Settings {
  const { workload } = readParameters({
    recordcount: `${records}`,
    ...{ readproportion: `${1 - putShare}`, updateproportion: `${putShare}` },
    ...{ requestdistribution: 'uniform', fieldcount: '1', fieldlength: `${valueBytes}` },
  });
  return {
    ...{ url, load: false, spawn: {}, servers: [], workload, workloadName: null, sweep: null, kill: null },
    ...{ mode: 'direct', ack: 'quorum', read: 'linearizable', processes: pace.processes, runs: 1, seed: 1 },
    ...{ warmUpMs: pace.warmUpSeconds * 1_000, durationMs: pace.seconds * 1_000, operations: null },
    ...{ rate: null, arrival: 'poisson', inFlightMax: inFlight, spin: false },
    ...{ requestTimeoutMs: REQUEST_MS, drainMs: REQUEST_MS },
  };
}

/** A cluster with its clients, and how many records it has. */
export class Session {
  readonly #host: Host;
  readonly #cluster: ClusterUnderTest;
  readonly #directory: string;
  readonly #clients: Clients;
  #loaded = 0;

  private constructor(host: Host, cluster: ClusterUnderTest, directory: string) {
    this.#host = host;
    this.#cluster = cluster;
    this.#directory = directory;
    this.#clients = new Clients(host.pace.processes);
  }

  /** Starts a cluster of that size, without records. Rejects with what prevents it, and leaves nothing then. */
  static async open({ nodes, partitions }: Size, host: Host): Promise<Session> {
    const directory = join(host.directory, 'cluster');
    mkdirSync(directory);
    const shape = { nodes, partitions, replicationFactor: REPLICATION_FACTOR };
    try {
      return new Session(host, await spawnCluster(shape, host.stopped, directory), directory);
    } catch (error) {
      removeDirectory(directory);
      throw error;
    }
  }

  /** Writes the records that a size has and the cluster has not; resolves with what that took, null if it was nothing. */
  async load(size: Size): Promise<MeasuredPoint['load']> {
    const from = this.#loaded;
    if (from >= size.records) return null;
    const startedAt = monotonicMs();
    const { url } = this.#cluster;
    await this.#unlessStopped(this.#clients.connect(jobOf(settingsOf(size, this.#host.pace, 1, url), url)));
    const fitting = Math.max(1, Math.floor(LOAD_BYTES_IN_FLIGHT / size.valueBytes));
    let told = startedAt;
    const tell = (loaded: number): void => {
      if (monotonicMs() - told < TELL_MS) return;
      told = monotonicMs();
      this.#host.say(`  loaded ${from + loaded} of ${size.records} records`);
    };
    const inFlight = Math.min(LOAD_IN_FLIGHT, fitting);
    const records = await this.#unlessStopped(this.#clients.load(inFlight, tell, from));
    this.#loaded = size.records;
    return { records, seconds: (monotonicMs() - startedAt) / 1_000 };
  }

  /** Runs a load at a size; `putShare` of the operations are puts. */
  async run(size: Size, putShare: number, pace: Pace = this.#host.pace): Promise<RunResult> {
    const settings = settingsOf(size, pace, putShare, this.#cluster.url);
    const { steps } = await runExperiment(settings, SILENT, this.#host.stopped, this.#clients);
    return steps[0]!.runs[0]!;
  }

  /** Asks the nodes what their storage has cost since they started. */
  async storage(): Promise<WorstStorage | null> {
    const { nodes } = await this.#unlessStopped(this.#cluster.status());
    return worstOf([...(await askStorage(nodes, REQUEST_MS)).values()]);
  }

  /** Ends the cluster and its clients, and removes its data. */
  async close(): Promise<void> {
    try {
      await this.#clients.close();
      await this.#cluster.stop();
    } finally {
      removeDirectory(this.#directory);
    }
  }

  #unlessStopped<T>(work: Promise<T>): Promise<T> {
    return unlessStopped(work, this.#host.stopped);
  }
}

function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
}

/** Returns an error in words. */
export function messageOf(error: unknown): string {
  if (error instanceof RingkeepError) return describe(error);
  return error instanceof Error ? error.message : String(error);
}

async function measure(session: Session, point: Point): Promise<MeasuredPoint> {
  const load = await session.load(point);
  const puts = figuresOf(await session.run(point, 1));
  const gets = figuresOf(await session.run(point, 0));
  const storage = await session.storage();
  const { x, records, valueBytes, partitions, nodes, inFlight } = point;
  return { x, records, valueBytes, partitions, nodes, inFlight, load, puts, gets, storage };
}

/** Measures the points of a dimension; `measured` is told of each. Rejects only when stopped. */
export async function growAlong(
  points: readonly Point[],
  host: Host,
  measured: (dimension: Dimension, point: MeasuredPoint) => void,
): Promise<PointFailure[]> {
  const failures: PointFailure[] = [];
  let session: Session | null = null;
  const end = async (): Promise<void> => {
    const ending = session;
    session = null;
    await ending?.close();
  };
  try {
    for (const point of points) {
      host.stopped.throwIfAborted();
      try {
        if (!point.goesOn) await end();
        session ??= await Session.open(point, host);
        measured(point.dimension, await measure(session, point));
      } catch (error) {
        host.stopped.throwIfAborted();
        await end();
        failures.push({ x: point.x, message: messageOf(error) });
        host.say(`${point.dimension} ${point.x} failed: ${messageOf(error)}`);
      }
    }
    return failures;
  } finally {
    await end();
  }
}
