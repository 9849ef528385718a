/**
 * The log entry: what a leader appends, the WAL stores, followers receive and every replica applies: one encoding for
 * all four, packed once. An unknown format or command is an error that stops the replica; it is never skipped.
 * Integrity is the WAL's and the transport's affair, not this codec's.
 *
 *   offset  bytes
 *   0       1      format (1)
 *   1       1      command: 1 establish, 2 tick, 3 put, 4 delete, 5 increment, 6 expire sessions, 7 scrub, 8 expire keys,
 *                  9 touch
 *   2       1      acknowledgement level: 0 leader, 1 quorum, 2 all
 *   3       1      flags: bit 0 a request id follows, bits 1-2 condition (0 none, 1 absent, 2 exists, 3 version)
 *   4       8      epoch
 *   12      8      index
 *   20      8      leader timestamp, ms; never decreases within a log
 *   28     40      request id if flagged: client id (16), sequence (8), low water (8), session time (8)
 *   ..      8      version, if the condition is on one
 *   ..             body: put        u32 key length, key, u8 codec, u64 expires at (0 never), value
 *                        delete     u32 key length, key
 *                        increment  u32 key length, key, i64 delta, u64 expires at if it makes the counter (0 never)
 *                        touch      u32 key length, key, u64 expires at (0 never)
 *                        expire sessions  u64 those last used before this log time are dropped
 *                        expire keys      per key: u64 expires at, u32 key length, key
 *   A key is the store's user key: u8 keyspace length, keyspace, key (layout.ts).
 */
import { asBuffer, readU64, writeU64 } from '../../common/bytes.ts';
import { assert } from '../../common/errors.ts';

const FORMAT = 1;
const HEADER_BYTES = 28;
const REQUEST_ID_BYTES = 40;
const COMMANDS = [
  '',
  'establish',
  'tick',
  'put',
  'delete',
  'increment',
  'expireSessions',
  'scrub',
  'expireKeys',
  'touch',
] as const;
const ACKS = ['leader', 'quorum', 'all'] as const;
const CONDITIONS = ['none', 'absent', 'exists', 'version'] as const;

/** When the leader replies. The commit point is the same for all three. */
export type Ack = (typeof ACKS)[number];

/** Identifies a write of a client across retries. `client` is 16 bytes as a latin1 string. */
export interface RequestId {
  readonly client: string;
  readonly sequence: number;
  readonly lowWater: number;
  readonly sessionTime: number;
}

/** What must hold for a write to take effect. */
export type Condition =
  | { readonly kind: 'none' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'exists' }
  | { readonly kind: 'version'; readonly version: number };

/** No condition: a blind write. */
export const NO_CONDITION: Condition = { kind: 'none' };

/** What an entry does. `key` is a user key of layout.ts. */
export type Command =
  | { readonly kind: 'establish' }
  | { readonly kind: 'tick' }
  | { readonly kind: 'scrub' }
  | {
      readonly kind: 'put';
      readonly key: Uint8Array;
      readonly codec: number;
      readonly expiresAt: number;
      readonly value: Uint8Array;
      readonly condition: Condition;
    }
  | { readonly kind: 'delete'; readonly key: Uint8Array; readonly condition: Condition }
  | {
      readonly kind: 'increment';
      readonly key: Uint8Array;
      readonly delta: bigint;
      /** Of the counter, if this makes it; log time in ms, 0 for never. */
      readonly expiresAt: number;
    }
  | {
      /** Gives what the key holds another time to expire. */
      readonly kind: 'touch';
      readonly key: Uint8Array;
      readonly expiresAt: number;
      readonly condition: Condition;
    }
  | { readonly kind: 'expireSessions'; readonly before: number }
  | { readonly kind: 'expireKeys'; readonly due: readonly DueKey[] };

/** A key whose value is to go if it still expires at that time. */
export interface DueKey {
  readonly key: Uint8Array;
  readonly expiresAt: number;
}

/** One log entry. */
export interface Entry {
  readonly epoch: number;
  readonly index: number;
  readonly timestamp: number;
  readonly ack: Ack;
  readonly requestId: RequestId | null;
  readonly command: Command;
}

/** The user keys whose values a command may change. */
export function touchedKeys(command: Command): readonly Uint8Array[] {
  if ('key' in command) return [command.key];
  return command.kind === 'expireKeys' ? command.due.map(({ key }) => key) : [];
}

/** Thrown for bytes that this version does not understand: the replica must stop, not skip. */
export class UnknownEntryError extends Error {}

function conditionOf(command: Command): Condition {
  return 'condition' in command ? command.condition : NO_CONDITION;
}

function bodyBytes(command: Command): number {
  switch (command.kind) {
    case 'put':
      return 4 + command.key.byteLength + 9 + command.value.byteLength;
    case 'delete':
      return 4 + command.key.byteLength;
    case 'increment':
      return 4 + command.key.byteLength + 16;
    case 'touch':
      return 4 + command.key.byteLength + 8;
    case 'expireSessions':
      return 8;
    case 'expireKeys':
      return command.due.reduce((sum, { key }) => sum + 12 + key.byteLength, 0);
    default:
      return 0;
  }
}

/** Encodes an entry; the result is a fresh buffer that nobody changes afterwards. */
export function encodeEntry(entry: Entry): Buffer {
  const { command, requestId } = entry;
  const condition = conditionOf(command);
  const size =
    HEADER_BYTES +
    (requestId === null ? 0 : REQUEST_ID_BYTES) +
    (condition.kind === 'version' ? 8 : 0) +
    bodyBytes(command);
  const buffer = Buffer.allocUnsafe(size);
  buffer[0] = FORMAT;
  buffer[1] = COMMANDS.indexOf(command.kind);
  buffer[2] = ACKS.indexOf(entry.ack);
  buffer[3] = (requestId === null ? 0 : 1) | (CONDITIONS.indexOf(condition.kind) << 1);
  writeU64(buffer, 4, entry.epoch);
  writeU64(buffer, 12, entry.index);
  writeU64(buffer, 20, entry.timestamp);
  let offset = HEADER_BYTES;
  if (requestId !== null) {
    assert(requestId.client.length === 16, 'client ids are 16 bytes');
    buffer.write(requestId.client, offset, 16, 'latin1');
    writeU64(buffer, offset + 16, requestId.sequence);
    writeU64(buffer, offset + 24, requestId.lowWater);
    writeU64(buffer, offset + 32, requestId.sessionTime);
    offset += REQUEST_ID_BYTES;
  }
  if (condition.kind === 'version') {
    writeU64(buffer, offset, condition.version);
    offset += 8;
  }
  encodeBody(buffer, offset, command);
  return buffer;
}

function encodeBody(buffer: Buffer, start: number, command: Command): void {
  let offset = start;
  if ('key' in command) offset = putKey(buffer, offset, command.key);
  if (command.kind === 'put') {
    buffer[offset] = command.codec;
    writeU64(buffer, offset + 1, command.expiresAt);
    buffer.set(command.value, offset + 9);
  } else if (command.kind === 'increment') {
    buffer.writeBigInt64LE(command.delta, offset);
    writeU64(buffer, offset + 8, command.expiresAt);
  } else if (command.kind === 'touch') {
    writeU64(buffer, offset, command.expiresAt);
  } else if (command.kind === 'expireSessions') {
    writeU64(buffer, offset, command.before);
  } else if (command.kind === 'expireKeys') {
    for (const { key, expiresAt } of command.due) {
      writeU64(buffer, offset, expiresAt);
      offset = putKey(buffer, offset + 8, key);
    }
  }
}

/** Writes a key and its length; returns the offset behind it. */
function putKey(buffer: Buffer, offset: number, key: Uint8Array): number {
  buffer.writeUInt32LE(key.byteLength, offset);
  buffer.set(key, offset + 4);
  return offset + 4 + key.byteLength;
}

function readKey(buffer: Buffer, offset: number): Buffer {
  const end = offset + 4 + buffer.readUInt32LE(offset);
  if (end > buffer.byteLength) throw new UnknownEntryError('entry with a key beyond its end');
  return buffer.subarray(offset + 4, end);
}

function readDue(buffer: Buffer, start: number): DueKey[] {
  const due: DueKey[] = [];
  for (let offset = start; offset < buffer.byteLength; ) {
    const key = readKey(buffer, offset + 8);
    due.push({ key, expiresAt: readU64(buffer, offset) });
    offset += 12 + key.byteLength;
  }
  return due;
}

/** Reads epoch and index without decoding the rest. Throws `UnknownEntryError` on bytes that are no entry. */
export function peekEntry(bytes: Uint8Array): { epoch: number; index: number } {
  const buffer = asBuffer(bytes);
  if (buffer.byteLength < HEADER_BYTES || buffer[0] !== FORMAT) {
    throw new UnknownEntryError(`entry of ${buffer.byteLength} bytes with format ${buffer[0]}`);
  }
  const epoch = readU64(buffer, 4);
  const index = readU64(buffer, 12);
  if (!(epoch >= 0 && index >= 1)) throw new UnknownEntryError('entry without a valid epoch and index');
  return { epoch, index };
}

const EXPIRE_KEYS = COMMANDS.indexOf('expireKeys');

/** Whether an entry can wait: a client's write, or the end of values, and not one that a failover needs; without decoding it. */
export function canWait(bytes: Uint8Array): boolean {
  return ((bytes[3] ?? 0) & 1) !== 0 || bytes[1] === EXPIRE_KEYS;
}

/** Decodes an entry; key and value are views on `bytes`. Throws `UnknownEntryError`. */
export function decodeEntry(bytes: Uint8Array): Entry {
  const buffer = asBuffer(bytes);
  const { epoch, index } = peekEntry(buffer);
  const kind = COMMANDS[buffer[1] ?? 0];
  const ack = ACKS[buffer[2] ?? 3];
  const flags = buffer[3] ?? 0;
  if (kind === undefined || kind === '' || ack === undefined || flags > 7) {
    throw new UnknownEntryError(`entry with command ${buffer[1]}, level ${buffer[2]}, flags ${flags}`);
  }
  try {
    let offset = HEADER_BYTES;
    let requestId: RequestId | null = null;
    if ((flags & 1) !== 0) {
      requestId = {
        client: buffer.toString('latin1', offset, offset + 16),
        sequence: readU64(buffer, offset + 16),
        lowWater: readU64(buffer, offset + 24),
        sessionTime: readU64(buffer, offset + 32),
      };
      offset += REQUEST_ID_BYTES;
    }
    let condition: Condition = NO_CONDITION;
    const conditionKind = CONDITIONS[flags >> 1];
    if (conditionKind === 'version') {
      condition = { kind: 'version', version: readU64(buffer, offset) };
      offset += 8;
    } else if (conditionKind === 'absent' || conditionKind === 'exists') {
      condition = { kind: conditionKind };
    }
    const command = decodeBody(buffer, offset, kind, condition);
    return { epoch, index, timestamp: readU64(buffer, 20), ack, requestId, command };
  } catch (error) {
    if (error instanceof RangeError) throw new UnknownEntryError(`entry ${index} is cut short`);
    throw error;
  }
}

function decodeBody(
  buffer: Buffer,
  offset: number,
  kind: Exclude<(typeof COMMANDS)[number], ''>,
  condition: Condition,
): Command {
  if (kind === 'establish' || kind === 'tick' || kind === 'scrub') return { kind };
  if (kind === 'expireSessions') return { kind, before: readU64(buffer, offset) };
  if (kind === 'expireKeys') return { kind, due: readDue(buffer, offset) };
  const key = readKey(buffer, offset);
  const keyEnd = offset + 4 + key.byteLength;
  if (kind === 'delete') return { kind, key, condition };
  if (kind === 'touch') return { kind, key, expiresAt: readU64(buffer, keyEnd), condition };
  if (kind === 'increment') {
    return { kind, key, delta: buffer.readBigInt64LE(keyEnd), expiresAt: readU64(buffer, keyEnd + 8) };
  }
  const expiresAt = readU64(buffer, keyEnd + 1);
  return {
    kind,
    key,
    codec: buffer.readUInt8(keyEnd),
    expiresAt,
    value: buffer.subarray(keyEnd + 9),
    condition,
  };
}
