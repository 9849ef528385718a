/**
 * Which replicas this node holds: brings them back after a restart, makes a new one when a record names it, drops one
 * when an established record without previous voters no longer does (DESIGN.md section 5, "Removal").
 * INVARIANT: an empty replica is created only under an id minted for this very process run, and once (replica-id.ts).
 */

import { NO_BYTES } from '../../common/bytes.ts';
import { DiskError } from '../../common/disk.ts';
import { mayCreateReplica, parseReplicaId } from '../../common/replica-id.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { ReplicaReport } from '../../common/wire/messages.ts';
import type { RecoveredReplica, ReplicaMeta } from '../wal/types.ts';
import type { RestoreInput } from './api.ts';
import { decodeEntry, UnknownEntryError } from './entry.ts';
import { EpochStarts } from './epoch-starts.ts';
import { isBlind } from './execute.ts';
import type { Host } from './host.ts';
import {
  type AppliedMark,
  behindApplied,
  DamagedRowError,
  decodeApplied,
  openRow,
  storeKey,
  storeRange,
  TABLE_EPOCHS,
  TABLE_META,
  TABLE_SESSIONS,
} from './layout.ts';
import { ReplicaLog } from './log.ts';
import { Machine, type MachineHooks, type MachineState } from './machine.ts';
import { Replica } from './replica.ts';
import { SaltSets } from './salt-sets.ts';
import { type SessionLimits, Sessions, sessionLimits } from './sessions.ts';

const BLANK: AppliedMark = { index: 0, epoch: 0, logTime: 0 };

/** The replicas of one node by partition. */
export class ReplicaSet {
  readonly byPartition = new Map<number, Replica>();
  private readonly host: Host;
  /** Whose rows are still there, by the record that drops them. */
  private readonly dropped: { lsn: number; generation: number; report: ReplicaReport }[] = [];
  /** Those that this run has dropped durably: their ids never come back, which no later list of what is held would say. */
  private readonly removed: ReplicaReport[] = [];
  private readonly created = new Set<string>();
  private readonly newestGeneration: number;

  /** `newestGeneration`: no copy made by an earlier process run has a generation at or above it. */
  constructor(host: Host, newestGeneration: number) {
    this.host = host;
    this.newestGeneration = newestGeneration;
  }

  // ---------------------------------------------------------------- restart

  /** Brings back a replica from what the WAL and the store hold. */
  restore(recovered: RecoveredReplica, input: RestoreInput): void {
    const { partition, meta } = recovered;
    let damage = recovered.damage;
    let state = this.blank();
    try {
      state = this.readState(partition, meta, input);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      damage ??= error.message;
    }
    const { mark, sessions, checkpointIndex } = state;
    damage ??= this.foreignProblem(meta) ?? restoreProblem(recovered, mark, checkpointIndex);
    if (damage !== null) return this.restoreDamaged(recovered, damage);
    const start = {
      baseIndex: meta.baseIndex,
      baseEpoch: meta.baseEpoch,
      lastIndex: recovered.lastIndex,
      commitIndex: mark.index,
      commitEpoch: mark.epoch,
      logTime: mark.logTime,
    };
    const log = new ReplicaLog(partition, (record) => this.host.appendWal(record), start, recovered.epochs);
    try {
      replaySessions(sessions, input.entries(partition, checkpointIndex + 1), mark.index);
      log.load([...input.entries(partition, mark.index + 1)]);
    } catch (error) {
      const damaged = error instanceof DiskError && error.code === 'EIO';
      if (!damaged && !(error instanceof UnknownEntryError)) throw error;
      return this.restoreDamaged(recovered, error.message);
    }
    this.add(partition, meta, log, state);
    this.clearOthers(partition, meta.generation);
  }

  /** A directory that turned out to be an old copy has another incarnation since: what it held before counts no more. */
  private foreignProblem({ replica }: ReplicaMeta): string | null {
    const made = parseReplicaId(replica)?.incarnation;
    return made === this.host.options.incarnation
      ? null
      : `it was made in incarnation ${made} of the directory`;
  }

  private limits(): SessionLimits {
    return sessionLimits(this.host.options);
  }

  /** The state before the first entry. */
  private blank(): MachineState {
    const sessions = new Sessions(this.limits());
    return { mark: BLANK, sessions, epochs: new EpochStarts(), salts: new SaltSets(), checkpointIndex: 0 };
  }

  /** What the store has applied of a copy. Throws `DamagedRowError`. */
  private readState(partition: number, meta: ReplicaMeta, input: RestoreInput): MachineState {
    const rowOf = (table: number): Buffer | null => {
      const bytes = input.store.getSync(storeKey(partition, meta.generation, table, NO_BYTES));
      return bytes === undefined ? null : openRow(NO_BYTES, bytes);
    };
    const mark = rowOf(TABLE_META);
    const table = rowOf(TABLE_SESSIONS);
    const epochs = rowOf(TABLE_EPOCHS);
    const decoded = table === null ? null : Sessions.decode(table, this.limits());
    const state = {
      mark: mark === null ? BLANK : decodeApplied(mark),
      salts: mark === null ? new SaltSets() : SaltSets.decode(behindApplied(mark)),
      epochs: epochs === null ? new EpochStarts() : EpochStarts.decode(epochs),
    };
    if (state.epochs.lastEpoch !== state.mark.epoch) {
      throw new DamagedRowError('the starts of epochs do not fit the applied mark');
    }
    return {
      ...state,
      sessions: decoded?.sessions ?? new Sessions(this.limits()),
      checkpointIndex: decoded?.index ?? 0,
    };
  }

  private restoreDamaged(recovered: RecoveredReplica, reason: string): void {
    const { partition, meta, lastIndex } = recovered;
    const start = { baseIndex: lastIndex, baseEpoch: 0, lastIndex, commitIndex: lastIndex, logTime: 0 };
    const log = new ReplicaLog(partition, (record) => this.host.appendWal(record), start, []);
    const mark = { ...BLANK, index: lastIndex };
    const replica = this.add(partition, meta, log, { ...this.blank(), mark, checkpointIndex: lastIndex });
    // The WAL has marked what it found damaged itself; that is told here like all other damage.
    if (replica.usable) replica.markDamaged(reason);
    else this.host.event({ level: 'error', event: 'replica_damaged', partition, reason });
  }

  /** Removes copies that an interrupted install or switch has left behind. */
  private clearOthers(partition: number, generation: number): void {
    this.clear(partition, generation);
    const own = storeRange(partition, generation);
    if (generation + 1 < this.newestGeneration) {
      const { from: end } = storeRange(partition, this.newestGeneration);
      this.host.store({ kind: 'clear', from: own.to, to: end });
    }
  }

  /** Removes every copy of a partition below a generation. */
  private clear(partition: number, generation: number): void {
    const { from } = storeRange(partition, 0);
    const { from: to } = storeRange(partition, generation);
    this.host.store({ kind: 'clear', from, to });
  }

  /** Removes what is left of replicas that were dropped before the restart; after every `restore`. */
  clearLeftovers(partitions: number): void {
    for (let partition = 0; partition < partitions; partition++) {
      if (!this.byPartition.has(partition)) this.clear(partition, this.newestGeneration);
    }
  }

  private add(partition: number, meta: ReplicaMeta, log: ReplicaLog, state: MachineState): Replica {
    const machine = (hooks: MachineHooks) => new Machine(partition, meta.generation, state, hooks);
    const replica = new Replica(this.host, partition, meta, log, machine);
    this.byPartition.set(partition, replica);
    return replica;
  }

  /**
   * Clears the rows of dropped replicas once that is durable: a crash before finds the replica, and has to find its rows.
   * Returns the reports that they are gone.
   */
  onDurable(): ReplicaReport[] {
    const before = this.removed.length;
    while (this.dropped[0] !== undefined && this.dropped[0].lsn <= this.host.durableLsn) {
      const { generation, report } = this.dropped.shift()!;
      // A replica made later gets a higher generation, so nothing is ever written into the range being cleared.
      this.clear(report.partition, generation + 1);
      this.removed.push(report);
    }
    return this.removed.slice(before);
  }

  /** What this node holds, and what this run of it has dropped. */
  reports(): ReplicaReport[] {
    return [...this.held(), ...this.removed];
  }

  /** What this node holds. */
  held(): ReplicaReport[] {
    return [...this.byPartition.values()].map((replica) => replica.report());
  }

  // ---------------------------------------------------------------- records

  /** Follows a newer record: hands it to the replica it names, creates or drops one. */
  onRecord(record: PartitionRecord): void {
    const own = this.byPartition.get(record.partition);
    if (own !== undefined) {
      if (isNamed(record, own.meta.replica) && (own.usable || !this.namesNew(record)))
        return own.onRecord(record);
      if (!own.usable && this.namesNew(record)) this.drop(own, 'replaced after damage');
      else if (mayDrop(record, own)) this.drop(own, 'no longer named');
      else return own.onRecord(record);
    }
    const fresh = this.freshName(record);
    if (fresh !== null) this.create(record, fresh);
  }

  private namesNew(record: PartitionRecord): boolean {
    return this.freshName(record) !== null;
  }

  /** An id on this node that may still be created: a learner, or a voter of a partition that never had a leader. */
  private freshName(record: PartitionRecord): string | null {
    const { nodeId, incarnation, boot } = this.host.options;
    const run = { node: nodeId, incarnation, boot };
    const neverLed = !record.led && record.previousVoters.length === 0;
    for (const name of neverLed ? [...record.learners, ...record.voters] : record.learners) {
      if (name.node !== nodeId || this.created.has(name.id)) continue;
      if (mayCreateReplica(name.id, run)) return name.id;
    }
    return null;
  }

  private create(record: PartitionRecord, id: string): void {
    const { partition } = record;
    this.created.add(id);
    const meta: ReplicaMeta = {
      replica: id,
      promiseEpoch: 0,
      reservationId: '',
      configuration: 0,
      voters: [],
      previousVoters: [],
      generation: this.host.nextGeneration(),
      baseIndex: 0,
      baseEpoch: 0,
      damaged: false,
    };
    const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
    const log = new ReplicaLog(partition, (wal) => this.host.appendWal(wal), start, []);
    const replica = this.add(partition, meta, log, this.blank());
    replica.setMeta(meta);
    this.host.event({ level: 'info', event: 'replica_created', partition, replica: id });
    replica.onRecord(record);
  }

  private drop(replica: Replica, reason: string): void {
    const { partition } = replica;
    replica.retire(reason);
    this.byPartition.delete(partition);
    const lsn = this.host.appendWal({ type: 'drop', partition });
    this.dropped.push({
      lsn,
      generation: replica.meta.generation,
      report: { ...replica.report(), state: 'removed' },
    });
    this.host.event({
      level: 'info',
      event: 'replica_dropped',
      partition,
      replica: replica.meta.replica,
      reason,
    });
  }
}

function isNamed(record: PartitionRecord, id: string): boolean {
  return [...record.voters, ...record.previousVoters, ...record.learners].some((name) => name.id === id);
}

/** Only an established record without previous voters proves that a replica it does not name is not needed any more. */
function mayDrop(record: PartitionRecord, replica: Replica): boolean {
  if (!record.established || record.previousVoters.length > 0) return false;
  return !isNamed(record, replica.meta.replica) && replica.meta.promiseEpoch <= record.epoch;
}

/** Why what was recovered cannot be a state this replica was in; null when it is consistent. */
function restoreProblem(
  recovered: RecoveredReplica,
  applied: AppliedMark,
  tableIndex: number,
): string | null {
  const { meta, firstIndex, lastIndex, epochs } = recovered;
  if (meta.damaged) return 'found damaged before';
  if ((epochs[epochs.length - 1]?.epoch ?? 0) > meta.promiseEpoch) return 'the log is ahead of the promise';
  if (applied.index < meta.baseIndex) return `the store lacks the snapshot at ${meta.baseIndex}`;
  if (applied.index > lastIndex)
    return `the store has applied ${applied.index}, the WAL ends at ${lastIndex}`;
  if (tableIndex > applied.index) return 'the deduplication table is ahead of the store';
  if (firstIndex > tableIndex + 1)
    return `the WAL starts at ${firstIndex}, the store needs ${tableIndex + 1}`;
  return null;
}

/** Repeats the deduplication effects of entries that the store has applied since the table was written. */
function replaySessions(
  sessions: Sessions,
  entries: Iterable<{ index: number; payload: Uint8Array }>,
  appliedIndex: number,
): void {
  for (const { index, payload } of entries) {
    if (index > appliedIndex) return;
    const { command, requestId, timestamp } = decodeEntry(payload);
    if (command.kind === 'expireSessions') sessions.expire(command.before);
    if (requestId === null) continue;
    if (sessions.lookup(requestId, timestamp).kind !== 'new') continue;
    sessions.record(requestId, index, !isBlind(command), timestamp);
  }
}
