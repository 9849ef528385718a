/** What requests weigh in memory, for all who bound it. */
import type { Request } from './wire/messages.ts';

/** What an operation of a batch weighs in memory beside its key and value. */
const ITEM_HELD_BYTES = 400;

/** Returns what a request holds in memory beside its fixed cost: keys, values, and the objects of a batch. */
export function heldBytes({ key, put, batch, idempotencyKey }: Request): number {
  let size = key.length + (put?.value.length ?? 0) + (idempotencyKey?.length ?? 0);
  for (const item of batch?.items ?? []) {
    size += item.key.length + (item.put?.value.length ?? 0) + ITEM_HELD_BYTES;
  }
  return size;
}
