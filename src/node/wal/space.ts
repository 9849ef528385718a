/**
 * The WAL's dealings with a full disk: a reserve file whose removal lets metas (promises!) through, and the
 * question whether there is room again. Decides nothing about groups.
 * INVARIANT: the reserve consists of written bytes, so that its blocks are really taken.
 * INVARIANT: groups of entries alone never eat the space that a removed reserve has freed (`roomFor`).
 */
import type { Disk, DiskError } from '../../common/disk.ts';
import { RESERVE_NAME } from './recovery.ts';
import { diskError } from './segment-files.ts';

const ZEROES = new Uint8Array(64 * 1024);

export class SpaceReserve {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #reserveBytes: number;
  readonly #spareBytes: number;
  #present: boolean;

  /** `spareBytes`: what must be free besides before the disk counts as not full. */
  constructor(disk: Disk, directory: string, reserveBytes: number, spareBytes: number) {
    this.#disk = disk;
    this.#path = `${directory}/${RESERVE_NAME}`;
    this.#reserveBytes = reserveBytes;
    this.#spareBytes = spareBytes;
    this.#present = reserveBytes === 0 || this.#find();
  }

  /** The reserve is held (a reserve of no bytes always is). */
  get present(): boolean {
    return this.#present;
  }

  /** Gives the reserve's space free; false if there is none to give. */
  free(): boolean {
    if (!this.#present || this.#reserveBytes === 0) return false;
    this.#present = false;
    this.#disk.removeSync(this.#path);
    return true;
  }

  /** Whether `bytes` can be written without touching what the reserve should hold. */
  roomFor(bytes: number): boolean {
    return this.#present || this.#disk.freeBytesSync() >= bytes + this.#reserveBytes;
  }

  /** Whether the disk has space to work with and to make the reserve again. */
  enough(): boolean {
    const wanted = this.#spareBytes + (this.#present ? 0 : this.#reserveBytes);
    return this.#disk.freeBytesSync() >= wanted;
  }

  /** Makes the reserve again, in the background. ENOSPC leaves none. */
  restore(done: (error: DiskError | null) => void): void {
    if (this.#present) {
      done(null);
      return;
    }
    const chunks: Uint8Array[] = [];
    for (let left = this.#reserveBytes; left > 0; left -= ZEROES.length) {
      chunks.push(left >= ZEROES.length ? ZEROES : ZEROES.subarray(0, left));
    }
    let file: ReturnType<Disk['openSync']>;
    try {
      file = this.#disk.openSync(this.#path, true);
    } catch (error) {
      done(diskError(error));
      return;
    }
    const finish = (error: DiskError | null): void => {
      file.closeSync();
      if (error === null) this.#present = true;
      else this.#disk.removeSync(this.#path);
      done(error);
    };
    file.write(0, chunks, (writeError) => {
      if (writeError !== null) finish(writeError);
      else file.sync(finish);
    });
  }

  /**
   * Makes the reserve before the WAL is used; false if there is no space. Throws DiskError for anything else.
   */
  restoreSync(): boolean {
    if (this.#present) return true;
    if (!this.enough()) return false;
    try {
      this.#disk.replaceSync(this.#path, new Uint8Array(this.#reserveBytes));
    } catch (error) {
      if (diskError(error).code === 'ENOSPC') return false;
      throw error;
    }
    this.#present = true;
    return true;
  }

  #find(): boolean {
    if (!this.#disk.existsSync(this.#path)) return false;
    const file = this.#disk.openSync(this.#path, false);
    const size = file.sizeSync();
    file.closeSync();
    return size === this.#reserveBytes;
  }
}
