/**
 * Codec of ClientMessage, what clients send in KeyValue.Session, by hand (see protobuf.ts for why). Rare parts are
 * left to the generic codec as nested bytes. Field numbers are those of proto/ringkeep.proto; a property test compares
 * both codecs in both directions.
 * INVARIANT: a decoded message has at most MESSAGE_ITEMS_MAX requests, items of batches, cancels and credits together, so that 16 MiB of
 * empty ones do not become gigabytes of objects.
 */
import { MESSAGE_ITEMS_MAX } from '../limits.ts';
import type {
  AckName,
  ClientMessage,
  Credit,
  Failure,
  Hello,
  Request,
  UnaryRequest,
  Welcome,
} from './messages.ts';
import {
  readBatch,
  readCondition,
  readGet,
  readIncrement,
  readNothing,
  readPut,
  readSalt,
  readScan,
  readTouch,
  writeBatch,
  writeCondition,
  writeGet,
  writeIncrement,
  writePut,
  writeSalt,
  writeScan,
  writeTouch,
} from './operation-codec.ts';
import { broken, EMPTY_BYTES, ProtoReader, ProtoWriter, tooMany } from './protobuf.ts';
import { sizeOfRequest } from './sizes.ts';

/** Codec of a message that is not worth writing by hand. */
export interface GenericCodec<T> {
  serialize(value: T): Buffer;
  deserialize(bytes: Buffer): T;
}

export interface RareCodecs {
  readonly hello: GenericCodec<Hello>;
  readonly welcome: GenericCodec<Welcome>;
  readonly failure: GenericCodec<Failure>;
}

const ACKS: readonly AckName[] = ['ACK_QUORUM', 'ACK_LEADER', 'ACK_ALL', 'ACK_DEFAULT'];

/** Returns the same bytes as a Buffer, not a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeRequest(writer: ProtoWriter, request: Request): void {
  const mark = writer.begin(2, sizeOfRequest(request));
  writer.uint(1, request.id);
  writer.uint(2, request.timeLeftMs);
  writer.text(3, request.keyspace);
  writer.bytes(4, request.key);
  writer.bytes(5, request.clientId);
  writer.uint(6, request.sequence);
  writer.uint(7, request.lowWater);
  writer.uint(8, request.sessionTime);
  writer.uint(9, request.attempt);
  writer.uint(10, ACKS.indexOf(request.ack));
  writer.text(11, request.traceParent);
  if (request.condition) writeCondition(writer, 17, request.condition);
  if (request.get) writeGet(writer, request.get);
  if (request.put) writePut(writer, 13, request.put);
  if (request.delete) writer.element(14, EMPTY_BYTES);
  if (request.increment) writeIncrement(writer, 15, request.increment);
  if (request.touch) writeTouch(writer, request.touch);
  if (request.scan) writeScan(writer, request.scan);
  if (request.batch) writeBatch(writer, request.batch, sizeOfRequest(request));
  if (request.idempotencyKey !== undefined) writer.bytes(20, request.idempotencyKey);
  if (request.sharedReads !== undefined) writer.uint(21, request.sharedReads);
  if (request.saltIn !== undefined) writer.uint(22, request.saltIn);
  if (request.saltSet !== undefined) writer.uint(25, request.saltSet);
  if (request.beside !== undefined) writer.uint(23, request.beside);
  if (request.salt) writeSalt(writer, request.salt);
  writer.end(mark);
}

/** A Request while it is read: the operation may never come. */
type PartialRequest = Omit<Request, 'operation'> & { operation: Request['operation'] | undefined };

function readOperation(reader: ProtoReader, field: number, request: PartialRequest): void {
  // A later operation replaces an earlier one, as in any oneof.
  request.get = null;
  request.put = null;
  request.delete = null;
  request.increment = null;
  request.scan = null;
  request.touch = null;
  request.batch = null;
  request.salt = null;
  if (field === 12) {
    request.get = readGet(reader);
    request.operation = 'get';
  } else if (field === 13) {
    request.put = readPut(reader);
    request.operation = 'put';
  } else if (field === 14) {
    request.delete = readNothing(reader);
    request.operation = 'delete';
  } else if (field === 15) {
    request.increment = readIncrement(reader);
    request.operation = 'increment';
  } else if (field === 18) {
    request.touch = readTouch(reader);
    request.operation = 'touch';
  } else if (field === 19) {
    request.batch = readBatch(reader);
    request.operation = 'batch';
  } else if (field === 24) {
    request.salt = readSalt(reader);
    request.operation = 'salt';
  } else {
    request.scan = readScan(reader);
    request.operation = 'scan';
  }
}

function readAck(reader: ProtoReader): AckName {
  const ack = ACKS[reader.uint()];
  // A level of a newer version cannot be promised, and must not silently become a weaker one.
  if (ack === undefined) throw broken('an unknown acknowledgement level');
  return ack;
}

function emptyRequest(): PartialRequest {
  return {
    id: 0,
    timeLeftMs: 0,
    keyspace: '',
    key: EMPTY_BYTES,
    clientId: EMPTY_BYTES,
    sequence: 0,
    lowWater: 0,
    sessionTime: 0,
    attempt: 0,
    ack: 'ACK_QUORUM',
    traceParent: '',
    condition: null,
    operation: undefined,
    get: null,
    put: null,
    delete: null,
    increment: null,
    scan: null,
    touch: null,
    batch: null,
    ...{ salt: null, idempotencyKey: EMPTY_BYTES, sharedReads: 0, saltIn: 0, saltSet: 0, beside: 0 },
  };
}

/** `keyspace`: that of the request before, most likely the same. */
function readRequest(reader: ProtoReader, keyspace: string): Request {
  const request = emptyRequest();
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    switch (field) {
      case 1:
        request.id = reader.uint();
        break;
      case 2:
        request.timeLeftMs = reader.uint();
        break;
      case 3:
        request.keyspace = reader.text(keyspace);
        break;
      case 4:
        request.key = reader.bytes();
        break;
      case 5:
        request.clientId = reader.bytes();
        break;
      case 6:
        request.sequence = reader.uint();
        break;
      case 7:
        request.lowWater = reader.uint();
        break;
      case 8:
        request.sessionTime = reader.uint();
        break;
      case 9:
        request.attempt = reader.uint();
        break;
      case 10:
        request.ack = readAck(reader);
        break;
      case 11:
        request.traceParent = reader.text();
        break;
      case 17:
        request.condition = readCondition(reader);
        break;
      case 20:
        request.idempotencyKey = reader.bytes();
        break;
      case 21:
        request.sharedReads = reader.uint();
        break;
      case 22:
        request.saltIn = reader.uint();
        break;
      case 25:
        request.saltSet = reader.uint();
        break;
      case 23:
        request.beside = reader.uint();
        break;
      default:
        if ((field >= 12 && field <= 16) || field === 18 || field === 19 || field === 24)
          readOperation(reader, field, request);
        else reader.skip();
    }
  }
  reader.leave(outer);
  // An absent operation is answered with INVALID_ARGUMENT by whoever validates requests.
  return request as Request;
}

function readCredit(reader: ProtoReader): Credit {
  const credit: Credit = { id: 0, replies: 0 };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) credit.id = reader.uint();
    else if (field === 2) credit.replies = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return credit;
}

/** Builds the codec of unary calls. By hand for the sake of deltas, which the schema's codec rounds. */
export function unaryRequestCodec(rare: RareCodecs): GenericCodec<UnaryRequest> {
  return {
    serialize: ({ hello, request }) => {
      const writer = new ProtoWriter(64);
      if (hello) writer.element(1, rare.hello.serialize(hello));
      if (request) writeRequest(writer, request);
      return writer.finish();
    },
    deserialize: (bytes) => {
      const unary: UnaryRequest = { hello: null, request: null };
      const reader = new ProtoReader(bytes);
      for (let field = reader.next(); field !== 0; field = reader.next()) {
        if (field === 1) unary.hello = rare.hello.deserialize(asBuffer(reader.bytes()));
        else if (field === 2) unary.request = readRequest(reader, '');
        else reader.skip();
      }
      return unary;
    },
  };
}

/** Builds the codec of what clients send. */
export function clientMessageCodec(rare: RareCodecs): GenericCodec<ClientMessage> {
  return {
    serialize: (message) => {
      const writer = new ProtoWriter(64 + message.requests.length * 256);
      if (message.hello) writer.element(1, rare.hello.serialize(message.hello));
      for (const request of message.requests) writeRequest(writer, request);
      writer.packed(3, message.cancels);
      for (const credit of message.credits) {
        const mark = writer.begin(4, 24);
        writer.uint(1, credit.id);
        writer.uint(2, credit.replies);
        writer.end(mark);
      }
      return writer.finish();
    },
    deserialize: (bytes) => {
      const message: ClientMessage = { hello: null, requests: [], cancels: [], credits: [] };
      const reader = new ProtoReader(bytes);
      let keyspace = '';
      for (let field = reader.next(); field !== 0; field = reader.next()) {
        if (field === 2) {
          const request = readRequest(reader, keyspace);
          keyspace = request.keyspace;
          message.requests.push(request);
        } else if (field === 1) message.hello = rare.hello.deserialize(asBuffer(reader.bytes()));
        else if (field === 3) reader.uints(message.cancels, MESSAGE_ITEMS_MAX);
        else if (field === 4) message.credits.push(readCredit(reader));
        else reader.skip();
        const items =
          message.requests.length + message.cancels.length + message.credits.length + reader.items;
        if (items > MESSAGE_ITEMS_MAX) throw tooMany(MESSAGE_ITEMS_MAX);
      }
      return message;
    },
  };
}
