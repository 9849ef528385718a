/**
 * What a caller may set, checked: connection options and options of one call. Unknown names are refused, so
 * that a misspelt option is not a silent default. Addresses are parsed by common/wire/address.ts.
 */
import { RingkeepError } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import {
  CLIENT_OPERATION_BYTES_MAX,
  CLIENT_OPERATIONS_MAX,
  CONNECT_TIMEOUT_MS,
  IDEMPOTENCY_KEY_BYTES_MAX,
  KEY_BYTES_MAX,
  KEY_BYTES_MIN,
  KEYSPACE_BYTES_MAX,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS_MAX,
  STALENESS_MS_MAX,
  TTL_MS_MAX,
} from '../common/limits.ts';
import { isInt64 } from '../common/text.ts';
import type { AckLevel } from '../common/topology.ts';
import { formatAddress, parseClusterUrl } from '../common/wire/address.ts';
import type { AckName, Condition, ReadLevelName } from '../common/wire/messages.ts';
import { type CodecName, isCodecName } from './codec.ts';
import type { ClientLogger } from './events.ts';
import type { OperationSpec } from './operation.ts';
import { RETRY_DEFAULTS, type RetryOptions } from './retry-policy.ts';
import { Session } from './session.ts';

/** When a write is acknowledged: on the leader's disk, on a quorum's, or on every voter's. */
export type Ack = 'leader' | 'quorum' | 'all';

/** Options of `connect`. */
export interface ConnectOptions {
  /** HOST:PORT of routers, or with mode `direct` of routers or nodes; at least one. */
  readonly endpoints: readonly string[];
  /** `routed` (default): through a router. `direct`: one hop to each partition's leader. */
  readonly mode?: 'routed' | 'direct';
  /** Time of an operation with all its retries, in ms; default 10,000. */
  readonly requestTimeoutMs?: number;
  /** Time to open one connection, in ms. */
  readonly connectTimeoutMs?: number;
  /** Codec of the default keyspace; default `msgpack`. */
  readonly codec?: CodecName;
  /** Acknowledgement of writes that do not say; default: what the cluster has for their keyspace, `quorum` unless it was set. */
  readonly ack?: Ack;
  /** Numbers of the retry loop. */
  readonly retry?: Partial<RetryOptions>;
  /** Operations that may be open at once, waiting ones included; default 32,768. */
  readonly operationsMax?: number;
  /** Their keys and values in bytes; default 64 MiB. */
  readonly operationBytesMax?: number;
  /** Receives connection events; a pino logger fits. */
  readonly logger?: ClientLogger;
  /** Receives every operation with its answer, for tests. */
  readonly recorder?: (event: HistoryEvent) => void;
}

/** How a read is answered. */
export type ReadLevel = 'linearizable' | 'quorum' | 'session' | 'stale';

/** Options of every operation. */
export interface CallOptions {
  /** Time of this call with all its retries, in ms. */
  readonly timeoutMs?: number;
  /** Ends the wait with CANCELLED. */
  readonly signal?: AbortSignal;
  /** The session that this call belongs to, from `db.session()`; default: one that all other calls of the client share. */
  readonly session?: Session;
}

/** Options of a read. */
export interface ReadOptions extends CallOptions {
  /** How fresh the answer has to be (docs/CONSISTENCY.md); default: `linearizable`. */
  readonly read?: ReadLevel;
  /** Only with `read: 'stale'`: how old the state may be that is shown, ms. */
  readonly maxStalenessMs?: number;
}

/** Options of a write. */
export interface WriteOptions extends CallOptions {
  /** When this write is acknowledged; default: as the keyspace or the client says, else the cluster. */
  readonly ack?: Ack;
}

/** Options of a write that a caller may repeat by a call of its own. */
export interface IdempotentOptions extends WriteOptions {
  /**
   * 1 to 64 bytes (text: as UTF-8) that name this write, among those of keys with the same hash tag: for 24 hours the same call with
   * it resolves with what the first one came to, another one rejects with IDEMPOTENCY_CONFLICT. Not with `ack: 'leader'`.
   */
  readonly idempotencyKey?: string | Uint8Array;
}

/** Options of a write that may depend on what the key holds; one condition at most. */
export interface ConditionalOptions extends IdempotentOptions {
  /** Write only if the key is absent. */
  readonly ifAbsent?: boolean;
  /** Write only if the key has a value. */
  readonly ifExists?: boolean;
  /** Write only if the key holds the value of this version, as `getEntry` or a receipt has told it. */
  readonly ifVersion?: number;
}

/** Options of a put. */
export interface PutOptions extends ConditionalOptions {
  /** The value goes after that time, in ms: at least 1, at most ten years. Default: it stays. */
  readonly ttlMs?: number;
}

/** Options of `putMany` and `update`. */
export interface LivingOptions extends WriteOptions {
  /** The value goes after that time, in ms: at least 1, at most ten years. Default: it stays. */
  readonly ttlMs?: number;
}

/** Options of an increment. */
export interface IncrementOptions extends IdempotentOptions {
  /** Time to live of the counter, in ms, if this call makes it; one that is there keeps its own. */
  readonly ttlMs?: number;
}

/** Options of a change of the time to live. */
export type TouchOptions = Omit<ConditionalOptions, 'ifAbsent'>;

/** Options of a keyspace. */
export interface KeyspaceOptions {
  readonly codec?: CodecName;
  readonly ack?: Ack;
}

/** Connection options with every default filled in. */
export interface ResolvedOptions {
  readonly endpoints: readonly string[];
  readonly mode: 'routed' | 'direct';
  readonly requestTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly codec: CodecName;
  /** Null: the cluster's default. */
  readonly ack: Ack | null;
  readonly retry: RetryOptions;
  readonly operationsMax: number;
  readonly operationBytesMax: number;
  readonly logger: ClientLogger | undefined;
  readonly recorder: ((event: HistoryEvent) => void) | undefined;
}

const READS: Readonly<Record<ReadLevel, ReadLevelName>> = {
  linearizable: 'READ_LINEARIZABLE',
  quorum: 'READ_QUORUM',
  session: 'READ_SESSION',
  stale: 'READ_STALE',
};

/** Levels by their wire names. */
export const ACKS: Readonly<Record<Ack, AckLevel>> = {
  leader: 'ACK_LEADER',
  quorum: 'ACK_QUORUM',
  all: 'ACK_ALL',
};

const CONNECT_NAMES: ReadonlySet<string> = new Set([
  'endpoints',
  'mode',
  'requestTimeoutMs',
  'connectTimeoutMs',
  'codec',
  'ack',
  'retry',
  'operationsMax',
  'operationBytesMax',
  'logger',
  'recorder',
]);
const RETRY_NAMES: ReadonlySet<string> = new Set(Object.keys(RETRY_DEFAULTS));

const CALL_NAMES = ['timeoutMs', 'signal', 'session'];

/** Names of the options of a read. */
export const READ_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, 'read', 'maxStalenessMs']);
/** Names of the options of a write. */
export const WRITE_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, 'ack']);
/** Names of the options of a batch. */
export const IDEMPOTENT_NAMES: ReadonlySet<string> = new Set([...WRITE_NAMES, 'idempotencyKey']);
/** Names of the options of a delete of one key. */
export const CONDITIONAL_NAMES: ReadonlySet<string> = new Set([
  ...IDEMPOTENT_NAMES,
  'ifAbsent',
  'ifExists',
  'ifVersion',
]);
/** Names of the options of a change of the time to live. */
export const TOUCH_NAMES: ReadonlySet<string> = new Set([...IDEMPOTENT_NAMES, 'ifExists', 'ifVersion']);
/** Names of the options of a put of one key. */
export const PUT_NAMES: ReadonlySet<string> = new Set([...CONDITIONAL_NAMES, 'ttlMs']);
/** Names of the options of `putMany` and `update`. */
export const LIVING_NAMES: ReadonlySet<string> = new Set([...WRITE_NAMES, 'ttlMs']);
/** Names of the options of an increment. */
export const INCREMENT_NAMES: ReadonlySet<string> = new Set([...IDEMPOTENT_NAMES, 'ttlMs']);
/** Names of the options of a keyspace. */
export const KEYSPACE_NAMES: ReadonlySet<string> = new Set(['codec', 'ack']);

function invalid(text: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', text);
}

/** Refuses options that are no object or have other names than `names`. */
export function checkNames(what: string, options: unknown, names: ReadonlySet<string>): void {
  if (options === null || typeof options !== 'object')
    throw invalid(`${what}: the options must be an object`);
  for (const name of Object.keys(options)) {
    if (!names.has(name)) throw invalid(`${what}: there is no option "${name}"`);
  }
}

function number(name: string, value: number | undefined, fallback: number, min: number, max: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw invalid(`${name} must be a number from ${min} to ${max}`);
  }
  return value;
}

/** Returns a time for a request in ms, in [1, REQUEST_TIMEOUT_MS_MAX]. */
export function checkTimeout(name: string, value: number | undefined, fallback: number): number {
  return number(name, value, fallback, 1, REQUEST_TIMEOUT_MS_MAX);
}

/** Returns the codec, or the fallback if none is given. */
export function checkCodec(codec: CodecName | undefined, fallback: CodecName): CodecName {
  if (codec === undefined) return fallback;
  if (!isCodecName(codec)) throw invalid('codec must be msgpack, json, string or bytes');
  return codec;
}

/** Returns the acknowledgement level, or the fallback if none is given; null is the cluster's default. */
export function checkAck(ack: Ack | undefined, fallback: Ack | null): Ack | null {
  if (ack === undefined) return fallback;
  if (typeof ack !== 'string' || !Object.hasOwn(ACKS, ack))
    throw invalid('ack must be leader, quorum or all');
  return ack;
}

/** Returns what a read asks for. */
export function checkRead(options: ReadOptions): Pick<OperationSpec, 'level' | 'maxStalenessMs'> {
  const { read = 'linearizable', maxStalenessMs } = options;
  if (typeof read !== 'string' || !Object.hasOwn(READS, read))
    throw invalid('read must be linearizable, quorum, session or stale');
  const level = READS[read];
  if (maxStalenessMs === undefined) return { level, maxStalenessMs: 0 };
  if (read !== 'stale') throw invalid('maxStalenessMs goes with read: stale');
  if (Number.isSafeInteger(maxStalenessMs) && maxStalenessMs >= 1 && maxStalenessMs <= STALENESS_MS_MAX)
    return { level, maxStalenessMs };
  throw invalid(`maxStalenessMs must be a whole number of ms, from 1 to ${STALENESS_MS_MAX}`);
}

/** Returns the session of a call, or the fallback if none is given. */
export function checkSession(session: Session | undefined, fallback: Session): Session {
  if (session === undefined || session instanceof Session) return session ?? fallback;
  throw invalid('session must be what db.session() returned');
}

const NO_BYTES = new Uint8Array(0);

/** Returns the bytes of an idempotency key, none if there is none. */
export function checkIdempotencyKey(key: string | Uint8Array | undefined): Uint8Array {
  if (key === undefined) return NO_BYTES;
  const isText = typeof key === 'string' && !LONE_SURROGATE.test(key);
  if (!isText && !(key instanceof Uint8Array))
    throw invalid('idempotencyKey must be well-formed text or bytes');
  const bytes = isText ? Buffer.from(key) : Uint8Array.prototype.slice.call(key);
  if (bytes.length >= 1 && bytes.length <= IDEMPOTENCY_KEY_BYTES_MAX) return bytes;
  throw invalid(`idempotencyKey has 1 to ${IDEMPOTENCY_KEY_BYTES_MAX} bytes, not ${bytes.length}`);
}

/** Returns the signal of a call, null if it has none. */
export function checkSignal(signal: AbortSignal | undefined): AbortSignal | null {
  if (signal === undefined) return null;
  if (signal instanceof AbortSignal) return signal;
  throw invalid('signal must be an AbortSignal');
}

/** Returns what is added to a counter. */
export function checkDelta(delta: number | bigint): number | bigint {
  if (typeof delta === 'bigint' ? isInt64(delta) : Number.isSafeInteger(delta)) return delta;
  throw invalid('delta must be an integer of 64 bits');
}

/** Returns a time to live in ms, 0 if there is none. */
export function checkTtl(ttlMs: number | undefined): number {
  if (ttlMs === undefined) return 0;
  if (Number.isSafeInteger(ttlMs) && ttlMs >= 1 && ttlMs <= TTL_MS_MAX) return ttlMs;
  throw invalid(`ttlMs must be a whole number of ms, from 1 to ${TTL_MS_MAX}`);
}

const IF_ABSENT: Condition = { kind: 'CONDITION_ABSENT', version: 0 };
const IF_EXISTS: Condition = { kind: 'CONDITION_EXISTS', version: 0 };

function isFlag(name: string, value: boolean | undefined): boolean {
  if (value === undefined || typeof value === 'boolean') return value === true;
  throw invalid(`${name} must be true or false`);
}

/** Returns the condition of a write, null if it has none. */
export function checkCondition(options: ConditionalOptions): Condition | null {
  const { ifVersion } = options;
  const absent = isFlag('ifAbsent', options.ifAbsent);
  const exists = isFlag('ifExists', options.ifExists);
  const conditions = Number(absent) + Number(exists) + Number(ifVersion !== undefined);
  if (conditions === 0) return null;
  if (conditions > 1) throw invalid('ifAbsent, ifExists and ifVersion exclude each other');
  if (absent) return IF_ABSENT;
  if (exists) return IF_EXISTS;
  if (!Number.isSafeInteger(ifVersion) || ifVersion! < 1)
    throw invalid('ifVersion must be a version, from 1');
  return { kind: 'CONDITION_VERSION', version: ifVersion! };
}

/** Returns the wire name of an acknowledgement level; null is the default. */
export function ackName(ack: Ack | null): AckName {
  return ack === null ? 'ACK_DEFAULT' : ACKS[ack];
}

function resolveRetry(retry: Partial<RetryOptions> | undefined): RetryOptions {
  if (retry === undefined) return RETRY_DEFAULTS;
  checkNames('retry', retry, RETRY_NAMES);
  const one = (name: keyof RetryOptions, min: number, max: number): number =>
    number(`retry.${name}`, retry[name], RETRY_DEFAULTS[name], min, max);
  return {
    backoffMs: one('backoffMs', 1, 60_000),
    backoffMsMax: one('backoffMsMax', 1, 60_000),
    budgetBurst: one('budgetBurst', 1, 1e6),
    budgetPerSecond: one('budgetPerSecond', 1, 1e6),
    budgetRatio: one('budgetRatio', 0, 1),
    attemptMsMin: one('attemptMsMin', 1, REQUEST_TIMEOUT_MS_MAX),
  };
}

function resolveEndpoints(endpoints: unknown): string[] {
  const listed = Array.isArray(endpoints) && endpoints.length > 0;
  if (!listed || !endpoints.every((address) => typeof address === 'string')) {
    throw invalid('endpoints must be an array of at least one HOST:PORT');
  }
  return parseClusterUrl(endpoints.join(',')).map(formatAddress);
}

/**
 * Checks the arguments of `connect` and fills in the defaults.
 * @throws RingkeepError INVALID_ARGUMENT with the name of what is wrong
 */
export function resolveOptions(
  target: string | ConnectOptions,
  more: Partial<ConnectOptions> = {},
): ResolvedOptions {
  checkNames('connect', more, CONNECT_NAMES);
  const isUrl = typeof target === 'string';
  if (!isUrl) checkNames('connect', target, CONNECT_NAMES);
  const given: Partial<ConnectOptions> = isUrl ? more : { ...target, ...more };
  if (isUrl && given.endpoints !== undefined) throw invalid('endpoints are given by the URL already');
  const { mode = 'routed' } = given;
  if (mode !== 'routed' && mode !== 'direct') throw invalid('mode must be routed or direct');
  if (given.recorder !== undefined && typeof given.recorder !== 'function') {
    throw invalid('recorder must be a function');
  }
  return {
    endpoints: isUrl ? parseClusterUrl(target).map(formatAddress) : resolveEndpoints(given.endpoints),
    mode,
    requestTimeoutMs: checkTimeout('requestTimeoutMs', given.requestTimeoutMs, REQUEST_TIMEOUT_MS),
    connectTimeoutMs: number('connectTimeoutMs', given.connectTimeoutMs, CONNECT_TIMEOUT_MS, 1, 60_000),
    codec: checkCodec(given.codec, 'msgpack'),
    ack: checkAck(given.ack, null),
    retry: resolveRetry(given.retry),
    operationsMax: number('operationsMax', given.operationsMax, CLIENT_OPERATIONS_MAX, 1, 1e7),
    operationBytesMax: number(
      'operationBytesMax',
      given.operationBytesMax,
      CLIENT_OPERATION_BYTES_MAX,
      1,
      2 ** 40,
    ),
    logger: given.logger,
    recorder: given.recorder,
  };
}

/** With the u flag, only surrogates without their partner match. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Returns the bytes of a key, a copy if it was given as bytes. */
export function encodeKey(key: string | Uint8Array): Uint8Array {
  let bytes: Uint8Array;
  if (typeof key === 'string') {
    // UTF-8 has no form for these: different keys would become the same one.
    if (LONE_SURROGATE.test(key)) throw invalid('the key is not well-formed text');
    bytes = Buffer.from(key, 'utf8');
  } else if (key instanceof Uint8Array) bytes = Uint8Array.prototype.slice.call(key);
  else throw invalid('a key must be a string or a Uint8Array');
  if (bytes.length < KEY_BYTES_MIN || bytes.length > KEY_BYTES_MAX) {
    const text = `the key has ${bytes.length} bytes; ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX} are allowed`;
    throw new RingkeepError('KEY_TOO_LARGE', text);
  }
  return bytes;
}

/** Checks the name of a keyspace: 1 to KEYSPACE_BYTES_MAX bytes of UTF-8. */
export function checkKeyspaceName(name: unknown): asserts name is string {
  if (typeof name !== 'string') throw invalid('the name of a keyspace must be a string');
  if (LONE_SURROGATE.test(name)) throw invalid('the name of a keyspace is not well-formed text');
  const length = Buffer.byteLength(name, 'utf8');
  if (length < 1 || length > KEYSPACE_BYTES_MAX) {
    throw invalid(`the name of a keyspace has ${length} bytes; 1 to ${KEYSPACE_BYTES_MAX} are allowed`);
  }
}
