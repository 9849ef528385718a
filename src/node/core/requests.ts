/**
 * From a client's request to the leader's write and read paths: validation, and the refusal of what this node does not
 * lead. Nothing is applied before every check has passed, so a refusal here is always `not_applied`.
 */

import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { partitionOf } from '../../common/hash.ts';
import { KEY_BYTES_MAX, KEY_BYTES_MIN, KEYSPACE_BYTES_MAX, TTL_MS_MAX } from '../../common/limits.ts';
import { CODEC_COUNTER, isInt64, parseCounter } from '../../common/text.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { Request, Row } from '../../common/wire/messages.ts';
import { answerGet, damagedRead, failedRead, shown } from './answers.ts';
import { type Ack, type Command, type Condition, NO_CONDITION, type RequestId } from './entry.ts';
import type { RequestHandle } from './host.ts';
import {
  absoluteKey,
  DamagedRowError,
  decodeValue,
  relativeKey,
  type StoredValue,
  splitUserKey,
  storeRange,
  TABLE_VALUES,
  userKey,
} from './layout.ts';
import type { Leadership } from './leadership.ts';

const ACKS: Record<Request['ack'], Ack> = { ACK_LEADER: 'leader', ACK_QUORUM: 'quorum', ACK_ALL: 'all' };
const CODEC_MAX = 255;
const SCAN_BYTES_MAX = 1024 * 1024;

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
  if (key.byteLength < KEY_BYTES_MIN || key.byteLength > KEY_BYTES_MAX) {
    return invalid(
      'KEY_TOO_LARGE',
      `a key has ${KEY_BYTES_MIN} to ${KEY_BYTES_MAX} bytes, not ${key.byteLength}`,
    );
  }
  if (Buffer.byteLength(keyspace) > KEYSPACE_BYTES_MAX) {
    return invalid('INVALID_ARGUMENT', `a keyspace name has at most ${KEYSPACE_BYTES_MAX} bytes`);
  }
  if (operation === 'get') return checkGet(request);
  return checkWrite(request, valueBytesMax);
}

function checkGet({ get }: Request): RingkeepError | null {
  if (!get) return invalid('INVALID_ARGUMENT', 'a get without its operation');
  const { sessionIndex, early, maxStalenessMs } = get;
  const numbers = [sessionIndex, maxStalenessMs, ...early.flatMap(({ index, epoch }) => [index, epoch])];
  if (numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) return null;
  return invalid('INVALID_ARGUMENT', 'bad numbers in a get');
}

function checkScan(request: Request): RingkeepError | null {
  const { scan } = request;
  if (!scan || scan.cursor.byteLength > KEY_BYTES_MAX + 64) return invalid('INVALID_ARGUMENT', 'bad scan');
  return null;
}

function checkWrite(request: Request, valueBytesMax: number): RingkeepError | null {
  const { sequence, lowWater, sessionTime, put, increment } = request;
  if (ACKS[request.ack] === undefined) return invalid('INVALID_ARGUMENT', 'unknown acknowledgement level');
  if (!Number.isSafeInteger(sequence) || sequence < 1)
    return invalid('INVALID_ARGUMENT', 'sequences start at 1');
  if (!Number.isSafeInteger(lowWater) || lowWater < 0 || lowWater > sequence) {
    return invalid('INVALID_ARGUMENT', 'the low water is above the sequence');
  }
  if (!Number.isSafeInteger(sessionTime) || sessionTime < 0) {
    return invalid('INVALID_ARGUMENT', 'bad session time');
  }
  const problem = checkCondition(request);
  if (problem !== null) return problem;
  if (request.operation === 'put') {
    if (!put) return invalid('INVALID_ARGUMENT', 'a put without its operation');
    if (put.value.byteLength > valueBytesMax) {
      return invalid(
        'VALUE_TOO_LARGE',
        `a value has at most ${valueBytesMax} bytes, not ${put.value.byteLength}`,
      );
    }
    // 0: a client in another language that says nothing; read as bytes.
    if (put.codec > CODEC_MAX) return invalid('INVALID_ARGUMENT', 'codec tags are 0 to 255');
    if (put.codec === CODEC_COUNTER && parseCounter(put.value) === null)
      return invalid('INVALID_ARGUMENT', 'a counter is put as the digits of a 64-bit integer');
  }
  if (request.operation === 'increment') {
    if (!increment || !isDelta(increment.delta)) {
      return invalid('INVALID_ARGUMENT', 'the delta is not an integer of 64 bits');
    }
  }
  if (request.operation === 'touch' && !request.touch) {
    return invalid('INVALID_ARGUMENT', 'a touch without its operation');
  }
  return checkTtl(put?.ttlMs ?? increment?.ttlMs ?? request.touch?.ttlMs ?? 0);
}

function isDelta(delta: number | bigint): boolean {
  return typeof delta === 'bigint' ? isInt64(delta) : Number.isSafeInteger(delta);
}

function checkTtl(ttlMs: number): RingkeepError | null {
  if (Number.isSafeInteger(ttlMs) && ttlMs >= 0 && ttlMs <= TTL_MS_MAX) return null;
  return invalid('INVALID_ARGUMENT', `a time to live has at most ${TTL_MS_MAX} ms`);
}

function checkCondition({ condition, operation }: Request): RingkeepError | null {
  if (!condition || condition.kind === 'CONDITION_NONE') return null;
  if (operation !== 'put' && operation !== 'delete' && operation !== 'touch') {
    return invalid('INVALID_ARGUMENT', 'only a put, a delete and a touch may have a condition');
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
  const { key, put, scan, touch } = request;
  const read = (scan ? pageBytes(scan.bytesMax) : 0) + (touch ? valueBytesMax : 0);
  return 64 + key.byteLength + (put?.value.byteLength ?? 0) + read;
}

/** Bytes of a scan's page. */
function pageBytes(asked: number): number {
  return Math.min(Math.max(asked, 1), SCAN_BYTES_MAX);
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

function conditionOf({ condition }: Request): Condition {
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

/** `clock`: the timestamp that the entry will have. */
function commandOf(request: Request, clock: number): Command {
  const expiry = (ttlMs: number): number => (ttlMs === 0 ? 0 : clock + ttlMs);
  const key = userKey(request.keyspace, request.key);
  switch (request.operation) {
    case 'put': {
      const { codec, value, ttlMs } = request.put!;
      return { kind: 'put', key, codec, expiresAt: expiry(ttlMs), value, condition: conditionOf(request) };
    }
    case 'increment':
      return {
        kind: 'increment',
        key,
        delta: BigInt(request.increment!.delta),
        expiresAt: expiry(request.increment!.ttlMs),
      };
    case 'touch':
      return { kind: 'touch', key, expiresAt: expiry(request.touch!.ttlMs), condition: conditionOf(request) };
    default:
      return { kind: 'delete', key, condition: conditionOf(request) };
  }
}

/** Hands a checked request to the leader. `client` is the session's 16 bytes as a latin1 string. */
export function execute(
  leadership: Leadership,
  handle: RequestHandle,
  request: Request,
  client: string,
): void {
  const { replica, host } = leadership;
  if (request.operation === 'get') {
    const key = userKey(request.keyspace, request.key);
    return leadership.reads.read(handle, () => answerGet(replica, handle, key));
  }
  if (request.operation === 'scan')
    return leadership.reads.read(handle, () => scan(leadership, handle, request));
  if (leadership.pauseTarget !== '') {
    const details = { partition: replica.partition, retryAfterMs: 5 };
    const message = 'the leadership is being handed over';
    return host.fail(handle, new RingkeepError('NOT_LEADER', message, 'not_applied', details));
  }
  const { sequence, lowWater, sessionTime } = request;
  const id: RequestId = { client, sequence, lowWater, sessionTime };
  const { writes } = leadership;
  writes.propose(handle, id, ACKS[request.ack], commandOf(request, writes.clock));
}

/** One page in key order. The view is opened behind every decided write, so the page is as linearizable as a get. */
function scan(leadership: Leadership, handle: RequestHandle, request: Request): void {
  const { replica, host } = leadership;
  const { partition, machine } = replica;
  const { cursor, bytesMax, allKeyspaces } = request.scan!;
  const range = storeRange(partition, machine.generation, TABLE_VALUES);
  const prefix = Buffer.from([TABLE_VALUES]);
  const from =
    cursor.byteLength === 0
      ? range.from
      : absoluteKey(partition, machine.generation, Buffer.concat([prefix, cursor]));
  machine.openView(false, (error, _mark, view) => {
    if (error !== null || view === undefined) return host.fail(handle, failedRead(partition, error));
    host.store({
      kind: 'readView',
      view,
      from,
      to: range.to,
      bytesMax: pageBytes(bytesMax),
      done: (failure, result) => {
        host.store({ kind: 'closeView', view });
        if (failure !== null || result === undefined)
          return host.fail(handle, failedRead(partition, failure));
        const last = result.rows[result.rows.length - 1];
        const next =
          result.more && last !== undefined
            ? Buffer.concat([relativeKey(last.key).subarray(1), Buffer.of(0)])
            : new Uint8Array(0);
        const rows = pageRows(result.rows, allKeyspaces ? null : request.keyspace);
        if (rows !== null) return host.reply(handle, { result: 'rows', rows: { rows, cursor: next } });
        replica.markDamaged('a value failed its checksum in a scan');
        host.fail(handle, damagedRead(partition));
      },
    });
  });
}

function pageRows(
  rows: readonly { key: Uint8Array; value: Uint8Array }[],
  keyspace: string | null,
): Row[] | null {
  const page: Row[] = [];
  for (const { key, value } of rows) {
    const row = relativeKey(key).subarray(1);
    const name = splitUserKey(row);
    let stored: StoredValue;
    try {
      stored = decodeValue(row, value);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      return null;
    }
    if (keyspace !== null && keyspace !== name.keyspace) continue;
    page.push({ ...name, ...shown(stored), version: stored.version });
  }
  return page;
}
