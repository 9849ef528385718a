/**
 * Opens LevelDB: the one module that imports `level` for data, and the one place that knows its error codes
 * and property names. It owns neither keys nor ordering; `src/node/level-store.ts` and
 * `src/router/embedded-topology-store.ts` do. Checked against the LevelDB 1.20 that classic-level 3 ships
 * (file names below are in its `deps/leveldb`).
 */
import { Level } from 'level';
import { DiskError, type DiskErrorCode } from './disk.ts';
import { assert } from './errors.ts';

/** Sizes of one LevelDB. All in bytes, save `openFilesMax`. */
export interface LevelOptions {
  /** Uncompressed blocks kept in memory. */
  readonly cacheBytes: number;
  /** Memtable size; up to two are held, and the log grows as far. */
  readonly writeBufferBytes: number;
  /** Table file size; larger means fewer files and longer single compactions. */
  readonly tableBytesMax: number;
  /** Table files held open. */
  readonly openFilesMax: number;
}

/** What LevelDB offers beyond the portable interface of `Level`. */
interface LevelControls {
  compactRange(start: Uint8Array, end: Uint8Array): Promise<void>;
  approximateSize(start: Uint8Array, end: Uint8Array): Promise<number>;
  getProperty(name: string): string;
}

/** An open LevelDB with bytes for keys and values, ordered by unsigned byte. */
export type LevelDatabase = Level<Uint8Array, Uint8Array> & LevelControls;

/** What LevelDB says about its tables. */
export interface LevelFigures {
  /** Files in level 0: writes are slowed at 8 and stop at 12 until compaction has caught up. */
  readonly level0Files: number;
  /** Bytes in all tables, to the MiB per level. */
  readonly tableBytes: number;
  /** Bytes in the tables of the deepest level that has any, to the MiB. */
  readonly deepestBytes: number;
  /** Bytes of tables that flushes and compactions have written since the opening, to the MiB per level; LevelDB's log not. */
  readonly tableBytesWritten: number;
}

/**
 * Opens or creates the database in `directory`. It locks the directory against other processes. Rejects with
 * a DiskError: ELOCKED when another process has it, EIO when its files are damaged, ENOSPC, EOTHER.
 */
export async function openLevel(directory: string, options: LevelOptions): Promise<LevelDatabase> {
  const level = new Level<Uint8Array, Uint8Array>(directory, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: options.cacheBytes,
    writeBufferSize: options.writeBufferBytes,
    maxFileSize: options.tableBytesMax,
    maxOpenFiles: options.openFilesMax,
  });
  const database = level as LevelDatabase;
  assert(typeof database.compactRange === 'function', 'level runs on classic-level');
  try {
    await database.open();
  } catch (error) {
    throw toDiskError(error, `cannot open the database in ${directory}`);
  }
  return database;
}

/** Reads how full the levels are. Cheap; takes LevelDB's mutex for a moment. */
export function readFigures(database: LevelDatabase): LevelFigures {
  return parseStats(database.getProperty('leveldb.stats'));
}

/** Returns the names of the table files that hold what is in the database now: all of them are complete. */
export function liveTables(database: LevelDatabase): string[] {
  return parseTables(database.getProperty('leveldb.sstables'));
}

/** Returns the files in the text of the property `leveldb.sstables` (db/version_set.cc, DebugString): ` 7:3021['a' .. 'b']`. */
export function parseTables(text: string): string[] {
  return [...text.matchAll(/^ (\d+):\d+\[/gm)].map(([, number]) => `${number!.padStart(6, '0')}.ldb`);
}

/** Returns the figures in the text of the property `leveldb.stats` (db/db_impl.cc, GetProperty). */
export function parseStats(text: string): LevelFigures {
  // "Level Files Size(MB) Time(sec) Read(MB) Write(MB)" below three heading lines; empty levels may be left
  // out.
  let level0Files = 0;
  let mebibytes = 0;
  let deepest = 0;
  let written = 0;
  for (const line of text.split('\n').slice(3)) {
    if (line === '') continue;
    const [level, files = 0, size = 0, , , write = 0] = line.trim().split(/\s+/).map(Number);
    if (level === 0) level0Files = files;
    if (files > 0) deepest = size;
    mebibytes += size;
    written += write;
  }
  return {
    level0Files,
    tableBytes: mebibytes * MEBIBYTE,
    deepestBytes: deepest * MEBIBYTE,
    tableBytesWritten: written * MEBIBYTE,
  };
}

const MEBIBYTE = 1024 * 1024;

const CODES: Readonly<Record<string, DiskErrorCode>> = {
  LEVEL_LOCKED: 'ELOCKED',
  LEVEL_CORRUPTION: 'EIO',
  LEVEL_IO_ERROR: 'EIO',
};

/** Whether LevelDB has met a file that is not what it wrote: it will meet it again, also after another start. */
export function isCorruption(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ('code' in cause && cause.code === 'LEVEL_CORRUPTION') return true;
  return false;
}

/**
 * Translates an error of LevelDB, or a chain of causes that holds one, to a DiskError that says `what`
 * failed.
 */
export function toDiskError(error: unknown, what: string): DiskError {
  if (error instanceof DiskError) return error;
  let code: DiskErrorCode = 'EOTHER';
  let text = '';
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    text = cause.message;
    const found = 'code' in cause ? CODES[String(cause.code)] : undefined;
    if (found !== undefined) code = found;
  }
  // LevelDB hands errno on as text only (util/env_posix.cc, IOError), in the C locale: no code says "disk
  // full".
  if (text.endsWith('No space left on device') || text.endsWith('Disk quota exceeded')) code = 'ENOSPC';
  return new DiskError(code, text === '' ? what : `${what}: ${text}`, error);
}
