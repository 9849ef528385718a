/** Salted counters: what their parts count, who is refused, how they are summed, and what is left of them when they are unsalted. */
import { describe, expect, it } from 'vitest';
import {
  CounterBench,
  HITS,
  OTHER,
  SESSION_GET,
  saltedCounter,
} from '../../../test/support/counter-bench.ts';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../common/reads.ts';
import type { GetOperation, Receipt, Request } from '../../common/wire/messages.ts';

describe('a salted counter', () => {
  it('is the sum of its parts, each of which counts', () => {
    const bench = saltedCounter();
    const ids = [bench.add('a'), bench.add('b', 1, bench.set()), bench.add('c', 2, bench.set())];
    bench.advance(100);
    expect(['a', 'b', 'c'].map((node, at) => bench.told(node, ids[at]!))).toEqual(Array(3).fill('quorum'));
    expect(bench.read()).toBe('8');
    expect([bench.subs('b', 1), bench.subs('c', 2)]).toEqual([['open 1'], ['open 1']]);
  });

  it('tells whoever increments it without a result where else that can be done, and no value', () => {
    const bench = saltedCounter();
    const [id, plain] = [bench.add('a'), bench.add('b', 1, bench.set())];
    bench.advance(100);
    expect(bench.reply('a', id)?.receipt).toMatchObject({
      counter: 0,
      salts: { partitions: [1, 2], set: bench.set(), delta: 1 },
    });
    expect(bench.reply('b', plain)?.receipt).toMatchObject({ counter: 0, items: [], partition: 1 });
  });

  it('tells since when its parts are there, also with what a write of before has come to', () => {
    const bench = saltedCounter();
    const [now, before] = [bench.add('a'), bench.again('a', 0, 0, 1, { delta: 5 })];
    bench.advance(100);
    const [{ index, salts }, old] = [now, before].map((id) => bench.reply('a', id)!.receipt!) as [
      Receipt,
      Receipt,
    ];
    expect(old).toMatchObject({ duplicate: true, salts: { set: bench.set() } });
    // The log has the set after the one and before the other.
    expect(old.salts!.index).toBeGreaterThan(old.index);
    for (const told of [salts, old.salts]) expect([index - 1, index]).toContain(told!.index);
  });

  it('begins at 0 where there was none, and can be read', () => {
    const bench = new CounterBench();
    expect(bench.salt()).toBe('1 2');
    expect(bench.read()).toBe('0');
  });

  it('takes nothing else, and says so', () => {
    const bench = saltedCounter();
    const condition = { kind: 'CONDITION_EXISTS' as const, version: 0 };
    const key = Buffer.from(HITS);
    const put = { value: Buffer.from('x'), codec: 1, ttlMs: 0 };
    const item = { key, operation: 'check' as const, condition, check: {} };
    const fields: Partial<Request>[] = [
      { operation: 'increment', increment: { delta: 1, ttlMs: 0 } },
      { operation: 'increment', increment: { delta: 2, ttlMs: 0, unread: true } },
      { operation: 'put', put },
      { operation: 'delete', delete: {} },
      { operation: 'touch', touch: { ttlMs: 5 } },
      { operation: 'batch', batch: { items: [item] } },
    ];
    const ids = fields.map((field, at) => bench.ask('a', { ...field, sequence: 50 + at }));
    const other = bench.ask('a', { operation: 'put', put, sequence: 80 }, OTHER);
    bench.advance(100);
    for (const id of ids) expect(bench.told('a', id)).toBe('COUNTER_SALTED not_applied');
    expect(bench.reply('a', ids[1]!)?.failure?.message).toContain('increments by 1 without a result');
    expect(bench.told('a', other)).toBe('quorum');
    expect(bench.read()).toBe('5');
  });

  it('answers retries of what it has taken before', () => {
    const bench = new CounterBench();
    const first = bench.ask('a', { operation: 'increment', increment: { delta: 1, ttlMs: 0 } });
    bench.advance(100);
    bench.salt();
    const retry = bench.ask('a', { operation: 'increment', increment: { delta: 1, ttlMs: 0 } });
    bench.advance(100);
    expect(bench.reply('a', retry)?.receipt).toMatchObject({ duplicate: true, counter: 1 });
    expect(bench.told('a', first)).toBe('quorum');
  });

  it('is summed for quorum, session and stale reads by the leader, where followers send them', () => {
    const bench = saltedCounter();
    bench.add('b', 1, bench.set());
    bench.advance(100);
    const stale: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_STALE' };
    for (const get of [QUORUM_GET, SESSION_GET, stale]) {
      expect(bench.read('a', get)).toBe('6');
      expect(bench.read('b', get, 400)).toBe('UNAVAILABLE not_applied');
    }
    const told = bench.ask('b', { operation: 'get', get: SESSION_GET });
    bench.advance(100);
    expect(bench.reply('b', told)?.failure?.leader).toBe('a');
  });

  it('shows its sum in scans', () => {
    const bench = saltedCounter();
    bench.add('b', 1, bench.set());
    bench.ask('a', { operation: 'increment', increment: { delta: 7, ttlMs: 0 }, sequence: 60 }, OTHER);
    bench.advance(100);
    const scan = { partition: 0, cursor: Buffer.alloc(0), bytesMax: 10_000, allKeyspaces: true };
    const id = bench.ask('a', { operation: 'scan', scan });
    bench.advance(100);
    const rows = bench.reply('a', id)?.rows?.rows ?? [];
    const shown = rows.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]);
    expect(Object.fromEntries(shown)).toEqual({ [HITS]: '6', [OTHER]: '7' });
  });

  it('of mixed deltas is not read linearizably, and says how it can be', () => {
    const bench = saltedCounter(0);
    const id = bench.add('b', 1, bench.set(), { delta: -40 });
    bench.advance(100);
    expect(bench.told('b', id)).toBe('quorum');
    for (const get of [LINEARIZABLE_GET, QUORUM_GET])
      expect(bench.read('a', get)).toBe('COUNTER_SALTED not_applied');
    expect(bench.read('a', SESSION_GET)).toBe('-35');
  });

  it('is not read by a leader that is deposed, nor without the leaders of its parts', () => {
    const bench = saltedCounter();
    bench.cut.add('c');
    const id = bench.ask('a', { operation: 'get', get: LINEARIZABLE_GET, timeLeftMs: 1_000 });
    bench.advance(900);
    expect(bench.told('a', id)).toBe('none');
    bench.advance(300);
    expect(bench.told('a', id)).toBe('DEADLINE_EXCEEDED not_applied');
    expect(bench.reply('a', id)?.failure?.message).toContain('partitions 1, 2');
    bench.cut.delete('c');
    bench.advance(300);
    const late = bench.ask('a', { operation: 'get', get: LINEARIZABLE_GET });
    bench.lead('b', 2);
    bench.advance(200);
    expect(bench.told('a', late)).toBe('NOT_LEADER not_applied');
    expect(bench.read('b', LINEARIZABLE_GET, 300)).toBe('5');
  });

  it('says so when its sum does not fit', () => {
    const bench = saltedCounter(0);
    const most = 2n ** 63n - 1n;
    bench.add('b', 1, bench.set(), { delta: most });
    bench.advance(100);
    expect(bench.read('a', SESSION_GET)).toBe('COUNTER_OVERFLOW not_applied');
    expect(bench.salt(0, 0)).toBe('COUNTER_OVERFLOW not_applied');
    const id = bench.add('b', 1, bench.set(), { delta: 1 });
    bench.add('a', 0, 0, { delta: -6 });
    bench.advance(100);
    expect(bench.told('b', id)).toBe('closed');
    expect(bench.read('a', SESSION_GET)).toBe(String(most - 1n));
    bench.advance(1_500);
    expect(bench.read('a', SESSION_GET)).toBe(String(most - 1n));
    bench.advance(300);
    expect(bench.set()).toBe(0);
    expect(bench.read('a')).toBe(String(most - 1n));
  });

  it('is spread anew when it is salted again', () => {
    const bench = saltedCounter();
    const before = bench.set();
    expect(bench.salt()).toBe('1 2');
    expect(bench.set()).toBe(before);
    bench.add('b', 1, before);
    bench.advance(100);
    expect(bench.salt(1, 1, 'a', 400)).toMatch(/^[12]$/);
    const after = bench.set();
    expect(after).not.toBe(before);
    const late = bench.add('b', 1, before);
    bench.advance(100);
    expect(bench.told('b', late)).toBe('closed');
    expect(bench.read()).toBe('6');
  });

  it('has no copies besides, and a key with copies no sub-counters', () => {
    const bench = saltedCounter();
    const copies = bench.ask('a', { operation: 'salt', salt: { copies: 2 } });
    const copied = bench.ask('a', { operation: 'salt', salt: { copies: 2 } }, OTHER);
    bench.advance(200);
    expect(bench.told('a', copies)).toBe('COUNTER_SALTED not_applied');
    expect(bench.told('a', copied)).toBe('quorum');
    const id = bench.ask('a', { operation: 'salt', salt: { copies: 2, counter: true, delta: 1 } }, OTHER);
    bench.advance(200);
    expect(bench.told('a', id)).toBe('INVALID_ARGUMENT not_applied');
  });
});

describe('salting a counter', () => {
  it('is refused for what is no counter, or goes after a while', () => {
    const bench = new CounterBench();
    const put = { value: Buffer.from('x'), codec: 1, ttlMs: 0 };
    bench.ask('a', { operation: 'put', put, sequence: 30 });
    bench.advance(100);
    expect(bench.salt()).toBe('NOT_A_COUNTER not_applied');
    bench.ask('a', { operation: 'delete', delete: {}, sequence: 31 });
    bench.ask('a', { operation: 'increment', increment: { delta: 1, ttlMs: 60_000 }, sequence: 32 });
    bench.advance(100);
    expect(bench.salt()).toBe('INVALID_ARGUMENT not_applied');
  });

  it('is refused where somebody speaks an earlier protocol', () => {
    for (const protocols of [{ b: 2, c: 2 }, { c: 2 }]) {
      const bench = new CounterBench(protocols);
      expect(bench.salt(2, 1, 'a', 4_000)).toBe('UNAVAILABLE not_applied');
    }
  });

  it('holds writes back only while the counter is read, and none for parts that are cut off', () => {
    const bench = new CounterBench();
    bench.cut.add('c');
    const id = bench.ask('a', { operation: 'salt', salt: { copies: 2, counter: true, delta: 1 } });
    const one = { operation: 'increment', increment: { delta: 1, ttlMs: 0 } } as const;
    const before = bench.ask('a', { ...one, sequence: 40 });
    bench.advance(1_000);
    expect([bench.told('a', before), bench.told('a', id)]).toEqual(['quorum', 'none']);
    bench.advance(2_500);
    expect(bench.told('a', id)).toBe('UNAVAILABLE not_applied');
    bench.cut.delete('c');
    bench.advance(1_000);
    bench.node('a').storeReads = false;
    expect(bench.salt()).toBe('none');
    const [held, own] = [bench.ask('a', { ...one, sequence: 41 }), bench.add('a')];
    bench.advance(100);
    expect([bench.told('a', held), bench.told('a', own)]).toEqual(['none', 'none']);
    bench.node('a').letReads();
    bench.advance(200);
    expect([bench.told('a', held), bench.told('a', own)]).toEqual(['COUNTER_SALTED not_applied', 'quorum']);
    expect(bench.read()).toBe('2');
  });

  it('that a leader had begun is nothing to the next one, and what it opened is cleared away', () => {
    const bench = new CounterBench();
    bench.cut.add('c');
    bench.salt();
    bench.cut.delete('c');
    bench.lead('b', 2);
    bench.advance(500);
    expect([bench.set('b'), bench.read('b')]).toEqual([0, 'absent']);
    expect(bench.subs('b', 1)).toEqual(['open 0']);
    bench.advance(301_000);
    expect(bench.subs('b', 1)).toEqual(['closed 0']);
  });

  it('goes on at the next leader once it is in the log', () => {
    const bench = saltedCounter();
    bench.add('b', 1, bench.set());
    bench.node('a').restart();
    bench.lead('b', 2, [bench.node('b'), bench.node('c')]);
    bench.advance(600);
    expect(bench.read('b')).toBe('6');
    const id = bench.add('c', 2, bench.set('b'));
    bench.advance(100);
    expect(bench.told('c', id)).toBe('quorum');
    expect(bench.read('b')).toBe('7');
  });
});

describe('unsalting a counter', () => {
  it('adds what its sub-counters have come to, once, and closes them for good', () => {
    const bench = saltedCounter();
    const set = bench.set();
    const before = bench.add('b', 1, set);
    bench.add('c', 2, set);
    bench.advance(100);
    expect(bench.salt(0)).toBe('');
    expect(bench.set()).toBe(0);
    expect(bench.read()).toBe('7');
    // A retry is told that it has counted; a new one that it does not.
    const [retry, late] = [bench.again('b', 1, set, 1), bench.add('b', 1, set)];
    bench.advance(100);
    expect(bench.told('b', before)).toBe('quorum');
    expect([bench.told('b', retry), bench.told('b', late)]).toEqual(['quorum', 'closed']);
    expect(bench.reply('b', retry)?.receipt?.duplicate).toBe(true);
    expect(bench.reply('b', late)?.receipt).toMatchObject({ conditionFailed: true, items: [] });
    // The counter is one like any other.
    const id = bench.ask('a', { operation: 'increment', increment: { delta: 2, ttlMs: 0 }, sequence: 90 });
    bench.advance(100);
    expect(bench.reply('a', id)?.receipt?.counter).toBe(9);
  });

  it('goes on at the next leader, which finds a closed sub-counter', () => {
    const bench = saltedCounter();
    bench.relays = false;
    const set = bench.set();
    bench.add('b', 1, set);
    bench.advance(100);
    // One of two is closed.
    bench.cutLinks.add('a c');
    expect(bench.salt(0)).toBe('none');
    const late = bench.add('b', 1, set);
    bench.advance(100);
    expect(bench.told('b', late)).toBe('closed');
    bench.cutLinks.clear();
    bench.lead('c', 2, [bench.node('b'), bench.node('c')]);
    bench.advance(800);
    expect(bench.set('c')).toBe(0);
    expect(bench.read('c')).toBe('6');
  });

  it('is waited for by no increment, and reads go on meanwhile', () => {
    const bench = saltedCounter();
    bench.cut.add('c');
    bench.salt(0);
    const id = bench.add('a');
    bench.advance(100);
    expect(bench.told('a', id)).toBe('quorum');
    bench.lead('b', 2, [bench.node('a'), bench.node('b')], 2);
    bench.advance(400);
    expect(bench.set()).toBe(0);
    expect(bench.read()).toBe('6');
  });

  it('takes effect once, though its entry were appended twice', () => {
    const bench = saltedCounter();
    const { writes } = bench.node('a').replica.leadership!;
    const fold = { kind: 'fold', salted: Buffer.from(`\0${HITS}`), id: bench.set(), sum: 10n } as const;
    writes.append('quorum', null, fold);
    writes.append('quorum', null, fold);
    bench.advance(200);
    expect(bench.read()).toBe('15');
  });
});

describe('a sub-counter', () => {
  it('is not opened again by an order that comes late, nor counts for a set that was never there', () => {
    const bench = saltedCounter();
    const set = bench.set();
    bench.salt(0);
    bench.advance(300);
    const open = bench.counterOrders.find(({ counterOrder }) => counterOrder?.kind === 'COUNTER_OPEN')!;
    const [node, partition] = open.partition === 1 ? (['b', 1] as const) : (['c', 2] as const);
    bench.node(node).core.peerMessages('a', [open]);
    const [late, strange] = [bench.add(node, partition, set), bench.add(node, partition, set + 1)];
    bench.advance(200);
    expect([bench.told(node, late), bench.told(node, strange)]).toEqual(['closed', 'closed']);
    expect(bench.subs(node, partition)).toEqual(['closed 0']);
  });

  it('is asked for nothing but increments without a result', () => {
    const bench = saltedCounter();
    const saltSet = bench.set();
    const increment = { delta: 1, ttlMs: 0, unread: true };
    for (const fields of [
      { operation: 'delete', delete: {} },
      { operation: 'increment', increment: { ...increment, unread: false } },
      { operation: 'increment', increment: { ...increment, ttlMs: 5 } },
      { operation: 'increment', increment, idempotencyKey: Buffer.from('i') },
    ] as const) {
      const id = bench.ask('b', { ...fields, saltIn: 2, saltSet });
      bench.advance(50);
      expect(bench.told('b', id)).toBe('INVALID_ARGUMENT not_applied');
    }
    const home = bench.ask('a', { operation: 'increment', increment, saltIn: 1, saltSet });
    bench.advance(50);
    expect(bench.told('a', home)).toBe('INVALID_ARGUMENT not_applied');
  });

  it('is not told by a leader that is deposed and does not know it', () => {
    const bench = saltedCounter();
    bench.cutLinks.add('b c');
    bench.lead('c', 2, [bench.node('a'), bench.node('c')], 1, [bench.node('c')]);
    const id = bench.add('c', 1, bench.set());
    bench.advance(100);
    expect(bench.told('c', id)).toBe('quorum');
    // The order goes to another voter in the end, who leads by now.
    const get = bench.ask('a', { operation: 'get', get: LINEARIZABLE_GET });
    bench.advance(600);
    expect(bench.told('a', get)).toBe('6');
  });

  it('is there for the next leader of its partition', () => {
    const bench = saltedCounter();
    bench.add('b', 1, bench.set());
    bench.advance(100);
    bench.lead('a', 2, bench.nodes, 1);
    const id = bench.add('a', 1, bench.set());
    bench.advance(300);
    expect(bench.told('a', id)).toBe('quorum');
    expect(bench.read()).toBe('7');
  });
});
