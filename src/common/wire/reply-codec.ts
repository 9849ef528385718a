/**
 * Codec of ServerMessage, what servers answer in KeyValue.Session, by hand (see protobuf.ts for why). Rare parts are
 * left to the generic codec as nested bytes. Field numbers are those of proto/ringkeep.proto; a property test compares
 * both codecs in both directions.
 */
import { SALT_COPIES_MAX } from '../limits.ts';
import type { Receipt, ReceiptItem, Reply, Row, Rows, Salts, ServerMessage, Value } from './messages.ts';
import { EMPTY_BYTES, ProtoReader, ProtoWriter } from './protobuf.ts';
import { asBuffer, type GenericCodec, type RareCodecs } from './request-codec.ts';
import { sizeOfReply } from './sizes.ts';

function writeSalts(writer: ProtoWriter, field: number, { partitions, set, delta, index }: Salts): void {
  const salts = writer.begin(field, 44 + partitions.length * 10);
  writer.packed(1, partitions);
  if (set) writer.uint(2, set);
  if (delta) writer.sint(3, delta);
  if (index) writer.uint(4, index);
  writer.end(salts);
}

function readSalts(reader: ProtoReader): Salts {
  const salts: Salts = { partitions: [], set: 0, delta: 0, index: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reader.uints(salts.partitions, SALT_COPIES_MAX);
    else if (field === 2) salts.set = reader.uint();
    else if (field === 3) salts.delta = reader.sint();
    else if (field === 4) salts.index = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return salts;
}

/** Writes a value as the field `field` of the message that is open. */
export function writeValue(writer: ProtoWriter, field: number, value: Value): void {
  const mark = writer.begin(field, value.value.length + 200);
  writer.bool(1, value.found);
  writer.bytes(2, value.value);
  writer.uint(3, value.codec);
  writer.uint(4, value.version);
  writer.uint(5, value.epoch);
  writer.uint(6, value.partition);
  writer.uint(7, value.expiresAt);
  writer.uint(8, value.seenIndex);
  writer.uint(9, value.stalenessMs);
  if (value.salts) writeSalts(writer, 10, value.salts);
  writer.end(mark);
}

function writeReceipt(writer: ProtoWriter, receipt: Receipt): void {
  writer.uint(1, receipt.partition);
  writer.uint(2, receipt.epoch);
  writer.uint(3, receipt.version);
  writer.text(4, receipt.durability);
  writer.uint(5, receipt.logTime);
  writer.bool(6, receipt.duplicate);
  writer.sint(7, receipt.counter);
  writer.bool(8, receipt.conditionFailed);
  writer.uint(9, receipt.index);
  for (const { conditionFailed, version, counter } of receipt.items) {
    const item = writer.begin(10, 40);
    writer.bool(1, conditionFailed);
    writer.uint(2, version);
    writer.sint(3, counter);
    writer.end(item);
  }
  writer.bool(11, receipt.repeated);
  if (receipt.salts) writeSalts(writer, 12, receipt.salts);
}

function writeRows(writer: ProtoWriter, rows: Rows, bytesMax: number): void {
  const mark = writer.begin(6, bytesMax);
  for (const row of rows.rows) {
    const inner = writer.begin(1, row.keyspace.length * 3 + row.key.length + row.value.length + 64);
    writer.text(1, row.keyspace);
    writer.bytes(2, row.key);
    writer.bytes(3, row.value);
    writer.uint(4, row.codec);
    writer.uint(5, row.version);
    writer.end(inner);
  }
  writer.bytes(2, rows.cursor);
  writer.end(mark);
}

function writeReply(writer: ProtoWriter, reply: Reply, rare: RareCodecs): void {
  const bytesMax = sizeOfReply(reply);
  const mark = writer.begin(2, bytesMax);
  writer.uint(1, reply.id);
  writer.bool(2, reply.end);
  if (reply.value) writeValue(writer, 3, reply.value);
  if (reply.receipt) {
    const receipt = writer.begin(4, bytesMax);
    writeReceipt(writer, reply.receipt);
    writer.end(receipt);
  }
  if (reply.failure) writer.element(5, rare.failure.serialize(reply.failure));
  if (reply.rows) writeRows(writer, reply.rows, bytesMax);
  writer.end(mark);
}

/** Reads the value that is the reader's present field. */
export function readValue(reader: ProtoReader): Value {
  // One plain literal: spreads cost microseconds, which is a fifth of what a client does for a get.
  const value: Value = {
    found: false,
    value: EMPTY_BYTES,
    codec: 0,
    version: 0,
    epoch: 0,
    partition: 0,
    expiresAt: 0,
    seenIndex: 0,
    stalenessMs: 0,
    salts: null,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) value.found = reader.bool();
    else if (field === 2) value.value = reader.bytes();
    else if (field === 3) value.codec = reader.uint();
    else if (field === 4) value.version = reader.uint();
    else if (field === 5) value.epoch = reader.uint();
    else if (field === 6) value.partition = reader.uint();
    else if (field === 7) value.expiresAt = reader.uint();
    else if (field === 8) value.seenIndex = reader.uint();
    else if (field === 9) value.stalenessMs = reader.uint();
    else if (field === 10) value.salts = readSalts(reader);
    else reader.skip();
  }
  reader.leave(outer);
  return value;
}

function readReceiptItem(reader: ProtoReader): ReceiptItem {
  const item: ReceiptItem = { conditionFailed: false, version: 0, counter: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) item.conditionFailed = reader.bool();
    else if (field === 2) item.version = reader.uint();
    else if (field === 3) item.counter = reader.sint();
    else reader.skip();
  }
  reader.leave(outer);
  return item;
}

function readReceipt(reader: ProtoReader): Receipt {
  // Not a durability, but what the schema says of an absent one; real receipts have theirs.
  const durability = '' as Receipt['durability'];
  const receipt: Receipt = {
    partition: 0,
    epoch: 0,
    version: 0,
    durability,
    logTime: 0,
    duplicate: false,
    counter: 0,
    conditionFailed: false,
    index: 0,
    items: [],
    repeated: false,
    salts: null,
  };
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) receipt.partition = reader.uint();
    else if (field === 2) receipt.epoch = reader.uint();
    else if (field === 3) receipt.version = reader.uint();
    else if (field === 4) receipt.durability = reader.text('quorum') as Receipt['durability'];
    else if (field === 5) receipt.logTime = reader.uint();
    else if (field === 6) receipt.duplicate = reader.bool();
    else if (field === 7) receipt.counter = reader.sint();
    else if (field === 8) receipt.conditionFailed = reader.bool();
    else if (field === 9) receipt.index = reader.uint();
    else if (field === 10) receipt.items.push(readReceiptItem(reader));
    else if (field === 11) receipt.repeated = reader.bool();
    else if (field === 12) receipt.salts = readSalts(reader);
    else reader.skip();
  }
  return receipt;
}

function readRow(reader: ProtoReader, keyspace: string): Row {
  const row: Row = { keyspace: '', key: EMPTY_BYTES, value: EMPTY_BYTES, codec: 0, version: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) row.keyspace = reader.text(keyspace);
    else if (field === 2) row.key = reader.bytes();
    else if (field === 3) row.value = reader.bytes();
    else if (field === 4) row.codec = reader.uint();
    else if (field === 5) row.version = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return row;
}

function readRows(reader: ProtoReader): Rows {
  const rows: Rows = { rows: [], cursor: EMPTY_BYTES };
  let keyspace = '';
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      const row = readRow(reader, keyspace);
      keyspace = row.keyspace;
      rows.rows.push(row);
    } else if (field === 2) rows.cursor = reader.bytes();
    else reader.skip();
  }
  reader.leave(outer);
  return rows;
}

type PartialReply = Omit<Reply, 'result'> & { result: Reply['result'] | undefined };

function readReply(reader: ProtoReader, rare: RareCodecs): Reply {
  const reply: PartialReply = {
    id: 0,
    end: false,
    result: undefined,
    value: null,
    receipt: null,
    failure: null,
    rows: null,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reply.id = reader.uint();
    else if (field === 2) reply.end = reader.bool();
    else if (field === 3) {
      reply.value = readValue(reader);
      reply.result = 'value';
    } else if (field === 4) {
      const inner = reader.enter();
      reply.receipt = readReceipt(reader);
      reader.leave(inner);
      reply.result = 'receipt';
    } else if (field === 5) {
      reply.failure = rare.failure.deserialize(asBuffer(reader.bytes()));
      reply.result = 'failure';
    } else if (field === 6) {
      reply.rows = readRows(reader);
      reply.result = 'rows';
    } else reader.skip();
  }
  reader.leave(outer);
  return reply as Reply;
}

/** Codec of the answer to a unary write; by hand for the sake of counters, which the schema's codec rounds. */
export const receiptCodec: GenericCodec<Receipt> = {
  serialize: (receipt) => {
    const writer = new ProtoWriter(120);
    writeReceipt(writer, receipt);
    return writer.finish();
  },
  deserialize: (bytes) => readReceipt(new ProtoReader(bytes)),
};

/** Builds the codec of what servers answer. */
export function serverMessageCodec(rare: RareCodecs): GenericCodec<ServerMessage> {
  return {
    serialize: (message) => {
      const writer = new ProtoWriter(64 + message.replies.length * 64);
      if (message.welcome) writer.element(1, rare.welcome.serialize(message.welcome));
      for (const reply of message.replies) writeReply(writer, reply, rare);
      writer.bool(3, message.goaway);
      if (message.failure) writer.element(4, rare.failure.serialize(message.failure));
      return writer.finish();
    },
    deserialize: (bytes) => {
      const message: ServerMessage = { welcome: null, replies: [], goaway: false, failure: null };
      const reader = new ProtoReader(bytes);
      for (let field = reader.next(); field !== 0; field = reader.next()) {
        if (field === 2) message.replies.push(readReply(reader, rare));
        else if (field === 1) message.welcome = rare.welcome.deserialize(asBuffer(reader.bytes()));
        else if (field === 3) message.goaway = reader.bool();
        else if (field === 4) message.failure = rare.failure.deserialize(asBuffer(reader.bytes()));
        else reader.skip();
      }
      return message;
    },
  };
}
