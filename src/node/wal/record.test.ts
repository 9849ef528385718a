import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { meta } from '../../../test/support/wal-machine.ts';
import { crc32c } from '../../common/crc32c.ts';
import { decodeManifest, encodeManifest } from './manifest.ts';
import {
  copiedPayload,
  copyLength,
  decodeMark,
  decodeMeta,
  encodeCopy,
  encodeMark,
  encodeMeta,
  epochBelowCopy,
} from './payloads.ts';
import {
  byteView,
  getHeader,
  getSafe,
  payloadAt,
  payloadIntact,
  putRecord,
  putSafe,
  recordLength,
  sealHeader,
  segmentSeed,
} from './record.ts';
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  scanSegment,
  segmentName,
  segmentNumber,
} from './segment.ts';

const safe = fc.maxSafeNat();
const u32 = fc.nat(0xffff_ffff);
const record = fc.record({
  type: fc.integer({ min: 1, max: 5 }),
  flags: fc.nat(255),
  partition: u32,
  index: safe,
  epoch: safe,
  lsn: safe,
  previousLsn: safe,
  durableLsn: safe,
  payload: fc.uint8Array({ maxLength: 200 }),
});
type Fields = typeof record extends fc.Arbitrary<infer T> ? T : never;

function encode(fields: Fields, seed: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(recordLength(fields.payload.length)).fill(0xaa);
  const { type, flags, partition, index, epoch, lsn, previousLsn, durableLsn, payload } = fields;
  const target = byteView(bytes);
  const length = putRecord(target, 0, type, flags, partition, index, epoch, lsn, previousLsn, payload);
  expect(length).toBe(bytes.length);
  sealHeader(target, 0, durableLsn, seed, offset);
  return bytes;
}

describe('record', () => {
  const salt = Uint8Array.of(8, 7, 6, 5, 4, 3, 2, 1);
  const seed = segmentSeed(salt, 3);

  test('safe integers round trip', () => {
    fc.assert(
      fc.property(safe, (value) => {
        const { view } = byteView(new Uint8Array(8));
        putSafe(view, 0, value);
        expect(getSafe(view, 0)).toBe(value);
      }),
    );
  });

  test('records round trip', () => {
    fc.assert(
      fc.property(record, fc.nat(1 << 20), (fields, place) => {
        const bytes = encode(fields, seed, place * 8);
        const header = getHeader(byteView(bytes), 0, seed, place * 8);
        if (header === null) throw new Error('the header is intact');
        const { payload, ...rest } = fields;
        expect(header).toMatchObject({ ...rest, payloadLength: payload.length });
        expect(payloadIntact(bytes, 0, header)).toBe(true);
        expect([...payloadAt(bytes, 0, header)]).toEqual([...payload]);
      }),
    );
  });

  test('any flipped bit is seen, and in the payload leaves the header readable', () => {
    fc.assert(
      fc.property(record, fc.nat(), (fields, where) => {
        const bytes = encode(fields, seed, 64);
        const bit = where % (bytes.length * 8);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const header = getHeader(byteView(bytes), 0, seed, 64);
        expect(header === null).toBe(bit < 64 * 8);
        if (header !== null) expect(payloadIntact(bytes, 0, header)).toBe(false);
      }),
    );
  });

  test('a record counts only in its directory, its segment and its place', () => {
    fc.assert(
      fc.property(record, (fields) => {
        const source = byteView(encode(fields, seed, 64));
        expect(getHeader(source, 0, seed, 72)).toBe(null);
        expect(getHeader(source, 0, segmentSeed(salt, 4), 64)).toBe(null);
        expect(getHeader(source, 0, segmentSeed(salt.toReversed(), 3), 64)).toBe(null);
      }),
    );
  });

  test('a scan yields every byte once and finds the records behind noise', () => {
    const part = fc.oneof(record, fc.integer({ min: 1, max: 12 }));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const chunks: Uint8Array[] = [encodeSegmentHeader({ number: 3, baseLsn: 1, salt })];
        let end = 64;
        for (const one of parts) {
          chunks.push(typeof one === 'number' ? new Uint8Array(one * 8).fill(0x52) : encode(one, seed, end));
          end += chunks.at(-1)?.length ?? 0;
        }
        const lsns: number[] = [];
        let at = 64;
        for (const piece of scanSegment(Buffer.concat(chunks), seed)) {
          expect(piece.offset).toBe(at);
          at += piece.kind === 'bad' ? piece.length : recordLength(piece.header.payloadLength);
          if (piece.kind === 'record') lsns.push(piece.header.lsn);
        }
        expect(at).toBe(end);
        expect(lsns).toEqual(parts.flatMap((one) => (typeof one === 'number' ? [] : [one.lsn])));
      }),
    );
  });
});

describe('payloads, segment headers, manifest', () => {
  test('round trip', () => {
    const line = fc.record({ partition: u32, lastLsn: safe, lastIndex: safe, lastEpoch: safe });
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        expect(decodeMark(encodeMark(lines))).toEqual(lines);
      }),
    );
    fc.assert(
      fc.property(safe, fc.uint8Array({ maxLength: 50 }), (epochBelow, payload) => {
        const copy = encodeCopy(epochBelow, payload);
        expect(recordLength(copy.length)).toBe(copyLength(payload.length));
        expect([epochBelowCopy(copy), ...copiedPayload(copy)]).toEqual([epochBelow, ...payload]);
      }),
    );
    const voters = [{ id: 'ä', node: 'n1' }];
    const one = meta('r1', { voters, baseIndex: Number.MAX_SAFE_INTEGER, reservationId: '"' });
    expect(decodeMeta(encodeMeta(one))).toEqual(one);
    const salt = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 255);
    fc.assert(
      fc.property(safe, safe, (number, baseLsn) => {
        expect(decodeSegmentHeader(encodeSegmentHeader({ number, baseLsn, salt }))).toEqual({
          number,
          baseLsn,
          salt,
        });
        const manifest = { salt: Buffer.from(salt), durableLsn: baseLsn, segments: [{ number, baseLsn }] };
        expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
      }),
    );
  });

  test('names sort as numbers do, and other names are none', () => {
    expect(segmentName(12)).toBe('000000000012.wal');
    expect(segmentNumber(segmentName(99_999))).toBe(99_999);
    for (const name of ['12.wal', '000000000012.wal.tmp', 'MANIFEST', 'x000000000012.wal']) {
      expect(segmentNumber(name)).toBe(null);
    }
  });

  test('a newer format is refused, not misread', () => {
    const header = encodeSegmentHeader({ number: 1, baseLsn: 1, salt: new Uint8Array(8) });
    const { view } = byteView(header);
    view.setUint32(8, 2, true);
    expect(decodeSegmentHeader(header)).toBe(null);
    view.setUint32(4, crc32c(header.subarray(8)), true);
    expect(() => decodeSegmentHeader(header)).toThrow(/FORMAT_TOO_NEW/);
    const json = '{"format":2}';
    const line = `${crc32c(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`;
    expect(() => decodeManifest(Buffer.from(line + line))).toThrow(/FORMAT_TOO_NEW/);
  });
});
