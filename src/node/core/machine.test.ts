import { beforeEach, describe, expect, it } from 'vitest';
import type { StoreEffect } from './effects.ts';
import {
  type Command,
  type Condition,
  type Entry,
  encodeEntry,
  NO_CONDITION,
  type RequestId,
} from './entry.ts';
import { storeKey, TABLE_VALUES, userKey } from './layout.ts';
import { ReplicaLog } from './log.ts';
import { Machine } from './machine.ts';
import type { WriteResult } from './result.ts';
import { Sessions } from './sessions.ts';

/** A machine over a map, whose store effects are carried out when the test says so. */
class Bench {
  readonly rows = new Map<string, Uint8Array>();
  readonly results: (WriteResult | null)[] = [];
  readonly damage: string[] = [];
  readonly log: ReplicaLog;
  readonly machine: Machine;
  private queue: StoreEffect[] = [];
  clientBytes = 0;
  private lsn = 0;
  private sequence = 0;

  constructor() {
    const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
    this.log = new ReplicaLog(1, () => ++this.lsn, start, []);
    const limits = { windowMs: 10_000, sequencesMax: 100, sessionsMax: 10 };
    const mark = { index: 0, epoch: 0, logTime: 0 };
    this.machine = new Machine(1, 1, new Sessions(limits), mark, 0, {
      store: (effect) => this.queue.push(effect),
      read: (read) => this.queue.push(read),
      decided: (_entry, result) => this.results.push(result),
      applied: () => {},
      wrote: (bytes) => {
        this.clientBytes += bytes;
      },
      resume: () => this.advance(),
      damaged: (reason) => this.damage.push(reason),
      failed: (error) => {
        throw error;
      },
    });
  }

  append(command: Command, requestId?: Partial<RequestId>): number {
    this.sequence++;
    const id = { client: 'c'.repeat(16), sequence: this.sequence, lowWater: 1, sessionTime: 1, ...requestId };
    const index = this.log.lastIndex + 1;
    const entry: Entry = { epoch: 1, index, timestamp: index, ack: 'quorum', requestId: id, command };
    this.log.append(1, encodeEntry(entry), entry);
    return index;
  }

  advance(): void {
    this.machine.advance(this.log, this.log.lastIndex);
  }

  /** Carries out what the store was asked for, also what follows from it. */
  store(): void {
    for (let effect = this.queue.shift(); effect !== undefined; effect = this.queue.shift()) {
      if (effect.kind === 'write') {
        for (const { key, value } of effect.batch) {
          const name = Buffer.from(key).toString('latin1');
          if (value === null) this.rows.delete(name);
          else this.rows.set(name, value);
        }
        effect.done(null);
      } else if (effect.kind === 'get') {
        effect.done(null, this.rows.get(Buffer.from(effect.key).toString('latin1')));
      }
    }
  }

  read(name: string): unknown {
    let seen: unknown = 'no answer';
    this.machine.read(
      key(name),
      () => true,
      (error, stored) => {
        seen = error !== null ? error.code : stored === null ? null : Buffer.from(stored.value).toString();
      },
    );
    this.store();
    return seen;
  }
}

const key = (name: string): Uint8Array => userKey('', Buffer.from(name));
const put = (name: string, value: string, condition: Condition = NO_CONDITION, codec = 2): Command => ({
  kind: 'put',
  key: key(name),
  codec,
  expiresAt: 0,
  value: Buffer.from(value),
  condition,
});
const increment = (name: string, delta: bigint): Command => ({ kind: 'increment', key: key(name), delta });

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
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
