/**
 * The client's API over the in-memory wire: what callers see when nothing goes wrong, and what is refused
 * early.
 */
import { describe, expect, it } from 'vitest';
import { clientFor, errorOf } from '../../test/support/client-fixtures.ts';
import { ScriptedNetwork, ScriptedServer, StoreModel } from '../../test/support/client-network.ts';
import { RingkeepError } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';
import { createClient } from './client.ts';
import type { ConnectOptions } from './options.ts';

function setUp(options: Partial<ConnectOptions> = {}) {
  const model = new StoreModel();
  const router = new ScriptedServer('127.0.0.1:7400');
  router.script = (request, session) => session.reply(model.execute(request, session.clientId));
  const network = new ScriptedNetwork().add(router);
  const db = clientFor(network.transport, 'ringkeep://127.0.0.1:7400', options);
  return { model, router, db };
}

describe('client', () => {
  it('writes, reads with its version, deletes, and reads nothing then', async () => {
    const { db } = setUp();
    const receipt = await db.put('user:1', { name: 'Ada' });
    expect(receipt).toMatchObject({ epoch: 1, version: 1, durability: 'quorum', duplicate: false });
    expect(await db.get('user:1')).toEqual({ name: 'Ada' });
    expect(await db.getEntry('user:1')).toEqual({
      value: { name: 'Ada' },
      version: 1,
      epoch: 1,
      partition: receipt.partition,
      expiresAt: null,
      stalenessMs: null,
    });
    await db.delete('user:1');
    expect(await db.get('user:1')).toBeUndefined();
    expect(await db.getEntry('user:1')).toBeUndefined();
  });

  it('connects only when it is first used', async () => {
    const { db, router } = setUp();
    await new Promise((resolve) => setImmediate(resolve));
    expect(router.sessions.size).toBe(0);
    await db.ready();
    expect(router.sessions.size).toBe(1);
  });

  it('keeps keyspaces apart and decodes by the stored codec', async () => {
    const { db } = setUp();
    const sessions = db.keyspace<string>('sessions', { codec: 'string' });
    await sessions.put('1', 'in a keyspace');
    await db.put('sessions1', 'in the default one');
    expect(await db.get('sessions1')).toBe('in the default one');
    expect(await sessions.get('1')).toBe('in a keyspace');
    const sameBytes = db.keyspace('sessions', { codec: 'json' });
    expect(await sameBytes.get('1')).toBe('in a keyspace');
  });

  it('asks for the acknowledgement that the write, the keyspace or the client says', async () => {
    const { db, router } = setUp({ ack: 'all' });
    await db.put('k', 1);
    await db.keyspace('space', { ack: 'leader' }).put('k', 1);
    await db.put('k', 1, { ack: 'quorum' });
    const acks = router.requests.filter((request) => request.sessionTime > 0).map((request) => request.ack);
    expect(acks).toEqual(['ACK_ALL', 'ACK_LEADER', 'ACK_QUORUM']);
  });

  it('leaves the level to the cluster if nobody says one, and learns which writes wait for every voter', async () => {
    const { db, model, router } = setUp();
    model.defaultAck = 'ACK_ALL';
    const orders = db.keyspace('orders');
    expect(await orders.put('k', 1)).toMatchObject({ durability: 'all' });
    expect(await orders.put('k', 2, { ack: 'quorum' })).toMatchObject({ durability: 'quorum' });
    await orders.put('k', 3);
    await db.put('k', 4);
    model.defaultAck = 'ACK_QUORUM';
    await orders.put('k', 5);
    await orders.put('k', 6);
    const sent = router.requests.filter(({ sessionTime }) => sessionTime > 0);
    // Writes that wait for every voter have a client id of their own.
    expect(sent.map(({ ack, clientId }) => [ack, clientId.length])).toEqual([
      ['ACK_DEFAULT', 0],
      ['ACK_QUORUM', 0],
      ['ACK_DEFAULT', 16],
      ['ACK_DEFAULT', 0],
      ['ACK_DEFAULT', 16],
      ['ACK_DEFAULT', 0],
    ]);
  });

  it('gives a result for every entry of putMany and never rejects for one', async () => {
    const { db } = setUp();
    const results = await db.putMany([
      ['a', 1],
      ['', 2],
      ['c', undefined],
      ['d', 4],
    ]);
    expect(results.map((result) => (result.ok ? 'ok' : result.error.code))).toEqual([
      'ok',
      'KEY_TOO_LARGE',
      'INVALID_ARGUMENT',
      'ok',
    ]);
    expect(await db.getMany(['d', 'missing', 'a'])).toEqual([4, undefined, 1]);
  });

  it('carries more entries than the server gives credit for, or than may be open', async () => {
    const { db, model } = setUp({ operationsMax: 2_000 });
    const entries = Array.from({ length: 5_000 }, (_, index) => [`key:${index}`, index] as const);
    const results = await db.putMany(entries);
    expect(results.every((result) => result.ok)).toBe(true);
    expect(model.applied).toBe(5_000);
    expect(await db.getMany(entries.map(([key]) => key))).toEqual(entries.map(([, value]) => value));
  });

  it('refuses what is too large or malformed before anything is sent', async () => {
    const { db, router } = setUp();
    const codes = await Promise.all([
      errorOf(db.put('x'.repeat(4_097), 1)),
      errorOf(db.get(new Uint8Array(0))),
      errorOf(db.keyspace('b', { codec: 'bytes' }).put('k', new Uint8Array(8 * 1024 * 1024 + 1))),
      errorOf(db.put('\ud800', 1)),
      errorOf(db.put('k', 1, { ac: 'all' } as never)),
      errorOf(db.get('k', { ack: 'all' } as never)),
      errorOf(db.get('k', { timeoutMs: -1 })),
      errorOf(db.increment('k', 0.5)),
      errorOf(db.increment('k', 2n ** 63n)),
      errorOf(db.increment('k', 1, { ack: 'leader' })),
      errorOf(db.putMany([], { signals: null } as never)),
    ]);
    expect(codes.map((error) => error.code)).toEqual([
      'KEY_TOO_LARGE',
      'KEY_TOO_LARGE',
      'VALUE_TOO_LARGE',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'INVALID_ARGUMENT',
      'CONDITION_UNSUPPORTED',
      'INVALID_ARGUMENT',
    ]);
    expect(codes.every((error) => error.outcome === 'not_applied')).toBe(true);
    expect(codes[4]!.message).toContain('"ac"');
    expect(router.requests).toEqual([]);
  });

  it("takes the cluster's limit of values once it is known", async () => {
    const { db, router } = setUp();
    router.valueBytesMax = 100;
    const bytes = db.keyspace('b', { codec: 'bytes' });
    await db.ready();
    expect((await errorOf(bytes.put('k', new Uint8Array(101)))).code).toBe('VALUE_TOO_LARGE');
    await bytes.put('k', new Uint8Array(100));
    expect(await bytes.get('k')).toEqual(new Uint8Array(100));
  });

  it('counts', async () => {
    const { db } = setUp();
    expect(await db.increment('n')).toMatchObject({ value: 1, durability: 'quorum' });
    expect(await db.increment('n', 41)).toMatchObject({ value: 42, exact: 42n });
    expect(await db.increment('n', -2n)).toMatchObject({ value: 40 });
  });

  it('reads a counter as a number while that is exact, and else as a bigint', async () => {
    const { db, model } = setUp();
    for (const [digits, value] of [
      ['41', 41],
      ['-9007199254740991', -9007199254740991],
      ['9223372036854775807', 2n ** 63n - 1n],
    ] as const) {
      await db.putEncoded('n', Buffer.from(digits), 5);
      expect(await db.get('n')).toBe(value);
    }
    expect(model.applied).toBe(3);
  });

  it('refuses bad connection options by name', () => {
    const { transport } = new ScriptedNetwork();
    const codeOf = (make: () => unknown) => {
      try {
        make();
      } catch (error) {
        if (error instanceof RingkeepError) return `${error.code} ${error.message}`;
      }
      return 'no error';
    };
    expect(codeOf(() => createClient(transport, 'http://h:1'))).toMatch(/^INVALID_ARGUMENT/);
    expect(codeOf(() => createClient(transport, { endpoints: [] }))).toMatch(/endpoints/);
    expect(codeOf(() => createClient(transport, 'ringkeep://h:1', { timeout: 1 } as never))).toMatch(
      /"timeout"/,
    );
    expect(codeOf(() => createClient(transport, 'ringkeep://h:1', { mode: 'x' } as never))).toMatch(/mode/);
    expect(codeOf(() => createClient(transport, 'ringkeep://h:1', { retry: { budgetRatio: 2 } }))).toMatch(
      /retry\.budgetRatio/,
    );
    expect(codeOf(() => createClient(transport, null as never))).toMatch(/URL/);
  });

  it('records what was asked and answered, in the order of the answers', async () => {
    const events: HistoryEvent[] = [];
    const { db } = setUp({ recorder: (event) => events.push(event) });
    await db.put('k', 7);
    await db.get('k');
    await db.get('none');
    await db.increment('n', 2);
    await db.add('n', 2);
    expect(events.pop()).toMatchObject({ op: 'increment', input: 2, spread: true });
    expect(events.map(({ op, key, input, output }) => ({ op, key, input, output }))).toEqual([
      { op: 'put', key: 'k', input: 7, output: { result: 'ok', version: 1, durability: 'quorum' } },
      { op: 'get', key: 'k', input: undefined, output: { result: 'ok', found: true, value: 7, version: 1 } },
      { op: 'get', key: 'none', input: undefined, output: { result: 'ok', found: false } },
      {
        op: 'increment',
        key: 'n',
        input: 2,
        output: { result: 'ok', version: 2, durability: 'quorum', value: 2 },
      },
    ]);
    for (const event of events) expect(event.return!).toBeGreaterThanOrEqual(event.call);
    for (let i = 1; i < events.length; i += 1)
      expect(events[i]!.call).toBeGreaterThanOrEqual(events[i - 1]!.return!);
  });

  it('records a put as its readers get it, whatever the caller does to the value', async () => {
    const events: HistoryEvent[] = [];
    const { db } = setUp({ recorder: (event) => events.push(event) });
    const value = { list: ['a'], none: undefined };
    const written = db.put('k', value, { ack: 'all' });
    value.list.push('b');
    await written;
    const read = await db.getEntry('k');
    expect(events[0]).toMatchObject({ op: 'put', ack: 'all' });
    expect(toJson(events[0]!.input)).toBe(toJson(read!.value));
    expect(events[1]!.output).toEqual({ result: 'ok', found: true, value: read!.value, version: 1 });
  });

  it('tells of connections by typed events', async () => {
    const { db, router } = setUp();
    const told: string[] = [];
    db.on('connect', ({ address, role }) => told.push(`connect ${role} ${address}`));
    db.on('disconnect', ({ error }) => told.push(`disconnect ${error.code}`));
    await db.get('k');
    for (const session of router.sessions) session.cut();
    await db.get('k');
    expect(told).toEqual([
      'connect router 127.0.0.1:7400',
      'disconnect UNAVAILABLE',
      'connect router 127.0.0.1:7400',
    ]);
  });
});
