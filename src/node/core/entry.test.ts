import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeEntry,
  type Entry,
  encodeEntry,
  FINGERPRINT_BYTES,
  peekEntry,
  UnknownEntryError,
} from './entry.ts';

const safe = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const bytes = fc.uint8Array({ maxLength: 300 });
const condition = fc.oneof(
  fc.constantFrom({ kind: 'none' } as const, { kind: 'absent' } as const, { kind: 'exists' } as const),
  safe.map((version) => ({ kind: 'version', version }) as const),
);
const int64 = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n);
const keyCommand = fc.oneof(
  fc.record({
    kind: fc.constant('put' as const),
    key: bytes,
    codec: fc.nat({ max: 255 }),
    expiresAt: safe,
    value: bytes,
    condition,
  }),
  fc.record({ kind: fc.constant('delete' as const), key: bytes, condition }),
  fc.record({
    kind: fc.constant('increment' as const),
    key: bytes,
    delta: int64,
    expiresAt: safe,
  }),
  fc.record({ kind: fc.constant('touch' as const), key: bytes, expiresAt: safe, condition }),
);
const check = fc.record({ kind: fc.constant('check' as const), key: bytes, condition });
const items = fc.array(fc.oneof(keyCommand, check), { maxLength: 5 });
const write = fc.oneof(keyCommand, fc.record({ kind: fc.constant('batch' as const), items }));
const command = fc.oneof(
  fc.constantFrom({ kind: 'establish' } as const, { kind: 'tick' } as const, { kind: 'scrub' } as const),
  write,
  fc.record({
    kind: fc.constant('once' as const),
    record: bytes,
    fingerprint: fc.uint8Array({ minLength: FINGERPRINT_BYTES, maxLength: FINGERPRINT_BYTES }),
    keptUntil: safe,
    write,
  }),
  fc.record({
    kind: fc.constant('salt' as const),
    salted: bytes,
    set: fc.record({
      partitions: fc.array(fc.nat(), { maxLength: 8 }),
      automatic: fc.boolean(),
      counter: fc.option(fc.record({ id: safe, delta: int64 })),
    }),
  }),
  fc.record({
    kind: fc.constant('sub' as const),
    action: fc.constantFrom('open' as const, 'close' as const, 'forget' as const),
    salted: bytes,
    counter: fc.record({ id: safe, delta: int64 }),
  }),
  fc.record({ kind: fc.constant('fold' as const), salted: bytes, id: safe, sum: int64 }),
  fc.record({ kind: fc.constant('expireSessions' as const), before: safe }),
  fc.record({
    kind: fc.constant('expireKeys' as const),
    due: fc.array(fc.record({ key: bytes, expiresAt: safe }), { maxLength: 20 }),
  }),
);
const entries: fc.Arbitrary<Entry> = fc.record({
  epoch: safe,
  index: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  timestamp: safe,
  ack: fc.constantFrom('leader', 'quorum', 'all'),
  requestId: fc.option(
    fc.record({
      client: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((id) => Buffer.from(id).toString('latin1')),
      sequence: safe,
      lowWater: safe,
      sessionTime: safe,
    }),
  ),
  command,
});

function plain(entry: Entry): unknown {
  return JSON.parse(
    JSON.stringify(entry, (_name, value: unknown) => {
      if (typeof value === 'bigint') return String(value);
      return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
    }).replace(/\{"type":"Buffer","data":(\[[\d,]*\])\}/g, (_all, data: string) =>
      JSON.stringify(Buffer.from(JSON.parse(data) as number[]).toString('hex')),
    ),
  );
}

describe('the entry codec', () => {
  it('gives back every entry, and its head without decoding the rest', () => {
    fc.assert(
      fc.property(entries, (entry) => {
        const encoded = encodeEntry(entry);
        expect(plain(decodeEntry(encoded))).toEqual(plain(entry));
        expect(peekEntry(encoded)).toEqual({ epoch: entry.epoch, index: entry.index });
      }),
      { numRuns: 500 },
    );
  });

  it('refuses an unknown format, command, level or flag instead of skipping it', () => {
    const encoded = encodeEntry({
      epoch: 1,
      index: 1,
      timestamp: 0,
      ack: 'quorum',
      requestId: null,
      command: { kind: 'tick' },
    });
    for (const [offset, value] of [
      [0, 2],
      [1, 0],
      [1, 12],
      [1, 13],
      [2, 3],
      [3, 8],
    ] as const) {
      const changed = Buffer.from(encoded);
      changed[offset] = value;
      expect(() => decodeEntry(changed), `byte ${offset} = ${value}`).toThrow(UnknownEntryError);
    }
  });

  it('refuses an entry that is cut short at any byte that its fields need', () => {
    const encoded = encodeEntry({
      epoch: 3,
      index: 9,
      timestamp: 5,
      ack: 'all',
      requestId: { client: 'x'.repeat(16), sequence: 1, lowWater: 1, sessionTime: 1 },
      command: { kind: 'increment', key: Buffer.from('abc'), delta: 1n, expiresAt: 0 },
    });
    for (let length = 0; length < encoded.byteLength; length++) {
      expect(() => decodeEntry(encoded.subarray(0, length)), `${length} bytes`).toThrow(UnknownEntryError);
    }
  });

  it('refuses commands within commands that no version writes, and what is cut short there', () => {
    const increment = { kind: 'increment', key: Buffer.from('abc'), delta: 1n, expiresAt: 0 } as const;
    const head = { epoch: 3, index: 9, timestamp: 5, ack: 'all', requestId: null } as const;
    const batch = { kind: 'batch', items: [increment, increment] } as const;
    const nested = { ...batch, items: [batch as never] };
    expect(() => decodeEntry(encodeEntry({ ...head, command: nested }))).toThrow(UnknownEntryError);
    const fingerprint = Buffer.alloc(FINGERPRINT_BYTES);
    const once = { kind: 'once', record: Buffer.from('r'), fingerprint, keptUntil: 7, write: batch } as const;
    const inOnce = { ...once, write: once as never };
    expect(() => decodeEntry(encodeEntry({ ...head, command: inOnce }))).toThrow(UnknownEntryError);
    const encoded = encodeEntry({ ...head, command: once });
    for (let length = 0; length < encoded.byteLength; length++) {
      expect(() => decodeEntry(encoded.subarray(0, length)), `${length} bytes`).toThrow(UnknownEntryError);
    }
  });
});
