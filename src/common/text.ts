/**
 * Stored keys and values as text. JSON has no bytes and no big integers of JavaScript: bytes become
 * `{"$base64":"..."}`, big integers plain digits. The command line prints values so, and histories hold them so.
 */

/** Tag of the codec that shows counters: decimal digits. A put with this tag sets a counter. */
export const CODEC_COUNTER = 5;

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
const DECIMAL = /^(0|-?[1-9]\d{0,18})$/;

/** Whether a whole number fits into the 64 bits of a counter. */
export function isInt64(value: bigint): boolean {
  return value >= INT64_MIN && value <= INT64_MAX;
}

/** Returns the number of the same value if it is exact, else the bigint. */
export function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Returns the counter that decimal digits stand for, or null if they are none. */
export function parseCounter(bytes: Uint8Array): bigint | null {
  const text = textOf(bytes);
  if (text === null || !DECIMAL.test(text)) return null;
  const value = BigInt(text);
  return isInt64(value) ? value : null;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the text of UTF-8 bytes, or null if they are not UTF-8. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

function writesItself(value: object): boolean {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function';
}

/** Returns JSON of any decoded value, on one line. */
export function toJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return `{"$base64":"${Buffer.from(value).toString('base64')}"}`;
  if (Array.isArray(value)) return `[${value.map(toJson).join(',')}]`;
  if (value === null || typeof value !== 'object' || writesItself(value)) {
    return JSON.stringify(value) ?? 'null';
  }
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${toJson(field)}`).join(',')}}`;
}

/** Returns a key as JSON: its text, or as bytes if it is not UTF-8. */
export function keyJson(key: Uint8Array): string {
  const text = textOf(key);
  return text === null ? toJson(key) : JSON.stringify(text);
}

/** Returns a key as it stands in a history: its text; hexadecimal after `0x` if it is not UTF-8 or looks like that. */
export function keyText(key: Uint8Array): string {
  const text = textOf(key);
  return text === null || text.startsWith('0x') ? `0x${Buffer.from(key).toString('hex')}` : text;
}
