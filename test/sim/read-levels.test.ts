/** What docs/CONSISTENCY.md says of each level of reads beside its guarantee: who answers while the network is split or voters are away. */
import { describe, expect, it } from 'vitest';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../src/common/reads.ts';
import { type Asked, Bench, STALE, session, told } from '../support/sim-bench.ts';
import type { SimNode } from './sim-node.ts';

const OTHER = 'other';

describe('while a follower is cut off', () => {
  it('it answers session reads of what it has, and stale ones with a bound that grows and is true; no others', () => {
    const bench = new Bench();
    const [away] = bench.followers as [SimNode];
    const seen = bench.decided(away);
    bench.isolate(away);
    const cutAt = bench.now;
    bench.put('second');
    const writtenAt = bench.now;
    expect(bench.read(away, LINEARIZABLE_GET)).toBe('NOT_LEADER');
    expect(bench.read(away, QUORUM_GET)).toBe('DEADLINE_EXCEEDED');
    expect(bench.read(away, session(seen))).toBe('first');
    expect(bench.read(away, session(bench.decided(bench.leader)))).toBe('UNAVAILABLE');
    for (let times = 0; times < 3; times += 1) {
      expect(bench.read(away, STALE)).toBe('first');
      expect(bench.bound(away)).toBeGreaterThan(bench.now - writtenAt);
      // Nor is it much more than the truth.
      expect(bench.bound(away)).toBeLessThan((bench.now - cutAt) * 1.02 + 600);
      expect(bench.read(away, { ...STALE, maxStalenessMs: 300 })).toBe('UNAVAILABLE');
      bench.run(1_000);
    }
  });

  it('the others answer at every level', () => {
    const bench = new Bench();
    const [away, other] = bench.followers as [SimNode, SimNode];
    bench.isolate(away);
    bench.put('second');
    for (const node of [bench.leader, other]) {
      expect(bench.read(node, QUORUM_GET)).toBe('second');
      expect(bench.read(node, session(bench.lastIndex(bench.leader)))).toBe('second');
      expect(bench.bound(node)).toBeLessThan(500);
    }
    expect(bench.read(bench.leader, LINEARIZABLE_GET)).toBe('second');
  });

  it('one that was started since then knows no bound', () => {
    const bench = new Bench();
    const [away] = bench.followers as [SimNode];
    bench.isolate(away);
    bench.stop(away);
    away.start();
    bench.run(2_000);
    expect(bench.read(away, STALE)).toBe('UNAVAILABLE');
  });

  it('two stale reads may show the new value and then the old one, each within its bound', () => {
    const bench = new Bench();
    const [away, other] = bench.followers as [SimNode, SimNode];
    bench.isolate(away);
    bench.put('second');
    bench.until('the write at the other follower', () => bench.read(other, STALE) === 'second');
    expect(bench.read(away, STALE)).toBe('first');
  });
});

describe('while the leader is cut off', () => {
  function afterFailover(): { bench: Bench; old: SimNode; seen: number } {
    const bench = new Bench();
    const old = bench.leader;
    const seen = bench.decided(old);
    bench.isolate(old);
    bench.until('another leader', () => {
      const record = bench.cluster.invariants.record(0)!;
      return record.established && record.leader!.node !== old.id;
    });
    bench.put('second');
    return { bench, old, seen };
  }

  it('it answers session reads of what it has, and stale ones with a true bound; no others, and no writes', () => {
    const { bench, old, seen } = afterFailover();
    const writtenAt = bench.now;
    const write = bench.startPut('lonely', old);
    expect(['NO_QUORUM', 'DEADLINE_EXCEEDED']).toContain(bench.read(old, LINEARIZABLE_GET));
    expect(bench.read(old, QUORUM_GET)).toBe('DEADLINE_EXCEEDED');
    expect(bench.read(old, session(seen))).toBe('first');
    expect(bench.read(old, STALE)).toBe('first');
    expect(bench.bound(old)).toBeGreaterThan(bench.now - writtenAt);
    expect(write.reply?.failure?.code).toBe('NO_QUORUM');
    expect(bench.read(bench.leader, LINEARIZABLE_GET)).toBe('second');
  });

  it('the others answer at every level, under another leader', () => {
    const { bench, old } = afterFailover();
    expect(bench.read(bench.leader, LINEARIZABLE_GET)).toBe('second');
    for (const node of bench.voters.filter((voter) => voter !== old)) {
      expect(bench.read(node, QUORUM_GET)).toBe('second');
      expect(bench.read(node, session(bench.decided(bench.leader)))).toBe('second');
      expect(bench.bound(node)).toBeLessThan(1_000);
    }
  });
});

describe('while there is no leader', () => {
  /** The leader is gone, and so is the controller; with `pending`, the followers hold a write that nobody has decided. */
  function leaderless(pending: boolean): { bench: Bench; followers: SimNode[] } {
    const bench = new Bench();
    const { followers, leader } = bench;
    for (const controller of bench.cluster.controllers) controller.crash();
    if (pending) {
      for (const { id } of followers) bench.cluster.network.cut(id, leader.id);
      const before = bench.lastIndex(leader);
      bench.startPut('second');
      bench.until('it in their logs', () => followers.every((node) => bench.lastIndex(node) > before));
    }
    bench.stop(leader);
    return { bench, followers };
  }

  it('quorum reads of a key that nobody writes are answered at once', () => {
    const { bench, followers } = leaderless(true);
    for (const node of followers) {
      const asked = bench.ask(node, { get: QUORUM_GET, key: Buffer.from(OTHER) });
      bench.run(200);
      // Absent, and the voters tell how far they are altogether: as far as what is pending they need not be.
      expect(told(asked.reply!)).toBe('absent');
    }
    const { bench: idle, followers: both } = leaderless(false);
    for (const node of both) {
      const asked = idle.ask(node, { get: QUORUM_GET });
      idle.run(200);
      expect(told(asked.reply!)).toBe('first');
    }
  });

  it('quorum reads of a key with a write under way wait for its end, some 600 ms at one voter', () => {
    const { bench, followers } = leaderless(true);
    const start = bench.now;
    const asked = followers.map((node) => bench.ask(node, { get: QUORUM_GET }));
    bench.until('their answers', () => asked.every(({ reply }) => reply !== null));
    for (const { reply, at } of asked) {
      expect(told(reply!)).toBe('UNAVAILABLE');
      expect(at - start).toBeGreaterThan(500);
      expect(at - start).toBeLessThan(800);
    }
    for (const controller of bench.cluster.controllers) controller.start();
    bench.until('the write to be decided', () => bench.read(followers[0]!, QUORUM_GET) === 'second');
    expect(bench.read(followers[1]!, QUORUM_GET)).toBe('second');
  });

  it('session and stale reads go on', () => {
    const { bench, followers } = leaderless(false);
    for (const node of followers) {
      expect(bench.read(node, session(bench.decided(node)))).toBe('first');
      bench.run(1_000);
      expect(bench.bound(node)).toBeGreaterThan(900);
    }
  });
});

describe('while voters are changed', () => {
  it('quorum reads are sent away or answered, and never show an older value', () => {
    const bench = new Bench(4);
    const { cluster } = bench;
    const record = cluster.invariants.record(0)!;
    const spare = cluster.nodes.find(({ id }) => !record.voters.some(({ node }) => node === id))!;
    const leaving = record.voters.find(({ node }) => node !== bench.leader.id)!;
    const staying = bench.voters.filter(({ id }) => id !== leaving.node);
    const asked: Asked[] = [];
    expect(cluster.controllers[0]!.moveVoter(0, leaving.id, spare.id)).toBe(true);
    const isMoved = (): boolean => {
      const now = cluster.invariants.record(0)!;
      return now.established && now.voters.some(({ node }) => node === spare.id);
    };
    // Often enough to meet the moments between the two configurations, however short they are.
    while (!isMoved()) {
      asked.push(...staying.map((node) => bench.ask(node, { get: QUORUM_GET })));
      bench.run(5);
    }
    bench.until('their answers', () => asked.every(({ reply }) => reply !== null));
    expect(new Set(asked.map(({ reply }) => told(reply!)))).toEqual(new Set(['first', 'UNAVAILABLE']));
    bench.until('an answer again', () => bench.read(spare, QUORUM_GET) === 'first');
  });
});

describe('with nothing wrong', () => {
  it('every voter answers at every level but the default one, which is the leader’s', () => {
    const bench = new Bench();
    bench.put('second');
    for (const node of bench.voters) {
      expect(bench.read(node, QUORUM_GET)).toBe('second');
      expect(bench.read(node, session(bench.decided(bench.leader)))).toBe('second');
      expect(bench.read(node, LINEARIZABLE_GET)).toBe(node === bench.leader ? 'second' : 'NOT_LEADER');
    }
  });

  // Two of them, and the time to the next; the simulation's nodes look at their clocks less often than real ones.
  it('the bound of stale reads without writes is that of the heartbeats, some half a second at most', () => {
    const bench = new Bench();
    let most = 0;
    for (let times = 0; times < 100; times += 1) {
      for (const node of bench.followers) most = Math.max(most, bench.bound(node));
      bench.run(17);
    }
    expect(most).toBeGreaterThan(50);
    expect(most).toBeLessThan(600);
  });

  it('linearizable reads that wait at the same time share a round of questions', () => {
    const bench = new Bench();
    const count = (): number => bench.cluster.world.counts.get('peer append') ?? 0;
    const before = count();
    const asked = Array.from({ length: 100 }, () => bench.ask(bench.leader, {}));
    bench.until('their answers', () => asked.every(({ reply }) => reply !== null));
    expect(count() - before).toBeLessThan(10);
  });
});
