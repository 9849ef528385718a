/** Increments of salted counters as a client sends them: to any part of the counter, each attempt to the same one, and home once that is closed. */
import { describe, expect, it } from 'vitest';
import { clientFor, errorOf, until } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  topologyOf,
} from '../../test/support/client-network.ts';
import { RingkeepError } from '../common/errors.ts';
import { partitionOf } from '../common/hash.ts';
import { SALT_PROTOCOL } from '../common/limits.ts';
import type { Receipt, Reply, Request, Salts } from '../common/wire/messages.ts';
import type { RingkeepClient } from './client.ts';

const HOME = partitionOf(Buffer.from('hits'), 8);
const [AT2, AT3] = [(HOME + 1) % 8, (HOME + 2) % 8];
const SET = 77;
/** Other keys: one of each of these partitions. */
const OTHERS = [HOME, AT2, AT3].map(
  (at) =>
    Array.from({ length: 99 }, (_, n) => `other${n}`).find((key) => partitionOf(Buffer.from(key), 8) === at)!,
);

/** Home of `hits` is led by n1, the partitions of its sub-counters by n2 and n3. */
class Fixture {
  readonly router = new ScriptedServer('r:1');
  readonly nodes = ['n1', 'n2', 'n3'].map((id) => new ScriptedServer(`${id}.test:1`, 'node', id));
  readonly network = new ScriptedNetwork().add(this.router, ...this.nodes);
  delta = 1;
  set = SET;
  isSalted = true;
  /** Of the home's receipts; and since when the set is in effect. */
  homeIndex = 100 + HOME;
  saltIndex = 50;

  constructor() {
    for (const server of this.servers)
      server.script = (request, session) => session.reply(this.answer(request));
    this.lead(5, { [AT2]: 'n2', [AT3]: 'n3' });
  }

  get servers(): ScriptedServer[] {
    return [this.router, ...this.nodes];
  }

  /** Partitions that are not named are led by n1. */
  lead(epoch: number, leaders: Readonly<Record<number, string | null>>): void {
    const leaderOf = (at: number): string | null => (leaders[at] === undefined ? 'n1' : leaders[at]);
    const records = Array.from({ length: 8 }, (_, at) => partitionRecord(at, epoch, leaderOf(at)));
    const topology = topologyOf(['n1', 'n2', 'n3'].map(nodeRecord), records);
    for (const server of this.servers) server.push(topology);
  }

  /** Has all sessions opened anew, at this version. */
  speak(protocol: number): void {
    for (const server of this.servers) {
      server.protocolMax = protocol;
      for (const session of [...server.sessions]) session.cut();
    }
  }

  /** Resolves once sessions are open again with everybody that `db` asks, and what waits for them has been asked. */
  async reconnected(db: RingkeepClient): Promise<void> {
    // Every partition is asked for something.
    for (const key of OTHERS) await db.add(key);
  }

  get salts(): Salts {
    return { partitions: [AT2, AT3], set: this.set, delta: this.delta, index: this.saltIndex };
  }

  answer(request: Request, more: Partial<Receipt> = {}): Reply {
    const partition = request.saltIn ? request.saltIn - 1 : HOME;
    const salts = this.isSalted ? this.salts : null;
    const isHits = Buffer.from(request.key).toString() === 'hits';
    const told = isHits && !request.saltIn && request.increment?.unread ? salts : null;
    const where = { partition, epoch: 1, version: 100 + partition, durability: 'quorum' as const };
    const index = partition === HOME ? this.homeIndex : 100 + partition;
    const rest = { logTime: 1, duplicate: false, counter: 0, conditionFailed: false, index };
    const receipt = { ...where, ...rest, items: [], repeated: false, salts: told, ...more };
    return { id: request.id, end: true, result: 'receipt', receipt };
  }

  client(mode: 'routed' | 'direct'): RingkeepClient {
    const retry = { backoffMs: 1, backoffMsMax: 1, attemptMsMin: 5_000 };
    const options = { endpoints: ['r:1'], mode, requestTimeoutMs: 5_000, retry };
    return clientFor(this.network.transport, options);
  }

  get requests(): Request[] {
    return this.servers.flatMap(({ requests }) => requests);
  }

  reset(): void {
    for (const { requests } of this.servers) requests.length = 0;
  }
}

function partsOf(requests: readonly Request[]): number[] {
  return [...new Set(requests.map(({ saltIn = 0 }) => saltIn))].sort((a, b) => a - b);
}

describe.each(['routed', 'direct'] as const)('a client in mode %s', (mode) => {
  it('spreads increments without a result over all parts, and nothing else', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 60; n++) await db.add('hits');
    expect(partsOf(fixture.requests)).toEqual([0, AT2 + 1, AT3 + 1].sort((a, b) => a - b));
    for (const { saltIn = 0, saltSet = 0, increment } of fixture.requests) {
      expect(saltSet).toBe(saltIn > 0 ? SET : 0);
      expect(increment?.unread).toBe(true);
    }
    if (mode === 'direct')
      for (const [at, saltIn] of [0, AT2 + 1, AT3 + 1].entries())
        expect(partsOf(fixture.nodes[at]!.requests)).toEqual([saltIn]);
    fixture.reset();
    for (let n = 0; n < 10; n++) {
      await db.increment('hits');
      await db.add('hits', 2);
      await db.add('hits', 1, { ttlMs: 5 });
      await db.add('hits', 1, { idempotencyKey: `i${n}` });
      await db.add('{hits}other');
    }
    expect(partsOf(fixture.requests)).toEqual([0]);
  });

  it('goes home alone once that is no longer salted', async () => {
    const fixture = new Fixture();
    fixture.delta = 0;
    const db = fixture.client(mode);
    for (let n = 0; n < 30; n++) await db.add('hits', n);
    expect(partsOf(fixture.requests)).toHaveLength(3);
    fixture.isSalted = false;
    fixture.reset();
    while (!partsOf(fixture.requests).includes(0)) await db.add('hits');
    fixture.reset();
    for (let n = 0; n < 20; n++) await db.add('hits');
    expect(partsOf(fixture.requests)).toEqual([0]);
  });

  it('sends a retry to the part where the first attempt may have counted, under its id', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    fixture.reset();
    const failed = new Set<string>();
    for (const server of fixture.servers)
      server.script = (request, session) => {
        const name = `${request.saltIn ?? 0} ${request.sequence}`;
        const isRetry = failed.has(name);
        failed.add(name);
        // Home does not name the sub-counters any more meanwhile.
        fixture.isSalted = false;
        session.reply(
          isRetry ? fixture.answer(request) : refusal(request, 'UNAVAILABLE', { outcome: 'unknown' }),
        );
      };
    await Promise.all(Array.from({ length: 30 }, () => db.add('hits')));
    const parts = partsOf(fixture.requests);
    expect(parts).toHaveLength(3);
    expect(fixture.requests).toHaveLength(60);
    expect(failed.size).toBe(30);
  });

  it('starts over at home, under a fresh id, when a sub-counter is closed', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    fixture.reset();
    for (const server of fixture.servers)
      server.script = (request, session) =>
        session.reply(fixture.answer(request, { conditionFailed: Boolean(request.saltIn), version: 0 }));
    for (let n = 0; n < 30; n++) {
      const { applied, partition } = await db.add('hits');
      expect([applied, partition]).toEqual([true, HOME]);
    }
    // Home still names the set that is closed: it is not asked again.
    expect(fixture.requests.filter(({ saltIn }) => saltIn)).toHaveLength(1);
    const home = fixture.requests.filter(({ saltIn }) => !saltIn);
    expect(home).toHaveLength(30);
    expect(new Set(home.map(({ sequence }) => sequence)).size).toBe(30);
    for (const { attempt } of home) expect(attempt).toBe(1);
    // Another set is another matter.
    fixture.set = SET + 1;
    for (const server of fixture.servers)
      server.script = (request, session) => session.reply(fixture.answer(request));
    for (let n = 0; n < 60; n++) await db.add('hits');
    expect(partsOf(fixture.requests.filter(({ saltSet }) => saltSet === SET + 1))).toHaveLength(2);
  });

  it('is told that nothing has counted when home refuses what a closed sub-counter has not taken', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    let unknown = 0;
    for (const server of fixture.servers)
      server.script = (request, session) => {
        if (!request.saltIn) return session.reply(refusal(request, 'COUNTER_SALTED'));
        unknown++;
        session.reply(
          unknown % 2 === 1
            ? refusal(request, 'UNAVAILABLE', { outcome: 'unknown' })
            : fixture.answer(request, { conditionFailed: true }),
        );
      };
    let error = await errorOf(db.add('hits'));
    while (unknown === 0) error = await errorOf(db.add('hits'));
    expect(error).toMatchObject({ code: 'COUNTER_SALTED', outcome: 'not_applied', partition: HOME });
  });

  it('lets a session see the home since it has the sub-counters that the session has used', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    fixture.reset();
    let session = db.session();
    while (!fixture.requests.some(({ saltIn }) => saltIn)) {
      session = db.session();
      await db.add('hits', 1, { session });
    }
    expect(session.get(HOME).sessionIndex).toBe(50);
    expect(session.get(AT2).sessionIndex + session.get(AT3).sessionIndex).toBe(0);
  });

  it('has a session see the home since the set is there, though the receipt that names it is of an older write', async () => {
    const fixture = new Fixture();
    [fixture.homeIndex, fixture.saltIndex] = [5, 120];
    const db = fixture.client(mode);
    await db.add('hits');
    fixture.reset();
    const session = db.session();
    while (!fixture.requests.some(({ saltIn }) => saltIn)) await db.add('hits', 1, { session });
    expect(session.get(HOME).sessionIndex).toBe(120);
  });

  it('has a session see the home since the set is there, also when too few voters have an increment', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    const told = { outcome: 'applied', version: 130, epoch: 1, reached: 2, voters: 3 } as const;
    for (const server of fixture.servers)
      server.script = (request, session) => {
        const isAtSub = Boolean(request.saltIn);
        session.reply(isAtSub ? refusal(request, 'ACK_NOT_REACHED', told) : fixture.answer(request));
      };
    let session = db.session();
    const add = () => {
      session = db.session();
      return db
        .add('hits', 1, { session, ack: 'all', timeoutMs: 100 })
        .catch((error: RingkeepError) => error);
    };
    let ended = await add();
    while (!(ended instanceof RingkeepError)) ended = await add();
    // No version of the key.
    expect(ended).toMatchObject({ code: 'ACK_NOT_REACHED', outcome: 'applied', version: 0, reached: 2 });
    expect(session.get(HOME).sessionIndex).toBe(50);
    expect(session.get(AT2).sessionIndex + session.get(AT3).sessionIndex).toBe(0);
  });

  it('tells no version of what a sub-counter has taken', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    const versions = new Map<number, number>();
    for (let n = 0; n < 60; n++) {
      const { partition, version } = await db.add('hits');
      versions.set(partition, version);
    }
    expect(Object.fromEntries(versions)).toEqual({ [HOME]: 100 + HOME, [AT2]: 0, [AT3]: 0 });
  });

  it('goes home past those who know of no sub-counters', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    fixture.speak(SALT_PROTOCOL - 1);
    await fixture.reconnected(db);
    fixture.reset();
    for (let n = 0; n < 20; n++) expect((await db.add('hits')).partition).toBe(HOME);
    expect(partsOf(fixture.requests)).toEqual([0]);
    for (const { saltSet = 0, attempt } of fixture.requests) expect([saltSet, attempt]).toEqual([0, 1]);
  });

  it('has what may have counted at a sub-counter wait while nobody on the way knows of these', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    fixture.reset();
    for (const server of fixture.servers)
      server.script = (request, session) => {
        if (!request.saltIn || request.attempt > 1) session.reply(fixture.answer(request));
      };
    const adds = Array.from({ length: 30 }, () => db.add('hits'));
    await until('30 increments', () => fixture.requests.length === 30);
    const lost = fixture.requests.filter(({ saltIn }) => saltIn);
    expect(lost.length).toBeGreaterThan(0);
    await fixture.reconnected(db);
    fixture.speak(SALT_PROTOCOL - 1);
    fixture.reset();
    await fixture.reconnected(db);
    expect(fixture.requests.map(({ key }) => Buffer.from(key).toString())).not.toContain('hits');
    fixture.reset();
    fixture.speak(SALT_PROTOCOL);
    await Promise.all(adds);
    const nameOf = ({ sequence, saltIn, saltSet }: Request) => `${sequence} ${saltIn} ${saltSet}`;
    expect(fixture.requests.map(nameOf).sort()).toEqual(lost.map(nameOf).sort());
    for (const { attempt } of fixture.requests) expect(attempt).toBe(2);
  });
});

it('goes home while a sub-counter has no leader, unless it may have counted there', async () => {
  const fixture = new Fixture();
  const db = fixture.client('direct');
  for (let n = 0; n < 20; n++) await db.add('hits');
  const lost: Request[] = [];
  for (const server of fixture.nodes)
    server.script = (request, session) => {
      const isLost = Boolean(request.saltIn) && request.attempt === 1;
      if (isLost) lost.push(request);
      session.reply(
        isLost ? refusal(request, 'UNAVAILABLE', { outcome: 'unknown' }) : fixture.answer(request),
      );
      if (isLost) fixture.lead(6, { [AT2]: null, [AT3]: null });
    };
  fixture.reset();
  const first = Array.from({ length: 12 }, () => db.add('hits'));
  const attempts = () => fixture.requests.filter(({ attempt }) => attempt === 1);
  await until('12 increments', () => attempts().length === 12);
  expect(lost.length).toBeGreaterThan(0);
  // The client has heard of that once it has had a few more answers.
  for (let n = 0; n < 5; n++) await db.add(OTHERS[0]!);
  fixture.reset();
  for (let n = 0; n < 20; n++) expect((await db.add('hits')).partition).toBe(HOME);
  expect(partsOf(fixture.requests)).toEqual([0]);
  fixture.lead(7, { [AT2]: 'n2', [AT3]: 'n3' });
  const taken = (await Promise.all(first)).filter(({ partition }) => partition !== HOME);
  expect(taken).toHaveLength(lost.length);
});
