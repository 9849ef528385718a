/**
 * Fixed-width integers in byte buffers, little endian. 64-bit fields hold safe integers only (below 2^53), written as
 * two 32-bit halves: indexes, epochs, times and lsns all are.
 */
import { assert } from './errors.ts';

/** An empty byte string. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Writes a safe non-negative integer as 8 bytes. */
export function writeU64(buffer: Buffer, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, `not a safe non-negative integer: ${value}`);
  const high = Math.floor(value / 0x1_0000_0000);
  buffer.writeUInt32LE(value - high * 0x1_0000_0000, offset);
  buffer.writeUInt32LE(high, offset + 4);
}

/** Reads 8 bytes; larger than a safe integer is NaN, so that checks on it fail. */
export function readU64(buffer: Buffer, offset: number): number {
  const high = buffer.readUInt32LE(offset + 4);
  return high > 0x1f_ffff ? Number.NaN : high * 0x1_0000_0000 + buffer.readUInt32LE(offset);
}

/** Returns a Buffer over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Returns the bytes as a string with one character per byte: a map key for binary keys. */
export function toLatin1(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

/** Compares two byte strings for equality. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && asBuffer(a).equals(b);
}
