/**
 * One operation from the caller's call to its end: what is asked, how far it has come, and how its answer
 * looks. Plain data with the two functions of its promise; who moves it along is the engine. Kept free of
 * per-operation timers and closures: this is the hot path.
 * INVARIANT: `maybeApplied` never goes back to false, unless the write starts over elsewhere; a write ends as not_applied only while it is
 * false (G5).
 */
import { type Outcome, RingkeepError } from '../common/errors.ts';
import { LINEARIZABLE_GET } from '../common/reads.ts';
import type {
  AckName,
  BatchItem,
  Condition,
  GetOperation,
  PutOperation,
  ReadLevelName,
  Reply,
  Request,
  ScanOperation,
} from '../common/wire/messages.ts';
import { batchResults } from './batch.ts';
import { decodeValue } from './codec.ts';
import type { Link } from './link.ts';
import type { PartitionSequences, SessionPin } from './sequences.ts';
import type { Session } from './session.ts';

/** What a write returns that ended well. */
export interface Receipt {
  /** False: its condition did not hold, and nothing was written. Always true without a condition. */
  readonly applied: boolean;
  readonly partition: number;
  /** Epoch of the write; 0 if it was applied by an earlier attempt so far back that its leader has forgotten it. */
  readonly epoch: number;
  /**
   * Index of the write in its partition's log; grows with every write of the partition. If it was not applied, the version
   * of the value that was there, 0 for none. 0 also of an `add` that a sub-counter of a salted counter has taken: it wrote no version of
   * its key, that a condition could name.
   */
  readonly version: number;
  /** What held the write when it was acknowledged. */
  readonly durability: 'leader' | 'quorum' | 'all';
  /** An earlier attempt of this very call had been applied; its effect was kept, not repeated. */
  readonly duplicate: boolean;
  /** An earlier call with the same idempotency key was decided; this is what it came to. */
  readonly repeated: boolean;
}

/** A value with what is known of it. */
export interface Entry<T = unknown> {
  readonly value: T;
  /** Version of the write that produced the value; 0 for a salted counter, which is of no single write. */
  readonly version: number;
  readonly epoch: number;
  readonly partition: number;
  /** When it goes, in ms since 1970 by the clock of the partition's leader; null: it stays. */
  readonly expiresAt: number | null;
  /** Of reads at `stale`: the value has every write that was acknowledged longer before the call than this, ms; else null. */
  readonly stalenessMs: number | null;
}

/** What an increment returns: its receipt and the counter after it. */
export interface CounterReceipt extends Receipt {
  /** Rounded if it is beyond 2^53. */
  readonly value: number;
  /** The same in all of its 64 bits. */
  readonly exact: bigint;
}

/** One stored row as bytes, with the tag of its codec. */
export interface ScanRow {
  readonly keyspace: string;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly codec: number;
  readonly version: number;
}

/** Rows in key order and where the next page starts; an empty cursor is the end. */
export interface ScanPage {
  readonly rows: ScanRow[];
  readonly cursor: Uint8Array;
}

/** Where a hot key is, and where it has copies. */
export interface SaltedIn {
  readonly home: number;
  readonly partitions: readonly number[];
}

/** How the answer is handed to the caller. */
export type Shape = 'value' | 'entry' | 'receipt' | 'counter' | 'batch' | 'page' | 'salts';

/**
 * Where an operation is: `parked` waits for a route or for `wakeAt`, `window` for a sequence, `queued` for
 * credit on a link, `sent` for its answer.
 */
export type OperationState = 'parked' | 'window' | 'queued' | 'sent' | 'ended';

const NO_BYTES = new Uint8Array(0);

/**
 * What the caller asked for. All fields are always there, so that every operation has one shape for the
 * engine.
 */
export interface OperationSpec {
  readonly kind: Request['operation'];
  readonly shape: Shape;
  readonly keyspace: string;
  readonly key: Uint8Array;
  /** Monotonic time in ms at which the caller gets an error. */
  readonly deadline: number;
  readonly ack: AckName;
  /** Of puts and deletes; null: none. */
  readonly condition: Condition | null;
  readonly put: PutOperation | null;
  /** Of increments, else 0. */
  readonly delta: number | bigint;
  /** Of increments and touches; 0: none. */
  readonly ttlMs: number;
  /** Of increments: the counter is not asked for. */
  readonly unread: boolean;
  readonly scan: ScanOperation | null;
  /** Of batches. */
  readonly batch: readonly BatchItem[] | null;
  /** Empty: none. */
  readonly idempotencyKey: Uint8Array;
  /** Of salts: how many, and whether they are sub-counters. */
  readonly copies: number;
  readonly counter: boolean;
  /** Of gets. */
  readonly level: ReadLevelName;
  /** Of stale gets; 0: any. */
  readonly maxStalenessMs: number;
  /** What takes note of the answer, and what a session get goes by; null: nothing. */
  readonly session: Session | null;
  readonly signal: AbortSignal | null;
}

/** What gets ask for unless they say so, and what other operations have there. */
export const DEFAULT_READ = {
  level: 'READ_LINEARIZABLE',
  maxStalenessMs: 0,
  session: null,
} as const satisfies Partial<OperationSpec>;

/** What an operation has that writes nothing. */
export const NO_WRITE = {
  ack: 'ACK_QUORUM',
  condition: null,
  put: null,
  delta: 0,
  ttlMs: 0,
  unread: false,
  batch: null,
  idempotencyKey: NO_BYTES,
  copies: 0,
  counter: false,
} as const satisfies Partial<OperationSpec>;

/** An operation in progress. */
export class Operation implements SessionPin {
  readonly spec: OperationSpec;
  readonly isWrite: boolean;
  /** Takes effect at most once, under a sequence; what can be repeated needs none. */
  readonly isDeduplicated: boolean;
  /** Any voter may answer it. */
  readonly isAnywhere: boolean;
  /** Bytes that it holds while it is open. */
  readonly bytes: number;
  partition = -1;

  /** Of writes: may wait for every voter; set once a sequence is first asked for. */
  isWhole = false;
  sequence = 0;
  sessionTime = 0;
  sessionGeneration = 0;
  maybeApplied = false;
  /** An attempt was answered: in effect, but not acknowledged at the level asked for. */
  applied = false;
  /** ... and how far it had come, as it was last told. */
  reached: RingkeepError | null = null;
  sequences: PartitionSequences | null = null;

  state: OperationState = 'parked';
  wakeAt = 0;
  /** A new leader or connection ends the wait before `wakeAt`. */
  wakeable = true;
  link: Link | null = null;
  requestId = 0;
  attemptDeadline = 0;
  sentAt = 0;
  /** The get as it was sent. */
  get: GetOperation | null = null;
  /** A get of a hot key that has copies, as far as was known when it was sent; `saltIn` is where, as in `Request.saltIn`. */
  isSalted = false;
  saltIn = 0;
  /** An increment that goes to the sub-counter of this set, in `partition`; what its home was at when that set was in effect. 0: it does not. */
  saltSet = 0;
  saltIndex = 0;
  private home = -1;
  /** The second attempt beside this one; and of such an attempt, the first one. */
  hedge: Operation | null = null;
  /** This attempt has had its second one. */
  isHedged = false;
  hedgeOf: Operation | null = null;
  /** Attempts sent under the current sequence. */
  attempt = 0;
  /** Failed attempts that count for the backoff. */
  failures = 0;
  /** Times a fresh sequence was taken after SESSION_EXPIRED. */
  renewals = 0;
  /** The last attempt was already sent on to a named leader without a pause. */
  redirected = false;
  lastError: RingkeepError | null = null;
  rows: ScanRow[] | null = null;

  resolve: (result: unknown) => void = unset;
  reject: (error: RingkeepError) => void = unset;
  onAbort: (() => void) | null = null;
  /** Microseconds of the system's monotonic clock, when a history is recorded. */
  calledAt = 0;

  constructor(spec: OperationSpec) {
    this.spec = spec;
    this.isWrite = spec.kind !== 'get' && spec.kind !== 'scan';
    this.isDeduplicated = this.isWrite && spec.kind !== 'salt';
    this.isAnywhere = spec.level !== 'READ_LINEARIZABLE';
    this.bytes = spec.key.length + (spec.put === null ? 0 : spec.put.value.length);
    if (spec.batch === null) return;
    for (const { key, put } of spec.batch) this.bytes += key.length + (put?.value.length ?? 0);
  }

  /** A second one may be asked when the first one takes long. */
  get isHedgeable(): boolean {
    return this.isAnywhere || this.isSalted;
  }

  /** The partition whose leader is asked: its own, or the one with a copy of its key. */
  get askedPartition(): number {
    return this.saltIn > 0 ? this.saltIn - 1 : this.partition;
  }

  /** It holds no sequence, and no attempt can have had an effect. */
  get isUntried(): boolean {
    return this.attempt === 0 && this.sequence === 0 && !this.maybeApplied;
  }

  /** Pins an increment that was never sent to a sub-counter; `partition` was its home. */
  goToSub(partition: number, set: number, index: number): void {
    this.home = this.partition;
    this.partition = partition;
    this.saltIn = partition + 1;
    this.saltSet = set;
    this.saltIndex = index;
  }

  /** Notes in the session that a write is committed, at `version` where it went. */
  noteCommitted(version: number): void {
    const { session } = this.spec;
    // What a sub-counter has taken is seen by whoever sees the home since it has that.
    if (this.saltSet > 0) session?.applied(this.home, this.saltIndex);
    else session?.applied(this.partition, version);
  }

  /** Starts over at home, with a sequence of that: where it went, it certainly has no effect and never will have. */
  startOver(): void {
    this.partition = this.home;
    this.saltIn = 0;
    this.saltSet = 0;
    this.sequences = null;
    this.sequence = 0;
    this.sessionTime = 0;
    this.sessionGeneration = 0;
    this.maybeApplied = false;
    this.attempt = 0;
    this.redirected = false;
    this.lastError = null;
    this.link = null;
  }

  /** Notes that an attempt may have reached a server and will not be heard of. */
  noteLost(): void {
    if (this.isWrite) this.maybeApplied = true;
  }

  /** What is known of the effect if it ends now, with nothing in flight. */
  get outcome(): Outcome {
    if (this.applied) return 'applied';
    return this.maybeApplied ? 'unknown' : 'not_applied';
  }
}

function unset(): never {
  throw new Error('the operation was not submitted');
}

/**
 * Builds the wire request of the attempt that is about to be sent. `timeLeftMs` is what the server may take.
 */
export function buildRequest(operation: Operation, id: number, timeLeftMs: number): Request {
  const { spec } = operation;
  const request: Request = {
    id,
    timeLeftMs,
    keyspace: spec.keyspace,
    key: spec.key,
    clientId: operation.sequences?.clientId ?? NO_BYTES,
    sequence: operation.sequence,
    lowWater: operation.sequences === null ? 0 : operation.sequences.lowWater,
    sessionTime: operation.sessionTime,
    attempt: operation.attempt,
    ack: spec.ack,
    traceParent: '',
    condition: spec.condition,
    operation: spec.kind,
  };
  switch (spec.kind) {
    case 'get':
      operation.get = getOf(operation);
      request.get = operation.get;
      break;
    case 'put':
      request.put = spec.put;
      break;
    case 'delete':
      request.delete = {};
      break;
    case 'increment':
      request.increment = { delta: spec.delta, ttlMs: spec.ttlMs, unread: spec.unread };
      break;
    case 'touch':
      request.touch = { ttlMs: spec.ttlMs };
      break;
    case 'scan':
      request.scan = spec.scan;
      break;
    case 'batch':
      request.batch = { items: [...spec.batch!] };
      break;
    case 'salt':
      request.salt = { copies: spec.copies, counter: spec.counter, delta: spec.delta };
      break;
  }
  if (operation.saltIn > 0) request.saltIn = operation.saltIn;
  if (operation.saltSet > 0) request.saltSet = operation.saltSet;
  const { hedgeOf } = operation;
  // A router does not know of itself which of its gets belong together.
  if (hedgeOf !== null && hedgeOf.link === operation.link) request.beside = hedgeOf.requestId;
  if (spec.idempotencyKey.length > 0) request.idempotencyKey = spec.idempotencyKey;
  return request;
}

function getOf({ spec: { level, maxStalenessMs, session }, partition }: Operation): GetOperation {
  if (level === 'READ_LINEARIZABLE') return LINEARIZABLE_GET;
  if (level === 'READ_SESSION' && session !== null) return session.get(partition);
  return { ...LINEARIZABLE_GET, level, maxStalenessMs };
}

/** Keeps the rows of one reply; their bytes are views of the message and are copied. */
export function collectRows(operation: Operation, reply: Reply): void {
  operation.rows ??= [];
  for (const row of reply.rows?.rows ?? []) {
    operation.rows.push({ ...row, key: copy(row.key), value: copy(row.value) });
  }
}

function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes);
}

/**
 * Returns what the caller gets for a last reply without a failure.
 * @throws RingkeepError INTERNAL if the reply does not fit the request, INVALID_ARGUMENT if the value cannot
 * be decoded
 */
export function resultOf(operation: Operation, reply: Reply): unknown {
  switch (operation.spec.shape) {
    case 'value':
      if (!reply.value) break;
      return reply.value.found ? decodeValue(reply.value.codec, reply.value.value) : undefined;
    case 'entry': {
      if (!reply.value) break;
      if (!reply.value.found) return undefined;
      const { version, epoch, partition, expiresAt, stalenessMs } = reply.value;
      const entry: Entry = {
        value: decodeValue(reply.value.codec, reply.value.value),
        version,
        epoch,
        partition,
        expiresAt: expiresAt === 0 ? null : expiresAt,
        stalenessMs: operation.spec.level === 'READ_STALE' ? stalenessMs : null,
      };
      return entry;
    }
    case 'receipt':
    case 'counter':
    case 'batch': {
      if (!reply.receipt) break;
      const { partition, epoch, version, durability, duplicate, counter, conditionFailed } = reply.receipt;
      const receipt: Receipt = {
        applied: !conditionFailed,
        partition,
        epoch,
        version: operation.saltSet > 0 ? 0 : version,
        durability,
        duplicate,
        repeated: reply.receipt.repeated,
      };
      if (operation.spec.shape === 'receipt') return receipt;
      if (operation.spec.batch !== null) {
        const results = batchResults(operation.spec.batch, reply.receipt);
        if (results === null) break;
        return { ...receipt, results };
      }
      return { ...receipt, value: Number(counter), exact: BigInt(counter) };
    }
    case 'salts': {
      if (!reply.receipt?.salts) break;
      const salted: SaltedIn = { home: reply.receipt.partition, partitions: reply.receipt.salts.partitions };
      return salted;
    }
    case 'page': {
      if (!reply.rows) break;
      const page: ScanPage = { rows: operation.rows ?? [], cursor: copy(reply.rows.cursor) };
      return page;
    }
  }
  const outcome = operation.isWrite ? 'unknown' : 'not_applied';
  throw new RingkeepError('INTERNAL', `a ${operation.spec.kind} was answered by a ${reply.result}`, outcome);
}
