/**
 * The record of what callers asked and were told, for the linearizability checker. Off unless a recorder is
 * given; it sees keys and values, so it is for tests and chaos runs. What an event says is common/history.ts.
 * INVARIANT: `call` is taken before anything is sent and `return` after the answer was received, on the
 * system's one monotonic clock, so that histories of several processes of one machine can be merged.
 * INVARIANT: every write that was taken is recorded, at the latest when its client is destroyed; only what was
 * refused before anything was sent is not.
 */
import type { RingkeepError } from '../common/errors.ts';
import type { HistoryCondition, HistoryEvent, HistoryOutput } from '../common/history.ts';
import { keyText } from '../common/text.ts';
import type {
  AckName,
  BatchItem,
  Condition,
  PutOperation,
  ReadLevelName,
  Receipt,
  Reply,
} from '../common/wire/messages.ts';
import { decodeValue } from './codec.ts';
import type { Operation, OperationSpec } from './operation.ts';

/**
 * Returns what a reader will get. Not the caller's value: it may be changed after the call, and a codec may not give back
 * what it was given (a Map, a field that is undefined).
 */
function readable({ codec, value }: PutOperation): unknown {
  try {
    return decodeValue(codec, value);
  } catch {
    return value;
  }
}

/** Returns a condition as histories have it. */
export function historyCondition({ kind, version }: Condition): HistoryCondition {
  if (kind === 'CONDITION_VERSION') return { ifVersion: version };
  return kind === 'CONDITION_ABSENT' ? { ifAbsent: true } : { ifExists: true };
}

const LEVELS = {
  READ_LINEARIZABLE: undefined,
  READ_QUORUM: 'quorum',
  READ_SESSION: 'session',
  READ_STALE: 'stale',
} as const;

function levelOf(name: ReadLevelName): Pick<HistoryEvent, 'level'> {
  const level = LEVELS[name];
  return level === undefined ? {} : { level };
}

const ACKS = { ACK_LEADER: 'leader', ACK_QUORUM: 'quorum', ACK_ALL: 'all', ACK_DEFAULT: undefined } as const;

function ackOf(name: AckName): Pick<HistoryEvent, 'ack'> {
  const ack = ACKS[name];
  return ack === undefined ? {} : { ack };
}

/** What is recorded of an operation on one key. */
interface OneKey
  extends Pick<OperationSpec, 'key' | 'condition' | 'put' | 'delta' | 'ttlMs'>,
    Partial<Pick<OperationSpec, 'unread'>> {
  readonly kind: HistoryEvent['op'];
}

/** Of a write that is known to have had none: another condition of its batch failed, or an earlier call has done it. */
const NO_EFFECT: HistoryOutput = { result: 'not_applied' };

function itemOutput(
  { version, durability, conditionFailed, items }: Receipt,
  kind: BatchItem['operation'],
  at: number,
): HistoryOutput {
  const item = items[at];
  if (!conditionFailed) {
    const value = kind === 'increment' && item !== undefined ? { value: Number(item.counter) } : {};
    return { result: 'ok', version, durability, ...value };
  }
  if (item?.conditionFailed !== true) return NO_EFFECT;
  return { result: 'ok', applied: false, version: item.version, durability };
}

/** Turns ended operations into history events. Page reads are not recorded. */
export class HistoryRecorder {
  readonly #client: string;
  readonly #record: (event: HistoryEvent) => void;

  constructor(clientId: Uint8Array, record: (event: HistoryEvent) => void) {
    this.#client = Buffer.from(clientId).toString('hex');
    this.#record = record;
  }

  /** Returns microseconds of the system's monotonic clock. */
  clock(): number {
    return Number(process.hrtime.bigint() / 1_000n);
  }

  /** Records an operation that ended well; `result` is what its caller gets, `reply` the answer it was made of. */
  succeeded(operation: Operation, result: unknown, reply: Reply): void {
    const { shape } = operation.spec;
    if (reply.value) {
      if (!reply.value.found) return this.#add(operation, { result: 'ok', found: false });
      const value = shape === 'entry' ? (result as { value: unknown }).value : result;
      // A salted counter is of no single write.
      const { version } = reply.value;
      this.#add(operation, { result: 'ok', found: true, value, ...(version === 0 ? {} : { version }) });
    } else if (reply.receipt?.repeated) {
      this.#addAll(operation, NO_EFFECT);
    } else if (reply.receipt && operation.spec.batch !== null) {
      this.#addBatch(operation, operation.spec.batch, (kind, at) => itemOutput(reply.receipt!, kind, at));
    } else if (reply.receipt) {
      const { version, durability, counter, conditionFailed } = reply.receipt;
      const value = shape === 'counter' ? { value: Number(counter) } : {};
      const refused = conditionFailed ? { applied: false } : {};
      // That of an increment without a result may be one of another partition.
      const place = operation.spec.unread ? {} : { version };
      this.#add(operation, { result: 'ok', ...refused, ...place, durability, ...value });
    }
  }

  /** Records an operation that ended with an error. */
  failed(operation: Operation, error: RingkeepError): void {
    // That it is applied is also said where an earlier call with the same idempotency key is what took effect.
    const isOwn = error.outcome !== 'applied' || operation.spec.idempotencyKey.length === 0;
    this.#addAll(operation, { result: isOwn ? error.outcome : 'unknown', code: error.code });
  }

  #addAll(operation: Operation, output: HistoryOutput): void {
    const { batch } = operation.spec;
    if (batch === null) this.#add(operation, output);
    else this.#addBatch(operation, batch, () => output);
  }

  /** A batch is a write of each of its keys, at once. Its checks are no writes, and are left out. */
  #addBatch(
    operation: Operation,
    batch: readonly BatchItem[],
    outputOf: (kind: BatchItem['operation'], at: number) => HistoryOutput,
  ): void {
    for (const [at, item] of batch.entries()) {
      const { key, operation: kind, condition = null, put = null, increment } = item;
      if (kind === 'check') continue;
      const rest = { delta: increment?.delta ?? 0, ttlMs: increment?.ttlMs ?? 0 };
      this.#write(operation, { kind, key, condition, put, ...rest }, outputOf(kind, at));
    }
  }

  #add(operation: Operation, output: HistoryOutput): void {
    const { kind } = operation.spec;
    if (kind !== 'scan' && kind !== 'batch' && kind !== 'salt')
      this.#write(operation, { ...operation.spec, kind }, output);
  }

  /** Records what an operation did with one key. */
  #write(
    operation: Operation,
    { kind, key, put, delta, condition, unread, ...rest }: OneKey,
    output: HistoryOutput,
  ): void {
    const { keyspace, ack, level } = operation.spec;
    const ttlMs = put?.ttlMs ?? rest.ttlMs;
    const input =
      put !== null ? { input: readable(put) } : kind === 'increment' ? { input: Number(delta) } : {};
    this.#record({
      client: this.#client,
      keyspace,
      key: keyText(key),
      op: kind,
      ...input,
      ...(unread ? { spread: true as const } : {}),
      ...(condition === null ? {} : { condition: historyCondition(condition) }),
      ...(ttlMs === 0 ? {} : { ttlMs }),
      ...(kind === 'get' ? levelOf(level) : ackOf(ack)),
      call: operation.calledAt,
      return: this.clock(),
      output,
    });
  }
}
