/** Hashes the values of a partition's copy on this node, at the applied index that the same view shows. */
import { createHash } from 'node:crypto';
import { NO_BYTES } from '../../common/bytes.ts';
import { RingkeepError } from '../../common/errors.ts';
import type { HashReply } from '../../common/wire/admin-messages.ts';
import {
  decodeApplied,
  openRow,
  relativeKey,
  storeKey,
  storeRange,
  TABLE_META,
  TABLE_VALUES,
} from '../core/layout.ts';
import type { Replica } from '../core/replica.ts';
import type { Store, StoreRow, StoreView } from '../store.ts';

const CHUNK_BYTES = 256 * 1024;

function openView(store: Store): Promise<StoreView> {
  return new Promise((resolve, reject) => {
    store.openView((error, view) => (error !== null || view === undefined ? reject(error) : resolve(view)));
  });
}

function readRows(
  view: StoreView,
  from: Uint8Array,
  to: Uint8Array,
): Promise<{ rows: StoreRow[]; more: boolean }> {
  return new Promise((resolve, reject) => {
    view.read(from, to, CHUNK_BYTES, (error, page) => {
      if (error !== null || page === undefined) reject(error);
      else resolve(page);
    });
  });
}

/** SHA-256 over the value rows in key order. Rejects with NOT_READY before anything was applied, DAMAGED for bad rows. */
export async function hashPartition(store: Store, replica: Replica): Promise<HashReply> {
  const { partition, meta } = replica;
  const { generation } = replica.machine;
  const view = await openView(store);
  try {
    const mark = storeKey(partition, generation, TABLE_META, NO_BYTES);
    const { rows } = await readRows(view, mark, Buffer.concat([mark, Buffer.of(0)]));
    const row = rows[0];
    if (row === undefined) throw new RingkeepError('NOT_READY', 'nothing was applied yet');
    const appliedIndex = decodeApplied(openRow(NO_BYTES, row.value)).index;
    const hash = createHash('sha256');
    const range = storeRange(partition, generation, TABLE_VALUES);
    let count = 0;
    for (let from: Uint8Array | null = range.from; from !== null; ) {
      const page: { rows: StoreRow[]; more: boolean } = await readRows(view, from, range.to);
      for (const { key, value } of page.rows) hash.update(relativeKey(key)).update(value);
      count += page.rows.length;
      const last = page.rows[page.rows.length - 1];
      from = page.more && last !== undefined ? Buffer.concat([last.key, Buffer.of(0)]) : null;
    }
    return { replica: meta.replica, appliedIndex, hash: hash.digest('hex'), rows: count };
  } finally {
    view.close();
  }
}
