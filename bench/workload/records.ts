/**
 * The records of one client process: their keys, as YCSB names them, and which of them are there. The loaded ones belong to
 * all processes; each process inserts records of its own behind them, taking every `parts`-th number.
 * INVARIANT: `count` covers a record only once its insert, and all of this process before it, are acknowledged.
 */
import { fnvHash, type Halves } from './zipfian.ts';

/** How keys are made. `hashed`: from a hash of the record's number; `ordered`: from the number. */
export const INSERT_ORDERS = ['hashed', 'ordered'] as const;

export type InsertOrder = (typeof INSERT_ORDERS)[number];

export interface RecordsOptions {
  readonly recordCount: number;
  readonly insertOrder: InsertOrder;
  /** Digits that a number in a key has at least. */
  readonly zeroPadding: number;
  /** This process's number, in [0, parts). */
  readonly part: number;
  readonly parts: number;
}

const TWO_32 = 2 ** 32;
const MILLION = 1_000_000;

/** Returns the decimal digits of a 63-bit number. Without big integers, which would cost more than all else of a key. */
function decimal({ high, low }: Halves): string {
  // Below 2^53 throughout: `rest` has a million times 2^32 at the most.
  const rest = (high % MILLION) * TWO_32 + low;
  const whole = Math.floor(rest / MILLION);
  const millions = Math.floor(high / MILLION) * TWO_32 + whole;
  const last = rest - whole * MILLION;
  return millions === 0 ? String(last) : String(millions) + String(last).padStart(6, '0');
}

/** Returns the key of a record's global number, as YCSB's buildKeyName does. */
export function keyName(number: number, order: InsertOrder, zeroPadding: number): string {
  if (order === 'ordered') return `user${String(number).padStart(zeroPadding, '0')}`;
  return `user${decimal(fnvHash(number)).padStart(zeroPadding, '0')}`;
}

export class Records {
  readonly #options: RecordsOptions;
  #inserted = 0;
  /** Inserts of this process that are acknowledged without a gap. */
  #acknowledged = 0;
  /** Acknowledged ones behind a gap. */
  readonly #ahead = new Set<number>();

  constructor(options: RecordsOptions) {
    this.#options = options;
  }

  /** Records that this process can count on. */
  get count(): number {
    return this.#options.recordCount + this.#acknowledged;
  }

  /** Returns the key of a record, in [0, count), or of one that `beginInsert` has named. */
  key(record: number): string {
    const { recordCount, part, parts, insertOrder, zeroPadding } = this.#options;
    const behind = record - recordCount;
    const number = behind < 0 ? record : recordCount + behind * parts + part;
    return keyName(number, insertOrder, zeroPadding);
  }

  /** Returns a new record, which is not counted yet. */
  beginInsert(): number {
    this.#inserted += 1;
    return this.#options.recordCount + this.#inserted - 1;
  }

  /** Notes that the insert of a record has ended. One that failed would be a gap for ever: it counts too, as in YCSB. */
  endInsert(record: number): void {
    this.#ahead.add(record - this.#options.recordCount);
    while (this.#ahead.delete(this.#acknowledged)) this.#acknowledged += 1;
  }
}
