/**
 * Direct mode over the in-memory wire: leaders found by topology and by hints, without routers if need be.
 */
import { describe, expect, it } from 'vitest';
import { clientFor, endOf, until } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  StoreModel,
  topologyOf,
} from '../../test/support/client-network.ts';
import { partitionOf } from '../common/hash.ts';
import type { ConnectOptions } from './options.ts';

const PARTITIONS = 8;
const NODES = ['n1', 'n2', 'n3'];

/** A router, three nodes, one model of the store; a node refuses what it does not lead. */
class Fixture {
  readonly model = new StoreModel(PARTITIONS);
  readonly router = new ScriptedServer('r:1');
  readonly nodes = new Map(NODES.map((id) => [id, new ScriptedServer(`${id}.test:1`, 'node', id)]));
  readonly network = new ScriptedNetwork();
  /** Who leads really; null: nobody. */
  leader: string | null = 'n1';
  epoch = 5;
  /** Whether a refusal names the leader. */
  hints = true;

  constructor() {
    this.network.add(this.router, ...this.nodes.values());
    for (const [id, node] of this.nodes) {
      node.script = (request, session) => {
        if (this.leader === id) return session.reply(this.model.execute(request, session.clientId));
        const leader = this.hints ? (this.leader ?? '') : '';
        session.reply(refusal(request, 'NOT_LEADER', { leader, epoch: this.epoch }));
      };
    }
  }

  node(id: string): ScriptedServer {
    return this.nodes.get(id)!;
  }

  /** Moves all leaderships; watchers hear of it if `told`. */
  move(leader: string | null, told = true): void {
    this.leader = leader;
    this.epoch += 1;
    if (told) this.tell();
  }

  tell(): void {
    const records = Array.from({ length: PARTITIONS }, (_, partition) =>
      partitionRecord(partition, this.epoch, this.leader),
    );
    const topology = topologyOf(NODES.map(nodeRecord), records);
    for (const server of [this.router, ...this.nodes.values()]) server.push(topology);
  }

  client(endpoints: string[] = ['r:1'], options: Partial<ConnectOptions> = {}) {
    const more = { requestTimeoutMs: 5_000, retry: { backoffMs: 2, backoffMsMax: 20 }, ...options };
    return clientFor(this.network.transport, { endpoints, mode: 'direct', ...more });
  }
}

function started(): Fixture {
  const fixture = new Fixture();
  fixture.tell();
  return fixture;
}

describe('direct mode', () => {
  it('sends to the leader in one hop and opens no other session', async () => {
    const fixture = started();
    const db = fixture.client();
    const receipt = await db.put('k', 1);
    expect(receipt.partition).toBe(partitionOf(Buffer.from('k'), PARTITIONS));
    expect(await db.get('k')).toBe(1);
    expect(fixture.node('n1').requests).toHaveLength(3);
    expect(fixture.router.sessions.size + fixture.node('n2').sessions.size).toBe(0);
    expect([...fixture.node('n1').sessions][0]!.hello.expectedNode).toBe('n1');
  });

  it('follows a hint at once, before the topology has told of the move', async () => {
    const fixture = started();
    const db = fixture.client(['r:1'], { retry: { backoffMs: 60_000, backoffMsMax: 60_000 } });
    await db.put('k', 1);
    fixture.move('n2', false);
    await db.put('k', 2);
    expect(await db.get('k')).toBe(2);
    expect(fixture.node('n2').requests.length).toBeGreaterThanOrEqual(2);
    expect(fixture.model.applied).toBe(2);
  });

  it('waits without a leader and goes on when the topology names one', async () => {
    const fixture = started();
    const db = fixture.client(['r:1'], {
      requestTimeoutMs: 20_000,
      retry: { backoffMs: 60_000, backoffMsMax: 60_000 },
    });
    await db.put('k', 1);
    fixture.move(null);
    const write = db.put('k', 2);
    await until('it was refused', () => fixture.node('n1').requests.length >= 3);
    fixture.move('n3');
    expect(await write).toMatchObject({ duplicate: false });
    expect(await db.get('k')).toBe(2);
  });

  it('asks the next leader for what the old one, cut off or paused, does not answer', async () => {
    const fixture = started();
    const db = fixture.client(['r:1'], { requestTimeoutMs: 60_000, retry: { attemptMsMin: 60_000 } });
    await db.put('k', 1);
    await db.increment('count');
    const n1 = fixture.node('n1');
    const { length } = n1.requests;
    // It has taken the write, or will do so, and says nothing.
    n1.script = (request, session) => void fixture.model.execute(request, session.clientId);
    const write = db.increment('count');
    const read = db.get('k');
    await until('both are sent', () => n1.requests.length === length + 2);
    fixture.move('n3');
    expect(await write).toMatchObject({ value: 2, duplicate: true });
    expect(await read).toBe(1);
    expect(n1.cancels).toHaveLength(2);
  });

  it('takes what waits for a full session along to the next leader', async () => {
    const fixture = started();
    const n1 = fixture.node('n1');
    n1.maxInFlight = 2;
    const db = fixture.client(['r:1'], { requestTimeoutMs: 60_000, retry: { attemptMsMin: 60_000 } });
    await db.put('k', 1);
    n1.script = () => {};
    const all = [db.get('k'), db.increment('count'), db.get('k'), db.increment('count')];
    await until('it is full', () => n1.requests.length === 4);
    fixture.move('n3');
    expect(await Promise.all(all)).toMatchObject([1, { value: 1 }, 1, { value: 2 }]);
    expect(fixture.model.applied).toBe(3);
  });

  it('asks elsewhere who leads when a leader does not answer: who it has asked may be cut off as well', async () => {
    const fixture = started();
    // The old leader is what it watches, and is told nothing.
    const db = fixture.client(['n1.test:1', 'n2.test:1'], {
      requestTimeoutMs: 60_000,
      retry: { attemptMsMin: 60_000 },
    });
    await db.put('k', 1);
    const n1 = fixture.node('n1');
    const watched = [...fixture.nodes.values()].find(({ watchers }) => watchers.size > 0)!;
    n1.script = () => {};
    const read = db.get('k');
    fixture.move('n3', false);
    const records = Array.from({ length: PARTITIONS }, (_, at) => partitionRecord(at, fixture.epoch, 'n3'));
    for (const node of fixture.nodes.values())
      if (node !== watched) node.topology = topologyOf(NODES.map(nodeRecord), records);
    expect(await read).toBe(1);
    expect(watched.watchers.size).toBe(0);
    expect(fixture.node('n3').requests).toHaveLength(1);
  });

  it('keeps its word through a leader that dies with answers unsent', async () => {
    const fixture = started();
    const db = fixture.client();
    await db.put('n', 0);
    const n1 = fixture.node('n1');
    n1.script = (request, session) => {
      fixture.model.execute(request, session.clientId);
      n1.stop();
      fixture.move('n2');
    };
    const receipts = await Promise.all(Array.from({ length: 10 }, () => db.increment('count')));
    expect(receipts.map(({ value }) => value).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 10 }, (_, n) => n + 1),
    );
  });

  it('goes on when all routers are gone: old clients and new ones that know nodes only', async () => {
    const fixture = started();
    const db = fixture.client();
    await db.put('k', 1);
    fixture.router.stop();
    await db.put('k', 2);
    await until('a node is watched', () => NODES.some((id) => fixture.node(id).watchers.size > 0));
    fixture.move('n3');
    await db.put('k', 3);
    const fresh = fixture.client(['n2.test:1']);
    expect(await fresh.get('k')).toBe(3);
  });

  it('reaches a node under its new address', async () => {
    const fixture = started();
    const db = fixture.client();
    await db.put('k', 1);
    fixture.node('n1').stop();
    const moved = new ScriptedServer('n1.test:9', 'node', 'n1');
    moved.script = (request, session) => session.reply(fixture.model.execute(request, session.clientId));
    fixture.network.add(moved);
    const records = Array.from({ length: PARTITIONS }, (_, partition) => partitionRecord(partition, 6, 'n1'));
    fixture.router.push(topologyOf([{ ...nodeRecord('n1'), clientAddress: 'n1.test:9' }], records));
    expect(await db.get('k')).toBe(1);
  });

  it('does not take another node at a reused address for the leader', async () => {
    const fixture = started();
    const impostor = new ScriptedServer('n1.test:1', 'node', 'other');
    fixture.network.add(impostor);
    const db = fixture.client(['r:1'], { requestTimeoutMs: 200 });
    expect(await endOf(db.put('k', 1))).toMatch(/ not_applied$/);
    expect(impostor.requests).toEqual([]);
  });

  it('is UNAVAILABLE if nodes name nobody or each other, and nothing was applied', async () => {
    const fixture = started();
    fixture.leader = null;
    const db = fixture.client(['r:1'], { requestTimeoutMs: 200 });
    expect(await endOf(db.put('k', 1))).toBe('UNAVAILABLE not_applied');
    for (const [index, id] of NODES.entries()) {
      fixture.node(id).script = (request, session) => {
        fixture.epoch += 1;
        const leader = NODES[(index + 1) % NODES.length]!;
        session.reply(refusal(request, 'NOT_LEADER', { leader, epoch: fixture.epoch }));
      };
    }
    expect(await endOf(db.put('k', 1))).toBe('UNAVAILABLE not_applied');
    expect(fixture.model.applied).toBe(0);
  });

  it('tells of topologies, and ends with another cluster', async () => {
    const fixture = started();
    const db = fixture.client(['r:1'], { requestTimeoutMs: 60_000 });
    const revisions: number[] = [];
    db.on('topology', ({ revision }) => revisions.push(revision));
    await db.ready();
    expect(revisions).toHaveLength(1);
    fixture.leader = null;
    const write = endOf(db.put('k', 1));
    for (const server of [fixture.router, ...fixture.nodes.values()]) server.clusterId = 'cluster-2';
    fixture.router.stop();
    for (const id of NODES) fixture.node(id).stop();
    for (const id of NODES) fixture.node(id).state = 'up';
    expect(await write).toMatch(/^WRONG_CLUSTER /);
  });
});
