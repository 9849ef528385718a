/** Increments of salted counters as a client sends them: to any part of the counter, each attempt to the same one, and home once that is closed. */
import { describe, expect, it } from 'vitest';
import { clientFor, errorOf } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  topologyOf,
} from '../../test/support/client-network.ts';
import { partitionOf } from '../common/hash.ts';
import type { Receipt, Reply, Request } from '../common/wire/messages.ts';
import type { RingkeepClient } from './client.ts';

const HOME = partitionOf(Buffer.from('hits'), 8);
const [AT2, AT3] = [(HOME + 1) % 8, (HOME + 2) % 8];
const SET = 77;

/** Home of `hits` is led by n1, the partitions of its sub-counters by n2 and n3. */
class Fixture {
  readonly router = new ScriptedServer('r:1');
  readonly nodes = ['n1', 'n2', 'n3'].map((id) => new ScriptedServer(`${id}.test:1`, 'node', id));
  readonly network = new ScriptedNetwork().add(this.router, ...this.nodes);
  delta = 1;
  isSalted = true;

  constructor() {
    const servers = [this.router, ...this.nodes];
    const leaders: Record<number, string> = { [AT2]: 'n2', [AT3]: 'n3' };
    const records = Array.from({ length: 8 }, (_, at) => partitionRecord(at, 5, leaders[at] ?? 'n1'));
    const topology = topologyOf(['n1', 'n2', 'n3'].map(nodeRecord), records);
    for (const server of servers) {
      server.script = (request, session) => session.reply(this.answer(request));
      server.push(topology);
    }
  }

  answer(request: Request, more: Partial<Receipt> = {}): Reply {
    const partition = request.saltIn ? request.saltIn - 1 : HOME;
    const salts = this.isSalted ? { partitions: [AT2, AT3], set: SET, delta: this.delta } : null;
    const isHits = Buffer.from(request.key).toString() === 'hits';
    const told = isHits && !request.saltIn && request.increment?.unread ? salts : null;
    const where = { partition, epoch: 1, version: 100 + partition, durability: 'quorum' as const };
    const rest = { logTime: 1, duplicate: false, counter: 0, conditionFailed: false, index: 100 + partition };
    const receipt = { ...where, ...rest, items: [], repeated: false, salts: told, ...more };
    return { id: request.id, end: true, result: 'receipt', receipt };
  }

  client(mode: 'routed' | 'direct'): RingkeepClient {
    const retry = { backoffMs: 1, backoffMsMax: 1, attemptMsMin: 5_000 };
    const options = { endpoints: ['r:1'], mode, requestTimeoutMs: 5_000, retry };
    return clientFor(this.network.transport, options);
  }

  get requests(): Request[] {
    return [this.router, ...this.nodes].flatMap(({ requests }) => requests);
  }

  reset(): void {
    for (const { requests } of [this.router, ...this.nodes]) requests.length = 0;
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
    for (const server of [fixture.router, ...fixture.nodes])
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
    for (const server of [fixture.router, ...fixture.nodes])
      server.script = (request, session) =>
        session.reply(fixture.answer(request, { conditionFailed: Boolean(request.saltIn), version: 0 }));
    for (let n = 0; n < 30; n++) {
      const { applied, partition } = await db.add('hits');
      expect([applied, partition]).toEqual([true, HOME]);
    }
    const subs = fixture.requests.filter(({ saltIn }) => saltIn);
    expect(subs.length).toBeGreaterThan(0);
    // Hints come with each answer of home: any set that was closed is asked at most once for each.
    const home = fixture.requests.filter(({ saltIn }) => !saltIn);
    expect(home).toHaveLength(30);
    expect(new Set(home.map(({ sequence }) => sequence)).size).toBe(30);
    for (const { attempt } of home) expect(attempt).toBe(1);
  });

  it('is told that nothing has counted when home refuses what a closed sub-counter has not taken', async () => {
    const fixture = new Fixture();
    const db = fixture.client(mode);
    for (let n = 0; n < 20; n++) await db.add('hits');
    let unknown = 0;
    for (const server of [fixture.router, ...fixture.nodes])
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
    expect(session.get(HOME).sessionIndex).toBe(100 + HOME);
    expect(session.get(AT2).sessionIndex + session.get(AT3).sessionIndex).toBe(0);
  });
});
