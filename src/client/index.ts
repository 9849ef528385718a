/**
 * Ringkeep's client SDK: what `import ... from 'ringkeep'` gives. Exports only; the client is client.ts, and
 * how an operation runs is engine.ts. The reference keeps Node's types in the published declarations: they use
 * EventEmitter and AsyncDisposable, which a project that names no types does not know.
 */
/// <reference types="node" preserve="true" />
import { grpcConnector } from '../common/wire/connections.ts';
import { createClient, type RingkeepClient } from './client.ts';
import type { ConnectOptions } from './options.ts';

/**
 * Creates a client of a cluster. Connects when it is first used, so a wrong address shows as UNAVAILABLE of
 * the first operation, or of `ready()`.
 *
 * @param target a URL of one or more addresses, `ringkeep://HOST:PORT,HOST:PORT`, or options with `endpoints`
 * @throws RingkeepError INVALID_ARGUMENT for a bad address or option
 * @example
 * const db = connect('ringkeep://127.0.0.1:7400');
 * const receipt = await db.put('user:1', { name: 'Ada' });
 * const user = await db.get('user:1');
 * await db.close();
 * @example
 * const db = connect({ endpoints: ['10.0.0.1:7400', '10.0.0.2:7400'], mode: 'direct' });
 */
export function connect(target: string | ConnectOptions, options?: Partial<ConnectOptions>): RingkeepClient {
  return createClient(grpcConnector, target, options);
}

export { ERROR_CODES, type ErrorCode, type Outcome, RingkeepError } from '../common/errors.ts';
export type { HistoryCondition, HistoryEvent, HistoryOutput } from '../common/history.ts';
export type {
  HotFigures,
  HotKeyFigures,
  HotNodeFigures,
  HotPartitionFigures,
  KeyCopyFigures,
  SaltedKeyFigures,
} from '../common/hot.ts';
export type {
  ClientAdmin,
  HotOptions,
  SaltCounterOptions,
  SaltedKey,
  SaltOptions,
  UnsaltOptions,
} from './admin.ts';
export type { BatchItemResult, BatchOperation, BatchReceipt } from './batch.ts';
export { RingkeepClient } from './client.ts';
export { CODEC_TAGS, type CodecName, decodeValue, encodeValue } from './codec.ts';
export type { ClientEvents, ClientLogger } from './events.ts';
export { type Key, Keyspace, type PutResult } from './keyspace.ts';
export type { CounterReceipt, Entry, Receipt, ScanPage, ScanRow } from './operation.ts';
export type {
  Ack,
  CallOptions,
  ConditionalOptions,
  ConnectOptions,
  IdempotentOptions,
  IncrementOptions,
  KeyspaceOptions,
  LivingOptions,
  PutOptions,
  ReadLevel,
  ReadOptions,
  TouchOptions,
  WriteOptions,
} from './options.ts';
export type { RetryOptions } from './retry-policy.ts';
export type { ScanOptions } from './scan.ts';
export { Session } from './session.ts';
export type { UpdateResult } from './update.ts';
