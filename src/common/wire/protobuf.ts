/**
 * Protobuf primitives for the hand-written codecs of the hot messages (request-codec.ts, reply-codec.ts,
 * peer-codec.ts). The generic
 * codec behind proto-loader costs 3 to 4 µs per operation and direction, which is most of a node's CPU at full load;
 * these cost about a tenth. The bytes are the schema's: a property test compares the two codecs.
 *
 *   field = tag varint (number << 3 | wire type), then
 *   wire type 0: varint      1: 8 bytes      2: length varint, bytes      5: 4 bytes little-endian
 *
 * Lengths of nested messages are written after their content into a gap of 1 to 4 bytes, padded with continuation
 * bits when the gap was too wide; every protobuf reader takes that.
 * INVARIANT: the reader never reads past its end and refuses integers beyond 2^53 - 1; it throws RingkeepError
 * INVALID_ARGUMENT and nothing else. Absent fields have their defaults; defaults are not written.
 * Source: protobuf.dev, "Encoding".
 */
import { RingkeepError } from '../errors.ts';
import { narrow } from '../text.ts';

/** What absent bytes are; shared, which is safe because it cannot be written to. */
export const EMPTY_BYTES: Uint8Array = Buffer.alloc(0);

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const INITIAL_BYTES = 1024;
/** A gap of 1, 2, 3 or 4 bytes holds lengths below these. */
const GAPS: readonly number[] = [2 ** 7, 2 ** 14, 2 ** 21, 2 ** 28];

/** Appends fields to one growing buffer. */
export class ProtoWriter {
  #buffer: Buffer;
  #at = 0;

  constructor(bytes = INITIAL_BYTES) {
    this.#buffer = Buffer.allocUnsafe(bytes);
  }

  /** Returns what was written, without copying. The writer must not be used any more. */
  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  /** Writes an unsigned integer, 0 to 2^53 - 1. */
  uint(field: number, value: number): void {
    if (!value) return;
    this.#reserve(12);
    this.#varint(field * 8 + VARINT);
    this.#varint(value);
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint(field, 1);
  }

  /** Writes a zigzag-encoded integer: a safe one, or a bigint of 64 bits. */
  sint(field: number, value: number | bigint): void {
    if (!value) return;
    this.#reserve(12);
    this.#varint(field * 8 + VARINT);
    if (typeof value === 'number' && Math.abs(value) < 2 ** 51)
      this.#varint(value < 0 ? -2 * value - 1 : 2 * value);
    else this.#bigVarint(BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n)));
  }

  /** Writes a 32-bit unsigned integer in four bytes. */
  fixed32(field: number, value: number): void {
    if (!value) return;
    this.#reserve(6);
    this.#varint(field * 8 + FIXED32);
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length > 0) this.element(field, value);
  }

  /** Writes bytes, empty ones too; for elements of repeated fields. */
  element(field: number, value: Uint8Array): void {
    this.#reserve(value.length + 12);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    this.#varint(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  text(field: number, value: string): void {
    if (value) this.textElement(field, value);
  }

  /** Writes a string, an empty one too; for elements of repeated fields. */
  textElement(field: number, value: string): void {
    const { length } = value;
    this.#reserve(length * 3 + 12);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    if (length < 0x80 && this.#ascii(value)) return;
    const bytes = Buffer.byteLength(value);
    this.#varint(bytes);
    this.#at += this.#buffer.write(value, this.#at, bytes, 'utf8');
  }

  /** Writes a repeated field of unsigned integers, packed. */
  packed(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    const mark = this.begin(field, values.length * 10);
    for (const value of values) {
      this.#reserve(10);
      this.#varint(value);
    }
    this.end(mark);
  }

  /**
   * Opens a nested message of at most `bytesMax` bytes and returns what `end` needs.
   * @throws RingkeepError MESSAGE_TOO_LARGE from 256 MiB
   */
  begin(field: number, bytesMax: number): number {
    let gap = 1;
    while (gap <= 4 && bytesMax >= (GAPS[gap - 1] ?? 0)) gap += 1;
    if (gap > 4) throw new RingkeepError('MESSAGE_TOO_LARGE', `a message of up to ${bytesMax} bytes`);
    this.#reserve(16);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    this.#at += gap;
    return this.#at * 8 + gap;
  }

  /** Closes the nested message that `begin` opened. */
  end(mark: number): void {
    const gap = mark % 8;
    const start = (mark - gap) / 8;
    let length = this.#at - start;
    if (length >= (GAPS[gap - 1] ?? 0)) throw new RingkeepError('INTERNAL', 'a size estimate was too small');
    for (let index = start - gap; index < start - 1; index += 1) {
      this.#buffer[index] = (length & 0x7f) | 0x80;
      length >>>= 7;
    }
    this.#buffer[start - 1] = length;
  }

  #ascii(value: string): boolean {
    const at = this.#at + 1;
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) return false;
      this.#buffer[at + index] = code;
    }
    this.#buffer[at - 1] = value.length;
    this.#at = at + value.length;
    return true;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 2 ** 31) {
      this.#buffer[this.#at] = (rest % 128) | 0x80;
      this.#at += 1;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 0x80) {
      this.#buffer[this.#at] = (rest & 0x7f) | 0x80;
      this.#at += 1;
      rest >>>= 7;
    }
    this.#buffer[this.#at] = rest;
    this.#at += 1;
  }

  #bigVarint(value: bigint): void {
    let rest = value;
    while (rest >= 0x80n) {
      this.#buffer[this.#at] = Number(rest & 0x7fn) | 0x80;
      this.#at += 1;
      rest >>= 7n;
    }
    this.#buffer[this.#at] = Number(rest);
    this.#at += 1;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}

/** The refusal of bytes that are no such message. */
export function broken(what: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', `malformed message: ${what}`);
}

/**
 * Reads fields from `[at, end)` of a buffer. `next` moves to a field; then exactly one of the value readers, or `skip`.
 * A known field with another wire type than its own is refused.
 */
export class ProtoReader {
  readonly #buffer: Buffer;
  #at = 0;
  #end: number;
  #wireType = 0;
  /** Items of batches that were read, for a bound over the whole message. */
  items = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
    this.#end = buffer.length;
  }

  /** Moves to the next field. @returns its number, or 0 at the end of the message */
  next(): number {
    if (this.#at >= this.#end) return 0;
    const tag = this.#varint();
    if (tag >= 2 ** 32 || tag < 8) throw broken('a field number');
    this.#wireType = tag % 8;
    return (tag - this.#wireType) / 8;
  }

  uint(): number {
    this.#expect(VARINT);
    return this.#varint();
  }

  bool(): boolean {
    return this.uint() !== 0;
  }

  /** Reads a zigzag-encoded integer: a number while that is exact, else a bigint. */
  sint(): number | bigint {
    this.#expect(VARINT);
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        const wide = BigInt.asUintN(64, value);
        return narrow(BigInt.asIntN(64, (wide >> 1n) ^ -(wide & 1n)));
      }
    }
    throw broken('an endless number');
  }

  fixed32(): number {
    this.#expect(FIXED32);
    const at = this.#advance(4);
    return this.#buffer.readUInt32LE(at);
  }

  /** Reads bytes as a view of the message. */
  bytes(): Uint8Array {
    this.#expect(LENGTH_DELIMITED);
    const length = this.#varint();
    const at = this.#advance(length);
    return length === 0 ? EMPTY_BYTES : this.#buffer.subarray(at, at + length);
  }

  /** Reads a string; `likely` is returned itself when the bytes are the same, which spares the decoding. */
  text(likely = ''): string {
    this.#expect(LENGTH_DELIMITED);
    const length = this.#varint();
    const at = this.#advance(length);
    if (length === likely.length) {
      let index = 0;
      while (index < length && this.#buffer[at + index] === likely.charCodeAt(index)) index += 1;
      // Only ASCII bytes are equal to their code units.
      if (index === length && isAscii(likely)) return likely;
    }
    return this.#buffer.toString('utf8', at, at + length);
  }

  /** Enters a nested message, read with `next` until 0. @returns what `leave` needs */
  enter(): number {
    this.#expect(LENGTH_DELIMITED);
    const length = this.#varint();
    const outer = this.#end;
    if (length > outer - this.#at) throw broken('a length beyond the end');
    this.#end = this.#at + length;
    return outer;
  }

  leave(outer: number): void {
    this.#at = this.#end;
    this.#end = outer;
  }

  /** Reads one or more integers of a repeated field, packed or not. */
  uints(into: number[], max: number): void {
    if (this.#wireType === VARINT) {
      into.push(this.#varint());
      return;
    }
    const outer = this.enter();
    while (this.#at < this.#end) {
      if (into.length >= max) throw tooMany(max);
      into.push(this.#varint());
    }
    this.leave(outer);
  }

  /** Passes over a field of a newer version. */
  skip(): void {
    if (this.#wireType === VARINT) this.#skipVarint();
    else if (this.#wireType === FIXED64) this.#advance(8);
    else if (this.#wireType === LENGTH_DELIMITED) this.#advance(this.#varint());
    else if (this.#wireType === FIXED32) this.#advance(4);
    else throw broken('a group');
  }

  #expect(wireType: number): void {
    if (this.#wireType !== wireType) throw broken('a wire type');
  }

  #byte(): number {
    if (this.#at >= this.#end) throw broken('it ends early');
    const byte = this.#buffer[this.#at] ?? 0;
    this.#at += 1;
    return byte;
  }

  #varint(): number {
    let byte = this.#byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 128;
    for (let count = 1; count < 10; count += 1) {
      byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw broken('a number beyond 2^53');
        return value;
      }
      scale *= 128;
    }
    throw broken('an endless number');
  }

  #skipVarint(): void {
    for (let count = 0; count < 10; count += 1) if (this.#byte() < 0x80) return;
    throw broken('an endless number');
  }

  /** Moves over bytes. @returns where they start */
  #advance(bytes: number): number {
    if (bytes > this.#end - this.#at) throw broken('a length beyond the end');
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
}

function isAscii(value: string): boolean {
  for (let index = 0; index < value.length; index += 1) if (value.charCodeAt(index) >= 0x80) return false;
  return true;
}

/** The refusal of a message with more elements than its receiver takes. */
export function tooMany(max: number): RingkeepError {
  return new RingkeepError('MESSAGE_TOO_LARGE', `a message has more than ${max} items`);
}
