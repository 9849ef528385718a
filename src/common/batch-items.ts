/** What the SDK and the nodes ask of the operations of a batch, so that both count alike. */
import type { BatchItem } from './wire/messages.ts';

/** Bytes of the keys and values of a batch. */
export function batchBytes(items: readonly BatchItem[]): number {
  return items.reduce((sum, { key, put }) => sum + key.byteLength + (put?.value.byteLength ?? 0), 0);
}

/** Whether an operation's effect or result depends on what is there. */
export function dependsOnValue({ operation, condition }: BatchItem): boolean {
  return operation === 'increment' || (condition?.kind ?? 'CONDITION_NONE') !== 'CONDITION_NONE';
}
