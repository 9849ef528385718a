/**
 * CRC-32C (Castagnoli), the checksum of every stored byte: WAL records, store values, snapshot chunks,
 * FORMAT. Owns nothing but the one import of the native library, so that it can be swapped in one place. It
 * detects accidents, not attacks: every flip of one to three bits and every burst up to 32 bits is found in
 * the lengths used here. Source: RFC 3720 appendix B.4 (test vectors).
 */
import { crc32c as native } from '@node-rs/crc32';

/**
 * Returns the CRC-32C of `bytes` as an unsigned 32-bit integer. `initial` is the result for the bytes before
 * these, so that `crc32c(b, crc32c(a))` is the checksum of `a` followed by `b`; 0 starts anew.
 */
export function crc32c(bytes: Uint8Array, initial = 0): number {
  return native(bytes, initial);
}
