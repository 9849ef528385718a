/** The WAL and the store on a real disk; what is measured is the processor, not the disk: nobody waits for fsyncs. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from 'tinybench';
import { NodeDisk } from '#src/common/node-disk.ts';
import { encodeValue, storeKey, TABLE_VALUES } from '#src/node/core/layout.ts';
import { openLevelStore } from '#src/node/level-store.ts';
import { openWal } from '#src/node/wal/wal.ts';
import { BATCH, batchOf, keyOf, VALUE } from './samples.ts';

const META = {
  replica: 'n1.24ad3d409ec9c2c2.1.bd5e5effce0edfc8',
  promiseEpoch: 1,
  reservationId: '',
  configuration: 1,
  voters: [],
  previousVoters: [],
  generation: 1,
  baseIndex: 0,
  baseEpoch: 0,
  damaged: false,
};

/** Adds the steps; returns what closes the files. */
export async function addStorage(bench: Bench, directory: string): Promise<() => Promise<void>> {
  const disk = new NodeDisk(directory);
  const fail = (error: Error): void => {
    throw error;
  };
  let durable = (): void => {};
  const { wal } = openWal({
    disk,
    directory: 'wal',
    schedule: (delayMs, run) => void setTimeout(run, delayMs).unref(),
    listener: { durable: () => durable(), full: () => {}, failed: fail },
    options: { reserveBytes: 0 },
  });
  wal.append({ type: 'meta', partition: 0, meta: META });
  const payload = Buffer.alloc(180, 'e');
  let index = 0;
  bench.add(`append to the WAL and fsync x${BATCH}`, async () => {
    for (let count = 0; count < BATCH; count += 1) {
      index += 1;
      wal.append({ type: 'entry', partition: 0, index, epoch: 1, payload });
    }
    const done = new Promise<void>((resolve) => {
      durable = resolve;
    });
    wal.flush();
    await done;
  });

  mkdirSync(join(directory, 'store'));
  const store = await openLevelStore(join(directory, 'store'), { disk, path: 'store' });
  let number = 0;
  bench.add(`apply puts to the store x${BATCH}`, async () => {
    const batch = batchOf(() => {
      number = (number + 7_919) % 100_000;
      const key = keyOf(number);
      const value = { kind: 'value', codec: 1, version: 1, epoch: 1, expiresAt: 0, value: VALUE } as const;
      return { key: storeKey(0, 1, TABLE_VALUES, key), value: encodeValue(key, value) };
    });
    await new Promise<void>((resolve, reject) => {
      store.write(batch, (error) => (error === null ? resolve() : reject(error)));
    });
  });
  bench.add(`read from the store x${BATCH}`, async () => {
    const reads = batchOf(
      () =>
        new Promise<void>((resolve, reject) => {
          number = (number + 7_919) % 100_000;
          const key = storeKey(0, 1, TABLE_VALUES, keyOf(number));
          store.get(key, (error) => (error === null ? resolve() : reject(error)));
        }),
    );
    await Promise.all(reads);
  });

  return async () => {
    await new Promise<void>((resolve) => wal.close(() => resolve()));
    await new Promise<void>((resolve) => store.close(() => resolve()));
  };
}
