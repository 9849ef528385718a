/**
 * Codecs of the operations within requests, by hand (see protobuf.ts for why). Field numbers are those of proto/ringkeep.proto.
 */
import { MESSAGE_ITEMS_MAX, SESSION_MARKS_MAX } from '../limits.ts';
import type {
  BatchItem,
  BatchOperation,
  Condition,
  ConditionKind,
  GetOperation,
  IncrementOperation,
  PutOperation,
  ReadLevelName,
  SaltOperation,
  ScanOperation,
  SessionMark,
  TouchOperation,
} from './messages.ts';
import { broken, EMPTY_BYTES, type ProtoReader, type ProtoWriter, tooMany } from './protobuf.ts';

const CONDITIONS: readonly ConditionKind[] = [
  'CONDITION_NONE',
  'CONDITION_ABSENT',
  'CONDITION_EXISTS',
  'CONDITION_VERSION',
];

const LEVELS: readonly ReadLevelName[] = ['READ_LINEARIZABLE', 'READ_QUORUM', 'READ_SESSION', 'READ_STALE'];

/** Writes a get as the operation of the request that is open. */
export function writeGet(
  writer: ProtoWriter,
  { level, sessionIndex, early, maxStalenessMs }: GetOperation,
): void {
  const get = writer.begin(12, 48 + 32 * early.length);
  writer.uint(1, LEVELS.indexOf(level));
  writer.uint(2, sessionIndex);
  for (const { index, epoch } of early) {
    const mark = writer.begin(3, 24);
    writer.uint(1, index);
    writer.uint(2, epoch);
    writer.end(mark);
  }
  writer.uint(4, maxStalenessMs);
  writer.end(get);
}

/** Writes a touch as the operation of the request that is open. */
export function writeTouch(writer: ProtoWriter, { ttlMs }: TouchOperation): void {
  const touch = writer.begin(18, 12);
  writer.uint(1, ttlMs);
  writer.end(touch);
}

/** Writes a scan as the operation of the request that is open. */
export function writeScan(
  writer: ProtoWriter,
  { partition, cursor, bytesMax, allKeyspaces }: ScanOperation,
): void {
  const scan = writer.begin(16, cursor.length + 48);
  writer.uint(1, partition);
  writer.bytes(2, cursor);
  writer.uint(3, bytesMax);
  writer.bool(4, allKeyspaces);
  writer.end(scan);
}

/** Writes a salt as the operation of the request that is open. */
export function writeSalt(writer: ProtoWriter, { copies, counter, delta }: SaltOperation): void {
  const salt = writer.begin(24, 36);
  writer.uint(1, copies);
  if (counter) writer.bool(2, counter);
  if (delta) writer.sint(3, delta);
  writer.end(salt);
}

/** Reads a salt, the reader's present field. */
export function readSalt(reader: ProtoReader): SaltOperation {
  const salt: SaltOperation = { copies: 0, counter: false, delta: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) salt.copies = reader.uint();
    else if (field === 2) salt.counter = reader.bool();
    else if (field === 3) salt.delta = reader.sint();
    else reader.skip();
  }
  reader.leave(outer);
  return salt;
}

/** Writes a condition as the field `field` of the message that is open. */
export function writeCondition(writer: ProtoWriter, field: number, { kind, version }: Condition): void {
  const condition = writer.begin(field, 24);
  writer.uint(1, CONDITIONS.indexOf(kind));
  writer.uint(2, version);
  writer.end(condition);
}

/** Writes a put as the field `field` of the message that is open. */
export function writePut(writer: ProtoWriter, field: number, { value, codec, ttlMs }: PutOperation): void {
  const put = writer.begin(field, value.length + 32);
  writer.bytes(1, value);
  writer.uint(2, codec);
  writer.uint(3, ttlMs);
  writer.end(put);
}

/** Writes an increment as the field `field` of the message that is open. */
export function writeIncrement(
  writer: ProtoWriter,
  field: number,
  { delta, ttlMs, unread }: IncrementOperation,
): void {
  const increment = writer.begin(field, 28);
  writer.sint(1, delta);
  writer.uint(2, ttlMs);
  if (unread) writer.bool(3, unread);
  writer.end(increment);
}

/** Writes a batch as the operation of the request that is open. */
export function writeBatch(writer: ProtoWriter, { items }: BatchOperation, bytesMax: number): void {
  const batch = writer.begin(19, bytesMax);
  for (const item of items) {
    const inner = writer.begin(1, item.key.length + (item.put?.value.length ?? 0) + 96);
    writer.bytes(1, item.key);
    if (item.condition) writeCondition(writer, 2, item.condition);
    if (item.put) writePut(writer, 3, item.put);
    if (item.delete) writer.element(4, EMPTY_BYTES);
    if (item.increment) writeIncrement(writer, 5, item.increment);
    if (item.check) writer.element(6, EMPTY_BYTES);
    writer.end(inner);
  }
  writer.end(batch);
}

/** Reads a put, the reader's present field. */
export function readPut(reader: ProtoReader): PutOperation {
  const put: PutOperation = { value: EMPTY_BYTES, codec: 0, ttlMs: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) put.value = reader.bytes();
    else if (field === 2) put.codec = reader.uint();
    else if (field === 3) put.ttlMs = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return put;
}

/** Reads a scan, the reader's present field. */
export function readScan(reader: ProtoReader): ScanOperation {
  const scan: ScanOperation = { partition: 0, cursor: EMPTY_BYTES, bytesMax: 0, allKeyspaces: false };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) scan.partition = reader.uint();
    else if (field === 2) scan.cursor = reader.bytes();
    else if (field === 3) scan.bytesMax = reader.uint();
    else if (field === 4) scan.allKeyspaces = reader.bool();
    else reader.skip();
  }
  reader.leave(outer);
  return scan;
}

/** Reads an increment, the reader's present field. */
export function readIncrement(reader: ProtoReader): IncrementOperation {
  const increment: IncrementOperation = { delta: 0, ttlMs: 0, unread: false };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) increment.delta = reader.sint();
    else if (field === 2) increment.ttlMs = reader.uint();
    else if (field === 3) increment.unread = reader.bool();
    else reader.skip();
  }
  reader.leave(outer);
  return increment;
}

/** Reads a touch, the reader's present field. */
export function readTouch(reader: ProtoReader): TouchOperation {
  const touch: TouchOperation = { ttlMs: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) touch.ttlMs = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return touch;
}

function readMark(reader: ProtoReader): SessionMark {
  const mark: SessionMark = { index: 0, epoch: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) mark.index = reader.uint();
    else if (field === 2) mark.epoch = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return mark;
}

/** Reads a get, the reader's present field. */
export function readGet(reader: ProtoReader): GetOperation {
  const get: GetOperation = {
    level: 'READ_LINEARIZABLE',
    sessionIndex: 0,
    early: [],
    maxStalenessMs: 0,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      const level = LEVELS[reader.uint()];
      // A level of a newer version must not silently become another one.
      if (level === undefined) throw broken('an unknown read level');
      get.level = level;
    } else if (field === 2) get.sessionIndex = reader.uint();
    else if (field === 3) {
      if (get.early.length === SESSION_MARKS_MAX) throw tooMany(SESSION_MARKS_MAX);
      get.early.push(readMark(reader));
    } else if (field === 4) get.maxStalenessMs = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return get;
}

/** A BatchItem while it is read: the operation may never come. */
type PartialItem = Omit<BatchItem, 'operation'> & { operation: BatchItem['operation'] | undefined };

function readItem(reader: ProtoReader): BatchItem {
  const none = { put: null, delete: null, increment: null, check: null };
  const item: PartialItem = { key: EMPTY_BYTES, condition: null, operation: undefined, ...none };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field >= 3 && field <= 6) Object.assign(item, none);
    if (field === 1) item.key = reader.bytes();
    else if (field === 2) item.condition = readCondition(reader);
    else if (field === 3) {
      item.put = readPut(reader);
      item.operation = 'put';
    } else if (field === 4) {
      item.delete = readNothing(reader);
      item.operation = 'delete';
    } else if (field === 5) {
      item.increment = readIncrement(reader);
      item.operation = 'increment';
    } else if (field === 6) {
      item.check = readNothing(reader);
      item.operation = 'check';
    } else reader.skip();
  }
  reader.leave(outer);
  // An absent operation is answered with INVALID_ARGUMENT by whoever validates requests.
  return item as BatchItem;
}

/** Reads a batch, the reader's present field. */
export function readBatch(reader: ProtoReader): BatchOperation {
  const batch: BatchOperation = { items: [] };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      // Of all batches of the message, also of those that a later one replaces.
      reader.items += 1;
      if (reader.items > MESSAGE_ITEMS_MAX) throw tooMany(MESSAGE_ITEMS_MAX);
      batch.items.push(readItem(reader));
    } else reader.skip();
  }
  reader.leave(outer);
  return batch;
}

/** Reads an operation without fields, the reader's present field. */
export function readNothing(reader: ProtoReader): Record<string, never> {
  const outer = reader.enter();
  while (reader.next() !== 0) reader.skip();
  reader.leave(outer);
  return {};
}

/** Reads a condition, the reader's present field. */
export function readCondition(reader: ProtoReader): Condition {
  const condition: Condition = { kind: 'CONDITION_NONE', version: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      const kind = CONDITIONS[reader.uint()];
      // A condition of a newer version must not silently become none.
      if (kind === undefined) throw broken('an unknown condition');
      condition.kind = kind;
    } else if (field === 2) condition.version = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return condition;
}
