/**
 * The state machine against a model that fits on a page: puts, deletes, increments, conditions, times to live and their ends,
 * in any order, while the store answers and finishes batches whenever it likes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { key, MachineBench } from '../../../test/support/machine-bench.ts';
import type { Command, Condition } from './entry.ts';
import { decodeValue, expiryRow, storeKey, TABLE_EXPIRIES, TABLE_VALUES } from './layout.ts';
import type { WriteResult } from './result.ts';

interface Held {
  readonly text: string;
  readonly counter: boolean;
  readonly version: number;
  readonly expiresAt: number;
}

const KEYS = ['a', 'b', 'c'];
const TTL_MAX = 12;
const keys = fc.constantFrom(...KEYS);
const ttl = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: TTL_MAX }));
/** `version`: how far the version that is asked for lies behind the last one. */
const condition = fc.oneof(
  fc.constant('none' as const),
  fc.constant('absent' as const),
  fc.constant('exists' as const),
  fc.constantFrom(0, 1),
);
const step = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key: keys, ttl, condition }),
  fc.record({ kind: fc.constant('delete' as const), key: keys, condition }),
  fc.record({ kind: fc.constant('increment' as const), key: keys, ttl }),
  fc.record({ kind: fc.constant('touch' as const), key: keys, ttl, condition }),
  fc.record({ kind: fc.constant('end due' as const) }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant('store' as const) }),
  fc.record({ kind: fc.constant('flush' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** What the machine should come to. */
class Model {
  readonly held = new Map<string, Held>();
  /** Every time that a key was ever given, as the machine's table has it until it is ended. */
  readonly times: { key: string; expiresAt: number }[] = [];

  holds(name: string, asked: Condition): boolean {
    const held = this.held.get(name);
    if (asked.kind === 'none') return true;
    if (asked.kind === 'absent') return held === undefined;
    return held !== undefined && (asked.kind === 'exists' || asked.version === held.version);
  }

  write(name: string, held: Held): WriteResult {
    this.held.set(name, held);
    if (held.expiresAt > 0) this.times.push({ key: name, expiresAt: held.expiresAt });
    const counter = held.counter ? BigInt(held.text) : null;
    return { kind: 'applied', index: held.version, epoch: 1, counter };
  }

  refuse(name: string, index: number): WriteResult {
    return { kind: 'condition', index, version: this.held.get(name)?.version ?? 0 };
  }

  apply(name: string, command: Command, index: number): WriteResult {
    const held = this.held.get(name);
    if (command.kind === 'put') {
      if (!this.holds(name, command.condition)) return this.refuse(name, index);
      const text = Buffer.from(command.value).toString();
      return {
        ...this.write(name, { ...command, text, counter: false, version: index }),
        counter: null,
      } as WriteResult;
    }
    if (command.kind === 'delete') {
      if (!this.holds(name, command.condition)) return this.refuse(name, index);
      this.held.delete(name);
      return { kind: 'applied', index, epoch: 1, counter: null };
    }
    if (command.kind === 'touch') {
      if (held === undefined || !this.holds(name, command.condition)) return this.refuse(name, index);
      const touched = { ...held, version: index, expiresAt: command.expiresAt };
      return { ...this.write(name, touched), counter: null } as WriteResult;
    }
    if (command.kind !== 'increment') throw new Error('another command');
    if (held !== undefined && !held.counter) return { kind: 'refused', code: 'NOT_A_COUNTER' };
    const text = String(Number(held?.text ?? 0) + Number(command.delta));
    const expiresAt = held === undefined ? command.expiresAt : held.expiresAt;
    return this.write(name, { text, counter: true, version: index, expiresAt });
  }

  /** The times that are over, and the end of what still has one of them. */
  end(clock: number): { key: string; expiresAt: number }[] {
    const due = this.times.filter(({ expiresAt }) => expiresAt <= clock);
    for (const { key: name, expiresAt } of due) {
      if (this.held.get(name)?.expiresAt === expiresAt) this.held.delete(name);
    }
    this.times.splice(0, this.times.length, ...this.times.filter(({ expiresAt }) => expiresAt > clock));
    return due;
  }
}

function conditionOf(asked: 'none' | 'absent' | 'exists' | number, model: Model, name: string): Condition {
  if (typeof asked !== 'number') return { kind: asked };
  return { kind: 'version', version: Math.max(1, (model.held.get(name)?.version ?? 1) - asked) };
}

function commandOf(one: Extract<Step, { key: string }>, bench: MachineBench, model: Model): Command {
  const next = bench.log.lastIndex + 1;
  const clock = Math.max(bench.clock, next, bench.log.lastTimestamp);
  const expiresAt = 'ttl' in one && one.ttl > 0 ? clock + one.ttl : 0;
  const name = key(one.key);
  if (one.kind === 'increment') return { kind: 'increment', key: name, delta: 1n, expiresAt };
  const asked = conditionOf(one.condition, model, one.key);
  if (one.kind === 'delete') return { kind: 'delete', key: name, condition: asked };
  if (one.kind === 'touch') return { kind: 'touch', key: name, expiresAt, condition: asked };
  return { kind: 'put', key: name, codec: 2, expiresAt, value: Buffer.from(`v${next}`), condition: asked };
}

function run(steps: readonly Step[]): {
  bench: MachineBench;
  model: Model;
  expected: (WriteResult | null)[];
} {
  const bench = new MachineBench();
  const model = new Model();
  const expected: (WriteResult | null)[] = [];
  for (const one of steps) {
    if (one.kind === 'wait') bench.clock = Math.max(bench.clock, bench.log.lastIndex) + one.ms;
    else if (one.kind === 'store') bench.store();
    else if (one.kind === 'flush') bench.machine.flush();
    else if (one.kind === 'end due') {
      const clock = Math.max(bench.clock, bench.log.lastIndex + 1, bench.log.lastTimestamp);
      const due = model.end(clock).map(({ key: name, expiresAt }) => ({ key: key(name), expiresAt }));
      bench.append({ kind: 'expireKeys', due }, null);
      bench.advance();
      expected.push(null);
    } else {
      const command = commandOf(one, bench, model);
      expected.push(model.apply(one.key, command, bench.log.lastIndex + 1));
      bench.append(command);
      bench.machine.prefetch(command);
      bench.advance();
    }
  }
  bench.store();
  bench.advance();
  bench.machine.flush();
  bench.store();
  return { bench, model, expected };
}

describe('the state machine', () => {
  it('decides and stores what a simple model says, whenever the store answers', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { bench, model, expected } = run(steps);
        expect(bench.results).toEqual(expected);
        for (const name of KEYS) {
          const row = bench.rows.get(storeKey(1, 1, TABLE_VALUES, key(name)).toString('latin1'));
          const held = model.held.get(name);
          const stored = row === undefined ? null : decodeValue(key(name), row);
          expect(stored === null, name).toBe(held === undefined);
          if (stored === null || held === undefined) continue;
          const digits =
            stored.kind === 'counter' ? Buffer.from(stored.value).readBigInt64LE(0) : stored.value;
          const text = typeof digits === 'bigint' ? String(digits) : Buffer.from(digits).toString();
          expect({ text, version: stored.version, expiresAt: stored.expiresAt }, name).toEqual({
            text: held.text,
            version: held.version,
            expiresAt: held.expiresAt,
          });
        }
        const table = [...bench.rows.keys()].filter((name) => name.charCodeAt(8) === TABLE_EXPIRIES);
        const times = model.times.map(({ key: name, expiresAt }) =>
          storeKey(1, 1, TABLE_EXPIRIES, expiryRow(expiresAt, key(name))).toString('latin1'),
        );
        expect(table.sort()).toEqual([...new Set(times)].sort());
      }),
      { numRuns: 400 },
    );
  });
});
