/**
 * The operations on one keyspace: arguments checked and encoded, then handed to the engine. It holds no state
 * but its name and defaults. `db.put` and its like are the same operations on the default keyspace.
 */
import { dependsOnValue } from '../common/batch-items.ts';
import { NO_BYTES } from '../common/bytes.ts';
import { RingkeepError } from '../common/errors.ts';
import { CODEC_TAG_MAX } from '../common/limits.ts';
import type { Condition } from '../common/wire/messages.ts';
import { type BatchOperation, type BatchReceipt, batchItems } from './batch.ts';
import { CODEC_TAGS, encodeValue } from './codec.ts';
import { type Key, type KeyspaceContext, type PutResult, refused } from './keyspace-context.ts';
import { inTurn } from './many.ts';
import {
  type CounterReceipt,
  DEFAULT_READ,
  type Entry,
  NO_WRITE,
  type OperationSpec,
  type Receipt,
  type Shape,
} from './operation.ts';
import {
  type Ack,
  ackName,
  CONDITIONAL_NAMES,
  type ConditionalOptions,
  checkAck,
  checkCondition,
  checkDelta,
  checkIdempotencyKey,
  checkNames,
  checkRead,
  checkSession,
  checkSignal,
  checkTimeout,
  checkTtl,
  encodeKey,
  IDEMPOTENT_NAMES,
  type IdempotentOptions,
  INCREMENT_NAMES,
  type IncrementOptions,
  LIVING_NAMES,
  type LivingOptions,
  PUT_NAMES,
  type PutOptions,
  READ_NAMES,
  type ReadOptions,
  TOUCH_NAMES,
  type TouchOptions,
  type WriteOptions,
} from './options.ts';
import { runUpdate, type UpdateResult } from './update.ts';

export type { Key, PutResult } from './keyspace-context.ts';

const NO_OPTIONS: WriteOptions = {};

const OPTION_NAMES = {
  put: PUT_NAMES,
  delete: CONDITIONAL_NAMES,
  increment: INCREMENT_NAMES,
  touch: TOUCH_NAMES,
} as const;

/**
 * A named part of the key space with its own codec. Keys of different keyspaces never meet: key `1` of
 * keyspace `sessions` is another one than key `s1` of keyspace `session`.
 *
 * @example
 * const sessions = db.keyspace<Session>('sessions', { codec: 'json' });
 * await sessions.put('1', { user: 'ada' });
 */
export class Keyspace<T = unknown> {
  readonly #context: KeyspaceContext;

  /** @internal Use `db.keyspace(name)`. */
  constructor(context: KeyspaceContext) {
    this.#context = context;
  }

  /** Name of the keyspace; empty for the default one. */
  get name(): string {
    return this.#context.name;
  }

  /**
   * Writes a value and resolves with a receipt once it is acknowledged at the wanted level. Takes effect at
   * most once, whatever had to be retried.
   *
   * With `ifAbsent`, `ifExists` or `ifVersion` it is written only if that holds. If it does not, the receipt says
   * `applied: false` with the version of the value that was there, 0 for none: no error. Not with `ack: 'leader'`, since
   * that is known at commit only (CONDITION_UNSUPPORTED). With `ttlMs` the value goes after that time; without, it stays,
   * whatever the value before it had.
   *
   * Rejects with RingkeepError. `error.outcome` tells whether the write is in effect: `not_applied`,
   * `unknown` (it may be), or `applied` (ACK_NOT_REACHED: it is, but fewer voters than asked for had it in
   * time).
   *
   * @example
   * const receipt = await db.put('user:1', { name: 'Ada' }, { ack: 'all' });
   * const { applied } = await db.put('user:1', { name: 'Eve' }, { ifAbsent: true });
   * await db.put('session:1', { user: 1 }, { ttlMs: 30 * 60_000 });
   */
  put(key: Key, value: T, options: PutOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      return this.#context.engine.submit(this.#put(key, value, options));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Reads a value, linearizably: at or above every write that was acknowledged before the call. Resolves with
   * `undefined` for an absent key. The value is decoded by the codec it was stored with.
   *
   * @example
   * const user = await db.get('user:1');
   */
  get(key: Key, options: ReadOptions = NO_OPTIONS): Promise<T | undefined> {
    try {
      return this.#context.engine.submit(this.#read(key, 'value', options));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Reads a value with its version. Resolves with `undefined` for an absent key.
   *
   * @example
   * const entry = await db.getEntry('user:1');
   * if (entry !== undefined) console.log(entry.version, entry.value);
   */
  getEntry(key: Key, options: ReadOptions = NO_OPTIONS): Promise<Entry<T> | undefined> {
    try {
      return this.#context.engine.submit(this.#read(key, 'entry', options));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Deletes a key and resolves with a receipt, also if it was absent. Conditions and errors as with `put`.
   *
   * @example
   * await db.delete('user:1');
   */
  delete(key: Key, options: ConditionalOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      return this.#context.engine.submit(this.#write('delete', 'receipt', key, options, {}));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Lets what a key holds go after `ttlMs` from now, whatever time it had. It gets a new version. If the key is absent, or a
   * condition does not hold, the receipt says `applied: false`. Not with `ack: 'leader'` (CONDITION_UNSUPPORTED).
   *
   * @example
   * await db.expire('session:1', 30 * 60_000);
   */
  expire(key: Key, ttlMs: number, options: TouchOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      const living = { ttlMs: checkTtl(ttlMs) };
      return this.#context.engine.submit(this.#write('touch', 'receipt', key, options, living));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Lets what a key holds stay, whatever time it had. Otherwise as `expire`.
   *
   * @example
   * await db.persist('session:1');
   */
  persist(key: Key, options: TouchOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      return this.#context.engine.submit(this.#write('touch', 'receipt', key, options, {}));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Changes a value that depends on what is there: calls `compute` with the current value (`undefined` if absent), and writes
   * what it returns (with `ttlMs`, if that is given), unless another write has come between; then it is called again with the
   * newer value. So it must have no effects of its own. If it returns `undefined`, nothing is written.
   *
   * Rejects with what `compute` throws, or with RingkeepError: as `put`, and DEADLINE_EXCEEDED (`not_applied`) when
   * others were faster each time. After an `unknown` outcome it is not tried again.
   *
   * @example
   * const { value } = await db.update('user:1', (user) => ({ ...user, visits: (user?.visits ?? 0) + 1 }));
   */
  async update(
    key: Key,
    compute: (current: T | undefined) => T | undefined | Promise<T | undefined>,
    options: LivingOptions = NO_OPTIONS,
  ): Promise<UpdateResult<T>> {
    checkNames('update', options, LIVING_NAMES);
    checkTtl(options.ttlMs);
    if (typeof compute !== 'function') {
      throw new RingkeepError('INVALID_ARGUMENT', 'update takes a function that computes the value');
    }
    this.#refuseEarly(checkAck(options.ack, this.#context.ack));
    return runUpdate(this, key, compute, options, this.#deadline(options));
  }

  /**
   * Reads many keys; resolves with their values in the order of the keys. Every read is linearizable, all of
   * them together are no snapshot. Rejects with the first error.
   *
   * @example
   * const [ada, alan] = await db.getMany(['user:1', 'user:2']);
   */
  async getMany(keys: Iterable<Key>, options: ReadOptions = NO_OPTIONS): Promise<(T | undefined)[]> {
    const list = [...keys];
    const fixed = this.#fixedTime('getMany', options, READ_NAMES);
    const values = new Array<T | undefined>(list.length);
    await inTurn(list.length, async (index) => {
      values[index] = await this.get(list[index]!, fixed());
    });
    return values;
  }

  /**
   * Writes many entries and resolves with one result per entry, in their order. A failed entry is a result,
   * never a rejection; each entry is a write of its own, there is no transaction around them. Of a key that
   * is given twice, either value may win.
   *
   * @example
   * const results = await db.putMany([['user:1', ada], ['user:2', alan]]);
   * const failed = results.filter((result) => !result.ok);
   */
  async putMany(
    entries: Iterable<readonly [Key, T]>,
    options: LivingOptions = NO_OPTIONS,
  ): Promise<PutResult[]> {
    const list = [...entries];
    const fixed = this.#fixedTime('putMany', options, LIVING_NAMES);
    const results = new Array<PutResult>(list.length);
    await inTurn(list.length, async (index) => {
      const [key, value] = list[index]!;
      try {
        results[index] = { key, ok: true, receipt: await this.put(key, value, fixed()) };
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        results[index] = { key, ok: false, error };
      }
    });
    return results;
  }

  /**
   * Adds `delta`, which may be negative, to a counter of 64 bits, which starts at 0, and resolves with its value after.
   * Takes effect at most once, whatever had to be retried. `get` reads a counter as a number, or beyond the exact ones as a
   * bigint; `delete` ends it. With `ttlMs` a counter that this call makes goes after that time.
   *
   * Rejects with NOT_A_COUNTER if the key holds a value that was put, COUNTER_OVERFLOW if the sum does not fit (both
   * `not_applied`), or as `put`. Not with `ack: 'leader'` (CONDITION_UNSUPPORTED).
   *
   * @example
   * const { value } = await db.increment('visits');
   * await db.increment('stock:7', -3);
   */
  increment(
    key: Key,
    delta: number | bigint = 1,
    options: IncrementOptions = NO_OPTIONS,
  ): Promise<CounterReceipt> {
    try {
      const what = { delta: checkDelta(delta), ttlMs: checkTtl(options.ttlMs) };
      return this.#context.engine.submit(this.#write('increment', 'counter', key, options, what));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Adds `delta` to a counter as `increment` does, and resolves without its value. So any part of a counter that was salted
   * (docs/HOT-KEYS.md) may take it: `partition` of the receipt says which one has, and `version` is 0 where that was a sub-counter, which
   * writes no version of the key. While a counter is salted it takes nothing else (COUNTER_SALTED, `not_applied`), and where it was salted
   * for one delta, only that.
   *
   * @example
   * await db.add('visits');
   */
  add(key: Key, delta: number | bigint = 1, options: IncrementOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      const what = { delta: checkDelta(delta), ttlMs: checkTtl(options.ttlMs), unread: true };
      return this.#context.engine.submit(this.#write('increment', 'receipt', key, options, what));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Writes several keys at once: all of it takes effect, under one version, or nothing. Each operation may have a condition, a
   * `check` is nothing else; all of them are judged by what was there before the batch. If one does not hold, the receipt says
   * `applied: false`, and `results` which, with the version that was there.
   *
   * All keys have the same hash tag (`{...}` in the key), so that they lie in one partition, and none stands twice; else
   * CROSS_PARTITION or INVALID_ARGUMENT. At most 1,024 operations, 128 of them increments or with conditions, and 8 MiB of keys
   * and values (BATCH_TOO_LARGE). Otherwise
   * rejects as `put` and `increment`. With `ack: 'leader'` only if nothing depends on what is there.
   *
   * @example
   * const { applied } = await db.batch([
   *   { type: 'increment', key: 'stock:{tea}', delta: -2 },
   *   { type: 'put', key: 'order:{tea}:7', value: { amount: 2 }, ifAbsent: true },
   * ]);
   */
  batch(
    operations: Iterable<BatchOperation<T>>,
    options: IdempotentOptions = NO_OPTIONS,
  ): Promise<BatchReceipt> {
    try {
      return this.#context.engine.submit(this.#batch(operations, options));
    } catch (error) {
      return refused(error);
    }
  }

  /**
   * Writes bytes under the tag of their codec, as a page read has delivered them.
   *
   * @internal For `ringkeep import`.
   */
  putEncoded(key: Key, value: Uint8Array, codec: number, options: PutOptions = NO_OPTIONS): Promise<Receipt> {
    try {
      if (!Number.isInteger(codec) || codec < 1 || codec > CODEC_TAG_MAX) {
        throw new RingkeepError('INVALID_ARGUMENT', `codec tags are from 1 to ${CODEC_TAG_MAX}`);
      }
      return this.#context.engine.submit(
        this.#encoded(key, Uint8Array.prototype.slice.call(value), codec, options),
      );
    } catch (error) {
      return refused(error);
    }
  }

  #put(key: Key, value: T, options: PutOptions): OperationSpec {
    const { codec } = this.#context;
    return this.#encoded(key, encodeValue(codec, value), CODEC_TAGS[codec], options);
  }

  #batch(operations: Iterable<BatchOperation<T>>, options: IdempotentOptions): OperationSpec {
    checkNames('batch', options, IDEMPOTENT_NAMES);
    if (operations === null || typeof operations !== 'object' || !(Symbol.iterator in operations)) {
      throw new RingkeepError('INVALID_ARGUMENT', 'batch takes a list of operations');
    }
    const { codec } = this.#context;
    const encode = (value: T) => ({
      value: this.#sized(encodeValue(codec, value)),
      codec: CODEC_TAGS[codec],
    });
    const batch = batchItems(operations, encode);
    const idempotencyKey = checkIdempotencyKey(options.idempotencyKey);
    const ack = checkAck(options.ack, this.#context.ack);
    if (idempotencyKey.length > 0 || batch.some(dependsOnValue)) this.#refuseEarly(ack);
    return {
      kind: 'batch',
      shape: 'batch',
      keyspace: this.#context.name,
      key: batch[0]!.key,
      deadline: this.#deadline(options),
      ...NO_WRITE,
      ack: ackName(ack),
      batch,
      idempotencyKey,
      scan: null,
      ...DEFAULT_READ,
      session: checkSession(options.session, this.#context.session),
      signal: checkSignal(options.signal),
    };
  }

  /** Returns the bytes of a value unless they are too many. */
  #sized(value: Uint8Array): Uint8Array {
    const { valueBytesMax } = this.#context.engine.cluster;
    if (value.length <= valueBytesMax) return value;
    const text = `the value has ${value.length} bytes; at most ${valueBytesMax}`;
    throw new RingkeepError('VALUE_TOO_LARGE', text);
  }

  #encoded(key: Key, bytes: Uint8Array, codec: number, options: PutOptions): OperationSpec {
    const value = this.#sized(bytes);
    const put = { value, codec, ttlMs: checkTtl(options.ttlMs) };
    return this.#write('put', 'receipt', key, options, { put });
  }

  #write(
    kind: 'put' | 'delete' | 'increment' | 'touch',
    shape: Shape,
    key: Key,
    options: PutOptions,
    what: Partial<Pick<OperationSpec, 'put' | 'delta' | 'ttlMs' | 'unread'>>,
  ): OperationSpec {
    let condition: Condition | null = null;
    if (options !== NO_OPTIONS) {
      checkNames(kind, options, OPTION_NAMES[kind]);
      condition = checkCondition(options);
    }
    const { name } = this.#context;
    const ack = checkAck(options.ack, this.#context.ack);
    const idempotencyKey = checkIdempotencyKey(options.idempotencyKey);
    const blind =
      condition === null && kind !== 'increment' && kind !== 'touch' && idempotencyKey.length === 0;
    if (!blind) this.#refuseEarly(ack);
    return {
      kind,
      shape,
      keyspace: name,
      key: encodeKey(key),
      deadline: this.#deadline(options),
      ack: ackName(ack),
      condition,
      put: what.put ?? null,
      delta: what.delta ?? 0,
      ttlMs: what.ttlMs ?? 0,
      unread: what.unread ?? false,
      batch: null,
      idempotencyKey,
      copies: 0,
      counter: false,
      scan: null,
      level: DEFAULT_READ.level,
      maxStalenessMs: DEFAULT_READ.maxStalenessMs,
      session: checkSession(options.session, this.#context.session),
      signal: checkSignal(options.signal),
    };
  }

  /** The result of a write that is not blind is known when it is committed. */
  #refuseEarly(ack: Ack | null): void {
    if (ack !== 'leader') return;
    const text =
      'a write that depends on what is there is acknowledged at quorum or all, when its result is known';
    throw new RingkeepError('CONDITION_UNSUPPORTED', text);
  }

  #read(key: Key, shape: Shape, options: ReadOptions): OperationSpec {
    let read: Pick<OperationSpec, 'level' | 'maxStalenessMs'> = DEFAULT_READ;
    if (options !== NO_OPTIONS) {
      checkNames('get', options, READ_NAMES);
      read = checkRead(options);
    }
    // One plain literal, here and for writes: a spread costs ten times as much.
    return {
      kind: 'get',
      shape,
      keyspace: this.#context.name,
      key: encodeKey(key),
      deadline: this.#deadline(options),
      ack: 'ACK_QUORUM',
      condition: null,
      put: null,
      delta: 0,
      ttlMs: 0,
      unread: false,
      batch: null,
      idempotencyKey: NO_BYTES,
      copies: 0,
      counter: false,
      scan: null,
      level: read.level,
      maxStalenessMs: read.maxStalenessMs,
      session: checkSession(options.session, this.#context.session),
      signal: checkSignal(options.signal),
    };
  }

  #deadline(options: ReadOptions): number {
    return performance.now() + checkTimeout('timeoutMs', options.timeoutMs, this.#context.requestTimeoutMs);
  }

  /**
   * Checks options of a call for many and returns what gives each of its operations the time that is left.
   */
  #fixedTime<O extends ReadOptions>(what: string, options: O, names: ReadonlySet<string>): () => O {
    checkNames(what, options, names);
    const deadline = this.#deadline(options);
    return () => ({ ...options, timeoutMs: Math.max(1, deadline - performance.now()) });
  }
}
