/**
 * What an operation does to a cluster: one call of the client, or two for READ-MODIFY-WRITE. A scan reads in the order of one
 * partition, since keys are hashed to partitions: it starts at the partition and place of its key and ends with it.
 */
import type { Keyspace, ReadLevel, RingkeepClient } from '#src/client/index.ts';
import { type Outcome, RingkeepError } from '#src/common/errors.ts';
import { partitionOf } from '#src/common/hash.ts';
import type { Sequence } from '../workload/workload.ts';
import type { Slot } from './loop.ts';
import type { Failure } from './recorder.ts';

/** Read levels that a cluster offers. */
export const READ_LEVELS: readonly ReadLevel[] = ['linearizable', 'quorum', 'session', 'stale'];

/** Where operations go. */
export interface TargetOptions {
  readonly client: RingkeepClient;
  readonly table: string;
  readonly space: Keyspace<Uint8Array>;
  readonly sequence: Sequence;
  readonly partitions: number;
  /** Bytes of a value, about. */
  readonly valueBytes: number;
  readonly read: ReadLevel;
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

/** A read that did not return the value of its key: with `dataintegrity` it has failed. */
export class WrongValue extends Error implements Failure {
  readonly code = 'WRONG_VALUE';
  /** A read changes nothing. */
  readonly outcome: Outcome = 'not_applied';
}

/** Reads a key; with `dataintegrity`, rejects with WrongValue for nothing and for anything but its value. */
async function readChecked(
  { space, sequence, read }: TargetOptions,
  key: string,
): Promise<Uint8Array | undefined> {
  const value = await space.get(key, { read });
  if (!sequence.isValueOf(key, value)) throw new WrongValue(key);
  return value;
}

/** Returns the function that starts operations. */
export function createTarget(options: TargetOptions): (slot: Slot) => void {
  const { space, sequence, partitions, tellPartition } = options;
  const { records, dataIntegrity } = sequence;
  // Without options, the client takes its shortest way.
  const level = options.read === 'linearizable' ? undefined : { read: options.read };
  const read = (key: string) => (dataIntegrity ? readChecked(options, key) : space.get(key, level));
  const start = (slot: Slot, key: string): void => {
    const { kind, record, scanLength } = slot.planned;
    switch (kind) {
      case 'READ':
        read(key).then(slot.read, slot.fail);
        return;
      case 'UPDATE':
        space.put(key, sequence.value(key)).then(slot.succeed, slot.fail);
        return;
      case 'INSERT':
        space.put(key, sequence.value(key)).then(
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
        read(key)
          .then(() => space.put(key, sequence.value(key)))
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
  if (error instanceof RingkeepError || error instanceof WrongValue) return error;
  throw error;
}
