import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type {
  AckName,
  BatchItem,
  ClientMessage,
  Failure,
  PeerBatch,
  PeerMessage,
  Reply,
  Request,
  ServerMessage,
  UnaryRequest,
} from './messages.ts';
import { EMPTY_BYTES, ProtoReader, ProtoWriter } from './protobuf.ts';
import type { GenericCodec } from './request-codec.ts';
import { hotCodecs, schemaCodecs } from './schema.ts';
import { sizeOfPeerMessage, sizeOfReply, sizeOfRequest } from './sizes.ts';

const uint64 = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
const uint32 = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const int64 = fc.oneof(fc.integer(), fc.maxSafeInteger());
const text = fc.oneof(fc.constant('default'), fc.string(), fc.string({ unit: 'grapheme', maxLength: 60 }));
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.constantFrom(127, 128, 300, 16_384, 20_000).map((length) => Buffer.alloc(length, 7)),
);
const replica = fc.record({ id: text, node: text });
const replicas = fc.array(replica, { maxLength: 3 });
const outcome = fc.constantFrom('applied' as const, 'not_applied' as const, 'unknown' as const);
const failure: fc.Arbitrary<Failure> = fc.record({
  code: text,
  outcome,
  message: text,
  retryAfterMs: uint32,
  leader: text,
  partition: uint32,
  epoch: uint64,
  logTime: uint64,
  version: uint64,
  reached: uint32,
  voters: uint32,
});

const head = {
  id: uint64,
  timeLeftMs: uint32,
  keyspace: text,
  key: bytes,
  clientId: bytes,
  sequence: uint64,
  lowWater: uint64,
  sessionTime: uint64,
  attempt: uint32,
  ack: fc.constantFrom<AckName>('ACK_QUORUM', 'ACK_LEADER', 'ACK_ALL', 'ACK_DEFAULT'),
  traceParent: text,
  ...{ idempotencyKey: bytes, sharedReads: uint32, saltIn: uint32, beside: uint64 },
};
const condition = fc.option(
  fc.record({
    kind: fc.constantFrom(
      'CONDITION_NONE' as const,
      'CONDITION_ABSENT' as const,
      'CONDITION_EXISTS' as const,
      'CONDITION_VERSION' as const,
    ),
    version: uint64,
  }),
);
const scan = fc.record({ partition: uint32, cursor: bytes, bytesMax: uint32, allKeyspaces: fc.boolean() });
const item: fc.Arbitrary<BatchItem> = fc.oneof(
  fc.record({
    key: bytes,
    condition,
    operation: fc.constant('put' as const),
    put: fc.record({ value: bytes, codec: uint32, ttlMs: uint64 }),
  }),
  fc.record({ key: bytes, condition, operation: fc.constant('delete' as const), delete: fc.constant({}) }),
  fc.record({
    key: bytes,
    operation: fc.constant('increment' as const),
    increment: fc.record({ delta: int64, ttlMs: uint64 }),
  }),
  fc.record({ key: bytes, condition, operation: fc.constant('check' as const), check: fc.constant({}) }),
);
const request: fc.Arbitrary<Request> = fc.oneof(
  fc.record({
    ...head,
    operation: fc.constant('get' as const),
    get: fc.record({
      level: fc.constantFrom(
        'READ_LINEARIZABLE' as const,
        'READ_QUORUM' as const,
        'READ_SESSION' as const,
        'READ_STALE' as const,
      ),
      sessionIndex: uint64,
      early: fc.array(fc.record({ index: uint64, epoch: uint64 }), { maxLength: 3 }),
      maxStalenessMs: uint32,
    }),
  }),
  fc.record({ ...head, condition, operation: fc.constant('delete' as const), delete: fc.constant({}) }),
  fc.record({
    ...head,
    condition,
    operation: fc.constant('put' as const),
    put: fc.record({ value: bytes, codec: uint32, ttlMs: uint64 }),
  }),
  fc.record({
    ...head,
    operation: fc.constant('increment' as const),
    increment: fc.record({ delta: int64, ttlMs: uint64 }),
  }),
  fc.record({
    ...head,
    condition,
    operation: fc.constant('touch' as const),
    touch: fc.record({ ttlMs: uint64 }),
  }),
  fc.record({ ...head, operation: fc.constant('scan' as const), scan }),
  fc.record({
    ...head,
    operation: fc.constant('batch' as const),
    batch: fc.record({ items: fc.array(item, { maxLength: 4 }) }),
  }),
  fc.record({ ...head, operation: fc.constant('salt' as const), salt: fc.record({ copies: uint32 }) }),
);

const salts = fc.option(fc.record({ partitions: fc.array(uint32, { maxLength: 8 }) }));
const receiptOf = fc.record({
  salts,
  partition: uint32,
  epoch: uint64,
  version: uint64,
  durability: fc.constantFrom('leader' as const, 'quorum' as const, 'all' as const),
  logTime: uint64,
  duplicate: fc.boolean(),
  counter: int64,
  conditionFailed: fc.boolean(),
  index: uint64,
  items: fc.array(fc.record({ conditionFailed: fc.boolean(), version: uint64, counter: int64 }), {
    maxLength: 3,
  }),
  repeated: fc.boolean(),
});
const blankReceipt = {
  ...{ partition: 1, epoch: 2, version: 3, durability: 'quorum' as const, logTime: 4 },
  ...{
    duplicate: false,
    counter: 0,
    conditionFailed: false,
    index: 5,
    items: [],
    repeated: false,
    salts: null,
  },
};

const value = fc.record({
  found: fc.boolean(),
  value: bytes,
  codec: uint32,
  version: uint64,
  epoch: uint64,
  partition: uint32,
  expiresAt: uint64,
  seenIndex: uint64,
  stalenessMs: uint32,
  salts,
});
const row = fc.record({ keyspace: text, key: bytes, value: bytes, codec: uint32, version: uint64 });
const reply: fc.Arbitrary<Reply> = fc.oneof(
  fc.record({
    id: uint64,
    end: fc.boolean(),
    result: fc.constant('value' as const),
    value,
  }),
  fc.record({
    id: uint64,
    end: fc.boolean(),
    result: fc.constant('receipt' as const),
    receipt: receiptOf,
  }),
  fc.record({ id: uint64, end: fc.boolean(), result: fc.constant('failure' as const), failure }),
  fc.record({
    id: uint64,
    end: fc.boolean(),
    result: fc.constant('rows' as const),
    rows: fc.record({ rows: fc.array(row, { maxLength: 4 }), cursor: bytes }),
  }),
);

const peerHead = { partition: uint32, from: text, to: text, epoch: uint64 };
const list = fc.array(bytes, { maxLength: 4 });
const peerMessage: fc.Arbitrary<PeerMessage> = fc.oneof(
  fc.record({
    ...peerHead,
    body: fc.constant('append' as const),
    append: fc.record({
      configuration: uint64,
      prevIndex: uint64,
      prevEpoch: uint64,
      entries: list,
      commitIndex: uint64,
      voters: replicas,
      sentAt: uint64,
      previousVoters: replicas,
      echo: uint64,
      echoBoot: uint64,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('appendReply' as const),
    appendReply: fc.record({
      success: fc.boolean(),
      matchIndex: uint64,
      promiseEpoch: uint64,
      hintIndex: uint64,
      sentAt: uint64,
      appliedIndex: uint64,
      diskFull: fc.boolean(),
      clock: uint64,
      boot: uint64,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('confirm' as const),
    confirm: fc.record({ round: uint64, commitIndex: uint64 }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('probe' as const),
    probe: fc.record({
      round: uint64,
      configuration: uint64,
      voters: fc.array(text, { maxLength: 4 }),
      keys: list,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('probeReply' as const),
    probeReply: fc.record({
      round: uint64,
      granted: fc.boolean(),
      newest: fc.array(uint64, { maxLength: 4 }),
      commitIndex: uint64,
      commitEpoch: uint64,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('copyOrder' as const),
    copyOrder: fc.record({
      kind: fc.constantFrom('COPY_DROP' as const, 'COPY_INSTALL' as const, 'COPY_LOOK' as const),
      home: uint32,
      number: uint64,
      key: bytes,
      confirm: fc.boolean(),
      token: text,
      value: fc.option(value),
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('copyReply' as const),
    copyReply: fc.record({
      number: uint64,
      homeEpoch: uint64,
      token: text,
      held: fc.boolean(),
      reads: uint64,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('scrub' as const),
    scrub: fc.record({
      index: uint64,
      hash: fc.string(),
      damaged: fc.boolean(),
      underWay: uint64,
      rows: uint64,
      bytes: uint64,
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('confirmReply' as const),
    confirmReply: fc.record({ round: uint64, granted: fc.boolean(), promiseEpoch: uint64 }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('snapshotOffer' as const),
    snapshotOffer: fc.record({ snapshot: text, index: uint64, indexEpoch: uint64, configuration: uint64 }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('snapshotPull' as const),
    snapshotPull: fc.record({ snapshot: text, cursor: bytes }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('snapshotChunk' as const),
    snapshotChunk: fc.record({
      snapshot: text,
      cursor: bytes,
      keys: list,
      values: list,
      next: bytes,
      done: fc.boolean(),
      checksum: uint32,
      gone: fc.boolean(),
    }),
  }),
);

const hello = fc.constantFrom(null, {
  protocolMin: 1,
  protocolMax: 2,
  clusterId: 'c',
  role: 'node' as const,
  nodeId: 'n',
  incarnation: 'i',
  boot: 5,
  clientId: Buffer.alloc(16, 3),
  auth: Buffer.alloc(0),
  expectedNode: '',
  storeId: 's',
});
const unaryRequest: fc.Arbitrary<UnaryRequest> = fc.record({ hello, request: fc.option(request) });
const clientMessage: fc.Arbitrary<ClientMessage> = fc.record({
  hello,
  requests: fc.array(request, { maxLength: 5 }),
  cancels: fc.array(uint64, { maxLength: 50 }),
  credits: fc.array(fc.record({ id: uint64, replies: uint32 }), { maxLength: 3 }),
});
const serverMessage: fc.Arbitrary<ServerMessage> = fc.record({
  welcome: fc.constantFrom(null, {
    protocol: 1,
    clusterId: 'c',
    role: 'router' as const,
    nodeId: 'r',
    boot: 1,
    partitions: 48,
    maxInFlight: 7,
    keyBytesMax: 8,
    valueBytesMax: 9,
    storeId: 's',
  }),
  replies: fc.array(reply, { maxLength: 5 }),
  goaway: fc.boolean(),
  failure: fc.option(failure),
});
const peerBatch: fc.Arbitrary<PeerBatch> = fc.record({
  welcome: fc.constant(null),
  failure: fc.option(failure),
  messages: fc.array(peerMessage, { maxLength: 5 }),
});

/** Members of oneofs that are absent: null here, missing there. Bytes: as text, compared faster. */
function normal(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== null && field !== undefined);
  return Object.fromEntries(entries.map(([name, field]) => [name, normal(field)]));
}

function agree<T>(arbitrary: fc.Arbitrary<T>, hot: GenericCodec<T>, generic: GenericCodec<T>): void {
  fc.assert(
    fc.property(arbitrary, (message) => {
      const expected = normal(generic.deserialize(generic.serialize(message)));
      expect(normal(hot.deserialize(generic.serialize(message))), 'reads the schema').toEqual(expected);
      expect(normal(generic.deserialize(hot.serialize(message))), 'writes the schema').toEqual(expected);
      expect(normal(hot.deserialize(hot.serialize(message))), 'reads itself').toEqual(expected);
    }),
    { numRuns: 400 },
  );
}

/** Whatever the bytes, a codec returns or throws a RingkeepError INVALID_ARGUMENT or MESSAGE_TOO_LARGE. */
function survives<T>(arbitrary: fc.Arbitrary<T>, hot: GenericCodec<T>): void {
  const damaged = fc
    .tuple(arbitrary, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat())
    .map(([message, flips, cut]) => {
      const encoded = hot.serialize(message);
      for (const [at, byte] of flips) if (encoded.length > 0) encoded[at % encoded.length] = byte;
      return encoded.subarray(0, cut % 3 === 0 ? cut % (encoded.length + 1) : encoded.length);
    });
  const anything = fc.oneof(
    damaged,
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  );
  fc.assert(
    fc.property(anything, (encoded) => {
      try {
        hot.deserialize(encoded);
      } catch (error) {
        // Nested rare messages are read by the generic decoder, which has errors of its own.
        const code = (error as { code?: string }).code;
        const generic = error instanceof RangeError || (error instanceof Error && code === undefined);
        expect(generic || code === 'INVALID_ARGUMENT' || code === 'MESSAGE_TOO_LARGE', String(error)).toBe(
          true,
        );
        expect(error).not.toBeInstanceOf(TypeError);
      }
    }),
    { numRuns: 600 },
  );
}

describe('integers of 64 bits', () => {
  it('keep every bit, and come as numbers while these are exact', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        const writer = new ProtoWriter(16);
        writer.sint(1, value);
        const reader = new ProtoReader(writer.finish());
        const read = reader.next() === 0 ? 0 : reader.sint();
        expect(BigInt(read)).toBe(value);
        expect(typeof read).toBe(Number.isSafeInteger(Number(value)) ? 'number' : 'bigint');
      }),
    );
  });

  it('are read from what any implementation of the schema makes of them', () => {
    for (const counter of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]) {
      const receipt = { ...blankReceipt, counter };
      const schema = schemaCodecs.receipt.serialize({ ...receipt, counter: String(counter) as never });
      expect(hotCodecs.receipt.deserialize(schema)).toEqual(receipt);
      expect(hotCodecs.receipt.deserialize(hotCodecs.receipt.serialize(receipt))).toEqual(receipt);
    }
  });
});

describe('codecs by hand', () => {
  it('ClientMessage is that of the schema', () =>
    agree(clientMessage, hotCodecs.clientMessage, schemaCodecs.clientMessage));
  it('ServerMessage is that of the schema', () =>
    agree(serverMessage, hotCodecs.serverMessage, schemaCodecs.serverMessage));
  it('PeerBatch is that of the schema', () => agree(peerBatch, hotCodecs.peerBatch, schemaCodecs.peerBatch));

  it('UnaryRequest is that of the schema', () =>
    agree(unaryRequest, hotCodecs.unaryRequest, schemaCodecs.unaryRequest));
  it('Receipt is that of the schema', () =>
    agree(receiptOf, hotCodecs.receipt as GenericCodec<typeof blankReceipt>, schemaCodecs.receipt));

  it('UnaryRequest survives damage', () => survives(unaryRequest, hotCodecs.unaryRequest));
  it('ClientMessage survives damage', () => survives(clientMessage, hotCodecs.clientMessage));
  it('ServerMessage survives damage', () => survives(serverMessage, hotCodecs.serverMessage));
  it('PeerBatch survives damage', () => survives(peerBatch, hotCodecs.peerBatch));

  it('read a large value and the padded length that it may leave', () => {
    for (const length of [0, 1, 90, 127, 128, 200, 16_000, 16_383, 16_384, 70_000, 2_097_152, 8_388_608]) {
      const message: PeerBatch = {
        welcome: null,
        failure: null,
        messages: [
          {
            partition: 1,
            from: 'a',
            to: 'b',
            epoch: 1,
            body: 'snapshotPull',
            snapshotPull: { snapshot: 's', cursor: Buffer.alloc(length, 1) },
          },
        ],
      };
      const read = schemaCodecs.peerBatch.deserialize(hotCodecs.peerBatch.serialize(message));
      expect(read.messages[0]?.snapshotPull?.cursor).toHaveLength(length);
    }
  });

  it('skip fields of a newer version, and take the last of two operations', () => {
    const base = { hello: null, cancels: [], credits: [] };
    const one = fc.sample(request, 1)[0]!;
    const writer = new ProtoWriter();
    writer.uint(99, 5);
    writer.text(98, 'new');
    writer.fixed32(97, 1);
    const known = hotCodecs.clientMessage.serialize({ ...base, requests: [one] });
    const read = hotCodecs.clientMessage.deserialize(Buffer.concat([writer.finish(), known]));
    expect(read.requests).toHaveLength(1);
    // Request { id: 1, get: {}, increment: { delta: 3, ttlMs: 0 } }
    const twice = Buffer.from([0x12, 8, 0x08, 1, 0x62, 0, 0x7a, 2, 0x08, 6]);
    const merged = hotCodecs.clientMessage.deserialize(twice).requests[0];
    expect(merged).toMatchObject({ operation: 'increment', increment: { delta: 3, ttlMs: 0 }, get: null });
  });

  it('refuse integers beyond 2^53 and unknown acknowledgement levels', () => {
    const huge = Buffer.from([0x12, 9, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    expect(() => hotCodecs.clientMessage.deserialize(huge)).toThrow('INVALID_ARGUMENT');
    expect(() => hotCodecs.clientMessage.deserialize(Buffer.from([0x12, 2, 0x50, 9]))).toThrow(
      'INVALID_ARGUMENT',
    );
  });

  it('never enter beyond the enclosing message', () => {
    const reader = new ProtoReader(Buffer.from([0x0a, 2, 0x0a, 5, 1, 2, 3, 4, 5]));
    expect(reader.next()).toBe(1);
    reader.enter();
    expect(reader.next()).toBe(1);
    expect(() => reader.bytes()).toThrow('INVALID_ARGUMENT');
    expect(EMPTY_BYTES).toHaveLength(0);
  });
});

describe('size estimates', () => {
  it('are never below the encoding', () => {
    const none = { hello: null, requests: [], cancels: [], credits: [] };
    fc.assert(
      fc.property(request, (one) => {
        const size = schemaCodecs.clientMessage.serialize({ ...none, requests: [one] }).length;
        expect(sizeOfRequest(one)).toBeGreaterThanOrEqual(size);
      }),
    );
    fc.assert(
      fc.property(reply, (one) => {
        const message = { welcome: null, replies: [one], goaway: false, failure: null };
        expect(sizeOfReply(one)).toBeGreaterThanOrEqual(schemaCodecs.serverMessage.serialize(message).length);
      }),
    );
    fc.assert(
      fc.property(peerMessage, (one) => {
        const batch = { welcome: null, failure: null, messages: [one] };
        expect(sizeOfPeerMessage(one)).toBeGreaterThanOrEqual(schemaCodecs.peerBatch.serialize(batch).length);
      }),
    );
  });
});
