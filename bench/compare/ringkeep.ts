/**
 * Ringkeep itself, by the harness of `ringkeep bench`: a cluster with default settings, one client process with the SDK,
 * which lives as long as the cluster: its code is compiled as it runs, as that of any program of Node.js.
 * Values are functions of their keys, and every read is checked.
 */
import { runExperiment } from '../experiment.ts';
import { Clients } from '../load/clients.ts';
import { latencyOf } from '../load/histogram.ts';
import { SILENT } from '../progress.ts';
import { type ClusterUnderTest, spawnCluster } from '../servers/cluster.ts';
import { readVersion } from '../servers/machine.ts';
import type { Settings } from '../settings.ts';
import { readParameters } from '../workload/parameters.ts';
import { type Figures, type Measurement, VALUE_BYTES } from './measurements.ts';
import type { Host, RunningSystem, SystemUnderTest } from './system.ts';

const REQUEST_MS = 10_000;
const NODES = 3;
const CLIENT_PROCESSES = 1;
const REPLICATION_FACTOR = 3;

/** Returns what a measurement is as settings of the harness. */
export function settingsOf(
  measurement: Measurement,
  { pace, seed }: Pick<Host, 'pace' | 'seed'>,
  cluster: { readonly url: string; readonly load: boolean },
): Settings {
  const isPut = measurement.operation === 'put';
  const { workload } = readParameters({
    recordcount: `${pace.records}`,
    ...{ readproportion: isPut ? '0' : '1', updateproportion: isPut ? '1' : '0' },
    ...{ requestdistribution: 'uniform', fieldcount: '1', fieldlength: `${VALUE_BYTES}` },
    dataintegrity: 'true',
  });
  return {
    ...cluster,
    ...{ spawn: {}, servers: [], workload, workloadName: null, sweep: null, kill: null },
    mode: measurement.name.startsWith('routed') ? 'routed' : 'direct',
    ...{ ack: 'quorum', read: 'linearizable', processes: CLIENT_PROCESSES, runs: 1, seed },
    ...{ warmUpMs: pace.warmUpSeconds * 1_000, durationMs: pace.seconds * 1_000, operations: null },
    // As h2load's: evenly spaced.
    ...{ rate: measurement.rate, arrival: 'fixed', inFlightMax: measurement.inFlight },
    ...{ requestTimeoutMs: REQUEST_MS, drainMs: REQUEST_MS, spin: false },
  };
}

class Ringkeep implements RunningSystem {
  readonly #host: Host;
  readonly #cluster: ClusterUnderTest;
  readonly #clients = new Clients(CLIENT_PROCESSES);
  #loaded = false;

  constructor(host: Host, cluster: ClusterUnderTest) {
    this.#host = host;
    this.#cluster = cluster;
  }

  async measure(measurement: Measurement): Promise<Figures> {
    const { url } = this.#cluster;
    const settings = settingsOf(measurement, this.#host, { url, load: !this.#loaded });
    const { stopped } = this.#host;
    const { steps } = await runExperiment(settings, SILENT, stopped, this.#clients);
    this.#loaded = true;
    const { counts, elapsedMs, throughput, all } = steps[0]!.runs[0]!;
    const { mean, p50, p99 } = latencyOf(all);
    return {
      count: counts.succeeded - counts.late,
      errors: counts.failed + counts.abandoned,
      seconds: elapsedMs / 1_000,
      ...{ throughput, mean, p50, p99 },
    };
  }

  async stop(): Promise<void> {
    await this.#clients.close();
    await this.#cluster.stop();
  }
}

/** Ringkeep, loaded by its own client. */
export const ringkeepSystem: SystemUnderTest = {
  name: 'ringkeep',
  programs: [],
  install: '',
  setting: `${NODES} nodes, replication factor ${REPLICATION_FACTOR}, default partitions, one client process; direct unless it says routed`,
  versions: () => ({ ringkeep: readVersion() }),
  start: async (host) => {
    const shape = { nodes: NODES, replicationFactor: REPLICATION_FACTOR };
    return new Ringkeep(host, await spawnCluster(shape, host.stopped, host.directory));
  },
};
