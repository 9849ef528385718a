/**
 * A line of JSON Lines to a key and the value that is stored. Pure.
 * INVARIANT: with codec `json` the value is the line itself, less the space around it: numbers that JavaScript cannot hold,
 * the order of fields and repeated fields all survive.
 * INVARIANT: numbers that are written differently never become the same key: only whole numbers that JavaScript holds
 * exactly, in their plain form, are taken as keys.
 */
import { CODEC_TAGS, encodeValue } from '../../client/codec.ts';
import { RingkeepError } from '../../common/errors.ts';
import { textOf } from '../../common/text.ts';
import type { EncodedValue } from '../values.ts';

/** Codecs that can hold a JSON record. */
export type RecordCodec = 'json' | 'msgpack';

/** A record ready to be written. */
export interface ImportRecord {
  readonly key: string;
  readonly value: EncodedValue;
}

function bad(why: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', why);
}

/** Returns where a string of valid JSON ends that begins at `from`: behind its closing quote. */
function endOfString(text: string, from: number): number {
  let at = from;
  for (;;) {
    at = text.indexOf('"', at + 1);
    let backslashes = 0;
    while (text[at - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
}

/** Returns what is written behind the last top-level field of that name: the one that JSON.parse takes. */
function sourceOf(text: string, field: string): string {
  const opening = /\s*:\s*/y;
  const token = /[^\s,}\]]*/y;
  let depth = 0;
  let source = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']') depth--;
    else if (char === '"') {
      const end = endOfString(text, at);
      opening.lastIndex = end;
      // A colon behind a string makes it a name; a value has none.
      if (depth === 1 && opening.test(text) && JSON.parse(text.slice(at, end)) === field) {
        token.lastIndex = opening.lastIndex;
        source = token.exec(text)?.[0] ?? '';
      }
      at = end - 1;
    }
  }
  return source;
}

function keyOf(record: object, field: string, text: string): string {
  const value = Object.hasOwn(record, field) ? (record as Record<string, unknown>)[field] : undefined;
  if (value === undefined || value === null) throw bad(`there is no field "${field}"`);
  if (typeof value === 'string') return value;
  if (typeof value !== 'number') throw bad(`field "${field}" is neither text nor a number`);
  const key = String(value);
  const source = sourceOf(text, field);
  // Read as numbers, 9007199254740993 and 9007199254740992 are the same, and so are 1e2, 100.0 and 100.
  if (!Number.isSafeInteger(value) || source !== key) {
    throw bad(`field "${field}" is the number ${source.slice(0, 40)}, which is not exact as a key: quote it`);
  }
  return key;
}

/**
 * Returns the record of a line, or null for a blank line.
 * @throws RingkeepError INVALID_ARGUMENT that says what is wrong with the line
 */
export function parseRecord(
  line: Uint8Array | null,
  keyField: string,
  codec: RecordCodec,
): ImportRecord | null {
  if (line === null) throw new RingkeepError('VALUE_TOO_LARGE', 'the line is too long');
  const text = textOf(line)?.trim();
  if (text === undefined) throw bad('the line is not UTF-8');
  if (text === '') return null;
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    throw bad('the line is not JSON');
  }
  if (record === null || typeof record !== 'object' || Array.isArray(record)) {
    throw bad('the line is not a JSON object');
  }
  const key = keyOf(record, keyField, text);
  const bytes = codec === 'json' ? Buffer.from(text, 'utf8') : encodeValue('msgpack', record);
  return { key, value: { bytes, codec: CODEC_TAGS[codec] } };
}
