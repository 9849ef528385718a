import { beforeEach, describe, expect, it } from 'vitest';
import { increment, key, MachineBench, put } from '../../../test/support/machine-bench.ts';
import { NO_CONDITION } from './entry.ts';
import { storeKey, TABLE_VALUES } from './layout.ts';
import type { WriteResult } from './result.ts';

let bench: MachineBench;
beforeEach(() => {
  bench = new MachineBench();
});

describe('the state machine', () => {
  it('serves a decided write before and after the store has it', () => {
    bench.append(put('a', 'one'));
    bench.advance();
    expect(bench.read('a')).toBe('one');
    bench.machine.flush();
    bench.store();
    expect(bench.machine.appliedIndex).toBe(1);
    expect(bench.read('a')).toBe('one');
    bench.append({ kind: 'delete', key: key('a'), condition: NO_CONDITION });
    bench.advance();
    expect(bench.read('a')).toBeNull();
  });

  it('tells the bytes of writes that took effect, once each, and none of those that did not', () => {
    bench.append(put('a', 'one'));
    bench.append(put('a', 'three'));
    bench.append({ kind: 'delete', key: key('a'), condition: NO_CONDITION });
    bench.append(put('a', 'refused', { kind: 'exists' }));
    bench.append(put('a', 'repeated'), { sequence: 1 });
    bench.append(increment('n', 1n));
    bench.advance();
    bench.machine.flush();
    bench.store();
    bench.advance();
    // A key has one byte more: the length of its keyspace's name.
    expect(bench.clientBytes).toBe(2 + 3 + (2 + 5) + 2 + (2 + 8));
  });

  it('decides conditions in log order, against the store and against undecided neighbours', () => {
    bench.append(put('a', 'one', { kind: 'absent' }));
    bench.append(put('a', 'two', { kind: 'absent' }));
    bench.append(put('a', 'three', { kind: 'version', version: 1 }));
    bench.append(put('a', 'four', { kind: 'exists' }));
    bench.advance();
    expect(bench.results).toHaveLength(0);
    bench.store();
    expect(bench.results.map((result) => result?.kind)).toEqual([
      'applied',
      'condition',
      'applied',
      'applied',
    ]);
    expect(bench.results[1]).toMatchObject({ version: 1 });
    expect(bench.read('a')).toBe('four');
  });

  it('takes a put of a counter for what it is', () => {
    bench.append(put('n', '-7', NO_CONDITION, 5));
    bench.append(increment('n', 10n));
    bench.advance();
    bench.store();
    expect(bench.results[1]).toMatchObject({ kind: 'applied', counter: 3n });
  });

  it('counts exactly, and refuses overflow and what is no counter', () => {
    bench.append(increment('n', 2n ** 62n));
    bench.append(increment('n', 2n ** 62n - 1n));
    bench.append(increment('n', 1n));
    bench.append(put('s', 'text'));
    bench.append(increment('s', 1n));
    bench.advance();
    bench.store();
    expect(bench.results[1]).toMatchObject({ kind: 'applied', counter: 2n ** 63n - 1n });
    expect(bench.results[2]).toEqual({ kind: 'refused', code: 'COUNTER_OVERFLOW' });
    expect(bench.results[4]).toEqual({ kind: 'refused', code: 'NOT_A_COUNTER' });
  });

  it('lets a request take effect once and gives a retry the first answer', () => {
    bench.append(increment('n', 5n), { sequence: 1 });
    bench.append(increment('n', 5n), { sequence: 1 });
    bench.advance();
    bench.store();
    expect(bench.results[1]).toEqual({ kind: 'duplicate', index: 1, stored: true });
    bench.machine.flush();
    bench.store();
    let again: WriteResult | null = null;
    const id = { client: 'c'.repeat(16), sequence: 1, lowWater: 1, sessionTime: 1 };
    bench.machine.readResult(id, (result) => {
      again = result;
    });
    bench.store();
    expect(again).toEqual({ kind: 'applied', index: 1, epoch: 1, counter: 5n });
  });

  it('gives a retry the first answer also while the store does not have it yet', () => {
    bench.append(increment('n', 5n), { sequence: 1 });
    bench.advance();
    bench.store();
    let again: WriteResult | null = null;
    const id = { client: 'c'.repeat(16), sequence: 1, lowWater: 1, sessionTime: 1 };
    const ask = (): void =>
      bench.machine.readResult(id, (result) => {
        again = result;
      });
    ask();
    expect(again).toEqual({ kind: 'applied', index: 1, epoch: 1, counter: 5n });
    // A later write releases it, in a batch of its own.
    bench.machine.flush();
    bench.append(put('a', 'one'), { sequence: 2, lowWater: 2 });
    bench.advance();
    ask();
    expect(again).toBeNull();
    bench.store();
    ask();
    bench.store();
    expect(again).toBeNull();
  });

  it('takes nothing from a copy that was closed: its rows are being cleared', () => {
    bench.append(put('a', 'one'));
    bench.advance();
    bench.machine.flush();
    bench.store();
    let seen: unknown;
    bench.machine.read(
      key('a'),
      () => true,
      (error, stored) => {
        seen = error?.code ?? stored;
      },
    );
    bench.machine.close();
    bench.rows.clear();
    bench.store();
    expect(seen).toBe('EOTHER');
    expect(bench.damage).toHaveLength(0);
  });

  it('does not use a value that was fetched before a later write', () => {
    bench.append(increment('n', 1n));
    bench.advance();
    bench.store();
    bench.machine.flush();
    bench.store();
    // The next increment fetches; before the answer, a blind put is decided and applied.
    bench.machine.prefetch(increment('n', 1n));
    bench.append(put('n', 'text'));
    bench.advance();
    bench.machine.flush();
    bench.append(increment('n', 1n));
    bench.advance();
    bench.store();
    expect(bench.results[2]).toEqual({ kind: 'refused', code: 'NOT_A_COUNTER' });
  });

  it('reports damage instead of serving a bad value', () => {
    bench.append(put('a', 'one'));
    bench.advance();
    bench.machine.flush();
    bench.store();
    const name = storeKey(1, 1, TABLE_VALUES, key('a')).toString('latin1');
    const bytes = Buffer.from(bench.rows.get(name)!);
    bytes[bytes.byteLength - 1]! ^= 1;
    bench.rows.set(name, bytes);
    expect(bench.read('a')).toBe('EIO');
    expect(bench.damage).toHaveLength(1);
  });
});
