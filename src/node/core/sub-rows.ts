/**
 * Sub-counters of a salted counter, as rows of other partitions: values that no client can name. The open row of one counts; its closed row has
 * what it came to, and keeps it from being opened again by an order that comes late (salt-effects.ts).
 */
import { writeU64 } from '../../common/bytes.ts';
import type { Command, KeyCommand, WriteCommand } from './entry.ts';
import { RECORD_MARK } from './layout.ts';

const OPEN = 0;
const CLOSED = 1;
const HEAD_BYTES = 11;

function rowName(state: number, id: number, key: Uint8Array): Buffer {
  const buffer = Buffer.alloc(HEAD_BYTES + key.byteLength);
  // Records of idempotency keys have their length there.
  buffer[0] = RECORD_MARK;
  buffer[1] = RECORD_MARK;
  writeU64(buffer, 2, id);
  buffer[10] = state;
  buffer.set(key, HEAD_BYTES);
  return buffer;
}

/** User key of a sub-counter while it is open: u8 0xff, u8 0xff, u64 id of its set, u8 0, user key of the counter. */
export function openRow(id: number, key: Uint8Array): Buffer {
  return rowName(OPEN, id, key);
}

/** The same of one that is closed: with u8 1. */
export function closedRow(id: number, key: Uint8Array): Buffer {
  return rowName(CLOSED, id, key);
}

/** An increment of a sub-counter: one that is not open takes none. */
export function subIncrement(id: number, key: Uint8Array, delta: bigint): WriteCommand {
  const row = openRow(id, key);
  const items: KeyCommand[] = [
    { kind: 'check', key: row, condition: { kind: 'exists' } },
    { kind: 'increment', key: row, delta, expiresAt: 0 },
  ];
  return { kind: 'batch', items };
}

/** What is appended about salted keys, and about sub-counters. */
export type SaltCommand = Extract<Command, { kind: 'salt' | 'fold' | 'sub' }>;

/** Whether a command is of those. */
export function isSaltCommand(command: Command): command is SaltCommand {
  return command.kind === 'salt' || command.kind === 'fold' || command.kind === 'sub';
}

/** The user keys whose values such a command may change, or depends on. */
export function saltKeys(command: SaltCommand): readonly Uint8Array[] {
  const { kind, salted } = command;
  if (kind === 'sub') return [openRow(command.id, salted), closedRow(command.id, salted)];
  return kind === 'salt' && command.set.counter === null ? [] : [salted];
}

/** The increment that a write is, by itself or under an idempotency key; null: it is none. */
export function incrementOf(command: Command): Extract<KeyCommand, { kind: 'increment' }> | null {
  const write = command.kind === 'once' ? command.write : command;
  return write.kind === 'increment' ? write : null;
}
