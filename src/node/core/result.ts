/**
 * The result of a decided write and its stored form. Results of blind writes follow from the index alone; the others
 * are rows in the store, so that a retry gets the first answer (layout.ts, table 2).
 */
import { Packr } from 'msgpackr';
import type { ErrorCode } from '../../common/errors.ts';
import { DamagedRowError, openRow } from './layout.ts';

const packr = new Packr({ useRecords: false, copyBuffers: true, moreTypes: false });

/** What became of one command of a batch. */
export interface ItemResult {
  /** Its condition did not hold: the batch has written nothing. */
  readonly failed: boolean;
  /** Of what the key holds now; if `failed`, of what it held. 0: nothing, or another condition has failed. */
  readonly version: number;
  readonly counter: bigint | null;
}

interface Decided {
  readonly index: number;
  /** Of a batch that depends on what is there, in its order. */
  readonly items?: readonly ItemResult[];
  /** It is that of an earlier request with the same idempotency key. */
  readonly repeated?: true;
}

/** What the state machine decided for a write. */
export type WriteResult =
  | (Decided & { readonly kind: 'applied'; readonly epoch: number; readonly counter: bigint | null })
  /** A condition did not hold; `version` is the current one, 0 when absent and of a batch. */
  | (Decided & { readonly kind: 'condition'; readonly version: number })
  /** No effect, for the reason in `code`. */
  | { readonly kind: 'refused'; readonly code: ErrorCode }
  /** The same request was decided at `index`; `stored`: its result is a row. */
  | { readonly kind: 'duplicate'; readonly index: number; readonly stored: boolean };

type PackedItem = [failed: boolean, version: number, counter: string | null];
type Packed =
  | [
      kind: 1,
      index: number,
      epoch: number,
      counter: string | null,
      items: PackedItem[] | null,
      repeated: boolean,
    ]
  | [kind: 2, index: number, version: number, items: PackedItem[] | null, repeated: boolean]
  | [kind: 3, code: ErrorCode];

function packItems({ items }: Decided): PackedItem[] | null {
  if (items === undefined) return null;
  return items.map(({ failed, version, counter }) => [failed, version, counterText(counter)]);
}

function counterText(counter: bigint | null): string | null {
  return counter === null ? null : String(counter);
}

function packed(result: WriteResult): Packed {
  switch (result.kind) {
    case 'applied': {
      const { index, epoch, counter, repeated = false } = result;
      return [1, index, epoch, counterText(counter), packItems(result), repeated];
    }
    case 'condition':
      return [2, result.index, result.version, packItems(result), result.repeated === true];
    case 'refused':
      return [3, result.code];
    case 'duplicate':
      throw new Error('a duplicate has no result of its own');
  }
}

/** Encodes a result. */
export function encodeResult(result: WriteResult): Uint8Array {
  return packr.pack(packed(result));
}

function counterOf(text: string | null): bigint | null {
  return text === null ? null : BigInt(text);
}

function rest(items: PackedItem[] | null, repeated: boolean): Omit<Decided, 'index'> {
  const list = items?.map(([failed, version, text]) => ({ failed, version, counter: counterOf(text) }));
  return { ...(list === undefined ? {} : { items: list }), ...(repeated ? { repeated } : {}) };
}

/** Decodes what `encodeResult` made. Throws `DamagedRowError`. */
export function decodeResult(bytes: Uint8Array): WriteResult {
  const result = packr.unpack(bytes) as Packed;
  switch (result[0]) {
    case 1:
      return {
        kind: 'applied',
        index: result[1],
        epoch: result[2],
        counter: counterOf(result[3]),
        ...rest(result[4], result[5]),
      };
    case 2:
      return { kind: 'condition', index: result[1], version: result[2], ...rest(result[3], result[4]) };
    case 3:
      return { kind: 'refused', code: result[1] };
    default:
      throw new DamagedRowError(`a result of kind ${result[0]}`);
  }
}

/** Decodes and verifies a stored result; throws `DamagedRowError`. */
export function openResult(row: Uint8Array, sealed: Uint8Array): WriteResult {
  return decodeResult(openRow(row, sealed));
}
