/** What a node may be told at its start, and what of it its core is told: defaults are filled in here. Ids and times are the shell's. */
import { randomBytes } from 'node:crypto';
import * as limits from '../common/limits.ts';
import type { Log, LogLevel } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import type { NodeCoreOptions } from './core/api.ts';
import type { Format } from './format.ts';

/** How a node is started. Addresses are HOST:PORT; port 0 takes a free one. */
export interface NodeOptions {
  readonly id: string;
  readonly dataDirectory: string;
  readonly listen: string;
  /** Address that other nodes and routers are told; default: the bound one. */
  readonly advertise?: string;
  /** Address that clients are told; default: `advertise`. */
  readonly advertiseClient?: string;
  readonly routers: readonly string[];
  /** Address under which this process reaches a node, by node id. */
  readonly peers?: ReadonlyMap<string, string>;
  readonly zone?: string;
  /** It joins a cluster that exists: no new one is formed of it. */
  readonly joins?: boolean;
  readonly insecure?: boolean;
  /** Where metrics and health are served; absent: nowhere. */
  readonly httpListen?: string;
  readonly valueBytesMax?: number;
  /** Free bytes below which writes are refused, so that the store below never meets a full disk. */
  readonly diskReserveBytes?: number;
  readonly checkpointBytes?: number;
  readonly walRetentionBytes?: number;
  readonly walSegmentBytes?: number;
  readonly sessionWindowMs?: number;
  readonly idempotencyMs?: number;
  /** Time between two scrubs of a partition. */
  readonly scrubIntervalMs?: number;
  readonly scrubBytesPerSecond?: number;
  /** Reads per second of one key from which on it is salted; 0: never by itself. */
  readonly saltReadsPerSecond?: number;
  /** The highest protocol version to speak, for rolling upgrades; default: PROTOCOL_MAX. */
  readonly protocolMax?: number;
  readonly logLevel?: LogLevel;
  readonly log?: Log;
}

/** Returns what the core of a node is told, for one start on its directory. */
export function coreOptions(options: NodeOptions, format: Format): NodeCoreOptions {
  return {
    nodeId: options.id,
    incarnation: format.incarnation,
    boot: format.boot,
    run: format.runs.at(-1)!,
    valueBytesMax: options.valueBytesMax ?? limits.VALUE_BYTES_MAX,
    random: createRandom(randomBytes(6).readUIntBE(0, 6)).next,
    checkpointBytes: options.checkpointBytes ?? limits.CHECKPOINT_BYTES,
    walRetentionBytes: options.walRetentionBytes ?? limits.WAL_RETENTION_BYTES,
    walHeldBytes: limits.WAL_HELD_BYTES,
    copyReserveBytes: (options.diskReserveBytes ?? limits.DISK_RESERVE_BYTES) * limits.COPY_RESERVES,
    sessionWindowMs: options.sessionWindowMs ?? limits.SESSION_WINDOW_MS,
    idempotencyMs: options.idempotencyMs ?? limits.IDEMPOTENCY_MS,
    logCacheBytes: limits.LOG_CACHE_BYTES,
    appendEntriesMax: limits.APPEND_ENTRIES_MAX,
    appendBytesTarget: limits.MESSAGE_BYTES_TARGET,
    snapshotChunkBytes: limits.SNAPSHOT_CHUNK_BYTES,
    snapshotBytesPerSecond: limits.SNAPSHOT_BYTES_PER_SECOND,
    scrubIntervalMs: options.scrubIntervalMs ?? limits.SCRUB_INTERVAL_MS,
    saltReadsPerSecond: options.saltReadsPerSecond ?? limits.SALT_READS_PER_SECOND,
    scrubBytesPerSecond: options.scrubBytesPerSecond ?? limits.SCRUB_BYTES_PER_SECOND,
    requestsMax: limits.NODE_REQUESTS_MAX,
    requestBytesMax: limits.NODE_REQUEST_BYTES_MAX,
  };
}
