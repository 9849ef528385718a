/**
 * The one interface to storage bytes. Two implementations: `node-disk.ts` (the real one, the only module that imports
 * `node:fs` for storage) and `sim-disk.ts` (virtual time, loses any subset of unsynced sectors at a crash, can be
 * told to fail). Blocking calls are for start-up and rare maintenance; the hot path uses the callback calls.
 * Callbacks, not promises: the simulator runs them from its own event queue.
 * Errors carry a `DiskError.code`; nothing is retried here.
 */

export type DiskErrorCode = 'ENOENT' | 'EEXIST' | 'ENOSPC' | 'EIO' | 'ELOCKED' | 'EOTHER';

/** A failed disk call. */
export class DiskError extends Error {
  readonly code: DiskErrorCode;
  constructor(code: DiskErrorCode, message: string, cause?: unknown) {
    super(`${code}: ${message}`, cause === undefined ? undefined : { cause });
    this.name = 'DiskError';
    this.code = code;
  }
}

export type Callback<T = void> = (error: DiskError | null, result?: T) => void;

/** An open file. Offsets and lengths in bytes. */
export interface DiskFile {
  /** Writes all of `chunks` one after the other at `offset`; a short write is an error (`ENOSPC` or `EIO`). */
  write(offset: number, chunks: readonly Uint8Array[], done: Callback): void;
  /** fdatasync. After an error the file's unsynced contents are undefined: the caller must fail-stop. */
  sync(done: Callback): void;
  /** Reads up to `length` bytes at `offset`; fewer only at the end of the file. */
  read(offset: number, length: number, done: Callback<Uint8Array>): void;
  /** Cuts the file to `length` bytes, blocking; not durable before `sync`. */
  truncateSync(length: number): void;
  sizeSync(): number;
  closeSync(): void;
}

/** A directory tree. Paths are relative to the root the disk was made with, with `/` separators. */
export interface Disk {
  /** Opens for reading and writing; `create` makes it when absent (durable after `syncDirectorySync`). */
  openSync(path: string, create: boolean): DiskFile;
  /** Names in a directory, sorted; an absent directory is empty. */
  listSync(directory: string): string[];
  makeDirectorySync(path: string): void;
  existsSync(path: string): boolean;
  readSync(path: string): Uint8Array;
  /** Writes beside, fsyncs, renames over and fsyncs the directory. */
  replaceSync(path: string, contents: Uint8Array): void;
  renameSync(from: string, to: string): void;
  removeSync(path: string): void;
  /** fsync of the directory, so that creates, renames and removes in it survive a power cut. */
  syncDirectorySync(path: string): void;
  /** Bytes free for this user. */
  freeBytesSync(): number;
}
