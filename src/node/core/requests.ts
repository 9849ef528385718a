/**
 * From a client's request to the leader's write and read paths: validation, and the refusal of what this node does not
 * lead. Nothing is applied before every check has passed, so a refusal here is always `not_applied`.
 */

import { batchBytes, dependsOnValue } from '../../common/batch-items.ts';
import { asBuffer, toLatin1 } from '../../common/bytes.ts';
import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { hashTag, partitionOf } from '../../common/hash.ts';
import { heldBytes } from '../../common/held-bytes.ts';
import {
  BATCH_BYTES_MAX,
  BATCH_DEPENDING_MAX,
  BATCH_OPERATIONS_MAX,
  CODEC_TAG_MAX,
  IDEMPOTENCY_KEY_BYTES_MAX,
  KEY_BYTES_MAX,
  KEY_BYTES_MIN,
  KEYSPACE_BYTES_MAX,
  SALT_COPIES_MAX,
  TTL_MS_MAX,
} from '../../common/limits.ts';
import { CODEC_COUNTER, isInt64, parseCounter } from '../../common/text.ts';
import type { AckLevel, PartitionRecord } from '../../common/topology.ts';
import type { AckName, BatchItem, Condition, Request, SessionMark } from '../../common/wire/messages.ts';
import {
  type Ack,
  type Command,
  type Condition as Held,
  type KeyCommand,
  NO_CONDITION,
  type RequestId,
  type WriteCommand,
} from './entry.ts';
import { isBlind } from './execute.ts';
import type { Host, RequestHandle } from './host.ts';
import { userKey } from './layout.ts';
import type { Leadership } from './leadership.ts';
import { fingerprintOf, recordKey } from './once.ts';
import { pageBytes, scan } from './scan-page.ts';
import { subIncrement } from './sub-rows.ts';

const ACKS: Record<AckLevel, Ack> = { ACK_LEADER: 'leader', ACK_QUORUM: 'quorum', ACK_ALL: 'all' };
const ACK_NAMES: ReadonlySet<AckName> = new Set(['ACK_LEADER', 'ACK_QUORUM', 'ACK_ALL', 'ACK_DEFAULT']);

function invalid(code: ErrorCode, message: string): RingkeepError {
  return new RingkeepError(code, message, 'not_applied');
}

/** Checks everything that can be checked without state; null when the request is well formed. */
export function checkRequest(request: Request, valueBytesMax: number): RingkeepError | null {
  const { key, keyspace, operation } = request;
  if (operation === undefined) return invalid('INVALID_ARGUMENT', 'a request without an operation');
  if (!Number.isSafeInteger(request.id) || request.id < 0)
    return invalid('INVALID_ARGUMENT', 'id out of range');
  if (operation === 'scan') return checkScan(request);
  const problem = checkKey(key);
  if (problem !== null) return problem;
  if (Buffer.byteLength(keyspace) > KEYSPACE_BYTES_MAX) {
    return invalid('INVALID_ARGUMENT', `a keyspace name has at most ${KEYSPACE_BYTES_MAX} bytes`);
  }
  if (operation === 'get') return checkGet(request);
  if (request.saltIn && !isOfSub(request))
    return invalid(
      'INVALID_ARGUMENT',
      'only a get can be asked of a copy, and only an increment without a result of a sub-counter',
    );
  if (operation === 'salt') return checkSalt(request);
  return checkWrite(request, valueBytesMax);
}

const NO_DELTA = 'the delta is not an integer of 64 bits';

function isCount(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0;
}

function checkGet({ get, saltIn }: Request): RingkeepError | null {
  if (!get) return invalid('INVALID_ARGUMENT', 'a get without its operation');
  if (saltIn && get.level !== 'READ_LINEARIZABLE')
    return invalid('INVALID_ARGUMENT', 'copies are read at READ_LINEARIZABLE');
  const isMark = ({ index, epoch }: SessionMark): boolean => isCount(index) && isCount(epoch);
  if (isCount(get.sessionIndex) && isCount(get.maxStalenessMs) && get.early.every(isMark)) return null;
  return invalid('INVALID_ARGUMENT', 'bad numbers in a get');
}

function checkSalt({ salt }: Request): RingkeepError | null {
  if (!salt || salt.copies > SALT_COPIES_MAX)
    return invalid('INVALID_ARGUMENT', `a key has at most ${SALT_COPIES_MAX} copies, or sub-counters`);
  return isDelta(salt.delta ?? 0) ? null : invalid('INVALID_ARGUMENT', NO_DELTA);
}

/** Whether it is an increment that a sub-counter can take. */
function isOfSub({ operation, increment, saltSet = 0, idempotencyKey }: Request): boolean {
  const isPlain = operation === 'increment' && increment?.unread === true && increment.ttlMs === 0;
  return isPlain && Number.isSafeInteger(saltSet) && saltSet > 0 && (idempotencyKey?.byteLength ?? 0) === 0;
}

function checkScan(request: Request): RingkeepError | null {
  const { scan } = request;
  if (!scan || scan.cursor.byteLength > KEY_BYTES_MAX + 64) return invalid('INVALID_ARGUMENT', 'bad scan');
  return null;
}

function checkWrite(request: Request, valueBytesMax: number): RingkeepError | null {
  const { sequence, lowWater, sessionTime } = request;
  if (!ACK_NAMES.has(request.ack)) return invalid('INVALID_ARGUMENT', 'unknown acknowledgement level');
  if (!Number.isSafeInteger(sequence) || sequence < 1)
    return invalid('INVALID_ARGUMENT', 'sequences start at 1');
  if (!Number.isSafeInteger(lowWater) || lowWater < 0 || lowWater > sequence) {
    return invalid('INVALID_ARGUMENT', 'the low water is above the sequence');
  }
  if (!Number.isSafeInteger(sessionTime) || sessionTime < 0) {
    return invalid('INVALID_ARGUMENT', 'bad session time');
  }
  if ((request.idempotencyKey?.byteLength ?? 0) > IDEMPOTENCY_KEY_BYTES_MAX) {
    const text = `an idempotency key has at most ${IDEMPOTENCY_KEY_BYTES_MAX} bytes`;
    return invalid('INVALID_ARGUMENT', text);
  }
  return request.operation === 'batch'
    ? checkBatch(request, valueBytesMax)
    : checkKeyCommand(request, valueBytesMax);
}

/** What a request and an item of a batch have in common. */
type Asked = Pick<Request, 'key' | 'condition' | 'put' | 'increment' | 'touch'> & {
  readonly operation: Request['operation'] | BatchItem['operation'];
};

/** Checks one write of a key, by itself or in a batch. */
function checkKeyCommand(
  { operation, condition, put, increment, touch }: Asked,
  valueBytesMax: number,
): RingkeepError | null {
  const problem = checkCondition(operation, condition);
  if (problem !== null) return problem;
  if (operation === 'put') {
    if (!put) return invalid('INVALID_ARGUMENT', 'a put without its operation');
    if (put.value.byteLength > valueBytesMax) {
      return invalid(
        'VALUE_TOO_LARGE',
        `a value has at most ${valueBytesMax} bytes, not ${put.value.byteLength}`,
      );
    }
    // 0: a client in another language that says nothing; read as bytes.
    if (put.codec > CODEC_TAG_MAX) return invalid('INVALID_ARGUMENT', `codec tags are 0 to ${CODEC_TAG_MAX}`);
    if (put.codec === CODEC_COUNTER && parseCounter(put.value) === null)
      return invalid('INVALID_ARGUMENT', 'a counter is put as the digits of a 64-bit integer');
  }
  if (operation === 'increment') {
    if (!increment || !isDelta(increment.delta)) {
      return invalid('INVALID_ARGUMENT', NO_DELTA);
    }
  }
  if (operation === 'touch' && !touch) return invalid('INVALID_ARGUMENT', 'a touch without its operation');
  return checkTtl(put?.ttlMs ?? increment?.ttlMs ?? touch?.ttlMs ?? 0);
}

function checkBatch({ key, condition, batch }: Request, valueBytesMax: number): RingkeepError | null {
  const items = batch?.items ?? [];
  if (condition && condition.kind !== 'CONDITION_NONE') {
    return invalid('INVALID_ARGUMENT', 'the conditions of a batch are those of its operations');
  }
  if (items.length === 0) return invalid('INVALID_ARGUMENT', 'a batch without operations');
  const bytes = batchBytes(items);
  if (items.length > BATCH_OPERATIONS_MAX || bytes > BATCH_BYTES_MAX) {
    const limits = `at most ${BATCH_OPERATIONS_MAX} operations and ${BATCH_BYTES_MAX} bytes`;
    return invalid('BATCH_TOO_LARGE', `a batch has ${limits}, not ${items.length} and ${bytes}`);
  }
  const depending = items.filter(dependsOnValue).length;
  if (depending > BATCH_DEPENDING_MAX) {
    const text = `at most ${BATCH_DEPENDING_MAX} operations of a batch depend on values, not ${depending}`;
    return invalid('BATCH_TOO_LARGE', text);
  }
  const tag = asBuffer(hashTag(key));
  const names = new Set<string>();
  for (const item of items) {
    if (item.operation === undefined) return invalid('INVALID_ARGUMENT', 'a batch with an empty operation');
    const problem = checkKey(item.key) ?? checkItem(item, valueBytesMax);
    if (problem !== null) return problem;
    if (!tag.equals(hashTag(item.key))) {
      const text = 'the keys of a batch have one hash tag: write the same {tag} into each of them';
      return invalid('CROSS_PARTITION', text);
    }
    names.add(toLatin1(item.key));
  }
  if (names.size < items.length) return invalid('INVALID_ARGUMENT', 'a batch with a key twice');
  return null;
}

function checkItem(item: BatchItem, valueBytesMax: number): RingkeepError | null {
  if (item.operation !== 'check') return checkKeyCommand(item, valueBytesMax);
  if (item.condition && item.condition.kind !== 'CONDITION_NONE')
    return checkCondition('check', item.condition);
  return invalid('INVALID_ARGUMENT', 'a check without a condition');
}

function checkKey(key: Uint8Array): RingkeepError | null {
  if (key.byteLength >= KEY_BYTES_MIN && key.byteLength <= KEY_BYTES_MAX) return null;
  const text = `a key has ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX} bytes, not ${key.byteLength}`;
  return invalid('KEY_TOO_LARGE', text);
}

function isDelta(delta: number | bigint): boolean {
  return typeof delta === 'bigint' ? isInt64(delta) : Number.isSafeInteger(delta);
}

function checkTtl(ttlMs: number): RingkeepError | null {
  if (Number.isSafeInteger(ttlMs) && ttlMs >= 0 && ttlMs <= TTL_MS_MAX) return null;
  return invalid('INVALID_ARGUMENT', `a time to live has at most ${TTL_MS_MAX} ms`);
}

const CONDITIONAL: ReadonlySet<string> = new Set(['put', 'delete', 'touch', 'check']);

function checkCondition(
  operation: BatchItem['operation'] | Request['operation'],
  condition: Condition | null | undefined,
): RingkeepError | null {
  if (!condition || condition.kind === 'CONDITION_NONE') return null;
  if (!CONDITIONAL.has(operation)) {
    return invalid('INVALID_ARGUMENT', 'only a put, a delete, a touch and a check may have a condition');
  }
  const { kind, version } = condition;
  if (operation === 'touch' && kind === 'CONDITION_ABSENT') {
    return invalid('INVALID_ARGUMENT', 'what is absent has no time to live');
  }
  if (kind === 'CONDITION_ABSENT' || kind === 'CONDITION_EXISTS') return null;
  if (kind !== 'CONDITION_VERSION') return invalid('INVALID_ARGUMENT', 'unknown condition');
  if (Number.isSafeInteger(version) && version >= 1) return null;
  return invalid('INVALID_ARGUMENT', 'versions start at 1');
}

/**
 * What a request may make this node hold: its own bytes, for a scan the page that is being read for it, and for a touch the
 * value that it keeps.
 */
export function requestBytes(request: Request, valueBytesMax: number): number {
  const { scan, touch } = request;
  const read = (scan ? pageBytes(scan.bytesMax) : 0) + (touch ? valueBytesMax : 0);
  return 64 + heldBytes(request) + read;
}

/** The partition that a request belongs to. */
export function partitionFor(request: Request, partitions: number): number {
  return request.operation === 'scan' ? request.scan!.partition : partitionOf(request.key, partitions);
}

/** Says that this node does not lead, and who does as far as it knows. */
export function notLeader(
  partition: number,
  record: PartitionRecord | undefined,
  draining: boolean,
): RingkeepError {
  const details = { partition, retryAfterMs: 20, epoch: record?.epoch ?? 0 };
  const leader = record?.leader?.node;
  return new RingkeepError(
    'NOT_LEADER',
    `this node ${draining ? 'is stopping and ' : ''}does not lead partition ${partition}`,
    'not_applied',
    leader === undefined ? details : { ...details, leader },
  );
}

function heldBy(condition: Condition | null | undefined): Held {
  switch (condition?.kind) {
    case 'CONDITION_ABSENT':
      return { kind: 'absent' };
    case 'CONDITION_EXISTS':
      return { kind: 'exists' };
    case 'CONDITION_VERSION':
      return { kind: 'version', version: condition.version };
    default:
      return NO_CONDITION;
  }
}

/** What the fields of a request or of an item of a batch ask for. `clock`: the timestamp that the entry will have. */
function keyCommand(asked: Asked, keyspace: string, clock: number): KeyCommand {
  const expiry = (ttlMs: number): number => (ttlMs === 0 ? 0 : clock + ttlMs);
  const key = userKey(keyspace, asked.key);
  const condition = heldBy(asked.condition);
  switch (asked.operation) {
    case 'put': {
      const { codec, value, ttlMs } = asked.put!;
      return { kind: 'put', key, codec, expiresAt: expiry(ttlMs), value, condition };
    }
    case 'increment': {
      const { delta, ttlMs } = asked.increment!;
      return { kind: 'increment', key, delta: BigInt(delta), expiresAt: expiry(ttlMs) };
    }
    case 'touch':
      return { kind: 'touch', key, expiresAt: expiry(asked.touch!.ttlMs), condition };
    case 'check':
      return { kind: 'check', key, condition };
    default:
      return { kind: 'delete', key, condition };
  }
}

function writeOf(request: Request, clock: number): WriteCommand {
  const { keyspace, operation, batch, key, increment } = request;
  if (request.saltIn) return subIncrement(request.saltSet!, userKey(keyspace, key), BigInt(increment!.delta));
  if (operation !== 'batch') return keyCommand(request, keyspace, clock);
  return {
    kind: 'batch',
    items: batch!.items.map((item) => keyCommand(item, keyspace, clock)),
  };
}

/** `keptMs`: how long idempotency keys are kept. */
function commandOf(request: Request, clock: number, keptMs: number): Command {
  const write = writeOf(request, clock);
  const { idempotencyKey } = request;
  if (idempotencyKey === undefined || idempotencyKey.byteLength === 0) return write;
  const record = recordKey(idempotencyKey, request.keyspace, request.key);
  return { kind: 'once', record, fingerprint: fingerprintOf(request), keptUntil: clock + keptMs, write };
}

/** The level that a write asks for, or the default one; that is never below what tells the write's result. */
function ackOf({ ack, keyspace }: Request, command: Command, host: Host): Ack {
  if (ack !== 'ACK_DEFAULT') return ACKS[ack];
  const level = ACKS[host.defaultAck(keyspace)];
  return level === 'leader' && !isBlind(command) ? 'quorum' : level;
}

/** Hands a checked request to the leader. `client` is the session's 16 bytes as a latin1 string. */
export function execute(
  leadership: Leadership,
  handle: RequestHandle,
  request: Request,
  client: string,
): void {
  const { replica, host } = leadership;
  leadership.requests += 1;
  if (request.operation === 'get') {
    const key = userKey(request.keyspace, request.key);
    return leadership.reads.read(handle, () => replica.gets.add(handle, key));
  }
  if (request.operation === 'scan')
    return leadership.reads.read(handle, () => scan(leadership, handle, request));
  if (request.operation === 'salt') {
    const key = userKey(request.keyspace, request.key);
    const { salts, counters } = leadership;
    const isCounter = request.salt!.counter === true || counters.has(key);
    if (isCounter) return counters.request(handle, key, request.salt!);
    return salts.request(handle, key, request.salt!.copies);
  }
  if (leadership.pauseTarget !== '') {
    const details = { partition: replica.partition, retryAfterMs: 5 };
    const message = 'the leadership is being handed over';
    return host.fail(handle, new RingkeepError('NOT_LEADER', message, 'not_applied', details));
  }
  const { sequence, lowWater, sessionTime } = request;
  const id: RequestId = { client, sequence, lowWater, sessionTime };
  const { writes } = leadership;
  const command = commandOf(request, writes.clock, host.options.idempotencyMs);
  const unread = request.increment?.unread === true ? userKey(request.keyspace, request.key) : null;
  writes.propose({ handle, id, ack: ackOf(request, command, host), command, unread });
}
