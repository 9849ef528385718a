/**
 * A cluster of the run's own: it is started, its processes are ended and started again by the run alone, and nothing of it is left.
 */
import { type ProcessCluster, prepareProcesses } from './cluster.ts';
import { equalReplicas } from './equal.ts';
import { STALL_HOOK } from './faults/processes.ts';
import { OwnRecovery } from './recovery.ts';
import type { ClusterSize, Comparison, Target } from './target.ts';

/** Nodes that may join. */
const SPARES = 2;
/** All replicas have to be equal within this after the load has ended, ms. */
const EQUAL_MS = 10_000;

const MIB = 1024 * 1024;
/**
 * A run writes little: what else comes with GiB of data comes in it all the time, checkpoints, tables, and snapshots for who has been
 * away for longer than the log reaches back.
 */
const NODE_FLAGS = [
  ...['--checkpoint-bytes', `${MIB}`, '--wal-segment-bytes', `${MIB}`, '--wal-retention-bytes', `${2 * MIB}`],
  ...['--scrub-bytes-per-second', `${64 * MIB}`],
];

/** What of a run's own cluster may be chosen. */
export interface OwnOptions extends ClusterSize {
  readonly seed: number;
  /** Keeps the data and the logs. */
  readonly keep: boolean;
}

class OwnTarget implements Target<ProcessCluster> {
  readonly cluster: ProcessCluster;
  readonly recovery: OwnRecovery;
  readonly size: ClusterSize;
  readonly keyspace = '';
  readonly directory: string;
  private readonly keep: boolean;

  constructor(cluster: ProcessCluster, { nodes, partitions, replicationFactor, keep }: OwnOptions) {
    this.cluster = cluster;
    this.recovery = new OwnRecovery(cluster);
    this.size = { nodes, partitions, replicationFactor };
    this.directory = cluster.directory;
    this.keep = keep;
  }

  async begin(): Promise<void> {
    await this.cluster.start();
    await this.cluster.whenHealthy();
  }

  heal(): void {
    this.cluster.links?.heal();
  }

  async compare(keys: Iterable<string>): Promise<Comparison> {
    return { problems: await equalReplicas(this.cluster, this.size.partitions, EQUAL_MS, keys), open: 0 };
  }

  async end(broken: boolean): Promise<string> {
    await this.cluster.stop({ keep: this.keep || broken });
    if (this.keep || !broken) return '';
    for (const process of this.cluster.processes) await process.wipe();
    return `the logs of its processes are in ${this.directory}`;
  }
}

/** Prepares a cluster of the run's own, with a proxy in the place of every link. `end` of what it resolves with stops it. */
export async function ownCluster(options: OwnOptions): Promise<Target<ProcessCluster>> {
  const { nodes, partitions, replicationFactor, seed } = options;
  const { keep } = options;
  const shape = {
    nodes,
    spares: SPARES,
    partitions,
    replicationFactor,
    links: true,
    seed,
    keep,
    nodeFlags: NODE_FLAGS,
  };
  const cluster = await prepareProcesses(shape);
  for (const process of [...cluster.processes, ...cluster.spares])
    process.surround(({ file, args, env }) => ({ file, args: ['--import', STALL_HOOK, ...args], env }));
  return new OwnTarget(cluster, options);
}
