/**
 * What a person types into `put`, as a value: which codec it gets, and the bytes that are stored. The way back to text is
 * common/text.ts.
 */
import { InvalidArgumentError } from 'commander';
import { CODEC_TAGS, type CodecName, encodeValue, isCodecName } from '../client/codec.ts';
import { RingkeepError } from '../common/errors.ts';
import { textOf } from '../common/text.ts';

/** Bytes with the tag of their codec, as they are stored. */
export interface EncodedValue {
  readonly bytes: Uint8Array;
  readonly codec: number;
}

/** How `put` reads its value; `auto` is JSON if it is JSON, else text, else bytes. */
export type InputCodec = CodecName | 'auto';

/** Parses the option `--codec`. */
export function parseCodec(text: string): CodecName {
  if (isCodecName(text)) return text;
  throw new InvalidArgumentError(`Use ${Object.keys(CODEC_TAGS).join(', ')}.`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Encodes what a person gave as a value. JSON is kept as it was written.
 * @throws RingkeepError INVALID_ARGUMENT if it is not what `codec` says
 */
export function encodeInput(input: Uint8Array, codec: InputCodec): EncodedValue {
  if (codec === 'bytes') return { bytes: input, codec: CODEC_TAGS.bytes };
  const text = textOf(input);
  if (text === null) {
    if (codec === 'auto') return { bytes: input, codec: CODEC_TAGS.bytes };
    throw new RingkeepError('INVALID_ARGUMENT', 'the value is not UTF-8 text; use --codec bytes');
  }
  if (codec === 'string') return { bytes: input, codec: CODEC_TAGS.string };
  if (!isJson(text)) {
    if (codec === 'auto') return { bytes: input, codec: CODEC_TAGS.string };
    throw new RingkeepError('INVALID_ARGUMENT', 'the value is not JSON; quote text, or use --codec string');
  }
  if (codec === 'msgpack') {
    return { bytes: encodeValue('msgpack', JSON.parse(text)), codec: CODEC_TAGS.msgpack };
  }
  return { bytes: Buffer.from(text.trim()), codec: CODEC_TAGS.json };
}
