/** What docs/CONSISTENCY.md says of each level of reads beside its guarantee: who answers while the network is split or voters are away. */
import { describe, expect, it } from 'vitest';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../src/common/reads.ts';
import type { GetOperation, Reply, Request } from '../../src/common/wire/messages.ts';
import { Cluster, drawShape } from './cluster.ts';
import type { SimNode } from './sim-node.ts';
import { World } from './world.ts';

const CLIENT = Buffer.from('0123456789abcdef');
const KEY = 'k';
const OTHER = 'other';
/** Of every question, ms. */
const TIME_MS = 3_000;

const STALE: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_STALE' };

/** Returns what a session asks for that has seen the log so far. */
function session(sessionIndex: number): GetOperation {
  return { ...LINEARIZABLE_GET, level: 'READ_SESSION', sessionIndex };
}

/** A question to one node, and what it has been told. */
interface Asked {
  reply: Reply | null;
  at: number;
}

/** One partition on three nodes, and a fourth that holds nothing; questions reach every node, whatever is cut. */
class Bench {
  readonly cluster: Cluster;
  private readonly connections = new Map<SimNode, number>();
  private readonly asked = new Map<number, Asked>();
  private nextId = 1;
  private sequence = 0;

  constructor(nodes = 3) {
    const shape = {
      nodes,
      partitions: 1,
      replicationFactor: 3,
      controllers: 1,
      clients: 0,
      datagrams: false,
    };
    const world = new World(8);
    this.cluster = new Cluster(world, drawShape(world, shape));
    for (const node of this.cluster.nodes) node.start();
    for (const controller of this.cluster.controllers) controller.start();
    this.until('a leader', () => this.cluster.invariants.record(0)?.established === true);
    this.until('a serving leader', () => this.leadership()?.serving === true);
    this.put('first');
    this.until('it to be everywhere', () => this.voters.every((node) => this.shows(node) === 'first'));
    this.run(1_000);
  }

  get now(): number {
    return this.cluster.world.now;
  }

  run(ms: number): void {
    this.cluster.world.run(this.now + ms, () => false);
  }

  until(what: string, done: () => boolean, limitMs = 20_000): void {
    this.cluster.world.run(this.now + limitMs, done);
    expect(done(), `${what}, within ${limitMs} ms of virtual time`).toBe(true);
  }

  private node(id: string): SimNode {
    return this.cluster.nodes.find((node) => node.id === id)!;
  }

  get voters(): SimNode[] {
    return this.cluster.invariants.record(0)!.voters.map(({ node }) => this.node(node));
  }

  get leader(): SimNode {
    return this.node(this.cluster.invariants.record(0)!.leader!.node);
  }

  get followers(): SimNode[] {
    return this.voters.filter((node) => node !== this.leader);
  }

  private leadership() {
    return this.leader.core?.replicas.byPartition.get(0)?.leadership;
  }

  /** The index of what a node has decided. */
  decided(node: SimNode): number {
    return node.core!.replicas.byPartition.get(0)!.machine.decidedIndex;
  }

  lastIndex(node: SimNode): number {
    return node.core!.replicas.byPartition.get(0)!.log.lastIndex;
  }

  ask(node: SimNode, request: Partial<Request>): Asked {
    let connection = this.connections.get(node);
    if (connection === undefined) {
      connection = node.accept(CLIENT, (reply) => {
        const asked = this.asked.get(reply.id)!;
        asked.reply = reply;
        asked.at = this.now;
      })!;
      this.connections.set(node, connection);
    }
    const id = this.nextId++;
    const asked: Asked = { reply: null, at: 0 };
    this.asked.set(id, asked);
    node.request(connection, {
      id,
      timeLeftMs: TIME_MS,
      keyspace: '',
      key: Buffer.from(KEY),
      clientId: new Uint8Array(0),
      sequence: 0,
      lowWater: 0,
      sessionTime: 0,
      attempt: 1,
      ack: 'ACK_QUORUM',
      traceParent: '',
      condition: null,
      idempotencyKey: new Uint8Array(0),
      operation: 'get',
      get: LINEARIZABLE_GET,
      ...request,
    });
    return asked;
  }

  /** Returns what a read is told in the end: text, `absent`, or the code of an error. */
  read(node: SimNode, get: GetOperation, key = KEY): string {
    const asked = this.ask(node, { get, key: Buffer.from(key) });
    this.until(`an answer of ${node.id}`, () => asked.reply !== null, TIME_MS + 1_000);
    return told(asked.reply!);
  }

  /** Returns the bound that a stale read is told. */
  bound(node: SimNode): number {
    const asked = this.ask(node, { get: STALE });
    this.until(`an answer of ${node.id}`, () => asked.reply !== null, TIME_MS + 1_000);
    return asked.reply!.value!.stalenessMs;
  }

  private shows(node: SimNode): string | null {
    const asked = this.ask(node, { get: STALE });
    this.run(5);
    return asked.reply === null ? null : told(asked.reply);
  }

  /** Starts a write at the leader. */
  startPut(value: string, node = this.leader): Asked {
    this.sequence += 1;
    const { logTime } = node.core!.replicas.byPartition.get(0)!.machine.mark;
    return this.ask(node, {
      operation: 'put',
      get: null,
      put: { value: Buffer.from(value), codec: 0, ttlMs: 0 },
      sequence: this.sequence,
      lowWater: this.sequence,
      sessionTime: logTime,
    });
  }

  put(value: string): void {
    const asked = this.startPut(value);
    this.until('the write', () => asked.reply !== null);
    expect(told(asked.reply!)).toBe('receipt');
  }

  /** Ends a node's process. */
  stop(node: SimNode): void {
    this.cluster.stopNode(node, 'process');
    this.connections.delete(node);
  }

  /** Cuts a node off from all others, controllers included. */
  isolate(node: SimNode): void {
    const { network, nodes, controllers } = this.cluster;
    for (const { id } of [...nodes, ...controllers]) {
      if (id === node.id) continue;
      network.cut(id, node.id);
      network.cut(node.id, id);
    }
  }
}

function told({ result, value, failure }: Reply): string {
  if (result === 'failure') return failure!.code;
  if (result !== 'value') return result;
  return value!.found ? Buffer.from(value!.value).toString() : 'absent';
}

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
      expect(bench.bound(away)).toBeLessThan(bench.now - cutAt + 500);
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
      expect(bench.bound(node)).toBeLessThan(800);
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
      idle.run(50);
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
    const answers = new Set<string>();
    expect(cluster.controllers[0]!.moveVoter(0, leaving.id, spare.id)).toBe(true);
    bench.until('the move', () => {
      for (const node of staying) answers.add(bench.read(node, QUORUM_GET));
      const now = cluster.invariants.record(0)!;
      return now.established && now.voters.some(({ node }) => node === spare.id);
    });
    expect(answers).toEqual(new Set(['first', 'UNAVAILABLE']));
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
