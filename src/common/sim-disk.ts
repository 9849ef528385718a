/**
 * A deterministic simulated `Disk`: callbacks run on virtual time, every choice comes from one random
 * function, and a crash loses any subset of what was not synced: 512-byte sectors, file sizes, creates,
 * renames and removes. Names are durable only after `syncDirectorySync`, whatever was synced in the files.
 * Directories themselves are durable at once. Owns the fault hooks (flipped bits, full disk, failing and slow
 * fsync, crash inside a blocking call); knows no format.
 * INVARIANT: same random sequence and same calls, same behaviour.
 */
import { type Callback, type Disk, DiskError, type DiskFile } from './disk.ts';
import { SimFile } from './sim-file.ts';

/** Latencies as [least, most] in virtual ms. */
export interface SimDiskOptions {
  readonly writeMs?: readonly [number, number];
  readonly syncMs?: readonly [number, number];
  readonly readMs?: readonly [number, number];
}

/**
 * `power` loses unsynced bytes; `process` keeps all of them, as the page cache does. Both end every open
 * call.
 */
export type CrashKind = 'power' | 'process';

/** A change of a directory that is not durable yet. */
interface NameChange {
  readonly directory: string;
  apply(names: Map<string, SimFile>): void;
}

const DEFAULTS = { writeMs: [0.01, 0.1], syncMs: [0.1, 1], readMs: [0.01, 0.2] } as const;

function directoryOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

/** The simulated disk. Its contents outlive crashes; handles do not. */
export class SimDisk implements Disk {
  readonly #schedule: (delayMs: number, run: () => void) => void;
  readonly #random: () => number;
  readonly #options: Required<SimDiskOptions>;
  #names = new Map<string, SimFile>();
  #durableNames = new Map<string, SimFile>();
  #changes: NameChange[] = [];
  readonly #directories = new Set<string>(['']);
  #life = 0;
  #capacityBytes = Number.POSITIVE_INFINITY;
  #failingSyncs = 0;
  #extraSyncMs = 0;
  /**
   * Called before every step of a blocking call that changes something; may throw to stand for a crash there.
   */
  onStep: (step: string, path: string) => void = () => {};

  constructor(
    schedule: (delayMs: number, run: () => void) => void,
    random: () => number,
    options: SimDiskOptions = {},
  ) {
    this.#schedule = schedule;
    this.#random = random;
    this.#options = { ...DEFAULTS, ...options };
  }

  // ------------------------------------------------------------ faults

  /** Ends the process that uses the disk: no pending callback runs, every handle is dead. */
  crash(kind: CrashKind = 'power'): void {
    this.#life++;
    this.onStep = () => {};
    this.#failingSyncs = 0;
    if (kind === 'process') return;
    for (const change of this.#changes) {
      if (this.#random() < 0.5) change.apply(this.#durableNames);
    }
    this.#changes = [];
    this.#names = new Map(this.#durableNames);
    for (const file of new Set(this.#names.values())) file.crash(this.#random);
  }

  /** Flips bit `bit` (0 to 7) of the byte at `offset`. */
  flipBit(path: string, offset: number, bit = 0): void {
    this.#file(path).flipBit(offset, bit);
  }

  /** Leaves `bytes` free; `Infinity` lifts the limit. What is removed later adds to it. */
  limitFreeBytes(bytes: number): void {
    this.#capacityBytes = this.#usedBytes() + bytes;
  }

  /** Lets the next `count` syncs of files fail with EIO and lose what they should have written. */
  failSyncs(count: number): void {
    this.#failingSyncs = count;
  }

  /** Adds `ms` to every sync from now on. */
  slowSyncs(ms: number): void {
    this.#extraSyncMs = ms;
  }

  /** Returns the bytes of all files, by path, as a copy of the directory would have them. */
  contents(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#names].map(([path, file]) => [path, file.read(0, file.size)]));
  }

  /** Replaces everything, durably, by what `contents` has returned. */
  putBack(contents: ReadonlyMap<string, Uint8Array>): void {
    this.#names = new Map();
    for (const [path, bytes] of contents) {
      const file = new SimFile();
      file.write(0, bytes);
      file.endSync(file.beginSync());
      this.#names.set(path, file);
    }
    this.#durableNames = new Map(this.#names);
    this.#changes = [];
  }

  /** Cuts a file, durably, as damage does. */
  cut(path: string, length: number): void {
    const file = this.#file(path);
    file.truncate(length);
    file.endSync(file.beginSync());
  }

  // ------------------------------------------------------------ Disk

  openSync(path: string, create: boolean): DiskFile {
    let file = this.#names.get(path);
    if (file === undefined) {
      if (!create) throw new DiskError('ENOENT', path);
      this.#step('create', path);
      file = this.#create(path);
    }
    return this.#handle(file);
  }

  listSync(directory: string): string[] {
    const prefix = directory === '' ? '' : `${directory}/`;
    const found = new Set<string>();
    for (const path of [...this.#names.keys(), ...this.#directories]) {
      if (path === '' || !path.startsWith(prefix)) continue;
      const name = path.slice(prefix.length).split('/')[0];
      if (name) found.add(name);
    }
    return [...found].sort();
  }

  makeDirectorySync(path: string): void {
    let name = '';
    for (const part of path.split('/')) {
      name = name === '' ? part : `${name}/${part}`;
      this.#directories.add(name);
    }
  }

  existsSync(path: string): boolean {
    return this.#names.has(path) || this.#directories.has(path);
  }

  readSync(path: string): Uint8Array {
    const file = this.#file(path);
    return file.read(0, file.size);
  }

  replaceSync(path: string, contents: Uint8Array): void {
    const beside = `${path}.tmp`;
    this.#step('replace: create', path);
    const file = this.#names.get(beside) ?? this.#create(beside);
    file.truncate(0);
    if (this.#writeWithin(file, 0, contents) !== null) {
      this.#rename(beside, null);
      throw new DiskError('ENOSPC', path);
    }
    this.#step('replace: sync', path);
    if (this.#failingSyncs > 0) {
      this.#failingSyncs--;
      file.failSync(file.beginSync());
      throw new DiskError('EIO', `sync of ${beside}`);
    }
    file.endSync(file.beginSync());
    this.#step('replace: rename', path);
    this.#rename(beside, path);
    this.syncDirectorySync(directoryOf(path));
  }

  renameSync(from: string, to: string): void {
    this.#file(from);
    this.#step('rename', to);
    this.#rename(from, to);
  }

  removeSync(path: string): void {
    this.#file(path);
    this.#step('remove', path);
    this.#rename(path, null);
  }

  syncDirectorySync(path: string): void {
    this.#step('sync directory', path);
    const later: NameChange[] = [];
    for (const change of this.#changes) {
      if (change.directory === path) change.apply(this.#durableNames);
      else later.push(change);
    }
    this.#changes = later;
  }

  freeBytesSync(): number {
    return Math.max(0, this.#capacityBytes - this.#usedBytes());
  }

  // ------------------------------------------------------------ inside

  #step(step: string, path: string): void {
    this.onStep(step, path);
  }

  #file(path: string): SimFile {
    const file = this.#names.get(path);
    if (file === undefined) throw new DiskError('ENOENT', path);
    return file;
  }

  #create(path: string): SimFile {
    if (!this.#directories.has(directoryOf(path))) throw new DiskError('ENOENT', directoryOf(path));
    const file = new SimFile();
    this.#change(path, (names) => names.set(path, file));
    return file;
  }

  #rename(from: string, to: string | null): void {
    const file = this.#file(from);
    this.#change(from, (names) => {
      if (names.get(from) === file) names.delete(from);
      if (to !== null) names.set(to, file);
    });
  }

  #change(path: string, apply: (names: Map<string, SimFile>) => void): void {
    apply(this.#names);
    this.#changes.push({ directory: directoryOf(path), apply });
  }

  #usedBytes(): number {
    let used = 0;
    for (const file of new Set(this.#names.values())) used += file.size;
    return used;
  }

  /** Writes what fits. */
  #writeWithin(file: SimFile, offset: number, bytes: Uint8Array): DiskError | null {
    const growth = Math.max(0, offset + bytes.length - file.size);
    const missing = this.#capacityBytes === Number.POSITIVE_INFINITY ? 0 : growth - this.freeBytesSync();
    file.write(offset, missing > 0 ? bytes.subarray(0, Math.max(0, bytes.length - missing)) : bytes);
    return missing > 0 ? new DiskError('ENOSPC', `${missing} bytes too many`) : null;
  }

  /** Runs `finish` after a latency unless the process is gone by then. */
  #later(range: readonly [number, number], finish: () => void): void {
    const life = this.#life;
    this.#schedule(range[0] + this.#random() * (range[1] - range[0]), () => {
      if (life === this.#life) finish();
    });
  }

  #handle(file: SimFile): DiskFile {
    const life = this.#life;
    let open = true;
    const alive = (): boolean => open && life === this.#life;
    const requireAlive = (): void => {
      if (!alive()) throw new DiskError('EOTHER', 'the handle is dead');
    };
    return {
      write: (offset: number, chunks: readonly Uint8Array[], done: Callback): void => {
        if (!alive()) return;
        let at = offset;
        let error: DiskError | null = null;
        for (const chunk of chunks) {
          error = this.#writeWithin(file, at, chunk);
          if (error !== null) break;
          at += chunk.length;
        }
        this.#later(this.#options.writeMs, () => done(error));
      },
      sync: (done: Callback): void => {
        if (!alive()) return;
        const layer = file.beginSync();
        const [least, most] = this.#options.syncMs;
        this.#later([least + this.#extraSyncMs, most + this.#extraSyncMs], () => {
          if (this.#failingSyncs > 0) {
            this.#failingSyncs--;
            file.failSync(layer);
            done(new DiskError('EIO', 'sync failed'));
          } else {
            file.endSync(layer);
            done(null);
          }
        });
      },
      read: (offset: number, length: number, done: Callback<Uint8Array>): void => {
        if (!alive()) return;
        this.#later(this.#options.readMs, () => done(null, file.read(offset, length)));
      },
      truncateSync: (length: number): void => {
        requireAlive();
        file.truncate(length);
      },
      sizeSync: (): number => {
        requireAlive();
        return file.size;
      },
      closeSync: (): void => {
        requireAlive();
        open = false;
      },
    };
  }
}
