/**
 * The result of a decided write and its stored form. Results of blind writes follow from the index alone; the others
 * are rows in the store, so that a retry gets the first answer (layout.ts, table 2).
 */
import { Packr } from 'msgpackr';
import type { ErrorCode } from '../../common/errors.ts';
import { DamagedRowError, openRow } from './layout.ts';

const packr = new Packr({ useRecords: false, copyBuffers: true, moreTypes: false });

/** What the state machine decided for a write. */
export type WriteResult =
  | {
      readonly kind: 'applied';
      readonly index: number;
      readonly epoch: number;
      readonly counter: bigint | null;
    }
  /** The condition did not hold; `version` is the current one, 0 when absent. */
  | { readonly kind: 'condition'; readonly index: number; readonly version: number }
  /** No effect, for the reason in `code`. */
  | { readonly kind: 'refused'; readonly code: ErrorCode }
  /** The same request was decided at `index`; `stored`: its result is a row. */
  | { readonly kind: 'duplicate'; readonly index: number; readonly stored: boolean };

/** Encodes a result for its row. */
export function encodeResult(result: WriteResult): Uint8Array {
  switch (result.kind) {
    case 'applied':
      return packr.pack([
        1,
        result.index,
        result.epoch,
        result.counter === null ? null : String(result.counter),
      ]);
    case 'condition':
      return packr.pack([2, result.index, result.version]);
    case 'refused':
      return packr.pack([3, result.code]);
    case 'duplicate':
      throw new Error('a duplicate has no result of its own');
  }
}

/** Decodes and verifies a stored result; throws `DamagedRowError`. */
export function decodeResult(row: Uint8Array, sealed: Uint8Array): WriteResult {
  const [kind, first, second, third] = packr.unpack(openRow(row, sealed)) as [
    number,
    never,
    number,
    string | null,
  ];
  switch (kind) {
    case 1:
      return { kind: 'applied', index: first, epoch: second, counter: third === null ? null : BigInt(third) };
    case 2:
      return { kind: 'condition', index: first, version: second };
    case 3:
      return { kind: 'refused', code: first };
    default:
      throw new DamagedRowError(`a result of kind ${kind}`);
  }
}
