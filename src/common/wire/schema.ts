/**
 * The schema: loads proto/ringkeep.proto and hands out its methods with the types of messages.ts. The file is found
 * from this module's own place (src/common/wire and dist/common/wire are equally deep), so it works from the sources,
 * from dist and from an installed package.
 * Decoded `bytes` are views of the received message: whoever keeps a small one for long copies it.
 * INVARIANT: a message that others stream to us has a bounded number of items when it is decoded (NodeMessage here,
 * ClientMessage in request-codec.ts), so that 16 MiB of empty ones do not become gigabytes of objects.
 */
import { fileURLToPath } from 'node:url';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { type AnyDefinition, loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { assert } from '../errors.ts';
import { MESSAGE_ITEMS_MAX } from '../limits.ts';
import type { AckDefaults } from '../topology.ts';
import type {
  HashReply,
  HashRequest,
  HotReply,
  HotRequest,
  MovesReply,
  MovesRequest,
  ScrubReply,
  ScrubRequest,
  SetAckRequest,
  StatusReply,
} from './admin-messages.ts';
import type {
  ClientMessage,
  ControllerMessage,
  Failure,
  Hello,
  NodeMessage,
  PeerBatch,
  Receipt,
  ServerMessage,
  TopologyMessage,
  UnaryRequest,
  Value,
  Welcome,
} from './messages.ts';
import { peerBatchCodec } from './peer-codec.ts';
import { tooMany } from './protobuf.ts';
import { receiptCodec, serverMessageCodec } from './reply-codec.ts';
import { clientMessageCodec, type GenericCodec, unaryRequestCodec } from './request-codec.ts';

/** Absolute path of the schema file in the package. */
export const PROTO_PATH = fileURLToPath(new URL('../../../proto/ringkeep.proto', import.meta.url));

/** The proto-loader options that messages.ts describes the results of. */
const LOADER_OPTIONS = {
  keepCase: false,
  longs: Number,
  enums: String,
  defaults: true,
  arrays: true,
  oneofs: true,
} as const;

/** Everything in the schema by full name; the reflection service publishes it. */
export const packageDefinition: PackageDefinition = loadSync(PROTO_PATH, LOADER_OPTIONS);

const PACKAGE = 'ringkeep.v1';

function lookup(name: string): AnyDefinition {
  const definition = packageDefinition[`${PACKAGE}.${name}`];
  assert(definition !== undefined, `the schema has no ${name}`);
  return definition;
}

function service(name: string): ServiceDefinition {
  const definition = lookup(name);
  assert(!('format' in definition), `${name} is a service`);
  return definition as ServiceDefinition;
}

/** A method with the types of its messages. */
export type Method<Request, Response> = MethodDefinition<Request, Response>;

/** Fields of NodeMessage; all are length-delimited. */
const KNOWN_FIELDS = 6;

/**
 * Counts the top-level items of an encoded NodeMessage without decoding it; stops at `max + 1`. A known field with
 * another wire type than its own is answered with `max + 1`: the generic decoder does not look at the wire type, so
 * such bytes could hide items from this count.
 * Other broken encodings are not judged here: the decoder refuses them.
 */
export function countItems(bytes: Uint8Array, max: number): number {
  let items = 0;
  let at = 0;
  // Like the decoder: low 32 bits, further bytes of the varint skipped.
  const varint = (): number => {
    let value = 0;
    for (let index = 0; at < bytes.length; index += 1) {
      const byte = bytes[at] ?? 0;
      at += 1;
      if (index < 5) value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) break;
    }
    return value % 2 ** 32;
  };
  while (at < bytes.length && items <= max) {
    const tag = varint();
    const wireType = tag & 7;
    items += 1;
    if (tag >>> 3 <= KNOWN_FIELDS && wireType !== 2) return max + 1;
    if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      // Not `at += varint()`, which would take `at` from before the varint.
      const length = varint();
      at += length;
    } else if (wireType > 5) return items;
  }
  return items;
}

function bounded<T>(deserialize: (bytes: Buffer) => T): (bytes: Buffer) => T {
  return (bytes) => {
    if (countItems(bytes, MESSAGE_ITEMS_MAX) > MESSAGE_ITEMS_MAX) {
      throw tooMany(MESSAGE_ITEMS_MAX);
    }
    return deserialize(bytes);
  };
}

function messageCodec<T>(name: string): GenericCodec<T> {
  const definition = lookup(name);
  assert('serialize' in definition, `${name} is a message`);
  return definition as unknown as GenericCodec<T>;
}

/** Codec of the Failure in the trailer `ringkeep-failure-bin` of unary calls. */
export const failureCodec = messageCodec<Failure>('Failure');

const rare = {
  hello: messageCodec<Hello>('Hello'),
  welcome: messageCodec<Welcome>('Welcome'),
  failure: failureCodec,
};

/** Codecs by hand for what is hot; they read and write the same bytes as those of the schema. */
export const hotCodecs = {
  clientMessage: clientMessageCodec(rare),
  unaryRequest: unaryRequestCodec(rare),
  receipt: receiptCodec,
  serverMessage: serverMessageCodec(rare),
  peerBatch: peerBatchCodec(rare),
} as const;

/** The schema's own codecs of the same messages, to compare with. */
export const schemaCodecs = {
  clientMessage: messageCodec<ClientMessage>('ClientMessage'),
  unaryRequest: messageCodec<UnaryRequest>('UnaryRequest'),
  receipt: messageCodec<Receipt>('Receipt'),
  serverMessage: messageCodec<ServerMessage>('ServerMessage'),
  peerBatch: messageCodec<PeerBatch>('PeerBatch'),
} as const;

/** Replaces codecs of one method. */
function withCodecs<Request, Response>(
  definition: ServiceDefinition,
  name: string,
  request: GenericCodec<Request> | undefined,
  response: GenericCodec<Response> | undefined,
): ServiceDefinition {
  const found = definition[name];
  assert(found !== undefined, `the schema has no method ${name}`);
  const changed = {
    ...found,
    ...(request && { requestSerialize: request.serialize, requestDeserialize: request.deserialize }),
    ...(response && { responseSerialize: response.serialize, responseDeserialize: response.deserialize }),
  };
  return { ...definition, [name]: changed } as ServiceDefinition;
}

const nodeMessage = messageCodec<NodeMessage>('NodeMessage');
const boundedNodeMessage = {
  serialize: nodeMessage.serialize,
  deserialize: bounded(nodeMessage.deserialize),
};

function keyValue(): ServiceDefinition {
  let definition = service('KeyValue');
  definition = withCodecs(definition, 'Session', hotCodecs.clientMessage, hotCodecs.serverMessage);
  definition = withCodecs(definition, 'Get', hotCodecs.unaryRequest, undefined);
  for (const write of ['Put', 'Delete', 'Increment'])
    definition = withCodecs(definition, write, hotCodecs.unaryRequest, hotCodecs.receipt);
  return definition;
}

/** The services, as `addService` takes them. */
export const services = {
  keyValue: keyValue(),
  topology: service('TopologyService'),
  control: withCodecs(service('Control'), 'Attach', boundedNodeMessage, undefined),
  replication: withCodecs(service('Replication'), 'Subscribe', undefined, hotCodecs.peerBatch),
  admin: service('Admin'),
} as const;

function method<Request, Response>(definition: ServiceDefinition, name: string): Method<Request, Response> {
  const found = definition[name];
  assert(found !== undefined, `the schema has no method ${name}`);
  return found as Method<Request, Response>;
}

/** The methods, typed. */
export const methods = {
  session: method<ClientMessage, ServerMessage>(services.keyValue, 'Session'),
  get: method<UnaryRequest, Value>(services.keyValue, 'Get'),
  put: method<UnaryRequest, Receipt>(services.keyValue, 'Put'),
  delete: method<UnaryRequest, Receipt>(services.keyValue, 'Delete'),
  increment: method<UnaryRequest, Receipt>(services.keyValue, 'Increment'),
  watch: method<Hello, TopologyMessage>(services.topology, 'Watch'),
  attach: method<NodeMessage, ControllerMessage>(services.control, 'Attach'),
  subscribe: method<Hello, PeerBatch>(services.replication, 'Subscribe'),
  status: method<{ hello: Hello | null }, StatusReply>(services.admin, 'Status'),
  hashPartition: method<HashRequest, HashReply>(services.admin, 'HashPartition'),
  setAck: method<SetAckRequest, AckDefaults>(services.admin, 'SetAck'),
  moves: method<MovesRequest, MovesReply>(services.admin, 'Moves'),
  hot: method<HotRequest, HotReply>(services.admin, 'Hot'),
  scrub: method<ScrubRequest, ScrubReply>(services.admin, 'Scrub'),
} as const;
