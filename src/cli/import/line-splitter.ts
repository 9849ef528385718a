/**
 * Bytes to lines, for JSON Lines of any size: LF or CRLF, a byte order mark at the start, no newline needed at the end.
 * Each line carries where it ends in the input and the checksum of the input up to there, so that an import can be
 * resumed and can tell that the input is still the same.
 * INVARIANT: it never holds more than `lineBytesMax` bytes of a line; of a longer one only its length is kept.
 */
import { crc32c } from '../../common/crc32c.ts';

/** One line of the input. */
export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without its end and without a byte order mark; null if it is longer than allowed. */
  readonly bytes: Uint8Array | null;
  /** Bytes of the input up to and including the line's end. */
  readonly end: number;
  /** CRC-32C of those bytes. */
  readonly checksum: number;
}

/** Where reading begins: after `end` bytes and `number` lines with that checksum. */
export type Position = Omit<Line, 'bytes'>;

/** The beginning of the input. */
export const START: Position = { number: 0, end: 0, checksum: 0 };

const LF = 0x0a;
const CR = 0x0d;
const BYTE_ORDER_MARK = Uint8Array.of(0xef, 0xbb, 0xbf);

function startsWithMark(bytes: Uint8Array): boolean {
  return BYTE_ORDER_MARK.every((byte, index) => bytes[index] === byte);
}

/** Divides chunks into lines. */
export class LineSplitter {
  readonly #lineBytesMax: number;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #tooLong = false;
  #number: number;
  #end: number;
  #checksum: number;

  constructor(lineBytesMax: number, position: Position = START) {
    this.#lineBytesMax = lineBytesMax;
    this.#number = position.number;
    this.#end = position.end;
    this.#checksum = position.checksum;
  }

  /** Yields the lines that end in `chunk`, each after the one before was consumed. */
  *push(chunk: Uint8Array): Generator<Line, void, undefined> {
    let from = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
      this.#take(chunk.subarray(from, at + 1), at - from);
      from = at + 1;
      yield this.#finish();
    }
    if (from < chunk.length) this.#take(chunk.subarray(from), chunk.length - from);
  }

  /** Yields the last line if it lacks its end. */
  *finish(): Generator<Line, void, undefined> {
    if (this.#partBytes > 0) yield this.#finish();
  }

  /** Takes bytes of the open line; the first `length` of them are its content. */
  #take(bytes: Uint8Array, length: number): void {
    this.#end += bytes.length;
    this.#checksum = crc32c(bytes, this.#checksum);
    this.#partBytes += bytes.length;
    // A copy: the chunk's memory may be used again by the reader.
    if (this.#partBytes <= this.#lineBytesMax) this.#parts.push(bytes.slice(0, length));
    else {
      this.#tooLong = true;
      this.#parts = [];
    }
  }

  #finish(): Line {
    this.#number++;
    let bytes: Uint8Array | null = null;
    if (!this.#tooLong) {
      bytes = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
      if (bytes[bytes.length - 1] === CR) bytes = bytes.subarray(0, bytes.length - 1);
      if (this.#number === 1 && startsWithMark(bytes)) bytes = bytes.subarray(BYTE_ORDER_MARK.length);
    }
    this.#parts = [];
    this.#partBytes = 0;
    this.#tooLong = false;
    return { number: this.#number, bytes, end: this.#end, checksum: this.#checksum };
  }
}
