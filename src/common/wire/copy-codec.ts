/**
 * Codecs of what the leaders of a hot key's home and of its copies, or sub-counters, tell each other, by hand as all of replication (protobuf.ts).
 */
import type {
  CopyOrder,
  CopyOrderKind,
  CopyReply,
  CounterOrder,
  CounterOrderKind,
  CounterReply,
  PeerMessage,
} from './messages.ts';
import { broken, EMPTY_BYTES, type ProtoReader, type ProtoWriter } from './protobuf.ts';
import { readValue, writeValue } from './reply-codec.ts';

const COPY_ORDERS: readonly CopyOrderKind[] = ['COPY_DROP', 'COPY_INSTALL', 'COPY_LOOK'];
const COUNTER_ORDERS: readonly CounterOrderKind[] = [
  'COUNTER_LOOK',
  'COUNTER_OPEN',
  'COUNTER_CLOSE',
  'COUNTER_FORGET',
  'COUNTER_ASK',
];

type SaltBodies = Pick<PeerMessage, 'copyOrder' | 'copyReply' | 'counterOrder' | 'counterReply'>;

/** The highest field of a peer message's bodies. */
export const LAST_BODY = 18;

/** Writes which of these bodies a message has. */
export function writeSaltBodies(writer: ProtoWriter, message: SaltBodies, bytesMax: number): void {
  const write = <T>(
    field: number,
    body: T | null | undefined,
    fields: (writer: ProtoWriter, body: T) => void,
  ) => {
    if (body === null || body === undefined) return;
    const mark = writer.begin(field, bytesMax);
    fields(writer, body);
    writer.end(mark);
  };
  write(15, message.copyOrder, writeCopyOrder);
  write(16, message.copyReply, writeCopyReply);
  write(17, message.counterOrder, writeCounterOrder);
  write(18, message.counterReply, writeCounterReply);
}

/** Reads the body that is the reader's present field, from 15 to LAST_BODY. */
export function readSaltBody(
  reader: ProtoReader,
  field: number,
  message: SaltBodies & { body: PeerMessage['body'] | undefined },
): void {
  if (field === 15) {
    message.copyOrder = readCopyOrder(reader);
    message.body = 'copyOrder';
  } else if (field === 16) {
    message.copyReply = readCopyReply(reader);
    message.body = 'copyReply';
  } else if (field === 17) {
    message.counterOrder = readCounterOrder(reader);
    message.body = 'counterOrder';
  } else {
    message.counterReply = readCounterReply(reader);
    message.body = 'counterReply';
  }
}

function writeCounterOrder(writer: ProtoWriter, order: CounterOrder): void {
  writer.uint(1, COUNTER_ORDERS.indexOf(order.kind));
  writer.uint(2, order.home);
  writer.uint(3, order.number);
  writer.bytes(4, order.key);
  writer.uint(5, order.set);
  writer.sint(6, order.delta);
}

function writeCounterReply(writer: ProtoWriter, reply: CounterReply): void {
  writer.uint(1, reply.number);
  writer.uint(2, reply.homeEpoch);
  writer.bool(3, reply.closed);
  writer.sint(4, reply.value);
}

function readCounterOrder(reader: ProtoReader): CounterOrder {
  const order: CounterOrder = {
    kind: 'COUNTER_LOOK',
    home: 0,
    number: 0,
    key: EMPTY_BYTES,
    set: 0,
    delta: 0,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      const named = COUNTER_ORDERS[reader.uint()];
      // An order of a newer version must not silently become another one.
      if (named === undefined) throw broken('an unknown order of a sub-counter');
      order.kind = named;
    } else if (field === 2) order.home = reader.uint();
    else if (field === 3) order.number = reader.uint();
    else if (field === 4) order.key = reader.bytes();
    else if (field === 5) order.set = reader.uint();
    else if (field === 6) order.delta = reader.sint();
    else reader.skip();
  }
  reader.leave(outer);
  return order;
}

function readCounterReply(reader: ProtoReader): CounterReply {
  const reply: CounterReply = { number: 0, homeEpoch: 0, closed: false, value: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reply.number = reader.uint();
    else if (field === 2) reply.homeEpoch = reader.uint();
    else if (field === 3) reply.closed = reader.bool();
    else if (field === 4) reply.value = reader.sint();
    else reader.skip();
  }
  reader.leave(outer);
  return reply;
}

function writeCopyOrder(writer: ProtoWriter, order: CopyOrder): void {
  writer.uint(1, COPY_ORDERS.indexOf(order.kind));
  writer.uint(2, order.home);
  writer.uint(3, order.number);
  writer.bytes(4, order.key);
  writer.bool(5, order.confirm);
  writer.text(6, order.token);
  if (order.value) writeValue(writer, 7, order.value);
}

function writeCopyReply(writer: ProtoWriter, reply: CopyReply): void {
  writer.uint(1, reply.number);
  writer.uint(2, reply.homeEpoch);
  writer.text(3, reply.token);
  writer.bool(4, reply.held);
  writer.uint(5, reply.reads);
}

function readCopyOrder(reader: ProtoReader): CopyOrder {
  const kind: CopyOrderKind = 'COPY_DROP';
  const none = { home: 0, number: 0, key: EMPTY_BYTES, confirm: false, token: '', value: null };
  const order: CopyOrder = { kind, ...none };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) {
      const named = COPY_ORDERS[reader.uint()];
      // An order of a newer version must not silently become another one.
      if (named === undefined) throw broken('an unknown order of a copy');
      order.kind = named;
    } else if (field === 2) order.home = reader.uint();
    else if (field === 3) order.number = reader.uint();
    else if (field === 4) order.key = reader.bytes();
    else if (field === 5) order.confirm = reader.bool();
    else if (field === 6) order.token = reader.text();
    else if (field === 7) order.value = readValue(reader);
    else reader.skip();
  }
  reader.leave(outer);
  return order;
}

function readCopyReply(reader: ProtoReader): CopyReply {
  const reply: CopyReply = { number: 0, homeEpoch: 0, token: '', held: false, reads: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reply.number = reader.uint();
    else if (field === 2) reply.homeEpoch = reader.uint();
    else if (field === 3) reply.token = reader.text();
    else if (field === 4) reply.held = reader.bool();
    else if (field === 5) reply.reads = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return reply;
}
