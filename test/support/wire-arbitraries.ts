/** What codecs of the wire are tried with: arbitrary messages, as properties (fast-check) draw them. */
import fc from 'fast-check';
import type {
  AckName,
  BatchItem,
  Failure,
  PeerMessage,
  Reply,
  Request,
} from '../../src/common/wire/messages.ts';

export const uint64 = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(0, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
export const uint32 = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const int64 = fc.oneof(fc.integer(), fc.maxSafeInteger());
export const text = fc.oneof(
  fc.constant('default'),
  fc.string(),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
);
export const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.constantFrom(127, 128, 300, 16_384, 20_000).map((length) => Buffer.alloc(length, 7)),
);
const replica = fc.record({ id: text, node: text });
const replicas = fc.array(replica, { maxLength: 3 });
const outcome = fc.constantFrom('applied' as const, 'not_applied' as const, 'unknown' as const);
export const failure: fc.Arbitrary<Failure> = fc.record({
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
  ...{ idempotencyKey: bytes, sharedReads: uint32, saltIn: uint32, saltSet: uint64, beside: uint64 },
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
    increment: fc.record({ delta: int64, ttlMs: uint64, unread: fc.boolean() }),
  }),
  fc.record({ key: bytes, condition, operation: fc.constant('check' as const), check: fc.constant({}) }),
);
export const request: fc.Arbitrary<Request> = fc.oneof(
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
    increment: fc.record({ delta: int64, ttlMs: uint64, unread: fc.boolean() }),
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
  fc.record({
    ...head,
    operation: fc.constant('salt' as const),
    salt: fc.record({ copies: uint32, counter: fc.boolean(), delta: int64 }),
  }),
);

const salts = fc.option(
  fc.record({ partitions: fc.array(uint32, { maxLength: 8 }), set: uint64, delta: int64, index: uint64 }),
);
export const receiptOf = fc.record({
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
export const blankReceipt = {
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

export const value = fc.record({
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
export const reply: fc.Arbitrary<Reply> = fc.oneof(
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

const peerHead = { partition: uint32, from: text, to: text, epoch: uint64, relayed: fc.boolean() };
const list = fc.array(bytes, { maxLength: 4 });
export const peerMessage: fc.Arbitrary<PeerMessage> = fc.oneof(
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
    body: fc.constant('counterOrder' as const),
    counterOrder: fc.record({
      kind: fc.constantFrom(
        ...(['COUNTER_LOOK', 'COUNTER_OPEN', 'COUNTER_CLOSE', 'COUNTER_FORGET', 'COUNTER_ASK'] as const),
      ),
      ...{ home: uint32, number: uint64, key: bytes, set: uint64, delta: int64 },
    }),
  }),
  fc.record({
    ...peerHead,
    body: fc.constant('counterReply' as const),
    counterReply: fc.record({ number: uint64, homeEpoch: uint64, closed: fc.boolean(), value: int64 }),
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
