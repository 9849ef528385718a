/**
 * The invariants of DESIGN section 5, checked after every step on the replicas that the step touched. The numbers in
 * the messages are those of that section. What is known comes from outside of the cores: records given to the WALs,
 * fsyncs, messages sent, records of the topology store; a core's own report is compared with these.
 * It does not check what clients see: `client-checks.ts` does; nor rows in the stores: `row-checks.ts`.
 */
import { crc32c } from '../../src/common/crc32c.ts';
import { type PartitionRecord, quorumSize, type Replica } from '../../src/common/topology.ts';
import type { PeerMessage, ReplicaReport, SealReply } from '../../src/common/wire/messages.ts';
import type { RecoveredReplica, WalAppend } from '../../src/node/wal/types.ts';
import {
  REVISION_JUMP,
  rebuiltProblem,
  sameRecord,
  transitionProblem,
} from '../../src/router/controller/record-rules.ts';
import { Facts, type NodeFacts, type PartitionFacts } from './facts.ts';
import type { GhostPartition } from './ghost.ts';
import { type ShadowLog, ShadowWal } from './shadow.ts';
import type { World } from './world.ts';

/** All checks of one simulation. Every method throws a `SimulationFailure` when an invariant is broken. */
export class Invariants {
  private readonly world: World;
  private readonly facts: Facts;

  constructor(world: World, ghosts: readonly GhostPartition[]) {
    this.world = world;
    this.facts = new Facts(world, ghosts);
  }

  /** A node begins with an empty data directory; whatever it had before is gone for ever. */
  wiped(node: string): void {
    this.replaced(node, new ShadowWal());
  }

  /** What the checks know of a node's data directory, for a copy of it that is taken now. */
  copied(node: string): ShadowWal {
    return this.facts.node(node).wal.copy();
  }

  /** A copy of a node's data directory takes its place: none of the replicas in either may ever answer again. */
  putBack(node: string, copy: ShadowWal): void {
    this.replaced(node, copy.copy());
    this.facts.node(node).injured = true;
    for (const { meta } of copy.appended.values()) {
      if (meta !== null) this.facts.replica(meta.replica, node).dead = true;
    }
  }

  private replaced(node: string, wal: ShadowWal): void {
    const before = this.facts.nodes.get(node);
    for (const { meta } of before?.wal.appended.values() ?? []) {
      if (meta !== null) this.facts.replica(meta.replica, node).dead = true;
    }
    this.facts.nodes.set(node, { wal, boot: 0, injured: false, commits: new Map() });
  }

  /** Something on the node's disk is damaged: until a replica is known to be damaged or intact, it counts as lost. */
  tainted(node: string): void {
    const facts = this.facts.node(node);
    facts.wal.tainted = true;
    facts.injured = true;
  }

  /** Whether what a replica held has been taken from it. */
  isDead(replica: string): boolean {
    return this.facts.replicas.get(replica)?.dead === true;
  }

  /** Whether every set of a partition's record keeps a quorum of intact replicas when this node's replica is lost (G1). */
  toleratesLoss(partition: number, node: string): boolean {
    const { record, forgotten } = this.facts.partition(partition);
    if (forgotten > 0 || record === null) return false;
    return [record.voters, record.previousVoters].every((set) => {
      // One that was named and is not made yet is lost if its node starts anew before it is.
      const isMade = (voter: Replica): boolean =>
        this.facts.node(voter.node).wal.durable.get(partition)?.meta?.replica === voter.id;
      const intact = set.filter((voter) => voter.node !== node && isMade(voter) && !this.facts.isLost(voter));
      return set.length === 0 || intact.length >= quorumSize(set.length);
    });
  }

  /** Whether the store may forget records of this partition: nothing that they, or the promises, tell of is lost as well. */
  toleratesForgetting(partition: number): boolean {
    const { forgotten } = this.facts.partition(partition);
    // Since the store forgot, nothing else was lost.
    return forgotten > 0 || this.facts.isWhole(partition);
  }

  /** The topology store was put back: this is its record of the partition now. What it was may never be found there again. */
  storeRestored(partition: number, record: PartitionRecord | null): void {
    const facts = this.facts.partition(partition);
    const { record: before, epochMax } = facts;
    const same = before !== null && record !== null && sameRecord(before, record);
    if (!same) facts.forgotten = epochMax;
    facts.restored = true;
    facts.record = record;
  }

  /** The shadow of what a node holds durably in a partition. */
  durableLog(node: string, partition: number): ShadowLog | undefined {
    return this.facts.durableLog(node, partition);
  }

  /** The record of a partition, as the topology store holds it. */
  record(partition: number): PartitionRecord | null {
    return this.facts.partition(partition).record;
  }

  /** Whether the topology store was put back to before the last leader that it had recorded. */
  isBehind(partition: number): boolean {
    return this.facts.isBehind(this.facts.partition(partition));
  }

  /** A node has recovered its WAL under a new boot id. */
  recovered(node: string, boot: number, found: readonly RecoveredReplica[]): void {
    const facts = this.facts.node(node);
    const reason = facts.wal.recovered(found);
    this.world.check(
      reason === null,
      () => `invariant 5: ${node} recovered something else than it had: ${reason}`,
    );
    facts.boot = boot;
    facts.commits = new Map();
    for (const partition of facts.wal.damaged) {
      const replica = facts.wal.durable.get(partition)?.meta?.replica;
      if (replica !== undefined) this.facts.replica(replica, node).dead = true;
    }
    for (const [partition, log] of facts.wal.durable) {
      if (log.meta === null || facts.wal.damaged.has(partition)) continue;
      const { sealedEpoch, dead } = this.facts.replica(log.meta.replica, node);
      this.world.check(
        dead || log.meta.promiseEpoch >= sealedEpoch,
        () => `invariant 5: ${log.meta?.replica} lost its promise of epoch ${sealedEpoch}`,
      );
    }
  }

  /** A record is in the WAL's buffer. */
  appended(node: string, lsn: number, record: WalAppend): void {
    const facts = this.facts.node(node);
    // The shadow changes in place: what it was is noted first.
    const before = facts.wal.appended.get(record.partition)?.meta ?? null;
    if (record.type === 'entry') this.checkEntry(node, facts, record);
    if (record.type === 'truncate') {
      const commit = facts.commits.get(record.partition)?.commit ?? 0;
      this.world.check(
        record.index >= commit,
        () =>
          `invariant 4: ${node} truncates p${record.partition} to ${record.index}, below its commit index ${commit}`,
      );
    }
    if (record.type === 'meta') {
      const { replica, promiseEpoch, damaged } = record.meta;
      const known = this.facts.replicas.get(replica);
      const same = before?.replica === replica;
      this.world.check(
        known === undefined || (known.node === node && same),
        () => `invariant 9: replica id ${replica} is used again, by ${node}`,
      );
      const lower = same && before !== null && before.promiseEpoch > promiseEpoch;
      this.world.check(!lower, () => `invariant 5: ${replica} lowers its promise to ${promiseEpoch}`);
      const fact = this.facts.replica(replica, node);
      if (damaged) fact.dead = true;
    }
    facts.wal.append(lsn, record);
    const log = facts.wal.appended.get(record.partition);
    if (record.type === 'meta' && record.meta.damaged) facts.wal.damaged.add(record.partition);
    else if (record.type === 'meta' && before?.replica !== record.meta.replica) {
      facts.wal.damaged.delete(record.partition);
    }
    if (log?.meta != null) {
      const { promiseEpoch } = log.meta;
      this.world.check(
        log.lastEpoch <= promiseEpoch,
        () =>
          `invariant 5: ${node} p${record.partition} holds an entry of ${log.lastEpoch}, promised ${promiseEpoch}`,
      );
    }
  }

  /** The WAL has fsynced up to `lsn`. */
  synced(node: string, lsn: number): void {
    for (const partition of this.facts.node(node).wal.synced(lsn)) this.checkHolders(partition);
  }

  /** The topology store holds a new record. */
  recordWritten(record: PartitionRecord): void {
    const facts = this.facts.partition(record.partition);
    const before = facts.record;
    const world: World = this.world;
    const name = `p${record.partition} revision ${record.revision}`;
    const rebuilt = facts.restored && record.revision >= (before?.revision ?? 0) + REVISION_JUMP;
    const problem = rebuilt ? rebuiltProblem(before, record) : transitionProblem(before, record);
    world.check(problem === '', () => `${name}: illegal record: ${problem}`);
    if (rebuilt) {
      const led = this.facts.ledMax(facts);
      world.check(
        record.epoch > led,
        () => `invariant 1: ${name}: rebuilt for epoch ${record.epoch}, there was a leader in ${led}`,
      );
    } else if (facts.restored) {
      world.check(before !== null, () => `${name}: a first record, but the partition has been led`);
    }
    if (before !== null) {
      world.check(record.epoch >= before.epoch, () => `${name}: the epoch goes back from ${before.epoch}`);
      if (record.epoch === before.epoch && before.leader !== null) {
        const kept = JSON.stringify(record.leader) === JSON.stringify(before.leader);
        world.check(kept, () => `invariant 1: ${name}: the leader of epoch ${record.epoch} changes`);
      }
    }
    facts.record = record;
    facts.epochMax = Math.max(facts.epochMax, record.epoch);
    if (record.leader !== null) {
      const epoch = this.facts.epoch(facts, record.epoch);
      epoch.recorded ??= record;
      const leader = `${record.leader.replica}@${record.leader.boot}`;
      const other = epoch.recorded.leader;
      world.check(
        `${other?.replica}@${other?.boot}` === leader,
        () => `invariant 1: ${name} records ${leader}, epoch ${record.epoch} had ${other?.replica} before`,
      );
      world.check(
        epoch.appender === '' || epoch.appender === leader,
        () => `invariant 1: ${name} records ${leader}, but ${epoch.appender} leads epoch ${record.epoch}`,
      );
    }
    if (record.established && record.epoch >= facts.forgotten) facts.forgotten = 0;
    this.checkHolders(record.partition);
  }

  /** A core's reports after an event: commit indexes and what they rest on. */
  reported(node: string, reports: readonly ReplicaReport[]): void {
    const facts = this.facts.node(node);
    for (const report of reports) {
      this.world.check(
        report.state !== 'damaged' || facts.injured,
        () => `invariant 9: ${node} p${report.partition} is found damaged, but nothing has damaged it`,
      );
      if (report.state === 'damaged' || report.state === 'removed') continue;
      this.checkReport(node, facts, report);
    }
  }

  /** A message leaves a replica. */
  sent(node: string, message: PeerMessage): void {
    const world: World = this.world;
    const facts = this.facts.replicas.get(message.from);
    const name = `${message.from} (${node}) p${message.partition} epoch ${message.epoch}`;
    const { ghost } = this.facts.partition(message.partition);
    if (message.body === 'append' || message.body === 'confirm') {
      const leader = `${message.from}@${this.facts.node(node).boot}`;
      const epoch = this.facts.epoch(this.facts.partition(message.partition), message.epoch);
      world.check(
        epoch.appender === leader,
        () => `invariant 1: ${name}: ${leader} sends as leader, not ${epoch.appender}`,
      );
      const commit = message.append?.commitIndex ?? message.confirm?.commitIndex ?? 0;
      world.check(
        commit <= ghost.length,
        () => `invariant 4: ${name}: tells commit ${commit}, ${ghost.length} are committed`,
      );
      return;
    }
    const grants = message.confirmReply?.granted === true;
    const reply = message.appendReply?.success === true ? message.appendReply : null;
    if (!grants && reply === null) return;
    const what = grants ? 'confirms' : 'acknowledges';
    world.check(facts?.dead !== true, () => `invariant 9: damaged or wiped ${name} ${what}`);
    const log = this.durableLog(node, message.partition);
    world.check(
      log?.meta?.replica === message.from,
      () => `invariant 9: ${name} ${what} before it is durably there`,
    );
    const sealed = facts?.sealedEpoch ?? 0;
    world.check(sealed <= message.epoch, () => `invariant 5: ${name} ${what} after its promise of ${sealed}`);
    world.check(
      log.meta.promiseEpoch >= message.epoch,
      () =>
        `invariant 5: ${name} ${what} before the fsync of its promise: durable is ${log.meta?.promiseEpoch}`,
    );
    if (reply === null) return;
    this.checkAcknowledged(name, message, log, reply.matchIndex);
    if (facts !== undefined) facts.acked = { epoch: message.epoch, index: reply.matchIndex };
  }

  /** A Seal is answered. */
  sealAnswered(node: string, reply: SealReply): void {
    if (!reply.accepted) return;
    const world: World = this.world;
    const facts = this.facts.replica(reply.replica, node);
    const name = `${reply.replica} (${node}) p${reply.partition} seal ${reply.epoch}/${reply.reservationId}`;
    world.check(!facts.dead, () => `invariant 9: damaged or wiped ${name} answers`);
    const log = this.durableLog(node, reply.partition);
    world.check(
      log?.meta?.replica === reply.replica,
      () => `invariant 9: ${name} answers before it is durably there`,
    );
    const { promiseEpoch, reservationId } = log.meta;
    world.check(
      promiseEpoch === reply.epoch && reservationId === reply.reservationId,
      () => `invariant 5: ${name} is answered before the fsync: durable is ${promiseEpoch}/${reservationId}`,
    );
    world.check(
      reply.epoch > facts.sealedEpoch ||
        (reply.epoch === facts.sealedEpoch && facts.reservationId === reply.reservationId),
      () => `invariant 5: ${name} after ${facts.sealedEpoch}/${facts.reservationId}`,
    );
    world.check(
      reply.lastEpoch < reply.epoch && log.lastEpoch === reply.lastEpoch && log.lastIndex === reply.lastIndex,
      () =>
        `invariant 5: ${name} tells ${reply.lastEpoch}:${reply.lastIndex}, has ${log.lastEpoch}:${log.lastIndex}`,
    );
    world.check(
      reply.boot === this.facts.node(node).boot,
      () => `invariant 5: ${name} is answered for boot ${reply.boot}`,
    );
    facts.sealedEpoch = reply.epoch;
    facts.reservationId = reply.reservationId;
  }

  private checkEntry(node: string, facts: NodeFacts, record: Extract<WalAppend, { type: 'entry' }>): void {
    const world: World = this.world;
    const { partition, index, epoch } = record;
    const log = facts.wal.appended.get(partition);
    const name = `${node} p${partition} entry ${epoch}:${index}`;
    world.check(log?.meta != null, () => `${name}: no replica is there`);
    world.check(index === log.lastIndex + 1, () => `${name}: follows ${log.lastIndex}`);
    world.check(epoch >= log.lastEpoch, () => `${name}: follows epoch ${log.lastEpoch}`);
    const shadow = { hash: crc32c(record.payload), previousEpoch: log.lastEpoch };
    const part = this.facts.partition(partition);
    const key = `${epoch}:${index}`;
    const known = part.entries.get(key);
    if (known !== undefined) {
      const equal = known.hash === shadow.hash && known.previousEpoch === shadow.previousEpoch;
      world.check(equal, () => `invariant 2: ${name} differs from an entry of the same epoch and index`);
      return;
    }
    part.entries.set(key, shadow);
    const leader = `${log.meta.replica}@${facts.boot}`;
    const led = this.facts.epoch(part, epoch);
    if (led.appender === '') {
      this.checkStart(part, epoch, leader, log);
      led.appender = leader;
      const epochs = log.entries.map((entry) => entry.epoch);
      led.start = { base: log.base, baseEpoch: log.baseEpoch, epochs };
    }
    led.lastIndex = index;
    world.check(
      led.appender === leader,
      () => `invariant 1: ${name} by ${leader}, but ${led.appender} leads the epoch`,
    );
  }

  private checkStart(part: PartitionFacts, epoch: number, leader: string, log: ShadowLog): void {
    const { ghost } = part;
    const { recorded } = this.facts.epoch(part, epoch);
    const named = recorded?.leader;
    this.world.check(
      named != null && `${named.replica}@${named.boot}` === leader,
      () =>
        `invariant 1: ${leader} starts to lead epoch ${epoch} of p${ghost.partition}, the record names ${named?.replica}`,
    );
    // Later epochs may have committed already: this leader cannot commit any more, and need not have those.
    const earlier = part.commits.findLast((commit) => commit.epoch < epoch);
    const index = earlier?.index ?? 0;
    const found = index < log.base ? ghost.epochAt(index) : log.epochAt(index);
    this.world.check(
      found === ghost.epochAt(index),
      () =>
        `invariant 3: ${leader} starts epoch ${epoch} of p${ghost.partition} without committed ` +
        `${ghost.epochAt(index)}:${index}; its log ends at ${log.lastEpoch}:${log.lastIndex}`,
    );
  }

  private checkReport(node: string, facts: NodeFacts, report: ReplicaReport): void {
    const world: World = this.world;
    const { partition, replica, commitIndex } = report;
    const name = `${node} p${partition} (${replica})`;
    const log = facts.wal.appended.get(partition);
    if (log?.meta?.replica !== replica) return;
    const known = facts.commits.get(partition);
    const before = known?.replica === replica ? known.commit : 0;
    world.check(
      report.lastIndex === log.lastIndex && report.lastEpoch === log.lastEpoch,
      () =>
        `${name} reports ${report.lastEpoch}:${report.lastIndex}, its WAL ends at ${log.lastEpoch}:${log.lastIndex}`,
    );
    world.check(commitIndex >= before, () => `invariant 4: ${name} commit index goes back from ${before}`);
    const durable = facts.wal.durable.get(partition);
    const durableIndex = durable?.meta?.replica === replica ? durable.lastIndex : 0;
    world.check(
      report.appliedIndex <= Math.min(commitIndex, Math.max(durableIndex, log.base)) &&
        (durableIndex === 0 || report.durableEpoch <= durable!.lastEpoch),
      () =>
        `invariant 4: ${name} applied ${report.appliedIndex}, commit ${commitIndex}, durable ${durableIndex}`,
    );
    if (commitIndex === before) return;
    facts.commits.set(partition, { replica, commit: commitIndex });
    const part = this.facts.partition(partition);
    if (commitIndex > part.ghost.length) this.commit(node, part, report, log);
    const epoch = log.epochAt(commitIndex);
    world.check(
      commitIndex < log.base || epoch === part.ghost.epochAt(commitIndex),
      () =>
        `invariant 2: ${name} commits ${epoch}:${commitIndex}, committed is ${part.ghost.epochAt(commitIndex)}`,
    );
  }

  /** A leader moves the commit point: a quorum of its voters must hold it durably. */
  private commit(node: string, part: PartitionFacts, report: ReplicaReport, log: ShadowLog): void {
    const world: World = this.world;
    const { commitIndex, partition, replica } = report;
    const { ghost } = part;
    // It may have stepped down in the same turn: the entry tells in which epoch it has led.
    const entry = log.at(commitIndex);
    const ledEpoch = entry?.epoch ?? 0;
    const name = `${node} p${partition} commit ${commitIndex} in epoch ${ledEpoch}`;
    const led = part.epochs.get(ledEpoch);
    const recorded = led?.recorded ?? null;
    world.check(
      recorded !== null && led?.appender === `${replica}@${this.facts.node(node).boot}`,
      () => `invariant 4: ${name}: only the leader may commit entries of its epoch`,
    );
    const holders = recorded.voters.filter(
      (voter) =>
        this.facts.holds(voter, partition, commitIndex, ledEpoch) ||
        this.facts.hadAcked(voter, commitIndex, ledEpoch),
    );
    world.check(
      holders.length >= quorumSize(recorded.voters.length),
      () => `invariant 4: ${name}: only ${holders.map((voter) => voter.node).join(' ')} hold it durably`,
    );
    for (let index = ghost.length + 1; index <= commitIndex; index += 1) {
      const next = log.at(index);
      world.check(next !== undefined, () => `${name}: entry ${index} is not in the leader's log`);
      ghost.extend(next.payload, next.hash);
    }
    part.commits.push({ index: commitIndex, epoch: ledEpoch });
    for (const [epoch, { start, appender }] of part.epochs) {
      if (epoch <= ledEpoch || start === null) continue;
      const found = commitIndex === start.base ? start.baseEpoch : start.epochs[commitIndex - start.base - 1];
      world.check(
        found === ledEpoch,
        () => `invariant 3: ${name}: leader ${appender} of ${epoch} started without it`,
      );
    }
    this.checkHolders(partition);
  }

  /** Invariant 8: no quorum of every set of the record may be without the last committed entry. */
  private checkHolders(partition: number): void {
    const part = this.facts.partition(partition);
    const { record, ghost } = part;
    const index = ghost.length;
    const epoch = ghost.epochAt(index);
    if (record === null || index === 0 || epoch === undefined || this.facts.isBehind(part)) return;
    const sets = [record.voters, record.previousVoters].filter((set) => set.length > 0);
    const safe = sets.some((set) => {
      const without = set.filter(
        (voter) => !this.facts.isLost(voter) && !this.facts.holds(voter, partition, index, epoch),
      );
      return without.length < quorumSize(set.length);
    });
    this.world.check(safe, () => {
      const list = (set: readonly Replica[]): string =>
        set.map((voter) => `${voter.id}@${voter.node}`).join(' ');
      return (
        `invariant 8: committed ${epoch}:${index} of p${partition} can be missed by a quorum of voters ` +
        `${list(record.voters)}, previous ${list(record.previousVoters)}`
      );
    });
  }

  private checkAcknowledged(name: string, message: PeerMessage, log: ShadowLog, matchIndex: number): void {
    const { epochs } = this.facts.partition(message.partition);
    const led = epochs.get(message.epoch);
    const start = led?.start ?? null;
    this.world.check(
      start !== null && led !== undefined,
      () => `invariant 7: ${name} acknowledges an epoch without leader`,
    );
    if (matchIndex < log.base) return;
    const startLast = start.base + start.epochs.length;
    const own = matchIndex > startLast ? message.epoch : start.epochs[matchIndex - start.base - 1];
    const expected = matchIndex === start.base ? start.baseEpoch : own;
    const found = log.epochAt(matchIndex);
    // Below the leader's snapshot everything is committed.
    const fine =
      matchIndex < start.base ? found !== undefined : found === expected && matchIndex <= led.lastIndex;
    this.world.check(
      fine,
      () => `invariant 7: ${name} acknowledges ${matchIndex}: durable ${found}, the leader has ${expected}`,
    );
  }
}
