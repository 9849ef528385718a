/**
 * A workload's settings, its operations, and what comes next: which kind of operation, about which record, how long. The
 * names are YCSB's.
 * INVARIANT: the same seed and the same ends of inserts give the same operations.
 */
import { hashBytes } from '#src/common/hash.ts';
import { createRandom, type Random } from '#src/common/random.ts';
import {
  type Chooser,
  createChooser,
  createLengths,
  type Distribution,
  type LengthDistribution,
} from './choosers.ts';
import { type InsertOrder, Records } from './records.ts';

/** Kinds of operations, in YCSB's words. */
export const KINDS = ['READ', 'UPDATE', 'INSERT', 'SCAN', 'READ-MODIFY-WRITE'] as const;

export type Kind = (typeof KINDS)[number];

/** What is asked of the cluster, apart from how fast. */
export interface Workload {
  readonly recordCount: number;
  /** By kind, in the order of KINDS; they need not add up to 1. */
  readonly proportions: Readonly<Record<Kind, number>>;
  readonly requestDistribution: Distribution;
  readonly hotspotDataFraction: number;
  readonly hotspotRequestFraction: number;
  readonly zipfianConstant: number;
  readonly hotKeyFraction: number;
  readonly fieldCount: number;
  readonly fieldLength: number;
  readonly minFieldLength: number;
  readonly fieldLengthDistribution: LengthDistribution;
  readonly minScanLength: number;
  readonly maxScanLength: number;
  readonly scanLengthDistribution: LengthDistribution;
  /** Whether a value is a function of its key, so that reads can be checked. */
  readonly dataIntegrity: boolean;
  readonly insertOrder: InsertOrder;
  readonly zeroPadding: number;
  /** The keyspace. */
  readonly table: string;
}

/** One operation. Reused by its owner: nobody else keeps it. */
export interface Planned {
  kind: Kind;
  record: number;
  /** Records to read; of SCAN only. */
  scanLength: number;
}

/** Returns the mean length of a value in bytes, for what a scan may need. */
export function valueBytesMax(workload: Workload): number {
  return workload.fieldCount * workload.fieldLength;
}

/** YCSB's allowance for records to come: twice what is expected. */
const EXPECTED_INSERTS_FACTOR = 2;

/** Returns how many records there may be at the end, given how many operations are expected of one process. */
export function expectedRecords(workload: Workload, operations: number): number {
  const share = workload.proportions.INSERT / totalProportion(workload);
  return workload.recordCount + Math.ceil(operations * share * EXPECTED_INSERTS_FACTOR);
}

function totalProportion({ proportions }: Workload): number {
  return KINDS.reduce((sum, kind) => sum + proportions[kind], 0);
}

function kindChooser(workload: Workload, random: Random): () => Kind {
  const total = totalProportion(workload);
  const used = KINDS.filter((kind) => workload.proportions[kind] > 0);
  let sum = 0;
  const bounds = used.map((kind) => {
    sum += workload.proportions[kind] / total;
    return sum;
  });
  const last = used.length - 1;
  return () => {
    const u = random.next();
    let at = 0;
    while (at < last && u >= bounds[at]!) at += 1;
    return used[at]!;
  };
}

/** Random bytes that values are cut from: enough that compression finds nothing. */
const POOL_BYTES = 1024 * 1024;
/** Values that are functions of keys are cut from the same bytes by all processes of all runs. */
const POOL_SEED = 1;

function createPool(bytes: number, random: Random): Uint8Array {
  const words = new Uint32Array(bytes / 4 + 1);
  for (let word = 0; word < words.length; word += 1) words[word] = random.integer(2 ** 32);
  return new Uint8Array(words.buffer);
}

/** The operations of one client process. */
export class Sequence {
  readonly records: Records;
  /** Whether values are functions of their keys. */
  readonly dataIntegrity: boolean;
  readonly #random: Random;
  readonly #kind: () => Kind;
  readonly #choose: Chooser;
  readonly #scanLength: () => number;
  readonly #fieldLength: () => number;
  readonly #fieldCount: number;
  readonly #pool: Uint8Array;
  readonly #constantLength: number | null;

  constructor(
    workload: Workload,
    place: {
      readonly part: number;
      readonly parts: number;
      readonly seed: number;
      readonly expected: number;
    },
  ) {
    const random = createRandom(place.seed);
    const { minScanLength, maxScanLength, minFieldLength, fieldLength, fieldCount } = workload;
    this.#random = random;
    this.records = new Records({ ...workload, part: place.part, parts: place.parts });
    this.#kind = kindChooser(workload, random);
    this.#choose = createChooser(
      { ...workload, distribution: workload.requestDistribution, expected: place.expected },
      random,
    );
    this.#scanLength = createLengths(workload.scanLengthDistribution, minScanLength, maxScanLength, random);
    this.#fieldLength = createLengths(workload.fieldLengthDistribution, minFieldLength, fieldLength, random);
    this.#fieldCount = fieldCount;
    this.#constantLength = workload.fieldLengthDistribution === 'constant' ? fieldCount * fieldLength : null;
    this.dataIntegrity = workload.dataIntegrity;
    const poolRandom = workload.dataIntegrity ? createRandom(POOL_SEED) : random;
    this.#pool = createPool(POOL_BYTES + valueBytesMax(workload), poolRandom);
  }

  /** Fills in the next operation. */
  next(planned: Planned): void {
    planned.kind = this.#kind();
    planned.scanLength = planned.kind === 'SCAN' ? this.#scanLength() : 0;
    const { records } = this;
    planned.record = planned.kind === 'INSERT' ? records.beginInsert() : this.#choose(records.count);
  }

  /**
   * Returns the bytes of a new value of a key, a view that is valid for ever but shared with others: not to be written to.
   * With `dataIntegrity` it is the same one for the same key, always and in every process.
   */
  value(key: string): Uint8Array {
    if (this.dataIntegrity) return this.#valueOf(key);
    let length = this.#constantLength ?? 0;
    if (this.#constantLength === null)
      for (let n = 0; n < this.#fieldCount; n += 1) length += this.#fieldLength();
    const from = this.#random.integer(this.#pool.length - length);
    return this.#pool.subarray(from, from + length);
  }

  /** Returns whether a value that was read is the one of its key. Only with `dataIntegrity`. */
  isValueOf(key: string, value: Uint8Array | undefined): boolean {
    return value !== undefined && Buffer.compare(this.#valueOf(key), value) === 0;
  }

  /** Two keys have the same value about once in a million pairs: what is mixed up does not stay unseen. */
  #valueOf(key: string): Uint8Array {
    const from = Number(hashBytes(Buffer.from(key)) % BigInt(POOL_BYTES));
    return this.#pool.subarray(from, from + this.#constantLength!);
  }
}
