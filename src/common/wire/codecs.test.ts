import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  blankReceipt,
  failure,
  peerMessage,
  receiptOf,
  reply,
  request,
  uint32,
  uint64,
} from '../../../test/support/wire-arbitraries.ts';
import type { ClientMessage, PeerBatch, ServerMessage, UnaryRequest } from './messages.ts';
import { EMPTY_BYTES, ProtoReader, ProtoWriter } from './protobuf.ts';
import type { GenericCodec } from './request-codec.ts';
import { hotCodecs, schemaCodecs } from './schema.ts';
import { sizeOfPeerMessage, sizeOfReply, sizeOfRequest } from './sizes.ts';

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
