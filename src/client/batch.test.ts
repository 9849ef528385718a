/** Batches and idempotency keys as callers see them, over the in-memory wire. */
import { describe, expect, it } from 'vitest';
import { clientFor, errorOf } from '../../test/support/client-fixtures.ts';
import { ScriptedNetwork, ScriptedServer } from '../../test/support/client-network.ts';
import { receiptReply } from '../../test/support/wire.ts';
import type { HistoryEvent } from '../common/history.ts';
import { BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, IDEMPOTENCY_KEY_BYTES_MAX } from '../common/limits.ts';
import type { Receipt, Request } from '../common/wire/messages.ts';
import type { BatchOperation } from './batch.ts';

function setUp(told: Partial<Receipt> = {}) {
  const requests: Request[] = [];
  const events: HistoryEvent[] = [];
  const router = new ScriptedServer('127.0.0.1:7400');
  router.script = (request, session) => {
    requests.push(request);
    const { receipt, ...reply } = receiptReply(request);
    session.reply({ ...reply, receipt: { ...receipt!, version: 9, ...told } });
  };
  const network = new ScriptedNetwork().add(router);
  const recorder = (event: HistoryEvent): void => void events.push(event);
  const db = clientFor(network.transport, 'ringkeep://127.0.0.1:7400', { recorder });
  return { db, requests, events };
}

const ORDER: BatchOperation[] = [
  { type: 'increment', key: 'stock:{tea}', delta: -2 },
  { type: 'put', key: 'order:{tea}', value: 'two', ifAbsent: true, ttlMs: 500 },
  { type: 'delete', key: 'cart:{tea}' },
  { type: 'check', key: 'shop:{tea}', ifVersion: 4 },
];

describe('a batch', () => {
  it('goes as one request, and tells what each operation came to', async () => {
    const items = [
      { conditionFailed: false, version: 9, counter: 2n ** 60n },
      { conditionFailed: false, version: 9, counter: 0 },
      { conditionFailed: false, version: 0, counter: 0 },
      { conditionFailed: false, version: 4, counter: 0 },
    ];
    const { db, requests, events } = setUp({ items });
    const receipt = await db.batch(ORDER, { idempotencyKey: 'order 7' });
    expect(receipt).toMatchObject({ applied: true, version: 9, repeated: false });
    expect(receipt.results.map(({ version, exact }) => [version, exact])).toEqual([
      [9, 2n ** 60n],
      [9, null],
      [0, null],
      [4, null],
    ]);
    expect(requests).toHaveLength(1);
    const [request] = requests;
    expect(request).toMatchObject({ operation: 'batch', key: Buffer.from('stock:{tea}') });
    expect(Buffer.from(request!.idempotencyKey!).toString()).toBe('order 7');
    expect(request!.batch!.items.map(({ operation }) => operation)).toEqual([
      'increment',
      'put',
      'delete',
      'check',
    ]);
    expect(request!.batch!.items[1]).toMatchObject({
      condition: { kind: 'CONDITION_ABSENT' },
      put: { ttlMs: 500 },
    });
    // One write of each key, at once; the check is none.
    expect(events.map(({ op, key, output }) => [op, key, output?.version])).toEqual([
      ['increment', 'stock:{tea}', 9],
      ['put', 'order:{tea}', 9],
      ['delete', 'cart:{tea}', 9],
    ]);
  });

  it('says which condition has failed, and that nothing was written', async () => {
    const none = { conditionFailed: false, version: 0, counter: 0 };
    const items = [none, { conditionFailed: true, version: 5, counter: 0 }, none, none];
    const { db, events } = setUp({ conditionFailed: true, version: 0, items });
    const { applied, results } = await db.batch(ORDER);
    expect(applied).toBe(false);
    expect(results.map(({ failed, version, value }) => [failed, version, value])).toEqual([
      [false, 0, null],
      [true, 5, null],
      [false, 0, null],
      [false, 0, null],
    ]);
    expect(events.map(({ output }) => [output?.result, output?.applied])).toEqual([
      ['not_applied', undefined],
      ['ok', false],
      ['not_applied', undefined],
    ]);
  });

  it('has the version of the batch where nothing depended on what was there', async () => {
    const { db } = setUp();
    const { results } = await db.batch([
      { type: 'put', key: '{t}a', value: 1 },
      { type: 'delete', key: '{t}b' },
    ]);
    expect(results.map(({ failed, version }) => [failed, version])).toEqual([
      [false, 9],
      [false, 0],
    ]);
  });

  it('is INTERNAL if what it is told are not its results, and stands in the history when it is repeated', async () => {
    const item = { conditionFailed: false, version: 9, counter: 0 };
    const foreign = setUp({ items: [item] });
    expect((await errorOf(foreign.db.batch(ORDER))).code).toBe('INTERNAL');
    const { db, events } = setUp({ repeated: true, items: [item, item, item, item] });
    expect(await db.batch(ORDER, { idempotencyKey: 'i' })).toMatchObject({ repeated: true });
    expect(events.map(({ op, output }) => [op, output?.result])).toEqual([
      ['increment', 'not_applied'],
      ['put', 'not_applied'],
      ['delete', 'not_applied'],
    ]);
  });

  it('takes keys of one hash tag only, and says what tags are', async () => {
    const { db, requests } = setUp();
    const put = (key: string): BatchOperation => ({ type: 'put', key, value: 1 });
    const apart = await errorOf(db.batch([put('user:1'), put('user:2')]));
    expect(`${apart.code} ${apart.outcome}`).toBe('CROSS_PARTITION not_applied');
    expect(apart.message).toContain('user:1 and user:2 have different hash tags');
    expect(apart.message).toContain('{tag}');
    expect((await errorOf(db.batch([put('{a}1'), put('{b}1')]))).code).toBe('CROSS_PARTITION');
    await db.batch([put('user:1')]);
    await db.batch([put('{a}1'), put('x{a}')]);
    expect(requests).toHaveLength(2);
  });

  it('is refused before it is sent if it makes no sense', async () => {
    const { db, requests } = setUp();
    const put: BatchOperation = { type: 'put', key: 'k', value: 1 };
    const bad: unknown[] = [
      [],
      undefined,
      'text',
      [put, put],
      [{ ...put, type: 'touch' }],
      [{ ...put, colour: 'red' }],
      [{ ...put, ifAbsent: true, ifExists: true }],
      [{ type: 'check', key: 'k' }],
      [{ type: 'increment', key: 'k', delta: 1.5 }],
      [{ type: 'increment', key: 'k', ifExists: true }],
      [null],
    ];
    for (const operations of bad) {
      const error = await errorOf(db.batch(operations as never));
      expect(`${error.code} ${error.outcome}`, JSON.stringify(operations)).toBe(
        'INVALID_ARGUMENT not_applied',
      );
    }
    const early = { ack: 'leader' } as const;
    for (const [operations, options] of [
      [ORDER, early],
      [[put], { ...early, idempotencyKey: 'x' }],
    ] as const) {
      expect((await errorOf(db.batch(operations, options))).code).toBe('CONDITION_UNSUPPORTED');
    }
    expect(requests).toHaveLength(0);
    await db.batch([put], early);
  });

  it('has as many operations and bytes as the limits say, and not one more', async () => {
    const { db, requests } = setUp();
    const bytes = db.keyspace('raw', { codec: 'bytes' });
    const many = (count: number): BatchOperation[] =>
      Array.from({ length: count }, (_, at) => ({ type: 'delete', key: `{t}${at}` }));
    await db.batch(many(BATCH_OPERATIONS_MAX));
    expect((await errorOf(db.batch(many(BATCH_OPERATIONS_MAX + 1)))).code).toBe('BATCH_TOO_LARGE');
    const value = Buffer.alloc(1024 * 1024 - 4);
    const large = (extra: number): BatchOperation[] =>
      Array.from({ length: 8 }, (_, at) => ({
        type: 'put',
        key: `{t}${at}`,
        value: at === 0 ? Buffer.alloc(value.length + extra) : value,
      }));
    expect(8 * 1024 * 1024).toBe(BATCH_BYTES_MAX);
    await bytes.batch(large(0) as never);
    expect((await errorOf(bytes.batch(large(1) as never))).code).toBe('BATCH_TOO_LARGE');
    expect(requests).toHaveLength(2);
  });
});

describe('an idempotency key', () => {
  it('goes with every kind of write, and tells that a result is repeated', async () => {
    const { db, requests, events } = setUp({ repeated: true });
    const options = { idempotencyKey: Buffer.from([0, 255]) };
    const receipts = [
      await db.put('k', 1, options),
      await db.delete('k', options),
      await db.increment('k', 1, options),
      await db.expire('k', 5, options),
      await db.persist('k', options),
    ];
    expect(receipts.every(({ repeated, version }) => repeated && version === 9)).toBe(true);
    expect(requests.every(({ idempotencyKey }) => options.idempotencyKey.equals(idempotencyKey!))).toBe(true);
    // Who looks at the history sees one write, the first one.
    expect(events.map(({ output }) => output)).toEqual(receipts.map(() => ({ result: 'not_applied' })));
  });

  it('is refused if it is empty, too long or no text, with reads, and where many writes would share it', async () => {
    const { db, requests } = setUp();
    const put = (idempotencyKey: unknown) => db.put('k', 1, { idempotencyKey } as never);
    await put('x'.repeat(IDEMPOTENCY_KEY_BYTES_MAX));
    const calls = [
      put(''),
      put('x'.repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)),
      put('\ud800'),
      put(7),
      db.get('k', { idempotencyKey: 'x' } as never),
      db.putMany([['k', 1]], { idempotencyKey: 'x' } as never),
      db.update('k', () => 1, { idempotencyKey: 'x' } as never),
    ];
    for (const call of calls) expect((await errorOf(call)).code).toBe('INVALID_ARGUMENT');
    expect((await errorOf(db.put('k', 1, { idempotencyKey: 'x', ack: 'leader' }))).code).toBe(
      'CONDITION_UNSUPPORTED',
    );
    expect(requests).toHaveLength(1);
  });
});
