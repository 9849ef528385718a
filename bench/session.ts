/**
 * A throw-away cluster with its client processes, for programs that measure one load after the other on it: started, loaded
 * with what it lacks, put under load, ended. What is measured, and why, is the programs' own.
 * INVARIANT: nothing is left of it after `close`, nor after an `open` that fails.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { askStorage, type StorageByNode } from '#src/cli/status.ts';
import { type During, jobOf, runExperiment, unlessStopped } from './experiment.ts';
import { Clients } from './load/clients.ts';
import { monotonicMs } from './load/monotonic.ts';
import { SILENT } from './progress.ts';
import type { RunResult } from './report/run-result.ts';
import { type ClusterUnderTest, spawnCluster } from './servers/cluster.ts';
import type { Settings } from './settings.ts';
import { readParameters } from './workload/parameters.ts';

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

/** A cluster and its load. */
export interface Size {
  /** Records that are there when it is measured. */
  readonly records: number;
  readonly valueBytes: number;
  /** Of the cluster; on three nodes with three copies, each node has as many replicas. */
  readonly partitions: number;
  readonly nodes: number;
  /** Operations in flight over all client processes. */
  readonly inFlight: number;
  /** Further flags of its nodes. */
  readonly nodeArgs?: readonly string[];
}

/** What a load has written. */
export interface Loaded {
  readonly records: number;
  readonly seconds: number;
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
  readonly cluster: ClusterUnderTest;
  readonly #directory: string;
  readonly #clients: Clients;
  #loaded = 0;

  private constructor(host: Host, cluster: ClusterUnderTest, directory: string) {
    this.#host = host;
    this.cluster = cluster;
    this.#directory = directory;
    this.#clients = new Clients(host.pace.processes);
  }

  /** Starts a cluster of that size, without records. Rejects with what prevents it, and leaves nothing then. */
  static async open({ nodes, partitions, nodeArgs = [] }: Size, host: Host): Promise<Session> {
    const directory = join(host.directory, 'cluster');
    mkdirSync(directory);
    const shape = { nodes, partitions, replicationFactor: REPLICATION_FACTOR };
    try {
      return new Session(host, await spawnCluster(shape, host.stopped, directory, nodeArgs), directory);
    } catch (error) {
      removeDirectory(directory);
      throw error;
    }
  }

  /** Writes the records that a size has and the cluster has not; resolves with what that took, null if it was nothing. */
  async load(size: Size): Promise<Loaded | null> {
    const from = this.#loaded;
    if (from >= size.records) return null;
    const startedAt = monotonicMs();
    const { url } = this.cluster;
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

  /** Runs a load at a size; `putShare` of the operations are puts. `during` goes on beside it. */
  async run(
    size: Size,
    putShare: number,
    changes: Partial<Settings> = {},
    during: During | null = null,
  ): Promise<RunResult> {
    const settings = { ...settingsOf(size, this.#host.pace, putShare, this.cluster.url), ...changes };
    const { steps } = await runExperiment(settings, SILENT, this.#host.stopped, this.#clients, during);
    return steps[0]!.runs[0]!;
  }

  /** Asks the nodes what their storage has cost since they started. */
  async storage(): Promise<StorageByNode> {
    const { nodes } = await this.#unlessStopped(this.cluster.status());
    return askStorage(nodes, REQUEST_MS);
  }

  /** Ends the cluster and its clients, and removes its data. */
  async close(): Promise<void> {
    try {
      await this.#clients.close();
      await this.cluster.stop();
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
