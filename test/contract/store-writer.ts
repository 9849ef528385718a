/**
 * The process that `store.test.ts` kills: writes numbered batches to the store below its first argument for
 * ever, syncs now and then, and tells its parent the number of the last batch that the finished sync covers.
 */
import { join } from 'node:path';
import { NodeDisk } from '../../src/common/node-disk.ts';
import { openLevelStore } from '../../src/node/level-store.ts';

/** Batches that wait unfinished, so that kills fall into merged writes and memtable switches too. */
const IN_FLIGHT = 32;

const root = process.argv[2] ?? '';
const store = await openLevelStore(join(root, 'store'), {
  disk: new NodeDisk(root),
  path: 'store',
  writeBufferBytes: 256 * 1024,
});
const value = Buffer.alloc(2000, 'x');
let called = 0;
let finished = 0;

function writeNext(): void {
  called += 1;
  const n = called;
  const row = { key: Buffer.from(`k${`${n}`.padStart(8, '0')}`), value };
  store.write([row, { key: Buffer.from('n'), value: Buffer.from(`${n}`) }], (error) => {
    if (error !== null) throw error;
    finished = n;
    writeNext();
  });
}

function syncAgain(): void {
  const covered = finished;
  store.sync((error) => {
    if (error !== null) throw error;
    if (covered > 0) process.send?.(covered);
    setTimeout(syncAgain, 20);
  });
}

for (let n = 0; n < IN_FLIGHT; n += 1) writeNext();
syncAgain();
process.once('disconnect', () => process.exit());
