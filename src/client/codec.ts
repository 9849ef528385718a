/**
 * Values to bytes and back. The servers keep a value as opaque bytes plus the tag of the codec that made
 * them; a value is read by its stored tag, whatever codec the reader prefers. Tags are part of the wire
 * contract:
 *
 *   tag 0  untagged (clients in other languages): read as bytes
 *   tag 1  bytes     the bytes themselves
 *   tag 2  string    UTF-8
 *   tag 3  json      UTF-8 of JSON.stringify
 *   tag 5  counter   decimal digits of a 64-bit integer, made by the servers: a number, or beyond its exact ones a bigint
 *   tag 4  msgpack   MessagePack without extensions private to a library; a property named `__proto__` comes
 *                    back as `__proto_`, so that stored bytes cannot replace a prototype
 *
 * INVARIANT: what msgpack has taken reads back equal, or as the neighbour that docs/CLIENT.md names (a Uint8Array as a Buffer,
 * a small bigint as a number): what would silently become something else is refused before it is packed.
 * INVARIANT: encoded bytes share no memory with the caller's value or with an encoder's buffer.
 */
import { Packr } from 'msgpackr';
import { assert, RingkeepError } from '../common/errors.ts';
import { CODEC_COUNTER, narrow, parseCounter } from '../common/text.ts';

/** Codecs by name. `msgpack` is the default. */
export type CodecName = 'msgpack' | 'json' | 'string' | 'bytes';

/** Wire tags of the codecs. */
export const CODEC_TAGS: Readonly<Record<CodecName, number>> = { bytes: 1, string: 2, json: 3, msgpack: 4 };

const UNTAGGED = 0;

/** With the u flag, only surrogates without their partner match; UTF-8 has no form for them. */
const LONE_SURROGATE = /\p{Surrogate}/u;

// Without these options msgpackr writes a private record extension, decoded binaries alias their input, and a property
// `toJSON` is called. Typed as `object`, since the package's types do not know `auto`: numbers while they are exact,
// else bigint.
const PACKR_OPTIONS: object = {
  useRecords: false,
  copyBuffers: true,
  int64AsType: 'auto',
  moreTypes: false,
  useToJSON: false,
};
const packr = new Packr(PACKR_OPTIONS);
// Fatal, so that broken text is an error and not a value nobody stored; a leading U+FEFF belongs to the text.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns whether `name` is a codec. */
export function isCodecName(name: unknown): name is CodecName {
  return typeof name === 'string' && Object.hasOwn(CODEC_TAGS, name);
}

function unencodable(codec: CodecName, why: string, cause?: unknown): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', `codec ${codec}: ${why}`, 'not_applied', { cause });
}

/**
 * Encodes a value.
 *
 * @throws RingkeepError INVALID_ARGUMENT (not_applied) if the codec cannot carry the value; for `msgpack` the
 * message has the path of the part that it cannot. `undefined` is refused by every codec, since it would read
 * like an absent key; inside a value msgpack keeps it.
 */
export function encodeValue(codec: CodecName, value: unknown): Uint8Array {
  if (value === undefined) throw unencodable(codec, 'undefined cannot be stored; delete the key instead');
  switch (codec) {
    case 'bytes':
      if (!(value instanceof Uint8Array)) throw unencodable(codec, 'the value is not a Uint8Array');
      return Uint8Array.prototype.slice.call(value);
    case 'string':
      if (typeof value !== 'string') throw unencodable(codec, 'the value is not a string');
      if (LONE_SURROGATE.test(value)) throw unencodable(codec, 'the value is not well-formed text');
      return Buffer.from(value, 'utf8');
    case 'json':
    case 'msgpack':
      return encodeStructure(codec, value);
  }
}

/** A value inside a value that msgpack would change, and the way to it from the outermost one. */
interface Offence {
  readonly what: string;
  readonly path: string;
}

/** Known to Node 20 and not yet to the language version that is compiled for; far cheaper than a regular expression. */
function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

/** Returns whether an object is written with braces, in this realm or in another one (a vm context, a test runner). */
function isPlain(prototype: object | null): boolean {
  if (prototype === Object.prototype || prototype === null) return true;
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf');
}

function inside(key: string, offence: Offence): Offence {
  return { what: offence.what, path: `${key}${offence.path}` };
}

/** Returns the first part of `value` that would be read back as something else, or null if all of it is kept. */
function findOffence(value: unknown): Offence | null {
  switch (typeof value) {
    case 'string':
      return isWellFormed(value) ? null : { what: 'text with a lone surrogate', path: '' };
    case 'function':
    case 'symbol':
      return { what: `a ${typeof value}`, path: '' };
    case 'object':
      return value === null ? null : findOffenceInObject(value);
    default:
      return null;
  }
}

function findOffenceInObject(value: object): Offence | null {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const offence = findOffence(value[index]);
      if (offence !== null) return inside(`[${index}]`, offence);
    }
    return null;
  }
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (!isPlain(prototype)) {
    if (prototype === Date.prototype || value instanceof Uint8Array) return null;
    const name = (value.constructor as { name?: unknown } | undefined)?.name;
    return { what: `an object of class ${String(name || 'without a name')}`, path: '' };
  }
  for (const key of Object.keys(value)) {
    const offence = isWellFormed(key)
      ? findOffence((value as Record<string, unknown>)[key])
      : { what: 'a name with a lone surrogate', path: '' };
    if (offence !== null)
      return inside(/^[\p{L}_$][\p{L}\d_$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`, offence);
  }
  return null;
}

function pack(value: unknown): Uint8Array {
  const offence = findOffence(value);
  if (offence !== null) {
    throw unencodable('msgpack', `${offence.what} cannot be stored (at value${offence.path})`);
  }
  // Packed output is a view on a shared slab; `Buffer.from` copies it.
  return Buffer.from(packr.pack(value));
}

function encodeStructure(codec: 'json' | 'msgpack', value: unknown): Uint8Array {
  let text: string | undefined;
  try {
    if (codec === 'msgpack') return pack(value);
    text = JSON.stringify(value);
  } catch (cause) {
    if (cause instanceof RingkeepError) throw cause;
    throw unencodable(codec, 'the value cannot be encoded', cause);
  }
  if (text === undefined) throw unencodable(codec, 'the value has no JSON form');
  return Buffer.from(text, 'utf8');
}

function decodeCounter(bytes: Uint8Array): number | bigint {
  const value = parseCounter(bytes);
  assert(value !== null, 'a counter is shown as digits');
  return narrow(value);
}

/**
 * Decodes a stored value by its tag.
 *
 * @throws RingkeepError INVALID_ARGUMENT (not_applied) for a tag that this version does not know, or bytes
 * that are not what the tag says; the server has verified their checksum, so they are what was stored.
 */
export function decodeValue(tag: number, bytes: Uint8Array): unknown {
  try {
    switch (tag) {
      case UNTAGGED:
      case CODEC_TAGS.bytes:
        return Uint8Array.prototype.slice.call(bytes);
      case CODEC_TAGS.string:
        return utf8.decode(bytes);
      case CODEC_COUNTER:
        return decodeCounter(bytes);
      case CODEC_TAGS.json:
        return JSON.parse(utf8.decode(bytes)) as unknown;
      case CODEC_TAGS.msgpack:
        return packr.unpack(bytes) as unknown;
    }
  } catch (cause) {
    throw new RingkeepError('INVALID_ARGUMENT', `the stored value is not codec ${tag}`, 'not_applied', {
      cause,
    });
  }
  throw new RingkeepError(
    'INVALID_ARGUMENT',
    `the value was stored with codec ${tag}, which is not known here`,
  );
}
