/** Gets of salted keys as a client sends them: to home or a copy, home again at once, and beside a slow one elsewhere. */
import { describe, expect, it } from 'vitest';
import { clientFor, endOf, errorOf, until } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  type Script,
  ScriptedNetwork,
  ScriptedServer,
  topologyOf,
} from '../../test/support/client-network.ts';
import { partitionOf } from '../common/hash.ts';
import type { Reply, Request } from '../common/wire/messages.ts';
import type { RingkeepClient } from './client.ts';
import type { ConnectOptions } from './options.ts';

const NODES = ['n1', 'n2', 'n3'];
const HOME = partitionOf(Buffer.from('hot'), 8);
const [AT2, AT3] = [(HOME + 1) % 8, (HOME + 2) % 8];

function valueReply(request: Request, salts: readonly number[] | null): Reply {
  const where = { version: 1, epoch: 1, partition: HOME, expiresAt: 0, seenIndex: 1, stalenessMs: 0 };
  const told = salts === null ? null : { partitions: [...salts] };
  const value = { found: true, value: Buffer.from('v'), codec: 2, ...where, salts: told };
  return { id: request.id, end: true, result: 'value', value };
}

/** The home of `hot` is led by n1; n2 and n3 lead the partitions of its copies. */
class Fixture {
  readonly router = new ScriptedServer('r:1');
  readonly nodes = NODES.map((id) => new ScriptedServer(`${id}.test:1`, 'node', id));
  readonly network = new ScriptedNetwork().add(this.router, ...this.nodes);
  copies: readonly number[] = [AT2, AT3];
  private epoch = 5;

  constructor() {
    for (const server of [this.router, ...this.nodes])
      server.script = (request, session) => session.reply(this.answer(request));
    this.lead({});
  }

  /** What home, a copy and a router say. */
  answer(request: Request): Reply {
    return valueReply(request, request.saltIn ? null : this.copies);
  }

  /** Tells who leads; n1 unless it is said otherwise. */
  lead(changes: Readonly<Record<number, string>>): void {
    this.epoch += 1;
    const leaders: Record<number, string> = { [AT2]: 'n2', [AT3]: 'n3', ...changes };
    const records = Array.from({ length: 8 }, (_, at) =>
      partitionRecord(at, this.epoch, leaders[at] ?? 'n1'),
    );
    const topology = topologyOf(NODES.map(nodeRecord), records);
    for (const server of [this.router, ...this.nodes]) server.push(topology);
  }

  client(mode: 'routed' | 'direct', options: Partial<ConnectOptions> = {}): RingkeepClient {
    const slow = { backoffMs: 60_000, backoffMsMax: 60_000, attemptMsMin: 60_000 };
    const more = { requestTimeoutMs: 60_000, retry: slow, ...options };
    return clientFor(this.network.transport, { endpoints: ['r:1'], mode, ...more });
  }

  node(id: string): ScriptedServer {
    return this.nodes.find(({ nodeId }) => nodeId === id)!;
  }

  counts(): number[] {
    return this.nodes.map(({ requests }) => requests.length);
  }

  reset(): void {
    for (const { requests } of this.nodes) requests.length = 0;
  }
}

/** A direct client that has sessions with all three nodes. */
async function warm(fixture: Fixture): Promise<RingkeepClient> {
  const db = fixture.client('direct');
  while (fixture.counts().includes(0)) await db.get('hot');
  fixture.reset();
  return db;
}

async function read(db: RingkeepClient, times: number, key = 'hot'): Promise<void> {
  for (let n = 0; n < times; n++) expect(await db.get(key)).toBe('v');
}

describe('a direct client', () => {
  it('reads a salted key at home and at its copies, and everything else at home', async () => {
    const fixture = new Fixture();
    const db = await warm(fixture);
    await read(db, 90);
    for (const count of fixture.counts()) expect(count).toBeGreaterThan(10);
    for (const [at, saltIn] of [0, AT2 + 1, AT3 + 1].entries())
      for (const request of fixture.nodes[at]!.requests) expect(request.saltIn ?? 0).toBe(saltIn);
    fixture.reset();
    fixture.copies = [];
    await read(db, 10, `{hot}other`);
    await db.get('hot', { read: 'quorum' });
    await db.keyspace('other').get('hot');
    for (const { requests } of fixture.nodes)
      for (const { saltIn } of requests) expect(saltIn).toBeUndefined();
  });

  it('reads at home alone once that names no copies any more', async () => {
    const fixture = new Fixture();
    const db = await warm(fixture);
    fixture.copies = [];
    while (fixture.counts()[0] === 0) await read(db, 1);
    fixture.reset();
    await read(db, 20);
    expect(fixture.counts()).toEqual([20, 0, 0]);
  });

  it('asks the others when one has as much as it takes, and nobody has to wait for it', async () => {
    const fixture = new Fixture();
    const db = await warm(fixture);
    const n2 = fixture.node('n2');
    n2.script = () => {};
    // All at once: nobody knows yet who does not answer, and a third of them would be more than it takes.
    const all = Array.from({ length: 300 }, () => db.get('hot'));
    expect(await Promise.all(all)).toHaveLength(300);
    expect(n2.requests.length).toBeLessThanOrEqual(n2.maxInFlight);
    fixture.reset();
    await read(db, 60);
    expect(fixture.counts()[1]).toBe(0);
  });

  it('goes home at once, without a retry, when a copy refuses, and when its session breaks', async () => {
    for (const code of ['NOT_LEADER', 'SHUTTING_DOWN', 'cut'] as const) {
      const fixture = new Fixture();
      fixture.copies = [AT2];
      // A retry would wait for a minute.
      const db = fixture.client('direct');
      const n2 = fixture.node('n2');
      n2.script = (request, session) => {
        if (code === 'cut') n2.stop();
        else session.reply(refusal(request, code, { partition: HOME }));
      };
      while (n2.requests.length === 0) await read(db, 1);
      const [last] = fixture.node('n1').requests.slice(-1);
      expect([last!.saltIn, last!.attempt], code).toEqual([undefined, 2]);
    }
  });

  it('goes home when a copy’s partition has another leader, and stays there when its own has', async () => {
    const fixture = new Fixture();
    fixture.copies = [AT2];
    const db = fixture.client('direct', { operationsMax: 100_000 });
    const n2 = fixture.node('n2');
    const [n1, n3] = [fixture.node('n1'), fixture.node('n3')];
    while (n2.requests.length === 0) await read(db, 1);
    fixture.reset();
    const silent: Script = () => {};
    for (const node of [n1, n2, n3]) node.script = silent;
    const all: Promise<unknown>[] = [];
    while (n2.requests.length < 5) {
      all.push(db.get('hot'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const node of [n1, n3]) node.script = (request, session) => session.reply(fixture.answer(request));
    const atCopy = n2.requests.length;
    fixture.lead({ [HOME]: 'n3' });
    await until('what was at home is at its new leader', () => n3.requests.length > 0);
    expect(n2.cancels.length).toBeLessThan(atCopy);
    fixture.lead({ [HOME]: 'n3', [AT2]: 'n1' });
    expect(await Promise.all(all)).toHaveLength(all.length);
    expect(n3.requests.every(({ saltIn }) => (saltIn ?? 0) === 0)).toBe(true);
  });

  it('tells its caller what a copy says that has too much to do, after its retries at home', async () => {
    const fixture = new Fixture();
    fixture.copies = [AT2];
    const db = fixture.client('direct', { retry: { backoffMs: 1, backoffMsMax: 2 } });
    const n2 = fixture.node('n2');
    n2.script = (request, session) => session.reply(refusal(request, 'OVERLOADED', { retryAfterMs: 1 }));
    while (n2.requests.length === 0) await read(db, 1);
    expect(fixture.node('n1').requests.at(-1)!.attempt).toBe(2);
    fixture.node('n1').script = (request, session) => session.reply(refusal(request, 'KEY_TOO_LARGE'));
    expect(await endOf(db.get('hot'))).toBe('KEY_TOO_LARGE not_applied');
  });
});

describe('a second attempt', () => {
  it('of a get of a salted key goes elsewhere, home or copy, when the first one is slow', async () => {
    for (const slow of NODES) {
      const fixture = new Fixture();
      const db = await warm(fixture);
      const node = fixture.node(slow);
      node.script = () => {};
      for (let n = 0; n < 500 && node.requests.length === 0; n++) await read(db, 1);
      expect(node.requests).toHaveLength(1);
      await until('the slow one is told', () => node.cancels.length === 1);
      // What it holds counts as load: it is left alone.
      await read(db, 30);
      expect(node.requests).toHaveLength(1);
    }
  });

  it('goes elsewhere also where there is more to do', async () => {
    const fixture = new Fixture();
    fixture.copies = [AT2];
    const db = fixture.client('direct');
    const [n1, n2] = [fixture.node('n1'), fixture.node('n2')];
    while (n2.requests.length === 0) await read(db, 1);
    const answer = n1.script;
    n1.script = (request, session) => {
      if (`${Buffer.from(request.key)}` === 'hot') answer(request, session);
    };
    for (let n = 0; n < 3; n++) void db.get('{hot}cold').catch(() => {});
    await until('n1 has more to do', () => n1.requests.slice(-3).every(({ key }) => key.length > 3));
    fixture.reset();
    n2.script = () => {};
    await read(db, 1);
    expect(fixture.counts()).toEqual([1, 1, 0]);
  });

  it('costs the others no more than the budget of hedges, however long a copy is paused', async () => {
    const fixture = new Fixture();
    const db = await warm(fixture);
    const paused = fixture.node('n2');
    paused.script = () => {};
    const READS = 6_000;
    for (let n = 0; n < READS; n += 50) await Promise.all(Array.from({ length: 50 }, () => db.get('hot')));
    const [home, , other] = fixture.counts() as [number, number, number];
    const hedged = home + other + paused.requests.length - READS;
    expect(hedged).toBeGreaterThan(0);
    expect(hedged).toBeLessThanOrEqual(512 + READS * 0.1);
    // Each of the others has its half of what the paused one does not get, and half of the hedges.
    for (const count of [home, other]) expect(count).toBeLessThan((READS + hedged) * 0.6);
    // As many wait there at most as wait elsewhere.
    expect(paused.requests.length).toBeLessThan(100);
  });

  it('is made through a router of keys that it has called salted, and names the first one', async () => {
    const fixture = new Fixture();
    const db = fixture.client('routed');
    const { router } = fixture;
    await read(db, 1);
    await read(db, 1, 'cold');
    expect(router.requests.map(({ saltIn, beside }) => [saltIn, beside])).toEqual([
      [undefined, undefined],
      [undefined, undefined],
    ]);
    router.requests.length = 0;
    let first: Request | null = null;
    router.script = (request, session) => {
      if (first === null) first = request;
      else session.reply(fixture.answer(request));
    };
    expect(await db.get('hot')).toBe('v');
    expect(router.requests).toHaveLength(2);
    expect(router.requests[1]).toMatchObject({ attempt: 1, beside: first!.id });
    await until('the first one is cancelled', () => router.cancels.length === 1);
    // A key that is not salted has one attempt.
    fixture.copies = [];
    await read(db, 1);
    router.requests.length = 0;
    router.script = () => {};
    expect((await errorOf(db.get('hot', { timeoutMs: 200 }))).code).toBe('DEADLINE_EXCEEDED');
    expect(router.requests).toHaveLength(1);
  });

  it('is of no consequence when it is refused', async () => {
    const fixture = new Fixture();
    const db = fixture.client('routed');
    await read(db, 1);
    const { router } = fixture;
    router.requests.length = 0;
    let answerFirst = (): void => {};
    router.script = (request, session) => {
      if (request.beside === undefined) answerFirst = () => session.reply(fixture.answer(request));
      else session.reply(refusal(request, 'UNAVAILABLE'));
    };
    const get = db.get('hot');
    await until('both are there', () => router.requests.length === 2);
    answerFirst();
    expect(await get).toBe('v');
  });
});
