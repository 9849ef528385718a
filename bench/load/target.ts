/**
 * What an operation does to a cluster: one call of the client, or two for READ-MODIFY-WRITE. A scan reads in the order of one
 * partition, since keys are hashed to partitions: it starts at the partition and place of its key and ends with it.
 */
import type { Keyspace, RingkeepClient } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { partitionOf } from '#src/common/hash.ts';
import type { Sequence } from '../workload/workload.ts';
import type { Slot } from './loop.ts';
import type { Failure } from './recorder.ts';

/** Read levels that a cluster offers. */
export const READ_LEVELS = ['linearizable'] as const;

export type ReadLevel = (typeof READ_LEVELS)[number];

/** Where operations go. */
export interface TargetOptions {
  readonly client: RingkeepClient;
  readonly table: string;
  readonly space: Keyspace<Uint8Array>;
  readonly sequence: Sequence;
  readonly partitions: number;
  /** Bytes of a value, about. */
  readonly valueBytes: number;
  /** Whether slots are told their partition. */
  readonly tellPartition: boolean;
}

/** Pages of a scan hold at most this. */
const PAGE_BYTES_MAX = 1024 * 1024;
/** Bytes of a row besides its value, about. */
const ROW_BYTES = 100;

/** Returns where a scan of a keyspace starts: a row's place in its partition is its keyspace and key. */
function cursorOf(table: string, key: string): Buffer {
  const name = Buffer.from(table);
  return Buffer.concat([Buffer.of(name.length), name, Buffer.from(key)]);
}

/** Reads up to `length` rows from `key` on. Rejects as a read does. */
async function scanFrom(options: TargetOptions, key: string, length: number): Promise<void> {
  const { client, table, partitions, valueBytes } = options;
  const bytesMax = Math.min(PAGE_BYTES_MAX, Math.max(1, length * (valueBytes + ROW_BYTES)));
  const partition = partitionOf(Buffer.from(key), partitions);
  let rows = 0;
  for await (const page of client.scan({
    partition,
    keyspace: table,
    cursor: cursorOf(table, key),
    bytesMax,
  })) {
    rows += page.rows.length;
    if (rows >= length) return;
  }
}

/** Returns the function that starts operations. */
export function createTarget(options: TargetOptions): (slot: Slot) => void {
  const { space, sequence, partitions, tellPartition } = options;
  const { records } = sequence;
  const start = (slot: Slot, key: string): void => {
    const { kind, record, scanLength } = slot.planned;
    switch (kind) {
      case 'READ':
        space.get(key).then(slot.read, slot.fail);
        return;
      case 'UPDATE':
        space.put(key, sequence.value()).then(slot.succeed, slot.fail);
        return;
      case 'INSERT':
        space.put(key, sequence.value()).then(
          () => {
            records.endInsert(record);
            slot.succeed();
          },
          (error: unknown) => {
            records.endInsert(record);
            slot.fail(error);
          },
        );
        return;
      case 'SCAN':
        scanFrom(options, key, scanLength).then(slot.succeed, slot.fail);
        return;
      case 'READ-MODIFY-WRITE':
        space
          .get(key)
          .then(() => space.put(key, sequence.value()))
          .then(slot.succeed, slot.fail);
    }
  };
  return (slot) => {
    const key = records.key(slot.planned.record);
    if (tellPartition) slot.partition = partitionOf(Buffer.from(key), partitions);
    start(slot, key);
  };
}

/** Returns what is known of an error of the client. @throws what is none of its errors */
export function describeFailure(error: unknown): Failure {
  if (error instanceof RingkeepError) return error;
  throw error;
}
