/**
 * The log entry: what a leader appends, the WAL stores, followers receive and every replica applies: one encoding for
 * all four, packed once. An unknown format or command is an error that stops the replica; it is never skipped.
 * Integrity is the WAL's and the transport's affair, not this codec's.
 *
 *   offset  bytes
 *   0       1      format (1)
 *   1       1      command: 1 establish, 2 tick, 3 put, 4 delete, 5 increment, 6 expire sessions, 7 scrub, 8 expire keys,
 *                  9 touch, 10 batch, 11 once, since protocol 3: 13 salt, 14 sub, 15 fold; 12 check, in a batch only
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
 *                        check      u32 key length, key
 *                        salt       u32 key length, key, the set (salt-sets.ts)
 *                        sub        u32 key length, key, u8 action (1 open, 2 close, 3 forget), u64 id of the set
 *                        fold       u32 key length, key, u64 id of the set, i64 sum
 *                        batch      per command: as a nested one
 *                        once       u32 record key length, record key, fingerprint (8), u64 kept until, the nested command
 *                        nested     u32 length of what follows, u8 command, u8 condition, u64 its version, body
 *   A key is the store's user key: u8 keyspace length, keyspace, key (layout.ts).
 */
import { asBuffer, readU64, writeU64 } from '../../common/bytes.ts';
import { assert } from '../../common/errors.ts';
import { type CounterSet, decodeSet, encodeSet, type SaltSet, setBytes } from './salt-sets.ts';
import { isSaltCommand, saltKeys } from './sub-rows.ts';

const FORMAT = 1;
const HEADER_BYTES = 28;
const REQUEST_ID_BYTES = 40;
const NESTED_HEADER_BYTES = 14;
/** Bytes of a request's fingerprint. */
export const FINGERPRINT_BYTES = 8;
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
  'batch',
  'once',
  'check',
  'salt',
  'sub',
  'fold',
] as const;
const ACTIONS = ['', 'open', 'close', 'forget'] as const;
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

/** A write of one key, or a question about it. `key` is a user key of layout.ts. */
export type KeyCommand =
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
  /** Writes nothing: what a batch depends on. */
  | { readonly kind: 'check'; readonly key: Uint8Array; readonly condition: Condition };

/** What clients may ask for. */
export type WriteCommand =
  | KeyCommand
  /** All of them or none; no key twice. */
  | { readonly kind: 'batch'; readonly items: readonly KeyCommand[] };

/** What an entry does. */
export type Command =
  | { readonly kind: 'establish' }
  | { readonly kind: 'tick' }
  | { readonly kind: 'scrub' }
  | WriteCommand
  | {
      /** A write that takes effect unless `record` says that it has before (once.ts). */
      readonly kind: 'once';
      readonly record: Uint8Array;
      /** Of the request, 8 bytes: another one under the same record is refused. */
      readonly fingerprint: Uint8Array;
      /** Log time in ms. */
      readonly keptUntil: number;
      readonly write: WriteCommand;
    }
  | {
      /** Where a key has copies, or sub-counters, from now on. */
      readonly kind: 'salt';
      /** User key. */
      readonly salted: Uint8Array;
      readonly set: SaltSet;
    }
  | {
      /** A sub-counter of a counter whose home is another partition (sub-rows.ts). */
      readonly kind: 'sub';
      readonly action: 'open' | 'close' | 'forget';
      /** User key of the counter. */
      readonly salted: Uint8Array;
      /** The set of sub-counters. */
      readonly counter: CounterSet;
    }
  | {
      /** Adds what all sub-counters of a set have come to, if the counter still has that set; then it has none. */
      readonly kind: 'fold';
      readonly salted: Uint8Array;
      readonly id: number;
      readonly sum: bigint;
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

/** The commands on single keys that a command consists of. */
export function keyCommands(command: Command): readonly KeyCommand[] {
  if (command.kind === 'once') return keyCommands(command.write);
  if (command.kind === 'batch') return command.items;
  return 'key' in command ? [command] : [];
}

/** The user keys whose values a command may change. */
export function touchedKeys(command: Command): readonly Uint8Array[] {
  if ('key' in command) return [command.key];
  if (command.kind === 'expireKeys') return command.due.map(({ key }) => key);
  if (isSaltCommand(command)) return saltKeys(command);
  return keyCommands(command)
    .filter(({ kind }) => kind !== 'check')
    .map(({ key }) => key);
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
    case 'check':
      return 4 + command.key.byteLength;
    case 'salt':
      return 4 + command.salted.byteLength + setBytes(command.set);
    case 'sub':
      return 4 + command.salted.byteLength + 17;
    case 'fold':
      return 4 + command.salted.byteLength + 16;
    case 'batch':
      return command.items.reduce((sum, item) => sum + nestedBytes(item), 0);
    case 'once':
      return 4 + command.record.byteLength + FINGERPRINT_BYTES + 8 + nestedBytes(command.write);
    default:
      return 0;
  }
}

function nestedBytes(command: WriteCommand): number {
  return NESTED_HEADER_BYTES + bodyBytes(command);
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
  } else if (command.kind === 'batch') {
    for (const item of command.items) offset = putNested(buffer, offset, item);
  } else if (command.kind === 'salt') {
    offset = putKey(buffer, offset, command.salted);
    buffer.set(encodeSet(command.set), offset);
  } else if (command.kind === 'sub') {
    offset = putKey(buffer, offset, command.salted);
    buffer[offset] = ACTIONS.indexOf(command.action);
    writeU64(buffer, offset + 1, command.counter.id);
    buffer.writeBigInt64LE(command.counter.delta, offset + 9);
  } else if (command.kind === 'fold') {
    offset = putKey(buffer, offset, command.salted);
    writeU64(buffer, offset, command.id);
    buffer.writeBigInt64LE(command.sum, offset + 8);
  } else if (command.kind === 'once') {
    offset = putKey(buffer, offset, command.record);
    buffer.set(command.fingerprint, offset);
    writeU64(buffer, offset + FINGERPRINT_BYTES, command.keptUntil);
    putNested(buffer, offset + FINGERPRINT_BYTES + 8, command.write);
  }
}

/** Writes a command within another one; returns the offset behind it. */
function putNested(buffer: Buffer, offset: number, command: WriteCommand): number {
  const condition = conditionOf(command);
  const end = offset + nestedBytes(command);
  buffer.writeUInt32LE(end - offset - 4, offset);
  buffer[offset + 4] = COMMANDS.indexOf(command.kind);
  buffer[offset + 5] = CONDITIONS.indexOf(condition.kind);
  writeU64(buffer, offset + 6, condition.kind === 'version' ? condition.version : 0);
  encodeBody(buffer, offset + NESTED_HEADER_BYTES, command);
  return end;
}

/** Reads what `putNested` wrote, one after the other, up to the end of the bytes. */
function readNested(bytes: Buffer): WriteCommand[] {
  const commands: WriteCommand[] = [];
  for (let offset = 0; offset < bytes.byteLength; ) {
    const end = offset + 4 + bytes.readUInt32LE(offset);
    const kind = COMMANDS[bytes.readUInt8(offset + 4)];
    const condition = CONDITIONS[bytes.readUInt8(offset + 5)];
    const isWrite = kind !== undefined && WRITES.has(kind);
    if (!isWrite || condition === undefined || end > bytes.byteLength) {
      throw new UnknownEntryError(`entry with a nested command ${bytes[offset + 4]}`);
    }
    const version = readU64(bytes, offset + 6);
    const held: Condition = condition === 'version' ? { kind: condition, version } : { kind: condition };
    const body = bytes.subarray(offset + NESTED_HEADER_BYTES, end);
    commands.push(decodeBody(body, 0, kind as WriteCommand['kind'], held) as WriteCommand);
    offset = end;
  }
  return commands;
}

const WRITES: ReadonlySet<string> = new Set(['put', 'delete', 'increment', 'touch', 'check', 'batch']);

function isKeyCommand(command: WriteCommand): command is KeyCommand {
  return command.kind !== 'batch';
}

function readBatch(bytes: Buffer): WriteCommand {
  const items = readNested(bytes);
  if (!items.every(isKeyCommand)) throw new UnknownEntryError('entry with a batch in a batch');
  return { kind: 'batch', items };
}

function readOnce(bytes: Buffer): Command {
  const record = readKey(bytes, 0);
  const offset = 4 + record.byteLength;
  const fingerprint = bytes.subarray(offset, offset + FINGERPRINT_BYTES);
  const keptUntil = readU64(bytes, offset + FINGERPRINT_BYTES);
  const [write, ...more] = readNested(bytes.subarray(offset + FINGERPRINT_BYTES + 8));
  if (write === undefined || more.length > 0) throw new UnknownEntryError('entry with not one write');
  return { kind: 'once', record, fingerprint, keptUntil, write };
}

function readSalt(bytes: Buffer): Command {
  const salted = readKey(bytes, 0);
  return { kind: 'salt', salted, set: decodeSet(bytes.subarray(4 + salted.byteLength)) };
}

function readSub(bytes: Buffer): Command {
  const salted = readKey(bytes, 0);
  const offset = 4 + salted.byteLength;
  const action = ACTIONS[bytes.readUInt8(offset)];
  if (action === undefined || action === '') throw new UnknownEntryError('entry with an unknown action');
  const counter = { id: readU64(bytes, offset + 1), delta: bytes.readBigInt64LE(offset + 9) };
  return { kind: 'sub', action, salted, counter };
}

function readFold(bytes: Buffer): Command {
  const salted = readKey(bytes, 0);
  const offset = 4 + salted.byteLength;
  return { kind: 'fold', salted, id: readU64(bytes, offset), sum: bytes.readBigInt64LE(offset + 8) };
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
  const isKnown = kind !== undefined && kind !== '' && kind !== 'check';
  if (!isKnown || ack === undefined || flags > 7) {
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
  if (kind === 'batch') return readBatch(buffer.subarray(offset));
  if (kind === 'once') return readOnce(buffer.subarray(offset));
  if (kind === 'salt') return readSalt(buffer.subarray(offset));
  if (kind === 'sub') return readSub(buffer.subarray(offset));
  if (kind === 'fold') return readFold(buffer.subarray(offset));
  const key = readKey(buffer, offset);
  const keyEnd = offset + 4 + key.byteLength;
  if (kind === 'delete' || kind === 'check') return { kind, key, condition };
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
