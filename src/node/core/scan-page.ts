/**
 * Pages of scans: rows of one partition in key order, as a view shows them that was opened behind every decided write. Salted counters are shown
 * with their sub-counters, which are summed up for each page, at the weaker level where no other is there.
 */
import { NO_BYTES, toLatin1 } from '../../common/bytes.ts';
import { SCAN_BYTES_MAX } from '../../common/limits.ts';
import type { Request, Row } from '../../common/wire/messages.ts';
import { damagedRead, failedRead, shown } from './answers.ts';
import type { RequestHandle } from './host.ts';
import {
  absoluteKey,
  DamagedRowError,
  decodeValue,
  relativeKey,
  type StoredValue,
  splitUserKey,
  TABLE_VALUES,
  userKey,
  valueRange,
} from './layout.ts';
import type { Leadership } from './leadership.ts';

/** Bytes of a scan's page. */
export function pageBytes(asked: number): number {
  return Math.min(Math.max(asked, 1), SCAN_BYTES_MAX);
}

/** Answers one page: as linearizable as a get. */
export function scan(leadership: Leadership, handle: RequestHandle, request: Request): void {
  const { replica, host } = leadership;
  const { partition, machine } = replica;
  const { cursor, bytesMax, allKeyspaces } = request.scan!;
  const { revision } = machine.salts;
  const range = valueRange(partition, machine.generation);
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
            : NO_BYTES;
        const rows = pageRows(result.rows, allKeyspaces ? null : request.keyspace);
        if (rows === null) {
          replica.markDamaged('a value failed its checksum in a scan');
          return host.fail(handle, damagedRead(partition));
        }
        const done = (): void => host.reply(handle, { result: 'rows', rows: { rows, cursor: next } });
        const again = (): void => {
          if (host.isOpen(handle) && replica.leadership === leadership) scan(leadership, handle, request);
        };
        // The view may show a part of what has been salted or unsalted since.
        if (machine.salts.revision === revision) sumUp(leadership, handle, rows, done, again);
        else again();
      },
    });
  });
}

/** Has salted counters in a page show what they have come to; `again`: they have changed meanwhile. */
function sumUp(
  { replica, host, counters }: Leadership,
  handle: RequestHandle,
  rows: Row[],
  done: () => void,
  again: () => void,
): void {
  const { salts } = replica.machine;
  const salted = salts.size === 0 ? [] : [...salts.all()].filter(([, { counter }]) => counter !== null);
  const names = new Map(salted);
  let missing = 1;
  let isStale = false;
  const ended = (): void => {
    missing--;
    if (missing === 0) (isStale ? again : done)();
  };
  for (const [at, row] of names.size === 0 ? [] : rows.entries()) {
    const key = userKey(row.keyspace, row.key);
    const set = names.has(toLatin1(key)) ? salts.subSetOf(key) : null;
    if (set === null) continue;
    missing++;
    counters.sums.add(key, set, true, {
      deadline: handle.deadline,
      isWanted: () => host.isOpen(handle),
      answer: ({ value, codec, version }) => {
        rows[at] = { ...row, value, codec, version };
        ended();
      },
      again: () => {
        isStale = true;
        ended();
      },
      fail: (error) => host.fail(handle, error),
    });
  }
  ended();
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
