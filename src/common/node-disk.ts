/**
 * `Disk` on a real file system: the one module that imports `node:fs` for storage bytes, and the lock of a
 * data directory. Owns the mapping of errno to `DiskErrorCode` and the loops over short reads and writes;
 * retries nothing, caches nothing and knows no file format.
 * INVARIANT: `write` ends without an error only if the kernel took every byte; `sync` is fdatasync and runs
 * once, since after a failed one the kernel may have dropped the dirty pages (Rebello et al., USENIX ATC
 * 2020).
 */
import * as fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Level } from 'level';
import { type Callback, type Disk, DiskError, type DiskErrorCode, type DiskFile } from './disk.ts';
import { assert, RingkeepError } from './errors.ts';

const CODES: Readonly<Record<string, DiskErrorCode>> = {
  ENOENT: 'ENOENT',
  EEXIST: 'EEXIST',
  ENOSPC: 'ENOSPC',
  EDQUOT: 'ENOSPC',
  EIO: 'EIO',
  // A file system that met an error remounts itself read-only: the same news.
  EROFS: 'EIO',
};

function diskError(cause: unknown): DiskError {
  if (cause instanceof DiskError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  return new DiskError(CODES[code ?? ''] ?? 'EOTHER', message, cause);
}

/** Runs a blocking call and maps what it throws. */
function mapped<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw diskError(error);
  }
}

/** The chunks that remain after the first `written` bytes of `chunks`. */
function remaining(chunks: readonly Uint8Array[], written: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = written;
  for (const chunk of chunks) {
    if (skip >= chunk.length) skip -= chunk.length;
    else {
      rest.push(skip === 0 ? chunk : chunk.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

function writeAllSync(descriptor: number, contents: Uint8Array): void {
  let written = 0;
  while (written < contents.length) {
    const count = fs.writeSync(descriptor, contents, written, contents.length - written, written);
    if (count === 0) throw new DiskError('EIO', 'write took no bytes');
    written += count;
  }
}

/**
 * Writes up to this size go into the page cache within the call: copying them takes less of the processor, and of the event
 * loop's time, than handing them to another thread. The disk is waited for in `sync`.
 */
const SYNC_WRITE_BYTES_MAX = 256 * 1024;
/** One that takes longer than this, ms, has met a device that cannot keep up: for a while another thread waits for it. */
const SYNC_WRITE_SLOW_MS = 5;
const SYNC_WRITE_PAUSE_MS = 1_000;

class NodeFile implements DiskFile {
  readonly #descriptor: number;
  /** When writes may be done within the call again, on the monotonic clock. */
  #quickFrom = 0;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  write(offset: number, chunks: readonly Uint8Array[], done: Callback): void {
    let left = 0;
    for (const chunk of chunks) left += chunk.length;
    if (left === 0) {
      process.nextTick(done, null);
      return;
    }
    const start = performance.now();
    if (left <= SYNC_WRITE_BYTES_MAX && start >= this.#quickFrom) {
      process.nextTick(done, this.#writeNow(offset, chunks, left));
      const end = performance.now();
      if (end - start > SYNC_WRITE_SLOW_MS) this.#quickFrom = end + SYNC_WRITE_PAUSE_MS;
      return;
    }
    const attempt = (at: number, rest: Uint8Array[]): void => {
      fs.writev(this.#descriptor, rest, at, (error, written) => {
        left -= error === null ? written : 0;
        if (error !== null) done(diskError(error));
        else if (written === 0) done(new DiskError('EIO', 'write took no bytes'));
        else if (left === 0) done(null);
        else attempt(at + written, remaining(rest, written));
      });
    };
    attempt(offset, remaining(chunks, 0));
  }

  #writeNow(offset: number, chunks: readonly Uint8Array[], bytes: number): DiskError | null {
    try {
      for (let written = 0; written < bytes; ) {
        const count = fs.writevSync(this.#descriptor, remaining(chunks, written), offset + written);
        if (count === 0) return new DiskError('EIO', 'write took no bytes');
        written += count;
      }
      return null;
    } catch (error) {
      return diskError(error);
    }
  }

  sync(done: Callback): void {
    fs.fdatasync(this.#descriptor, (error) => done(error === null ? null : diskError(error)));
  }

  read(offset: number, length: number, done: Callback<Uint8Array>): void {
    const bytes = Buffer.allocUnsafeSlow(length);
    const attempt = (filled: number): void => {
      fs.read(this.#descriptor, bytes, filled, length - filled, offset + filled, (error, count) => {
        if (error !== null) done(diskError(error));
        else if (filled + count === length) done(null, bytes);
        else if (count === 0) done(null, bytes.subarray(0, filled));
        else attempt(filled + count);
      });
    };
    attempt(0);
  }

  truncateSync(length: number): void {
    mapped(() => fs.ftruncateSync(this.#descriptor, length));
  }

  sizeSync(): number {
    return mapped(() => fs.fstatSync(this.#descriptor).size);
  }

  closeSync(): void {
    mapped(() => fs.closeSync(this.#descriptor));
  }
}

/**
 * A directory tree of the real file system as a `Disk`; paths are taken relative to `root`, which must exist.
 * Blocking calls throw `DiskError`.
 */
export class NodeDisk implements Disk {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  #absolute(path: string): string {
    assert(!path.split('/').includes('..'), 'a path stays inside its disk');
    return join(this.#root, path);
  }

  openSync(path: string, create: boolean): DiskFile {
    const flags = fs.constants.O_RDWR | (create ? fs.constants.O_CREAT : 0);
    return new NodeFile(mapped(() => fs.openSync(this.#absolute(path), flags, 0o600)));
  }

  listSync(directory: string): string[] {
    try {
      return fs.readdirSync(this.#absolute(directory)).sort();
    } catch (error) {
      const known = diskError(error);
      if (known.code === 'ENOENT') return [];
      throw known;
    }
  }

  makeDirectorySync(path: string): void {
    mapped(() => makeDirectories(this.#absolute(path), 0o700));
  }

  existsSync(path: string): boolean {
    return fs.existsSync(this.#absolute(path));
  }

  readSync(path: string): Uint8Array {
    return mapped(() => fs.readFileSync(this.#absolute(path)));
  }

  replaceSync(path: string, contents: Uint8Array): void {
    const target = this.#absolute(path);
    const beside = `${target}.tmp`;
    try {
      const descriptor = fs.openSync(beside, 'w', 0o600);
      try {
        writeAllSync(descriptor, contents);
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
      fs.renameSync(beside, target);
    } catch (error) {
      // The half-written copy would hold space that a full disk needs.
      fs.rmSync(beside, { force: true });
      throw diskError(error);
    }
    mapped(() => syncPath(dirname(target)));
  }

  renameSync(from: string, to: string): void {
    mapped(() => fs.renameSync(this.#absolute(from), this.#absolute(to)));
  }

  removeSync(path: string): void {
    mapped(() => fs.unlinkSync(this.#absolute(path)));
  }

  syncDirectorySync(path: string): void {
    mapped(() => syncPath(this.#absolute(path)));
  }

  freeBytesSync(): number {
    return mapped(() => {
      const { bavail, bsize } = fs.statfsSync(this.#root);
      return bavail * bsize;
    });
  }
}

function syncPath(path: string): void {
  const descriptor = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/**
 * Makes a directory and its parents, one after the other; one that is there already is fine. Throws the system's
 * error, EEXIST or ENOTDIR if there is a file in its place or in its parent's.
 *
 * Not `mkdirSync` with `recursive`: where mkdir(2) says ENOENT though the parent is there, as /proc does, Node goes
 * back and forth between the two for ever (seen with Node 20).
 */
export function makeDirectories(path: string, mode = 0o777): void {
  const missing: string[] = [];
  let existing = resolve(path);
  // A dangling link is not missing: making it says EEXIST.
  while (fs.lstatSync(existing, { throwIfNoEntry: false }) === undefined) {
    missing.push(existing);
    existing = dirname(existing);
  }
  for (const directory of missing.reverse()) {
    try {
      fs.mkdirSync(directory, { mode });
    } catch (error) {
      // Somebody else may have made it meanwhile.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  if (fs.statSync(path).isDirectory()) return;
  throw Object.assign(new Error(`EEXIST: file already exists, mkdir '${path}'`), { code: 'EEXIST' });
}

/**
 * Makes a data directory and its parents. Throws RingkeepError INVALID_ARGUMENT, with the reason, when it
 * cannot.
 */
export function makeDataDirectory(path: string): void {
  try {
    makeDirectories(path);
    fs.accessSync(path, fs.constants.W_OK | fs.constants.R_OK);
  } catch (cause) {
    const message = `cannot use the data directory ${path}: ${(cause as Error).message}`;
    throw new RingkeepError('INVALID_ARGUMENT', message, 'not_applied', { cause });
  }
}

/** A held directory lock. */
export interface DirectoryLock {
  /** Gives the directory free; the process's end does the same. */
  release(): Promise<void>;
}

/** Name of the lock's own folder inside a data directory. */
export const LOCK_NAME = 'lock';

/**
 * Takes the exclusive lock of the directory `path`, made if absent, for this process until `release` or the
 * process's end, however it ends. Throws `RingkeepError` DIRECTORY_IN_USE when another process (or this one)
 * holds it.
 *
 * The lock is an empty LevelDB in `path/lock`: opening one takes a kernel lock (`fcntl` F_SETLK) on its LOCK
 * file, which is the only such lock that Node can reach without native code of ours. The kernel drops it with
 * the process, so nothing goes stale. What else was weighed: a pid file is racy between looking and writing,
 * and pids are reused and differ between containers; a socket file stays behind after a crash and cannot be
 * replaced atomically; an abstract socket exists on Linux only, and once per network namespace; a port says
 * nothing about a directory.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const level = new Level(join(path, LOCK_NAME));
  try {
    await level.open();
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause;
    if (cause?.code !== 'LEVEL_LOCKED') throw diskError(cause ?? error);
    throw new RingkeepError('DIRECTORY_IN_USE', `another process holds ${path}`, 'not_applied', { cause });
  }
  return { release: () => level.close() };
}
