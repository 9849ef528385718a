/**
 * What a chaos run needs of the cluster that it works on, whether it is of the run's own making (own-cluster.ts) or somebody
 * else's that runs already (running-cluster.ts). Faults ask for the kind of cluster that they can be made in (fault.ts).
 * What is not to be had of a cluster is null here, so that nothing is claimed of it.
 */
import type { Topology } from '../common/topology.ts';
import type { FaultDriver } from './fault.ts';

/** A process of a cluster. */
export interface Member {
  readonly name: string;
  readonly address: string;
  /** 0: it does not run, or is not a process of this machine. */
  readonly pid: number;
}

/** What a process writes down of itself. */
export interface Journal {
  logLines(): Promise<Record<string, unknown>[]>;
  /** Lines with this event. */
  logged(event: string): Promise<Record<string, unknown>[]>;
}

/** A cluster, as far as workloads and figures must know it. */
export interface ChaosCluster {
  /** For `connect`: through the router. */
  readonly url: string;
  readonly router: Member;
  readonly nodes: readonly Member[];
  /** Those that clients reach. */
  readonly processes: readonly Member[];
  /** HOST:PORT of the nodes, for clients that go to leaders directly; none: they are not reached from here. */
  readonly nodeAddresses: readonly string[];
  /** All processes are of this machine: they have one clock, and their memory can be seen. */
  readonly oneMachine: boolean;
  /** Of every process; null: nobody can read them. */
  readonly journals: readonly Journal[] | null;
  topology(): Promise<Topology>;
}

/** How large a cluster is. */
export interface ClusterSize {
  readonly nodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
}

/** What sees to it that a cluster comes back after faults. */
export interface Recovery {
  /** A fault is on. */
  begins(target: string, driver: Pick<FaultDriver, 'family' | 'destroys'>): void;
  /** Returns what processes did since this was asked last that no fault explains which was on meanwhile. The faults are over. */
  unexplained(): string[];
  /**
   * Waits until every replica is whole; faults that were on are over then. Resolves with how long that took, ms. Rejects with
   * RingkeepError NOT_READY if it is not within the time.
   */
  whole(timeoutMs: number): Promise<number>;
  /**
   * Scrubs until all replicas agree and every bad one has been replaced. Resolves with how many were bad. Rejects with RingkeepError
   * NOT_READY if that does not come about.
   */
  scrub(): Promise<number>;
}

/** What differs between replicas. */
export interface Difference {
  /** The first key that they hold different things of; null: none of those that are known. */
  readonly key: string | null;
  readonly text: string;
}

/** What a comparison of all replicas has shown. */
export interface Comparison {
  readonly problems: readonly Difference[];
  /** Partitions of which it came to no answer, though nothing is wrong that is known. */
  readonly open: number;
}

/** A cluster, and what a run may do with it. */
export interface Target<C extends ChaosCluster> {
  readonly cluster: C;
  readonly recovery: Recovery;
  readonly size: ClusterSize;
  /** Where the run writes; empty: in the default keyspace. */
  readonly keyspace: string;
  /** Of its data and logs; empty: they are somebody else's. */
  readonly directory: string;
  /** Resolves when it is ready and whole. Rejects with RingkeepError. */
  begin(): Promise<void>;
  /** Takes away what faults may have left between the processes. */
  heal(): void;
  /** Compares all replicas. The load has ended. `keys`: in which to look for what differs. */
  compare(keys: Iterable<string>): Promise<Comparison>;
  /**
   * Leaves nothing of the run behind, but for what tells why something was `broken`. Idempotent. Resolves with what is left; empty:
   * nothing.
   */
  end(broken: boolean): Promise<string>;
}
