/**
 * Sub-counters of a salted counter, as rows of other partitions: values that no client can name. The open row of one counts; its closed row has
 * what it came to, and keeps it from being opened again by an order that comes late (salt-effects.ts).
 */
import { asBuffer, readU64, writeU64 } from '../../common/bytes.ts';
import type { Command, KeyCommand, WriteCommand } from './entry.ts';
import { RECORD_MARK } from './layout.ts';
import type { CounterSet } from './salt-sets.ts';

const OPEN = 0;
const CLOSED = 1;
const STATE_AT = 18;
const HEAD_BYTES = 19;
const ID_DIGITS = 12;

/** Makes the id of a new set of `unique`, hexadecimal digits: odd if all of its increments add the same, so that whoever has the id knows. */
export function makeSetId(unique: string, delta: bigint): number {
  return 2 * (1 + Number.parseInt(unique.slice(0, ID_DIGITS), 16)) + (delta === 0n ? 0 : 1);
}

function takesAnything(id: number): boolean {
  return id % 2 === 0;
}

function rowName(state: number, { id, delta }: CounterSet, key: Uint8Array): Buffer {
  const buffer = Buffer.alloc(HEAD_BYTES + key.byteLength);
  // Records of idempotency keys have their length there.
  buffer[0] = RECORD_MARK;
  buffer[1] = RECORD_MARK;
  writeU64(buffer, 2, id);
  buffer.writeBigInt64LE(delta, 10);
  buffer[STATE_AT] = state;
  buffer.set(key, HEAD_BYTES);
  return buffer;
}

/**
 * User key of a sub-counter while it is open: u8 0xff, u8 0xff, u64 id of its set, i64 what each of its increments adds, 0 for anything, u8 0, user
 * key of the counter.
 */
export function openRow(counter: CounterSet, key: Uint8Array): Buffer {
  return rowName(OPEN, counter, key);
}

/** The same of one that is closed: with u8 1. */
export function closedRow(counter: CounterSet, key: Uint8Array): Buffer {
  return rowName(CLOSED, counter, key);
}

/** The beginning of both. */
export const SUB_ROWS: Uint8Array = Buffer.of(RECORD_MARK, RECORD_MARK);

/** What such a row is of. */
export interface SubRow {
  readonly counter: CounterSet;
  readonly isOpen: boolean;
  /** User key of the counter. */
  readonly key: Uint8Array;
}

/** Reads the user key of a sub-counter. */
export function readSubRow(row: Uint8Array): SubRow {
  const buffer = asBuffer(row);
  const counter = { id: readU64(buffer, 2), delta: buffer.readBigInt64LE(10) };
  return { counter, isOpen: buffer[STATE_AT] === OPEN, key: buffer.subarray(HEAD_BYTES) };
}

/** An increment of a sub-counter: one that is not open takes none, and none takes another delta than that of its set. */
export function subIncrement(id: number, key: Uint8Array, delta: bigint): WriteCommand {
  const row = openRow({ id, delta: takesAnything(id) ? 0n : delta }, key);
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
  if (kind === 'sub') return [openRow(command.counter, salted), closedRow(command.counter, salted)];
  return kind === 'salt' && command.set.counter === null ? [] : [salted];
}

/** The increment that a write is, by itself or under an idempotency key; null: it is none. */
export function incrementOf(command: Command): Extract<KeyCommand, { kind: 'increment' }> | null {
  const write = command.kind === 'once' ? command.write : command;
  return write.kind === 'increment' ? write : null;
}
