/**
 * A storage node as the controller sees it: promises, logs of (epoch, serial) entries, reports. It keeps the node side of
 * the controller's DESIGN.md; replication is done by `ScriptedCluster` in one piece. Logs are exact, so the cluster can
 * check that no committed entry is ever missing from an established leader.
 */
import { mayCreateReplica } from '../../src/common/replica-id.ts';
import type { PartitionRecord, Replica, Topology } from '../../src/common/topology.ts';
import type {
  Prepare,
  ReplicaReport,
  ReplicaState,
  Seal,
  SealReply,
} from '../../src/common/wire/messages.ts';
import { neverLed } from '../../src/router/controller/record-rules.ts';

/** An entry: its epoch and a number unique in the test. */
export interface Entry {
  readonly epoch: number;
  readonly serial: number;
}

/** One replica's state; everything but `led*`, `paused` and levels is durable. */
export interface FakeReplica {
  readonly id: string;
  readonly partition: number;
  promiseEpoch: number;
  reservationId: string;
  configuration: number;
  voters: readonly Replica[];
  previousVoters: readonly Replica[];
  log: Entry[];
  commitIndex: number;
  damaged: boolean;
  ledEpoch: number;
  established: boolean;
  paused: boolean;
  levelTarget: string;
  levelLearners: string[];
}

export class ScriptedNode {
  readonly id: string;
  zone: string;
  incarnation: string;
  boot = 1;
  up = true;
  draining = false;
  diskFull = false;
  /** Started to join a cluster that exists. */
  joins = false;
  /** Requests per second of the partitions that it leads. */
  loadOf: (partition: number) => number = () => 0;
  clusterId = '';
  known: Topology | null = null;
  replicas = new Map<number, FakeReplica>();
  /** Dropped by this run. */
  removed: FakeReplica[] = [];
  /** Seals are heard but not answered. */
  deaf = false;
  /** Neither heartbeats nor anything else leaves, but the stream stays up. */
  stalled = false;
  private used = new Set<string>();

  constructor(id: string, zone: string) {
    this.id = id;
    this.zone = zone;
    this.incarnation = `${id}i1`;
  }

  restart(): void {
    this.boot += 1;
    this.used = new Set();
    this.removed = [];
    this.up = true;
    for (const replica of this.replicas.values()) stopLeading(replica);
  }

  wipe(): void {
    this.incarnation += 'x';
    this.boot = 0;
    this.replicas.clear();
    this.known = null;
    this.clusterId = '';
  }

  /** Takes a full topology or a change; creates and drops replicas. */
  push(topology: Topology): void {
    this.clusterId = topology.clusterId;
    const records = new Map((this.known?.records ?? []).map((record) => [record.partition, record]));
    for (const record of topology.records) {
      const known = records.get(record.partition);
      if (known !== undefined && (known.epoch > record.epoch || known.revision >= record.revision)) continue;
      records.set(record.partition, record);
      this.follow(record);
    }
    const acks = topology.acks ?? this.known?.acks ?? null;
    this.known = { ...topology, acks, full: true, records: [...records.values()] };
  }

  private follow(record: PartitionRecord): void {
    const named = [...record.voters, ...record.previousVoters, ...record.learners];
    const held = this.replicas.get(record.partition);
    const settled = record.established && record.previousVoters.length === 0;
    if (held !== undefined && settled && !named.some((replica) => replica.id === held.id)) {
      this.replicas.delete(record.partition);
      this.removed.push(held);
    }
    const creatable = neverLed(record) ? [...record.learners, ...record.voters] : record.learners;
    for (const { id } of creatable) {
      const present = this.replicas.get(record.partition);
      if (present !== undefined && !present.damaged) continue;
      if (this.used.has(id) || !mayCreateReplica(id, { node: this.id, ...this.run() })) continue;
      this.used.add(id);
      this.replicas.set(record.partition, emptyReplica(id, record.partition));
    }
    const replica = this.replicas.get(record.partition);
    if (replica === undefined) return;
    if (record.leader?.replica === replica.id && record.leader.boot === this.boot) this.lead(replica, record);
    else if (replica.ledEpoch !== 0 && record.epoch > replica.ledEpoch) stopLeading(replica);
  }

  private run(): { incarnation: string; boot: number } {
    return { incarnation: this.incarnation, boot: this.boot };
  }

  private lead(replica: FakeReplica, record: PartitionRecord): void {
    if (replica.promiseEpoch > record.epoch || replica.ledEpoch === record.epoch || replica.damaged) return;
    stopLeading(replica);
    replica.promiseEpoch = record.epoch;
    replica.ledEpoch = record.epoch;
    replica.log.push({ epoch: record.epoch, serial: nextSerial() });
  }

  /** Answers a Seal as DESIGN section 5 demands; null when it says nothing. */
  seal(seal: Seal): SealReply | null {
    const replica = this.replicas.get(seal.partition);
    if (replica === undefined || replica.id !== seal.replica || replica.damaged) return null;
    const last = replica.log.at(-1);
    const again =
      seal.epoch === replica.promiseEpoch &&
      seal.reservationId === replica.reservationId &&
      last?.epoch !== seal.epoch;
    const accepted = seal.epoch > replica.promiseEpoch || again;
    if (accepted) {
      const { epoch: promiseEpoch, reservationId, configuration, voters, previousVoters } = seal;
      Object.assign(replica, { promiseEpoch, reservationId, configuration, voters, previousVoters });
      stopLeading(replica);
    }
    return {
      partition: seal.partition,
      replica: seal.replica,
      boot: this.boot,
      epoch: seal.epoch,
      reservationId: seal.reservationId,
      accepted,
      promiseEpoch: replica.promiseEpoch,
      lastEpoch: last?.epoch ?? 0,
      lastIndex: replica.log.length,
    };
  }

  prepare(prepare: Prepare): void {
    const replica = this.replicas.get(prepare.partition);
    if (replica === undefined || replica.ledEpoch !== prepare.epoch) return;
    replica.paused = true;
    replica.levelTarget = `?${prepare.target}`;
  }

  reports(): ReplicaReport[] {
    return [...this.removed, ...this.replicas.values()].map((replica) => {
      const { log, damaged, ...rest } = replica;
      const held: ReplicaState = damaged ? 'damaged' : replica.ledEpoch > 0 ? 'leader' : 'follower';
      const state = this.removed.includes(replica) ? 'removed' : held;
      const { id, levelTarget, ...durable } = rest;
      return {
        ...durable,
        replica: id,
        state,
        lastEpoch: log.at(-1)?.epoch ?? 0,
        lastIndex: log.length,
        durableEpoch: log.at(-1)?.epoch ?? 0,
        appliedIndex: replica.commitIndex,
        levelTarget: levelTarget.startsWith('?') ? '' : levelTarget,
        levelLearners: [...replica.levelLearners],
      };
    });
  }
}

let serial = 0;
/** Returns a number never returned before. */
export function nextSerial(): number {
  serial += 1;
  return serial;
}

export function stopLeading(replica: FakeReplica): void {
  replica.ledEpoch = 0;
  replica.established = false;
  replica.paused = false;
  replica.levelTarget = '';
  replica.levelLearners = [];
}

function emptyReplica(id: string, partition: number): FakeReplica {
  return {
    id,
    partition,
    promiseEpoch: 0,
    reservationId: '',
    configuration: 0,
    voters: [],
    previousVoters: [],
    log: [],
    commitIndex: 0,
    damaged: false,
    ledEpoch: 0,
    established: false,
    paused: false,
    levelTarget: '',
    levelLearners: [],
  };
}
