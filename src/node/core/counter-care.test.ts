/** What is told of a salted counter by those who are behind, where its sum does not fit, and what becomes of parts that nobody needs. */
import { describe, expect, it } from 'vitest';
import {
  CounterBench,
  HITS,
  OTHER,
  SESSION_GET,
  saltedCounter,
} from '../../../test/support/counter-bench.ts';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../common/reads.ts';

const MOST = 2n ** 63n - 1n;

describe('a voter that has not heard of sub-counters', () => {
  it('tells nobody what the home alone has, though nothing was added there since', () => {
    const bench = new CounterBench();
    bench.add('a', 0, 0, { delta: 5 });
    bench.lead('c', 2, [bench.node('a'), bench.node('c')], 1);
    bench.advance(500);
    bench.relays = false;
    bench.cutLinks.add('a b');
    const partition = Number(bench.salt(1));
    const id = bench.add('c', partition, bench.set());
    bench.advance(40);
    expect(bench.told('c', id)).toBe('quorum');
    expect(bench.read('b', QUORUM_GET)).toBe('none');
    bench.cutLinks.clear();
    bench.advance(500);
    expect(bench.read('a', QUORUM_GET)).toBe('6');
  });
});

describe('a sub-counter', () => {
  it('counts only what its set says, whatever a client declares', () => {
    const bench = saltedCounter();
    const set = bench.set();
    const [wrong, other] = [bench.add('b', 1, set, { delta: 7 }), bench.add('b', 1, set - 1, { delta: 7 })];
    const right = bench.add('b', 1, set);
    bench.advance(100);
    expect([wrong, other, right].map((id) => bench.told('b', id))).toEqual(['closed', 'closed', 'quorum']);
    expect(bench.read()).toBe('6');
  });

  it('that is closed is found, although its home was read by nobody', () => {
    const bench = saltedCounter();
    const set = bench.set();
    const close = { kind: 'COUNTER_CLOSE' as const, home: 0, number: 9_000, set, delta: 1 };
    const [open] = bench.counterOrders.filter(({ partition }) => partition === 1);
    // An order of an earlier leader, which comes late.
    const key = Buffer.from(`\0${HITS}`);
    bench.advance(6_000);
    bench.node('b').core.peerMessages('a', [{ ...open!, counterOrder: { ...close, key } }]);
    bench.advance(6_000);
    expect(bench.set()).toBe(0);
    expect(bench.read()).toBe('5');
  });

  it('of a home that was deposed before it could say that it has added it is cleared away', () => {
    const bench = saltedCounter();
    bench.add('b', 1, bench.set());
    bench.advance(100);
    bench.lostOrders.add('COUNTER_FORGET');
    expect(bench.salt(0)).toBe('');
    bench.lead('c', 2);
    bench.lostOrders.clear();
    bench.advance(301_000);
    expect(bench.read('c')).toBe('6');
    const expiries = [...bench.node('b').rows.keys()].filter((name) => name.charCodeAt(8) === 5);
    expect(expiries.length).toBeGreaterThan(0);
  });
});

describe('what is cleared away', () => {
  it('is nothing that a leader does not know of who was deposed', () => {
    const bench = new CounterBench();
    const [, b, c] = bench.trio;
    bench.lead('c', 2, bench.nodes, 1);
    bench.advance(300);
    bench.cut.add('a');
    bench.lead('b', 2, [b, c], 0, [b]);
    bench.advance(300);
    const partition = Number(bench.salt(1, 1, 'b'));
    // The leader of the sub-counter goes over its rows, and takes `a` for the leader of the home.
    bench.cut.delete('a');
    bench.lead('c', 3, [b, c], partition);
    bench.advance(400);
    expect(bench.counterOrders.some(({ counterOrder }) => counterOrder!.kind === 'COUNTER_ASK')).toBe(true);
    expect(bench.subs('c', partition)).toEqual(['open 0']);
    expect(bench.set('b')).not.toBe(0);
  });

  it('is nothing that is in use', () => {
    const bench = saltedCounter();
    bench.advance(301_000);
    expect(bench.counterOrders.some(({ counterOrder }) => counterOrder!.kind === 'COUNTER_ASK')).toBe(true);
    expect([bench.subs('b', 1), bench.subs('c', 2)]).toEqual([['open 0'], ['open 0']]);
  });
});

describe('a sum that does not fit', () => {
  it('can be brought down, though all increments were to be equal', () => {
    const bench = new CounterBench();
    bench.ask('a', { operation: 'increment', increment: { delta: MOST, ttlMs: 0 }, sequence: 30 });
    bench.advance(100);
    expect(bench.salt()).toBe('1 2');
    const set = bench.set();
    bench.add('b', 1, set);
    bench.advance(100);
    expect(bench.read()).toBe('COUNTER_OVERFLOW not_applied');
    expect(bench.salt(0)).toBe('COUNTER_OVERFLOW not_applied');
    // The parts are closed, and nobody is sent there any more.
    const [late, home] = [bench.add('b', 1, set), bench.add('a', 0, 0, { delta: -10 })];
    bench.advance(100);
    expect([bench.told('b', late), bench.told('a', home)]).toEqual(['closed', 'quorum']);
    expect(bench.reply('a', home)?.receipt?.salts).toBeNull();
    expect(bench.read()).toBe(String(MOST - 9n));
    bench.advance(6_000);
    expect(bench.set()).toBe(0);
    expect(bench.read()).toBe(String(MOST - 9n));
  });
});

describe('whoever waits for a counter', () => {
  it('is not told that it stays salted where it may be unsalted yet', () => {
    const bench = saltedCounter();
    bench.cut.add('c');
    const id = bench.ask('a', { operation: 'salt', salt: { copies: 0 }, timeLeftMs: 500 });
    bench.advance(1_000);
    expect(bench.told('a', id)).toBe('DEADLINE_EXCEEDED unknown');
    const other = bench.ask('a', { operation: 'salt', salt: { copies: 0 }, sequence: 3 });
    bench.advance(100);
    expect(bench.told('a', other)).toBe('OVERLOADED not_applied');
    bench.cut.delete('c');
    bench.advance(500);
    expect(bench.set()).toBe(0);
  });

  it('is not told that it is unsalted by a leader that is deposed', () => {
    const bench = new CounterBench();
    bench.cutLinks.add('a b').add('a c');
    bench.lead('b', 2, [bench.node('b'), bench.node('c')], 0, [bench.node('b'), bench.node('c')]);
    const id = bench.ask('a', { operation: 'salt', salt: { copies: 0 }, timeLeftMs: 800 });
    bench.advance(2_000);
    expect(bench.told('a', id)).not.toBe('quorum');
  });

  it('is sent away when too many wait, or a part does not answer for as long as a failover takes', () => {
    const bench = saltedCounter();
    bench.cut.add('c');
    const ids = Array.from({ length: 1_025 }, () =>
      bench.ask('a', { operation: 'get', get: { ...SESSION_GET, maxStalenessMs: 0 } }),
    );
    bench.advance(20);
    const told = (): Record<string, number> => {
      const counts: Record<string, number> = {};
      for (const id of ids) counts[bench.told('a', id)] = (counts[bench.told('a', id)] ?? 0) + 1;
      return counts;
    };
    expect(told()).toEqual({ none: 1_024, 'OVERLOADED not_applied': 1 });
    bench.advance(5_100);
    expect(told()).toEqual({ 'UNAVAILABLE not_applied': 1_024, 'OVERLOADED not_applied': 1 });
    const other = bench.ask('a', { operation: 'get', get: LINEARIZABLE_GET }, OTHER);
    bench.advance(100);
    expect(bench.told('a', other)).toBe('absent');
  });
});
