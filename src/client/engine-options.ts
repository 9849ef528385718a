/** What a client's engine works with. */
import type { Clock } from '../common/clock.ts';
import type { ClientReporter } from './events.ts';
import type { HistoryRecorder } from './history.ts';
import type { Transport } from './link.ts';
import type { RetryOptions } from './retry-policy.ts';

/** What the engine is given. */
export interface EngineOptions {
  readonly transport: Transport;
  readonly reporter: ClientReporter;
  readonly recorder: Pick<HistoryRecorder, 'clock' | 'succeeded' | 'failed'> | null;
  readonly retry: RetryOptions;
  readonly clientId: Uint8Array;
  /** Names the deduplication sessions of writes that wait for every voter (sequence-windows.ts). */
  readonly wholeClientId: Uint8Array;
  readonly connectTimeoutMs: number;
  readonly operationsMax: number;
  readonly operationBytesMax: number;
  readonly valueBytesMax: number;
  /** Default: the process's. */
  readonly clock?: Clock;
}
