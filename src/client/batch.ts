/**
 * Batches as callers write them: checked, encoded, and their receipts. All operations take effect or none; all keys have one hash
 * tag, so that they lie in one partition however many of these there are.
 */
import { batchBytes, dependsOnValue } from '../common/batch-items.ts';
import { RingkeepError } from '../common/errors.ts';
import { hashTag } from '../common/hash.ts';
import { BATCH_BYTES_MAX, BATCH_DEPENDING_MAX, BATCH_OPERATIONS_MAX } from '../common/limits.ts';
import { keyText } from '../common/text.ts';
import type { BatchItem, PutOperation, Receipt as WireReceipt } from '../common/wire/messages.ts';
import type { Key } from './keyspace.ts';
import type { Receipt } from './operation.ts';
import {
  type ConditionalOptions,
  checkCondition,
  checkDelta,
  checkNames,
  checkTtl,
  encodeKey,
} from './options.ts';

type Conditions = Pick<ConditionalOptions, 'ifAbsent' | 'ifExists' | 'ifVersion'>;

/** One operation of a batch. A `check` writes nothing: the batch depends on its condition. */
export type BatchOperation<T = unknown> =
  | ({ readonly type: 'put'; readonly key: Key; readonly value: T; readonly ttlMs?: number } & Conditions)
  | ({ readonly type: 'delete'; readonly key: Key } & Conditions)
  | {
      readonly type: 'increment';
      readonly key: Key;
      readonly delta?: number | bigint;
      readonly ttlMs?: number;
    }
  | ({ readonly type: 'check'; readonly key: Key } & Conditions);

/** What became of one operation of a batch. */
export interface BatchItemResult {
  /** Its condition did not hold, so nothing of the batch was written. */
  readonly failed: boolean;
  /** Of what the key holds now, 0 for nothing; if `failed`, of what it held; 0 if only others have failed. */
  readonly version: number;
  /** Of increments: the counter after, rounded if it is beyond 2^53; else, and if nothing was written, null. */
  readonly value: number | null;
  /** The same in all of its 64 bits. */
  readonly exact: bigint | null;
}

/** What a batch returns that ended well. */
export interface BatchReceipt extends Receipt {
  /** One per operation, in their order. */
  readonly results: readonly BatchItemResult[];
}

const CONDITION_NAMES = ['ifAbsent', 'ifExists', 'ifVersion'];
const NAMES: Readonly<Record<BatchItem['operation'], ReadonlySet<string>>> = {
  put: new Set(['type', 'key', 'value', 'ttlMs', ...CONDITION_NAMES]),
  delete: new Set(['type', 'key', ...CONDITION_NAMES]),
  increment: new Set(['type', 'key', 'delta', 'ttlMs']),
  check: new Set(['type', 'key', ...CONDITION_NAMES]),
};

function invalid(text: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', text);
}

/**
 * Returns a batch as it is sent. `encode` makes the bytes of a value.
 * @throws RingkeepError INVALID_ARGUMENT, CROSS_PARTITION, BATCH_TOO_LARGE, or what `encode` throws
 */
export function batchItems<T>(
  operations: Iterable<BatchOperation<T>>,
  encode: (value: T) => Pick<PutOperation, 'value' | 'codec'>,
): BatchItem[] {
  const items: BatchItem[] = [];
  let bytes = 0;
  for (const operation of operations) {
    const item = itemOf(operation, items.length, encode);
    bytes += batchBytes([item]);
    if (items.push(item) > BATCH_OPERATIONS_MAX || bytes > BATCH_BYTES_MAX) {
      const limits = `${BATCH_OPERATIONS_MAX} operations, and ${BATCH_BYTES_MAX} bytes of keys and values`;
      throw new RingkeepError('BATCH_TOO_LARGE', `a batch has at most ${limits}`);
    }
  }
  checkKeys(items);
  if (items.filter(dependsOnValue).length > BATCH_DEPENDING_MAX) {
    const text = `at most ${BATCH_DEPENDING_MAX} operations of a batch may be increments or have conditions`;
    throw new RingkeepError('BATCH_TOO_LARGE', text);
  }
  return items;
}

function itemOf<T>(
  operation: BatchOperation<T>,
  at: number,
  encode: (value: T) => Pick<PutOperation, 'value' | 'codec'>,
): BatchItem {
  const type: unknown = operation?.type;
  if (typeof type !== 'string' || !Object.hasOwn(NAMES, type)) {
    throw invalid(`operation ${at} of the batch: type must be put, delete, increment or check`);
  }
  checkNames(`operation ${at} of the batch`, operation, NAMES[operation.type]);
  const key = encodeKey(operation.key);
  if (operation.type === 'increment') {
    const increment = { delta: checkDelta(operation.delta ?? 1), ttlMs: checkTtl(operation.ttlMs) };
    return { key, operation: 'increment', increment };
  }
  const condition = checkCondition(operation);
  if (operation.type === 'put') {
    const put = { ...encode(operation.value), ttlMs: checkTtl(operation.ttlMs) };
    return { key, condition, operation: 'put', put };
  }
  if (operation.type === 'delete') return { key, condition, operation: 'delete', delete: {} };
  if (condition === null) throw invalid(`operation ${at} of the batch: a check has a condition`);
  return { key, condition, operation: 'check', check: {} };
}

function checkKeys(items: readonly BatchItem[]): void {
  const [first] = items;
  if (first === undefined) throw invalid('a batch has at least one operation');
  const tag = keyText(hashTag(first.key));
  const names = new Set<string>();
  for (const { key } of items) {
    if (keyText(hashTag(key)) !== tag) {
      const text = `${keyText(first.key)} and ${keyText(key)} have different hash tags, so they may lie in different partitions; write the same {tag} into each key of a batch`;
      throw new RingkeepError('CROSS_PARTITION', text);
    }
    names.add(keyText(key));
  }
  if (names.size < items.length) throw invalid('a key stands twice in the batch');
}

/**
 * Returns one result per operation; a batch that depends on nothing has none in its receipt. Null: these are not the results of this
 * batch.
 */
export function batchResults(items: readonly BatchItem[], receipt: WireReceipt): BatchItemResult[] | null {
  if (receipt.items.length > 0 && receipt.items.length !== items.length) return null;
  return items.map(({ operation }, at) => {
    const told = receipt.items[at];
    const version = told?.version ?? (operation === 'delete' ? 0 : receipt.version);
    const counts = operation === 'increment' && !receipt.conditionFailed && told !== undefined;
    const exact = counts ? BigInt(told.counter) : null;
    const value = exact === null ? null : Number(exact);
    return { failed: told?.conditionFailed ?? false, version, value, exact };
  });
}
