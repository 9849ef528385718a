/** Batches of simulated clients, and idempotency keys: what they ask for, and how it goes on the wire. */
import type { BatchItem, Condition } from '../../src/common/wire/messages.ts';
import type { ClientChecks, Item, Wish } from './client-checks.ts';
import { CODEC_BYTES } from './client-checks.ts';
import type { World } from './world.ts';

/** Keys with one hash tag, and counters among them: what batches are made of. */
export const TAGGED_KEYS = ['{t}a', '{t}b', '{t}c'];
export const TAGGED_COUNTERS = ['{t}n', '{t}m'];

const ITEMS_MAX = 4;

/** Draws a condition, given that the last version that was shown of the key is `version`. */
export type NextCondition = (world: World, version: number, kind: Wish['kind']) => Condition;

/** Draws the operations of a batch. */
export function nextItems(world: World, checks: ClientChecks, nextCondition: NextCondition): Item[] {
  const keys = [...TAGGED_KEYS, ...TAGGED_COUNTERS];
  const count = 1 + Math.floor(world.random.next() * ITEMS_MAX);
  const items: Item[] = [];
  while (items.length < count) {
    const key = world.pick(keys);
    keys.splice(keys.indexOf(key), 1);
    const version = checks.versionOf(key);
    const ttlMs = world.chance(0.2) ? Math.ceil(world.between(1, 1_500)) : 0;
    const level = world.random.next();
    if (level < 0.15) {
      items.push({ key, kind: 'check', condition: nextCondition(world, version, 'put'), ttlMs: 0 });
    } else if (TAGGED_COUNTERS.includes(key)) items.push({ key, kind: 'increment', condition: null, ttlMs });
    else {
      const kind = level < 0.4 ? 'delete' : 'put';
      const condition = world.chance(0.3) ? nextCondition(world, version, kind) : null;
      items.push({ key, kind, condition, ttlMs: kind === 'put' ? ttlMs : 0 });
    }
  }
  return items;
}

/** Whether nothing of it depends on what is there. */
export function isBlind(items: readonly Item[]): boolean {
  return items.every(({ kind, condition }) => condition === null && kind !== 'increment');
}

/** The batch as it is sent; `inputs`: what its puts put. */
export function wireItems(items: readonly Item[], inputs: readonly string[]): BatchItem[] {
  return items.map(({ key, kind, condition, ttlMs }, at): BatchItem => {
    const base = { key: Buffer.from(key), condition };
    if (kind === 'put') {
      const put = { value: Buffer.from(inputs[at]!), codec: CODEC_BYTES, ttlMs };
      return { ...base, operation: kind, put };
    }
    if (kind === 'increment') return { ...base, operation: kind, increment: { delta: 1, ttlMs } };
    return kind === 'delete'
      ? { ...base, operation: kind, delete: {} }
      : { ...base, operation: kind, check: {} };
  });
}

/** What the operations of a batch put or add; of one with an idempotency key the same each time. */
export function inputsOf(items: readonly Item[], value: string): string[] {
  return items.map(({ kind }, at) => (kind === 'put' ? `${value}.${at}` : kind === 'increment' ? '1' : ''));
}
