/**
 * What goes into and comes out of the controller core: store entries, options, inputs, effects, status.
 * The shell translates: streams to nodes, the topology store, timers, logs. No decisions here.
 */
import type {
  AckDefaults,
  AckLevel,
  MoveSettings,
  NodeRecord,
  PartitionRecord,
  Topology,
} from '../../common/topology.ts';
import type { Prepare, Register, ReplicaReport, Seal } from '../../common/wire/messages.ts';
import type { DetectorOptions } from '../failure-detector.ts';
import type { VoterMove } from '../placement.ts';

/** The record under the key `cluster`, written last when the cluster is formed; later only its configuration changes. */
export interface ClusterRecord {
  readonly clusterId: string;
  readonly partitions: number;
  /** Voters that each partition is to have; at first as many as there were nodes for. */
  readonly replicationFactor: number;
  /** None, as in records of earlier versions: `ACK_DEFAULTS`. */
  readonly acks?: AckDefaults | null;
  /** None, as in records of earlier versions: `MOVE_SETTINGS`. */
  readonly moves?: MoveSettings | null;
  /** The last plan of moves; none: there was none yet. A field, since earlier versions start on no store with a key they do not know. */
  readonly rebalance?: RebalanceRecord | null;
}

/** What moves of replicas are to lead to: `replicationFactor` voters of each partition on these nodes, by `placement.ts`. */
export interface Goal {
  readonly replicationFactor: number;
  /** Sorted by id. */
  readonly nodes: readonly { readonly id: string; readonly zone: string }[];
}

/**
 * The last plan of moves, a field of the cluster's record. How far it is, the partitions' records tell, so that any controller can go on
 * with it.
 */
export interface RebalanceRecord {
  readonly id: string;
  /** `aborting`: nothing is begun any more, what is under way ends or is taken back. */
  readonly state: 'running' | 'aborting' | 'done' | 'aborted';
  /** Why it was made, for people. */
  readonly reason: string;
  readonly goal: Goal;
  /** In this order, as far as they are of one partition. */
  readonly moves: readonly VoterMove[];
}

/** Keys of the topology store: `cluster`, `node/<id>`, `partition/<n>`. */
export type StoreKey = 'cluster' | `node/${string}` | `partition/${number}`;

/** One key of the store. `revision` grows with every write of the key, from 1; a partition record carries its own. */
export type StoreEntry =
  | { readonly key: 'cluster'; readonly revision: number; readonly value: ClusterRecord }
  | { readonly key: `node/${string}`; readonly revision: number; readonly value: NodeRecord }
  | { readonly key: `partition/${number}`; readonly revision: number; readonly value: PartitionRecord };

/** One compare-and-swap: write `entry` (with its new revision) if the key is at `expectedRevision`; 0: absent. */
export interface StoreChange {
  readonly expectedRevision: number;
  readonly entry: StoreEntry;
}

/** All of `changes` or none. The answer goes to `Controller.casResult` with the same tag. */
export interface CasEffect {
  readonly tag: number;
  readonly changes: readonly StoreChange[];
}

/** A linearizable read of keys. The answer goes to `Controller.readResult` with the same tag. */
export interface ReadEffect {
  readonly tag: number;
  readonly keys: readonly StoreKey[];
}

/** `unknown`: it may take effect, have taken effect, or never will; the core reads back. */
export type CasOutcome = 'ok' | 'conflict' | 'unknown';

/** A structured log line: `event` names it; the rest is flat. */
export interface ControllerEvent {
  readonly event: string;
  readonly level: 'info' | 'warn' | 'error';
  readonly [field: string]: string | number | boolean;
}

/** Why a node's stream is ended. UNAVAILABLE: it may attach again; the others are final for its process. */
export type RejectionCode = 'WRONG_CLUSTER' | 'ROLLED_BACK' | 'UNAVAILABLE';

/** What the shell has to do, in any order. Drained by `Controller.take`. */
export interface Effects {
  readonly cas: readonly CasEffect[];
  readonly reads: readonly ReadEffect[];
  readonly seals: readonly { readonly node: string; readonly seal: Seal }[];
  readonly prepares: readonly { readonly node: string; readonly prepare: Prepare }[];
  /** Records that changed, for everybody; null when none did. Only what the store has confirmed. */
  readonly push: Topology | null;
  /** Nodes to be told a failure and cut off. */
  readonly rejections: readonly {
    readonly node: string;
    readonly code: RejectionCode;
    readonly message: string;
  }[];
  readonly events: readonly ControllerEvent[];
}

/** A node's first message on its control stream, and what the shell knows of it. `reports` holds all of its replicas. */
export interface NodeAttachment {
  readonly incarnation: string;
  readonly boot: number;
  readonly register: Register;
  /** The cluster the node belongs to; empty before it has joined one. */
  readonly clusterId: string;
  readonly reports: readonly ReplicaReport[];
  /** The last topology the node was pushed, or null. */
  readonly knownTopology: Topology | null;
}

/** How a new cluster is made. */
export interface BootstrapOptions {
  /** Number of nodes to wait for before the cluster is formed. */
  readonly initialNodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  /** At which level writes are acknowledged that name none; absent: ACK_QUORUM. */
  readonly ack?: AckLevel;
  /** How replicas are moved; absent: MOVE_SETTINGS. */
  readonly moves?: MoveSettings;
}

/** Times in ms. Defaults in `CONTROLLER_DEFAULTS`. */
export interface ControllerOptions {
  readonly bootstrap: BootstrapOptions;
  readonly detector: Partial<DetectorOptions>;
  /** First and longest pause between two Seals to a silent replica, and between two Prepares. */
  readonly resendMs: number;
  readonly resendMsMax: number;
  /** After a quorum of each set has answered, how long the others are waited for. */
  readonly sealGraceMs: number;
  /** A recorded leader that does not lead within this is failed over. */
  readonly ledMs: number;
  /** One that leads but has committed nothing within this is failed over; doubled with every failure in a row. */
  readonly establishMs: number;
  readonly establishMsMax: number;
  /** A reconfiguration that is not established within this is reverted. */
  readonly reconfigureMs: number;
  /** A planned change's target has this long to become level, then the old leader this long to answer the Seal. */
  readonly prepareMs: number;
  readonly requiredSealMs: number;
  /** A leader that is paused for this long without a plan of ours was forgotten by another controller. */
  readonly resumeMs: number;
  /** First and longest pause after a failed planned change of a partition. */
  readonly planBackoffMs: number;
  readonly planBackoffMsMax: number;
  /** Longest pause before something is copied to a node again whose disk got full. */
  readonly fullBackoffMsMax: number;
  /** The cluster has been quiet for this long before leaders are balanced. */
  readonly balanceAfterMs: number;
  /** All leaders have led for this long before they are balanced by the requests that they take, and so many per second make it worth while. */
  readonly loadSteadyMs: number;
  readonly loadLeast: number;
  /** Nodes have neither come nor gone for this long before moves are planned by themselves. */
  readonly settleMs: number;
  /** Between two looks at whether anything is to be moved, and before a move whose target is away is given up. */
  readonly planEveryMs: number;
  /** Moves in one plan; what is left comes in the next one. */
  readonly planMovesMax: number;
  /** Planned changes at the same time, for balance and repairs, and for drains. */
  readonly plannedMax: number;
  readonly drainMax: number;
  /** Before a failed read of the store is repeated. */
  readonly storeRetryMs: number;
  /** Keys in one compare-and-swap while the cluster is formed (etcd allows 128 operations). */
  readonly bootstrapChunk: number;
}

/** Why a partition has no established leader, or the empty text. */
export interface PartitionStatus {
  readonly partition: number;
  readonly phase: 'reserving' | 'revoking' | 'propagating' | 'established' | 'preparing' | 'rebuilding';
  readonly unavailable: string;
}

/** Where the controller as a whole is. */
export type Mode = 'starting' | 'waiting' | 'forming' | 'active' | 'fatal';

/** For operators: /status, the CLI, health. */
export interface ControllerStatus {
  readonly mode: Mode;
  /** What is being waited for; empty when nothing is. */
  readonly waitingFor: string;
  readonly partitions: readonly PartitionStatus[];
  readonly nodes: readonly {
    readonly id: string;
    readonly alive: boolean;
    readonly reason: string;
    readonly phi: number;
    readonly draining: boolean;
    readonly diskFull: boolean;
    readonly leaders: number;
  }[];
}
