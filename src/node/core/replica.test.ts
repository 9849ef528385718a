import { describe, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import { SESSIONS_MAX } from '../../common/limits.ts';
import { makeReplicaId } from '../../common/replica-id.ts';
import type { GetOperation } from '../../common/wire/messages.ts';
import { storeKey, TABLE_VALUES, userKey } from './layout.ts';

const MIB = 1024 * 1024;

function threeNodes(): CoreBench {
  const bench = new CoreBench(['a', 'b', 'c']);
  bench.lead('a', 1);
  bench.advance(200);
  expect(bench.node('a').replica.leadership?.serving).toBe(true);
  return bench;
}

describe('a replica among others', () => {
  it('counts as lost what it acknowledged itself as leader, and nothing on a follower', () => {
    const bench = threeNodes();
    const [a, b, c] = bench.trio;
    bench.advance(200);
    // The append reaches b, which does not become leader; both other copies are durable, a alone has answered.
    bench.cut.add('c');
    b.disk = false;
    const acknowledged = bench.put('a', { sequence: 1, ack: 'ACK_LEADER' });
    const waiting = bench.put('a', { sequence: 2, ack: 'ACK_QUORUM' });
    bench.pump();
    expect(bench.outcome('a', acknowledged)).toBe('leader');
    bench.cut.add('a');
    b.disk = true;
    bench.pump();
    // c wins without a's and b's uncommitted entries; then both come back.
    bench.cut.delete('c');
    bench.cut.add('b');
    bench.lead('c', 2, [c]);
    bench.cut.delete('b');
    bench.lead('c', 3, [b, c]);
    bench.cut.delete('a');
    bench.advance(1_000);
    expect(b.eventNames).not.toContain('leader_writes_lost');
    expect(a.events.filter(({ event }) => event === 'leader_writes_lost').map(({ lost }) => lost)).toEqual([
      1,
    ]);
    expect(bench.outcome('a', waiting)).toBe('NOT_LEADER');
  });

  it('leads again after a power cut that leaves every node full of entries nobody knows to be committed', () => {
    const bench = threeNodes();
    for (let sequence = 1; sequence <= 100; sequence++) {
      bench.put('a', { sequence }, Buffer.alloc(MIB));
      bench.advance(20);
    }
    for (const node of bench.nodes) node.restart();
    bench.advance(40);
    for (const { core, replica } of bench.nodes) {
      expect(replica.log.weightBetween(0, 101)).toBeGreaterThan(100 * MIB);
      expect(core.applyBehind).toBe(false);
    }
    bench.lead('b', 2);
    expect(bench.node('b').replica.log.lastIndex).toBe(102);
    bench.advance(1_000);
    expect(bench.node('b').replica.leadership?.serving).toBe(true);
    expect(bench.nodes.map(({ replica }) => replica.machine.appliedIndex)).toEqual([102, 102, 102]);
  });

  it('offers a snapshot again to one that has given it up after all of it was sent', () => {
    const bench = threeNodes();
    const [a, , c] = bench.trio;
    bench.cut.add('c');
    for (let sequence = 1; sequence <= 8; sequence++) {
      bench.put('a', { sequence, key: Buffer.from('k') }, Buffer.alloc(MIB / 2));
      bench.advance(40);
    }
    a.wal.length = 0;
    c.disk = false;
    bench.cut.delete('c');
    bench.advance(1_000);
    expect(c.eventNames).toContain('snapshot_started');
    expect(bench.delivered.get('snapshotChunk')).toBe(1);
    c.replica.endInstall('given up by the test');
    c.disk = true;
    bench.advance(2_000);
    expect(c.replica.machine.appliedIndex).toBe(a.replica.machine.appliedIndex);
  });

  it('offers a snapshot again to one that has given it up in the middle', () => {
    const bench = threeNodes();
    const [a, , c] = bench.trio;
    bench.cut.add('c');
    for (let sequence = 1; sequence <= 8; sequence++) {
      bench.put('a', { sequence, key: Buffer.from(`k${sequence}`) }, Buffer.alloc(MIB / 2));
      bench.advance(40);
    }
    a.wal.length = 0;
    c.disk = false;
    bench.cut.delete('c');
    bench.advance(1_000);
    expect(bench.delivered.get('snapshotChunk')).toBe(1);
    c.replica.endInstall('given up by the test');
    c.disk = true;
    bench.advance(5_000);
    expect(bench.delivered.get('snapshotChunk')).toBeGreaterThan(2);
    expect(c.replica.machine.appliedIndex).toBe(a.replica.machine.appliedIndex);
  });

  it('keeps the rows of a replica that it has dropped until that is durable', () => {
    const bench = threeNodes();
    const [a, b, c] = bench.trio;
    bench.put('a', { sequence: 1 });
    bench.advance(100);
    const rows = c.rows.size;
    expect(rows).toBeGreaterThan(0);
    c.fsyncs = false;
    const leader = { replica: a.replicaName.id, node: 'a', boot: 1 };
    const voters = [a.replicaName, b.replicaName];
    bench.push({
      epoch: 1,
      reservationId: 'e1',
      configuration: 2,
      voters,
      leader,
      led: true,
      established: true,
    });
    expect(c.eventNames).toContain('replica_dropped');
    bench.advance(100);
    expect(c.rows.size).toBe(rows);
    expect(c.core.openingReports()).toEqual([]);
    c.fsyncs = true;
    bench.advance(100);
    expect(c.rows.size).toBe(0);
    expect(c.core.openingReports()).toMatchObject([{ replica: c.replicaName.id, state: 'removed' }]);
    expect(c.core.reportAll()).toEqual([]);
  });

  it('promises nothing before it is admitted', () => {
    const bench = threeNodes();
    const [, b] = bench.trio;
    b.restart();
    const replica = b.replicaName.id;
    const voters = bench.nodes.map((node) => node.replicaName);
    const sets = { configuration: 1, voters, previousVoters: [] };
    const answered = b.sealReplies.length;
    b.core.seal({ partition: 0, replica, epoch: 2, reservationId: 'e2', ...sets });
    bench.pump();
    expect(b.sealReplies).toHaveLength(answered);
    expect(b.replica.meta.promiseEpoch).toBe(1);
    bench.lead('b', 2);
    expect(b.sealReplies.at(-1)).toMatchObject({ epoch: 2, accepted: true });
  });

  it('keeps its promise over a restart, also one that no entry of its log tells of', () => {
    const bench = threeNodes();
    const [, b] = bench.trio;
    const voters = bench.nodes.map((node) => node.replicaName);
    const sets = { configuration: 1, voters, previousVoters: [] };
    const seal = (epoch: number): void =>
      b.core.seal({ partition: 0, replica: b.replicaName.id, epoch, reservationId: `e${epoch}`, ...sets });
    seal(5);
    bench.pump();
    expect(b.replica.log.lastEpoch).toBe(1);
    b.restart();
    expect(b.replica.meta.promiseEpoch).toBe(5);
    bench.lead('a', 4, [b]);
    expect(b.sealReplies.at(-1)).toMatchObject({ accepted: false });
  });

  it('is damaged after its directory has got another incarnation', () => {
    const bench = threeNodes();
    const [, , c] = bench.trio;
    c.incarnation = 'j';
    c.restart();
    expect(c.replica.usable).toBe(false);
    bench.advance(40);
    expect(c.core.reportAll()).toMatchObject([{ replica: c.replicaName.id, state: 'damaged' }]);
  });

  it('refuses clients while it leads more than it may hold, and takes them again after', () => {
    const bench = threeNodes();
    const [a] = bench.trio;
    for (const node of bench.nodes) node.disk = false;
    for (let sequence = 1; sequence <= 40; sequence++) bench.put('a', { sequence }, Buffer.alloc(MIB));
    bench.advance(40);
    const refused = bench.put('a', { sequence: 41 });
    bench.pump();
    expect(bench.outcome('a', refused)).toBe('OVERLOADED');
    for (const node of bench.nodes) node.disk = true;
    bench.advance(500);
    expect(a.replica.machine.appliedIndex).toBe(41);
    const taken = bench.put('a', { sequence: 41 });
    bench.advance(100);
    expect(bench.outcome('a', taken)).toBe('quorum');
  });

  it('is offered one entry per heartbeat while its disk is full, takes the leader’s own, and catches up after', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    b.core.diskFullChanged(true);
    for (let sequence = 1; sequence <= 200; sequence++) bench.put('a', { sequence }, Buffer.alloc(10_000));
    expect(bench.pump()).toBeLessThan(50);
    const before = bench.delivered.get('append')!;
    bench.advance(3_000);
    // Two followers, a heartbeat every 150 ms, a probe after it.
    expect(bench.delivered.get('append')! - before).toBeLessThan(100);
    expect(b.replica.log.lastIndex).toBeLessThan(5);
    b.core.diskFullChanged(false);
    bench.advance(1_000);
    expect(b.replica.log.lastIndex).toBe(a.replica.log.lastIndex);
    // The next leader's first entry gets through although both followers are full.
    for (const id of ['b', 'c']) bench.node(id).core.diskFullChanged(true);
    bench.lead('a', 2);
    bench.advance(500);
    expect(a.replica.leadership?.serving).toBe(true);
  });

  it('leads on and is read while its disk is full, although the others hold what it could not write', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    bench.put('a', { sequence: 1 });
    bench.advance(100);
    a.fsyncs = false;
    const waiting = bench.put('a', { sequence: 2 });
    bench.pump();
    a.core.diskFullChanged(true);
    bench.advance(500);
    expect(b.replica.log.durableIndex).toBe(a.replica.log.durableIndex + 1);
    const get: GetOperation = { level: 'READ_LINEARIZABLE', sessionIndex: 0, early: [], maxStalenessMs: 0 };
    const read = bench.put('a', { sequence: 3, operation: 'get', put: null, get });
    bench.advance(100);
    expect(a.replies.find(({ id }) => id === read)?.result).toBe('value');
    expect(a.replies.find(({ id }) => id === waiting)).toBeUndefined();
    a.fsyncs = true;
    a.core.diskFullChanged(false);
    bench.advance(500);
    expect(bench.outcome('a', waiting)).toBe('quorum');
  });

  it('does not answer a Seal any more once the leader of that epoch has spoken', () => {
    const bench = threeNodes();
    const [a, b, c] = bench.trio;
    const voters = bench.nodes.map((node) => node.replicaName);
    const { configuration } = b.replica.meta;
    const sets = { configuration, voters, previousVoters: [] };
    const seal = { partition: 0, replica: b.replicaName.id, epoch: 2, reservationId: 'e2', ...sets };
    b.disk = false;
    b.sealReplies.length = 0;
    b.core.seal(seal);
    b.settle();
    const { lastIndex: prevIndex, lastEpoch: prevEpoch } = b.replica.log;
    const append = {
      ...sets,
      prevIndex,
      prevEpoch,
      entries: [],
      commitIndex: 0,
      sentAt: 1,
      echo: 0,
      echoBoot: 0,
    };
    const [from, to] = [c.replicaName.id, b.replicaName.id];
    b.core.peerMessages('c', [{ partition: 0, from, to, epoch: 2, body: 'append', append }]);
    b.disk = true;
    b.settle();
    // Nor when it is asked again: what is in the log now, or may be soon, is not what this Seal is to tell.
    b.core.seal(seal);
    b.settle();
    expect(b.sealReplies).toEqual([]);
    a.core.seal({ ...seal, replica: a.replicaName.id });
    a.settle();
    expect(a.sealReplies.at(-1)).toMatchObject({ accepted: true, epoch: 2, lastIndex: prevIndex });
  });

  it('refuses new clients when its table of sessions is full, and serves the others', () => {
    const bench = threeNodes();
    const known = bench.put('a', { sequence: 1 });
    bench.advance(100);
    expect(bench.outcome('a', known)).toBe('quorum');
    const { sessions } = bench.node('a').replica.machine;
    for (let i = 1; i < SESSIONS_MAX; i++) {
      const client = i.toString().padStart(16, '0');
      sessions.record({ client, sequence: 1, lowWater: 1, sessionTime: 1 }, 1, false, 1_000_000);
    }
    const stranger = bench.put('a', { sequence: 1, clientId: Buffer.alloc(16, 2) });
    const again = bench.put('a', { sequence: 2 });
    bench.advance(100);
    expect([bench.outcome('a', stranger), bench.outcome('a', again)]).toEqual(['OVERLOADED', 'quorum']);
  });

  it('does not copy a rotten row to others: the sender of a snapshot is damaged itself', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    bench.put('a', { sequence: 1 });
    bench.advance(100);
    const { generation } = a.replica.machine;
    const row = storeKey(0, generation, TABLE_VALUES, userKey('', Buffer.from('k1'))).toString('latin1');
    const bytes = Buffer.from(a.rows.get(row)!);
    bytes[bytes.byteLength - 1]! ^= 1;
    a.rows.set(row, bytes);
    // b comes back as a new learner, and the leader's log does not reach back: it is sent a snapshot.
    a.replica.log.rebase(a.replica.log.lastIndex, 1, 1_001_000);
    const learner = { id: makeReplicaId({ node: 'b', incarnation: 'i', boot: 1 }, 'new'), node: 'b' };
    b.replica.markDamaged('for a test');
    const { id } = a.replicaName;
    const leader = { replica: id, node: 'a', boot: 1 };
    bench.push({ epoch: 1, reservationId: 'e1', led: true, leader, learners: [learner], established: true });
    bench.advance(1_000);
    expect(bench.delivered.get('snapshotPull')).toBeGreaterThan(0);
    expect(bench.delivered.get('snapshotChunk') ?? 0).toBe(0);
    expect(a.eventNames).toContain('replica_damaged');
    expect(a.replica.leadership).toBeNull();
  });

  it('stops one replica, not the node, at an entry that this version does not know', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    const { lastIndex, lastEpoch } = b.replica.log;
    const unknown = Buffer.from(b.wal.at(-1)!.payload);
    unknown[1] = 99;
    unknown.writeBigUInt64LE(BigInt(lastIndex + 1), 12);
    const append = {
      configuration: 1,
      prevIndex: lastIndex,
      prevEpoch: lastEpoch,
      entries: [unknown],
      commitIndex: 0,
      voters: [],
      previousVoters: [],
      sentAt: 0,
      ...{ echo: 0, echoBoot: 0 },
    };
    const ends = { from: a.replicaName.id, to: b.replicaName.id };
    b.core.peerMessages('a', [{ partition: 0, ...ends, epoch: 1, body: 'append', append }]);
    bench.pump();
    expect(b.eventNames).toContain('replica_damaged');
    expect(b.replica.log.lastIndex).toBe(lastIndex);
    const answers = bench.delivered.get('appendReply');
    bench.cut.add('c');
    bench.advance(1_000);
    expect(bench.delivered.get('appendReply')).toBe(answers);
  });

  it('keeps the contact of a quorum while the only other voter that lives waits for a snapshot', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    bench.cut.add('b');
    for (let sequence = 1; sequence <= 5; sequence++) bench.put('a', { sequence });
    bench.advance(500);
    // The log of the leader does not reach back to where b is, and its store is slow to open a view for the snapshot.
    a.replica.log.rebase(a.replica.log.lastIndex, 1, 1_001_000);
    a.disk = false;
    bench.cut.add('c');
    bench.cut.delete('b');
    bench.advance(5_000);
    expect(b.replica.log.lastIndex).toBeLessThan(a.replica.log.lastIndex);
    expect(a.replica.leadership?.hasQuorumContact()).toBe(true);
    bench.cut.add('b');
    bench.advance(5_000);
    expect(a.replica.leadership?.hasQuorumContact()).toBe(false);
  });

  it('says what does not match as soon as its new promise is durable', () => {
    const bench = threeNodes();
    const [a, b, c] = bench.trio;
    bench.cut.add('b');
    for (let sequence = 1; sequence <= 5; sequence++) bench.put('a', { sequence });
    bench.advance(100);
    bench.lead('a', 2, [a, c]);
    bench.advance(100);
    b.disk = false;
    bench.cut.delete('b');
    bench.advance(300);
    expect(b.replica.meta.promiseEpoch).toBe(2);
    expect(b.replica.log.lastIndex).toBe(1);
    b.disk = true;
    // No time passes: no heartbeat is waited for.
    bench.pump();
    expect(b.replica.log.lastIndex).toBe(a.replica.log.lastIndex);
  });

  it('brings a new epoch to one that was away and that its log does not reach back to', () => {
    const bench = threeNodes();
    const [a, b, c] = bench.trio;
    bench.cut.add('b');
    for (let sequence = 1; sequence <= 5; sequence++) bench.put('a', { sequence });
    bench.advance(100);
    bench.lead('a', 2, [a, c]);
    bench.advance(100);
    a.replica.log.rebase(a.replica.log.lastIndex, 2, 1_001_000);
    a.replica.leadership!.progress.get(b.replicaName.id)!.probe(2);
    bench.advance(300);
    bench.cut.delete('b');
    bench.advance(3_000);
    expect(b.replica.meta.promiseEpoch).toBe(2);
    expect(b.replica.log.lastIndex).toBe(a.replica.log.lastIndex);
  });

  it('answers a Seal with what it has when it answers, also when a snapshot is installed before that', () => {
    const bench = threeNodes();
    const [a, b] = bench.trio;
    bench.cut.add('b');
    for (let sequence = 1; sequence <= 5; sequence++) bench.put('a', { sequence });
    bench.advance(100);
    a.replica.log.rebase(a.replica.log.lastIndex, 1, 1_001_000);
    bench.cut.delete('b');
    for (let turn = 0; !bench.delivered.has('snapshotChunk'); turn++) {
      if (turn % 4 === 0) bench.tick(20);
      bench.pump(1);
    }
    b.fsyncs = false;
    const voters = bench.nodes.map((node) => node.replicaName);
    const sets = { configuration: 1, voters, previousVoters: [] };
    b.core.seal({ partition: 0, replica: b.replicaName.id, epoch: 2, reservationId: 'e2', ...sets });
    const before = b.sealReplies.length;
    b.settle();
    expect(b.eventNames).toContain('snapshot_installed');
    expect(b.sealReplies).toHaveLength(before);
    b.fsyncs = true;
    b.settle();
    const { lastIndex, lastEpoch } = a.replica.log;
    expect(b.sealReplies.slice(before)).toMatchObject([{ epoch: 2, accepted: true, lastIndex, lastEpoch }]);
  });
});
