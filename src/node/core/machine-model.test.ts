/**
 * The state machine against a model that fits on a page: puts, deletes, increments, conditions, batches, idempotency keys, times to live and their ends,
 * in any order, while the store answers and finishes batches whenever it likes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { key, MachineBench } from '../../../test/support/machine-bench.ts';
import { toLatin1 } from '../../common/bytes.ts';
import { hashBytes } from '../../common/hash.ts';
import { type Command, type Condition, type KeyCommand, keyCommands } from './entry.ts';
import { decodeValue, expiryRow, RECORD_MARK, storeKey, TABLE_EXPIRIES, TABLE_VALUES } from './layout.ts';
import { recordKey } from './once.ts';
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
const item = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key: keys, ttl, condition }),
  fc.record({ kind: fc.constant('delete' as const), key: keys, condition }),
  fc.record({ kind: fc.constant('increment' as const), key: keys, ttl }),
  // A check without a condition is refused before it comes to the machine.
  fc.record({
    kind: fc.constant('check' as const),
    key: keys,
    condition: condition.filter((asked) => asked !== 'none'),
  }),
);
const batch = fc.uniqueArray(item, { minLength: 1, maxLength: 3, selector: ({ key: name }) => name });
const step = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key: keys, ttl, condition }),
  fc.record({ kind: fc.constant('delete' as const), key: keys, condition }),
  fc.record({ kind: fc.constant('increment' as const), key: keys, ttl }),
  fc.record({ kind: fc.constant('touch' as const), key: keys, ttl, condition }),
  fc.record({
    kind: fc.constant('batch' as const),
    items: batch,
    once: fc.option(fc.constantFrom('i', 'j')),
  }),
  fc.record({ kind: fc.constant('end due' as const) }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ kind: fc.constant('store' as const) }),
  fc.record({ kind: fc.constant('flush' as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;
type Item = typeof item extends fc.Arbitrary<infer I> ? I : never;

/** How the store keys of records begin. */
const RECORDS = storeKey(1, 1, TABLE_VALUES, Buffer.of(RECORD_MARK)).toString('latin1');

/** What the machine should come to. */
class Model {
  readonly held = new Map<string, Held>();
  /** Every time that a key or record was ever given, as the machine's table has it until it is ended. */
  readonly times: { row: Uint8Array; expiresAt: number }[] = [];
  /** By row of the record (latin1): what the batch came to. */
  readonly records = new Map<string, { fingerprint: Uint8Array; result: WriteResult; keptUntil: number }>();

  holds(name: string, asked: Condition): boolean {
    const held = this.held.get(name);
    if (asked.kind === 'none') return true;
    if (asked.kind === 'absent') return held === undefined;
    return held !== undefined && (asked.kind === 'exists' || asked.version === held.version);
  }

  write(name: string, held: Held): WriteResult {
    this.held.set(name, held);
    if (held.expiresAt > 0) this.times.push({ row: key(name), expiresAt: held.expiresAt });
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

  applyBatch(names: readonly string[], items: readonly KeyCommand[], index: number): WriteResult {
    const versions = names.map((name) => this.held.get(name)?.version ?? 0);
    const failed = items.map((one, at) => 'condition' in one && !this.holds(names[at]!, one.condition));
    if (failed.includes(true)) {
      const told = failed.map((isFailed, at) => ({
        failed: isFailed,
        version: isFailed ? versions[at]! : 0,
        counter: null,
      }));
      return { kind: 'condition', index, version: 0, items: told };
    }
    const isValue = (name: string) => this.held.get(name)?.counter === false;
    if (items.some(({ kind }, at) => kind === 'increment' && isValue(names[at]!)))
      return { kind: 'refused', code: 'NOT_A_COUNTER' };
    const counters = items.map((one, at) => {
      const result = one.kind === 'check' ? null : this.apply(names[at]!, one, index);
      return result?.kind === 'applied' ? result.counter : null;
    });
    const applied = { kind: 'applied', index, epoch: 1, counter: null } as const;
    const isBlind = items.every((one) => 'condition' in one && one.condition.kind === 'none');
    if (isBlind && items.every(({ kind }) => kind !== 'check')) return applied;
    const told = names.map((name, at) => ({
      failed: false,
      version: this.held.get(name)?.version ?? 0,
      counter: counters[at]!,
    }));
    return { ...applied, items: told };
  }

  /** The same under an idempotency key. */
  applyOnce(once: Extract<Command, { kind: 'once' }>, names: readonly string[], index: number): WriteResult {
    const row = toLatin1(once.record);
    const before = this.records.get(row);
    if (before !== undefined) {
      if (!Buffer.from(before.fingerprint).equals(once.fingerprint))
        return { kind: 'refused', code: 'IDEMPOTENCY_CONFLICT' };
      return { ...before.result, repeated: true } as WriteResult;
    }
    const result = this.applyBatch(names, keyCommands(once), index);
    if (result.kind === 'refused') return result;
    const { fingerprint, keptUntil } = once;
    this.records.set(row, { fingerprint, result, keptUntil });
    this.times.push({ row: once.record, expiresAt: keptUntil });
    return result;
  }

  /** The times that are over, and the end of what still has one of them. */
  end(clock: number): { key: Uint8Array; expiresAt: number }[] {
    const due = this.times.filter(({ expiresAt }) => expiresAt <= clock);
    for (const { row, expiresAt } of due) {
      const name = KEYS.find((one) => Buffer.from(key(one)).equals(row));
      if (name === undefined) {
        if (this.records.get(toLatin1(row))?.keptUntil === expiresAt) this.records.delete(toLatin1(row));
      } else if (this.held.get(name)?.expiresAt === expiresAt) this.held.delete(name);
    }
    this.times.splice(0, this.times.length, ...this.times.filter(({ expiresAt }) => expiresAt > clock));
    return due.map(({ row, expiresAt }) => ({ key: row, expiresAt }));
  }
}

function conditionOf(asked: 'none' | 'absent' | 'exists' | number, model: Model, name: string): Condition {
  if (typeof asked !== 'number') return { kind: asked };
  return { kind: 'version', version: Math.max(1, (model.held.get(name)?.version ?? 1) - asked) };
}

function commandOf(
  one: Extract<Step, { key: string }> | Item,
  bench: MachineBench,
  model: Model,
): KeyCommand {
  const next = bench.log.lastIndex + 1;
  const clock = Math.max(bench.clock, next, bench.log.lastTimestamp);
  const expiresAt = 'ttl' in one && one.ttl > 0 ? clock + one.ttl : 0;
  const name = key(one.key);
  if (one.kind === 'increment') return { kind: 'increment', key: name, delta: 1n, expiresAt };
  const asked = conditionOf(one.condition, model, one.key);
  if (one.kind === 'delete') return { kind: 'delete', key: name, condition: asked };
  if (one.kind === 'check') return { kind: 'check', key: name, condition: asked };
  if (one.kind === 'touch') return { kind: 'touch', key: name, expiresAt, condition: asked };
  return { kind: 'put', key: name, codec: 2, expiresAt, value: Buffer.from(`v${next}`), condition: asked };
}

const KEPT_MS = 8;

/** Applies a batch to both, with an idempotency key if it has one. */
function runBatch(step: Extract<Step, { kind: 'batch' }>, bench: MachineBench, model: Model): WriteResult {
  const items = step.items.map((one) => commandOf(one, bench, model));
  const names = step.items.map((one) => one.key);
  const write: Command = { kind: 'batch', items };
  const index = bench.log.lastIndex + 1;
  const once: Command = {
    kind: 'once',
    record: recordKey(Buffer.from(step.once ?? ''), '', Buffer.from('{t}')),
    // As `fingerprintOf` does, without what a request is not told apart by.
    fingerprint: Buffer.from(
      hashBytes(Buffer.from(JSON.stringify(step.items)))
        .toString(16)
        .padStart(16, '0'),
      'hex',
    ),
    keptUntil: Math.max(bench.clock, index, bench.log.lastTimestamp) + KEPT_MS,
    write,
  };
  const command = step.once === null ? write : once;
  const expected =
    step.once === null ? model.applyBatch(names, items, index) : model.applyOnce(once, names, index);
  bench.append(command);
  bench.machine.prefetch(command);
  bench.advance();
  return expected;
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
      bench.append({ kind: 'expireKeys', due: model.end(clock) }, null);
      bench.advance();
      expected.push(null);
    } else if (one.kind === 'batch') expected.push(runBatch(one, bench, model));
    else {
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
        const times = model.times.map(({ row, expiresAt }) =>
          storeKey(1, 1, TABLE_EXPIRIES, expiryRow(expiresAt, row)).toString('latin1'),
        );
        const records = [...bench.rows.keys()].filter((name) => name.startsWith(RECORDS));
        expect(records.length).toBe(model.records.size);
        expect(table.sort()).toEqual([...new Set(times)].sort());
      }),
      { numRuns: 400 },
    );
  });
});
