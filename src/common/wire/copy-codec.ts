/**
 * Codecs of what the leaders of a hot key's home and of its copies tell each other, by hand as all of replication (protobuf.ts).
 */
import type { CopyOrder, CopyOrderKind, CopyReply } from './messages.ts';
import { broken, EMPTY_BYTES, type ProtoReader, type ProtoWriter } from './protobuf.ts';
import { readValue, writeValue } from './reply-codec.ts';

const COPY_ORDERS: readonly CopyOrderKind[] = ['COPY_DROP', 'COPY_INSTALL', 'COPY_LOOK'];

/** Writes the fields of an order. */
export function writeCopyOrder(writer: ProtoWriter, order: CopyOrder): void {
  writer.uint(1, COPY_ORDERS.indexOf(order.kind));
  writer.uint(2, order.home);
  writer.uint(3, order.number);
  writer.bytes(4, order.key);
  writer.bool(5, order.confirm);
  writer.text(6, order.token);
  if (order.value) writeValue(writer, 7, order.value);
}

/** Writes the fields of an answer. */
export function writeCopyReply(writer: ProtoWriter, reply: CopyReply): void {
  writer.uint(1, reply.number);
  writer.uint(2, reply.homeEpoch);
  writer.text(3, reply.token);
  writer.bool(4, reply.held);
  writer.uint(5, reply.reads);
}

/** Reads an order, the reader's present field. */
export function readCopyOrder(reader: ProtoReader): CopyOrder {
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

/** Reads an answer, the reader's present field. */
export function readCopyReply(reader: ProtoReader): CopyReply {
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
