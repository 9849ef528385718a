/**
 * Pages of one partition in key order, for export. Each page is one linearizable read with retries of its
 * own; the cursor carries on across leaders. Rows are bytes: decoding is the caller's (`decodeValue`).
 */
import { assert, RingkeepError } from '../common/errors.ts';
import { KEYSPACE_BYTES_MAX, PARTITIONS_MAX, SCAN_BYTES_MAX } from '../common/limits.ts';
import type { Engine } from './engine.ts';
import { DEFAULT_READ, NO_WRITE, type ScanPage } from './operation.ts';
import { checkNames, checkTimeout } from './options.ts';

/** What to read. */
export interface ScanOptions {
  readonly partition: number;
  /** Only this keyspace; all of them if left out. Empty: the default one. */
  readonly keyspace?: string;
  /** Where to start: the cursor of an earlier page; from the beginning if left out. */
  readonly cursor?: Uint8Array;
  /** Bytes of one page, about; default 1 MiB. */
  readonly bytesMax?: number;
  /** Time of one page, in ms. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const NAMES: ReadonlySet<string> = new Set([
  'partition',
  'keyspace',
  'cursor',
  'bytesMax',
  'timeoutMs',
  'signal',
]);
const NO_BYTES = new Uint8Array(0);

function checkScan(options: ScanOptions): void {
  checkNames('scan', options, NAMES);
  const { partition, keyspace = '', bytesMax = SCAN_BYTES_MAX } = options;
  if (!Number.isInteger(partition) || partition < 0 || partition >= PARTITIONS_MAX) {
    throw new RingkeepError('INVALID_ARGUMENT', `partition must be from 0 to ${PARTITIONS_MAX - 1}`);
  }
  if (typeof keyspace !== 'string' || Buffer.byteLength(keyspace) > KEYSPACE_BYTES_MAX) {
    throw new RingkeepError(
      'INVALID_ARGUMENT',
      `keyspace must be text of at most ${KEYSPACE_BYTES_MAX} bytes`,
    );
  }
  if (!Number.isInteger(bytesMax) || bytesMax < 1 || bytesMax > 8 * SCAN_BYTES_MAX) {
    throw new RingkeepError('INVALID_ARGUMENT', `bytesMax must be from 1 to ${8 * SCAN_BYTES_MAX}`);
  }
}

/**
 * Yields page after page until the end of the partition. Rejects as a read does; then no page was left out.
 */
export async function* scanPages(
  engine: Engine,
  options: ScanOptions,
  requestTimeoutMs: number,
): AsyncGenerator<ScanPage, void, undefined> {
  checkScan(options);
  const { partition, keyspace, bytesMax = SCAN_BYTES_MAX } = options;
  const timeoutMs = checkTimeout('timeoutMs', options.timeoutMs, requestTimeoutMs);
  let cursor = options.cursor ?? NO_BYTES;
  do {
    const page = await engine.submit<ScanPage>({
      kind: 'scan',
      shape: 'page',
      keyspace: keyspace ?? '',
      key: NO_BYTES,
      deadline: performance.now() + timeoutMs,
      ...NO_WRITE,
      scan: { partition, cursor, bytesMax, allKeyspaces: keyspace === undefined },
      ...DEFAULT_READ,
      signal: options.signal ?? null,
    });
    assert(
      page.cursor.length === 0 || Buffer.compare(page.cursor, cursor) !== 0,
      'a page moves its cursor on',
    );
    cursor = page.cursor;
    yield page;
  } while (cursor.length > 0);
}
