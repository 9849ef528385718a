/** Routed mode over the in-memory wire: which router is used, and what happens when it is not there. */
import { describe, expect, it } from 'vitest';
import { clientFor, endOf, errorOf, until } from '../../test/support/client-fixtures.ts';
import { ScriptedNetwork, ScriptedServer, StoreModel } from '../../test/support/client-network.ts';
import { RingkeepError } from '../common/errors.ts';
import type { ConnectOptions } from './options.ts';

function setUp(routers: number, options: Partial<ConnectOptions> = {}) {
  const model = new StoreModel();
  const network = new ScriptedNetwork();
  const servers = Array.from({ length: routers }, (_, index) => new ScriptedServer(`r${index + 1}:1`));
  for (const server of servers) {
    server.script = (request, session) => session.reply(model.execute(request, session.clientId));
  }
  network.add(...servers);
  const url = `ringkeep://${servers.map(({ address }) => address).join(',')}`;
  const db = clientFor(network.transport, url, { requestTimeoutMs: 5_000, ...options });
  return { model, servers, db, network };
}

describe('routed mode', () => {
  it('finds the one router that is up, wherever it begins', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { db, servers } = setUp(4);
      for (const server of servers.slice(0, 3)) server.state = 'down';
      await db.put('k', round);
      expect(servers[3]!.sessions.size).toBe(1);
    }
  });

  it('goes on with another router when its own one dies, and loses and doubles nothing', async () => {
    const { db, servers, model } = setUp(2);
    await db.put('k', 0);
    const [first, second] = servers[0]!.sessions.size === 1 ? servers : [servers[1]!, servers[0]!];
    first!.script = (request, session) => {
      model.execute(request, session.clientId);
      first!.stop();
    };
    const increments = Array.from({ length: 20 }, () => db.increment('n'));
    const values = (await Promise.all(increments)).map((receipt) => receipt.value);
    expect(values.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
    expect(second!.sessions.size).toBe(1);
  });

  it('leaves a router that says goaway; open operations finish where they are', async () => {
    const { db, servers, model } = setUp(2);
    await db.ready();
    const [first, second] = servers[0]!.sessions.size === 1 ? servers : [servers[1]!, servers[0]!];
    const held: (() => void)[] = [];
    first!.script = (request, session) => {
      held.push(() => session.reply(model.execute(request, session.clientId)));
    };
    const open = db.get('k');
    await until('it is under way', () => held.length === 1);
    for (const session of first!.sessions) session.goaway();
    await until('the client has moved', () => second!.sessions.size === 1);
    await db.put('k', 2);
    expect(first!.requests).toHaveLength(1);
    held[0]!();
    expect(await open).toBe(2);
    await until('the old session has ended', () => first!.sessions.size === 0);
  });

  it('waits for a router that comes back', async () => {
    const { db, servers } = setUp(1);
    servers[0]!.state = 'down';
    const read = db.get('k');
    let failures = 0;
    db.on('error', (error) => {
      expect(error.code).toBe('UNAVAILABLE');
      failures += 1;
      if (failures === 3) servers[0]!.state = 'up';
    });
    expect(await read).toBeUndefined();
    expect(failures).toBeGreaterThanOrEqual(3);
  });

  it('is UNAVAILABLE, with the reason, if nobody is there, and throws no event', async () => {
    const { transport } = new ScriptedNetwork();
    const db = clientFor(transport, 'ringkeep://nowhere:1', { requestTimeoutMs: 60 });
    const error = await errorOf(db.put('k', 1));
    expect(`${error.code} ${error.outcome}`).toBe('UNAVAILABLE not_applied');
    expect(error.message).toContain('scripted end');
    expect(await endOf(db.get('k'))).toBe('UNAVAILABLE not_applied');
    expect(await endOf(db.ready({ timeoutMs: 60 }))).toBe('UNAVAILABLE not_applied');
  });

  it.each(['VERSION_MISMATCH', 'WRONG_CLUSTER'] as const)('ends at once with %s', async (code) => {
    const { db, servers } = setUp(1, { requestTimeoutMs: 60_000 });
    servers[0]!.refuse = new RingkeepError(code, 'scripted');
    const ready = endOf(db.ready());
    expect(await endOf(db.put('k', 1))).toBe(`${code} not_applied`);
    expect(await ready).toBe(`${code} not_applied`);
  });

  it('does not take another cluster for its own', async () => {
    const { db, servers } = setUp(2, { requestTimeoutMs: 60_000 });
    await db.put('k', 1);
    const [first, second] = servers[0]!.sessions.size === 1 ? servers : [servers[1]!, servers[0]!];
    second!.clusterId = 'cluster-2';
    first!.stop();
    expect(await endOf(db.put('k', 2))).toMatch(/^WRONG_CLUSTER /);
    expect(second!.requests).toEqual([]);
  });

  it('says that an endpoint is a node', async () => {
    const node = new ScriptedServer('n1.test:1', 'node', 'n1');
    const { transport } = new ScriptedNetwork().add(node);
    const db = clientFor(transport, 'n1.test:1', { requestTimeoutMs: 60 });
    const error = await errorOf(db.get('k'));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toContain('mode "direct"');
  });

  it('waits for a cluster that has not been formed yet', async () => {
    const { db, servers } = setUp(1, { requestTimeoutMs: 10_000 });
    servers[0]!.partitions = 0;
    db.on('error', (error) => {
      expect(error.code).toBe('NOT_READY');
      servers[0]!.partitions = 8;
    });
    await db.put('k', 1);
    expect(await db.partitions()).toBe(8);
  });

  it('keeps to the credit of the server, abandoned requests included', async () => {
    const { db, servers, model } = setUp(1, {
      retry: { attemptMsMin: 30, backoffMs: 1 },
      requestTimeoutMs: 2_000,
    });
    servers[0]!.maxInFlight = 4;
    let dropped = 0;
    const kept: (() => void)[] = [];
    servers[0]!.script = (request, session) => {
      const answer = (): void => session.reply(model.execute(request, session.clientId));
      dropped += 1;
      // The network refuses more than four without their end mark: the abandoned ones get theirs at the end.
      if (dropped <= 3) kept.push(answer);
      else answer();
    };
    const values = await db.putMany(Array.from({ length: 50 }, (_, n) => [`k${n}`, n] as const));
    expect(values.filter((result) => result.ok).length).toBeGreaterThanOrEqual(47);
    for (const answer of kept) answer();
    expect(await db.get('k49')).toBe(49);
  });

  it('reads the pages of a partition one after the other', async () => {
    const { db, servers } = setUp(1);
    const rowOf = (text: string) => ({
      keyspace: '',
      key: Buffer.from(text),
      value: Buffer.from(text.toUpperCase()),
      codec: 2,
      version: 1,
    });
    servers[0]!.script = (request, session) => {
      const { cursor } = request.scan!;
      const rows = cursor.length === 0 ? ['a', 'b'] : ['c'];
      const next = cursor.length === 0 ? Buffer.from('b') : new Uint8Array(0);
      const { id } = request;
      session.reply(
        { id, end: false, result: 'rows', rows: { rows: rows.slice(0, 1).map(rowOf), cursor: next } },
        { id, end: true, result: 'rows', rows: { rows: rows.slice(1).map(rowOf), cursor: next } },
      );
    };
    const keys: string[] = [];
    for await (const page of db.scan({ partition: 3 })) {
      for (const row of page.rows) keys.push(Buffer.from(row.key).toString());
    }
    expect(keys).toEqual(['a', 'b', 'c']);
    expect(servers[0]!.requests.map(({ scan }) => [scan!.partition, scan!.allKeyspaces])).toEqual([
      [3, true],
      [3, true],
    ]);
    expect(await endOf(db.scan({ partition: 8 }).next())).toBe('INVALID_ARGUMENT not_applied');
  });
});
