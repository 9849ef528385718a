/**
 * The topology: which replicas vote on a partition, who leads it in which epoch, and where the nodes are.
 * It is written by the controller alone, by compare-and-swap on a record's revision, and pushed to everybody.
 * INVARIANT: `leader` is written once per epoch and never cleared within it (DESIGN section 5).
 * These shapes are also the wire messages of proto/ringkeep.proto (`Topology`, `PartitionRecord`, `NodeRecord`).
 */

/** A replica: `id` is fresh for every join, wipe or damage and never reused; `node` is where it lives. */
export interface Replica {
  readonly id: string;
  readonly node: string;
}

/** The process run that leads: a restarted process (another `boot`) is another leader. */
export interface Leader {
  readonly replica: string;
  readonly node: string;
  readonly boot: number;
}

/** The configuration record of one partition. `configuration` names `voters`; see DESIGN.md section 5 for the rules. */
export interface PartitionRecord {
  readonly partition: number;
  /** Compare-and-swap version, from 1. */
  readonly revision: number;
  readonly epoch: number;
  readonly reservationId: string;
  readonly configuration: number;
  readonly voters: readonly Replica[];
  /** Empty when there are none. */
  readonly previousVoters: readonly Replica[];
  /** Whether a leader was ever recorded for `voters`. */
  readonly led: boolean;
  readonly learners: readonly Replica[];
  readonly leader: Leader | null;
  /** The recorded leader has committed an entry of `epoch`. */
  readonly established: boolean;
}

/** A storage node as the controller knows it. `boot` counts process starts on one data directory (`incarnation`). */
export interface NodeRecord {
  readonly id: string;
  readonly incarnation: string;
  readonly boot: number;
  /** HOST:PORT for other nodes and routers. */
  readonly address: string;
  /** HOST:PORT for clients. */
  readonly clientAddress: string;
  readonly zone: string;
  readonly alive: boolean;
  /** Why the failure detector thinks so; empty while alive. */
  readonly reason: string;
  readonly pid: number;
  /** Random id of the process run: no two share one, also where an old copy of a directory counts its boots again. */
  readonly run: string;
  /** The last runs of other data directories that this node has used, newest first; FORMER_RUNS_MAX at most. */
  readonly formerRuns: readonly FormerRun[];
  /** Absent: NODE_MEMBER. */
  readonly membership?: Membership;
}

/** Whether a node is given replicas: a member is, a leaving one gives all of its own away, one that is gone was forgotten. */
export type Membership = 'NODE_MEMBER' | 'NODE_LEAVING' | 'NODE_GONE';

/** Takes a node's record over into what is known of nodes; one that was forgotten is dropped. */
export function noteNode(nodes: Map<string, NodeRecord>, node: NodeRecord): void {
  if (node.membership === 'NODE_GONE') nodes.delete(node.id);
  else nodes.set(node.id, node);
}

/** How replicas are moved: part of the cluster's configuration, changeable at any time. */
export interface MoveSettings {
  /** What a node sends, and what it takes, for copies of replicas at most. */
  readonly bytesPerSecond: number;
  /** Moves that a node takes part in at a time, as the one that sends a replica, its partition's leader, or the one that gets it. */
  readonly perNode: number;
  /** A node that was not heard of for so long is lost: others take its replicas over, s; 0: never. */
  readonly lostAfterSeconds: number;
  /** Whether moves begin by themselves once nodes have come, leave or are lost. */
  readonly automatic: boolean;
}

/** What holds where nobody has set anything. */
export const MOVE_SETTINGS: MoveSettings = {
  bytesPerSecond: 16 * 1024 * 1024,
  perNode: 2,
  lostAfterSeconds: 300,
  automatic: true,
};

/** The last run of a data directory that its node does not use at present. */
export interface FormerRun {
  readonly incarnation: string;
  readonly boot: number;
  readonly run: string;
}

/** An acknowledgement level by its wire name (`Ack`). */
export type AckLevel = 'ACK_QUORUM' | 'ACK_LEADER' | 'ACK_ALL';

/** Part of the cluster's configuration: at which level writes are acknowledged that name none. */
export interface AckDefaults {
  readonly cluster: AckLevel;
  /** Keyspaces with a default of their own, sorted by name; ACK_KEYSPACES_MAX at most. */
  readonly keyspaces: readonly KeyspaceAck[];
}

/** The default of one keyspace. */
export interface KeyspaceAck {
  readonly keyspace: string;
  readonly ack: AckLevel;
}

/** What holds where nobody has set anything. */
export const ACK_DEFAULTS: AckDefaults = { cluster: 'ACK_QUORUM', keyspaces: [] };

/** A whole topology (`full`) or the records that changed. `revision` grows with every change of any record. */
export interface Topology {
  readonly clusterId: string;
  readonly revision: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly full: boolean;
  readonly nodes: readonly NodeRecord[];
  readonly records: readonly PartitionRecord[];
  /** None: in a change, as before; in a full topology, those of `ACK_DEFAULTS`. */
  readonly acks?: AckDefaults | null;
  /** None: in a change, as before; in a full topology, `MOVE_SETTINGS`. */
  readonly moves?: MoveSettings | null;
}

/** Returns the number of replicas that make a quorum of `voters` voters. */
export function quorumSize(voters: number): number {
  return Math.floor(voters / 2) + 1;
}
