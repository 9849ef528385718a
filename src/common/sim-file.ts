/**
 * The bytes of one simulated file, with what a power cut may do to them. Owned and driven by `sim-disk.ts`.
 * Contents are kept once; every write saves the overwritten 512-byte sectors in the newest undo layer. A sync
 * opens a new layer when it starts and forgets the layers below it when it ends: what is written meanwhile
 * stays unsynced. A failed sync moves its sectors to `lost`: as on Linux the pages count as clean from then
 * on, readable until the power goes, and a later sync does not bring them to the disk unless they are written
 * again.
 * INVARIANT: a crash changes no byte of a sector that was last written before a finished sync began.
 * Source: Rebello et al., "Can applications recover from fsync failures?", USENIX ATC 2020.
 */

const SECTOR_BYTES = 512;

/** Sectors as they were when the layer began. */
export interface UndoLayer {
  readonly size: number;
  readonly sectors: Map<number, Uint8Array>;
}

/** One simulated file. Sizes and offsets in bytes. */
export class SimFile {
  size = 0;
  #data = new Uint8Array(SECTOR_BYTES);
  #layers: UndoLayer[] = [{ size: 0, sectors: new Map() }];
  #lost: UndoLayer | null = null;
  /** A sync has worked since one failed: it has brought the size to the disk, though not the lost sectors. */
  #sizeSynced = false;

  /** A copy of `length` bytes from `offset`, fewer at the end. */
  read(offset: number, length: number): Uint8Array {
    return this.#data.slice(Math.min(offset, this.size), Math.min(offset + length, this.size));
  }

  /** Overwrites bytes, which are unsynced from now on. */
  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const end = offset + bytes.length;
    this.#reserve(end);
    this.#touch(Math.min(offset, this.size), end);
    this.#data.set(bytes, offset);
    this.size = Math.max(this.size, end);
  }

  truncate(length: number): void {
    this.#reserve(length);
    this.#touch(Math.min(length, this.size), Math.max(length, this.size));
    this.#data.fill(0, length);
    this.size = length;
  }

  /** Flips one bit behind everybody's back, durably. */
  flipBit(offset: number, bit: number): void {
    this.#data[offset] = (this.#data[offset] ?? 0) ^ (1 << bit);
  }

  /** Starts a sync of everything written so far. */
  beginSync(): UndoLayer {
    const layer = { size: this.size, sectors: new Map<number, Uint8Array>() };
    this.#layers.push(layer);
    return layer;
  }

  /** Ends a sync that worked. */
  endSync(layer: UndoLayer): void {
    const at = this.#layers.indexOf(layer);
    if (at > 0) this.#layers.splice(0, at);
    this.#sizeSynced = true;
  }

  /** Ends a sync that failed: its sectors never reach the disk by themselves. */
  failSync(layer: UndoLayer): void {
    const at = this.#layers.indexOf(layer);
    if (at <= 0) return;
    this.#sizeSynced = false;
    for (const failed of this.#layers.splice(0, at)) {
      this.#lost ??= { size: failed.size, sectors: new Map() };
      for (const [sector, old] of failed.sectors) {
        if (!this.#lost.sectors.has(sector)) this.#lost.sectors.set(sector, old);
      }
    }
  }

  /**
   * A power cut: any subset of the unsynced sectors survives, and any of the sizes there were, or one
   * between.
   */
  crash(random: () => number): void {
    const layers = this.#lost === null ? this.#layers : [this.#lost, ...this.#layers];
    let size = this.size;
    for (const layer of layers.toReversed()) {
      for (const [sector, old] of layer.sectors) {
        if (random() < 0.5) continue;
        const at = sector * SECTOR_BYTES;
        this.#data.set(at < layer.size ? old : this.#garbage(random), at);
      }
      if (layer === this.#lost && this.#sizeSynced) continue;
      if (layer.size !== size && random() < 0.5) {
        size = random() < 0.5 ? layer.size : layer.size + Math.floor(random() * (size - layer.size));
      }
    }
    this.size = size;
    this.#data.fill(0, size);
    this.#layers = [{ size, sectors: new Map() }];
    this.#lost = null;
  }

  /**
   * What a sector that was allocated but never written may hold: zeroes, noise, or some other sector's bytes.
   */
  #garbage(random: () => number): Uint8Array {
    const sector = new Uint8Array(SECTOR_BYTES);
    const choice = random();
    if (choice < 0.4) return sector;
    if (choice < 0.6) return sector.map(() => Math.floor(random() * 256));
    const other = Math.floor((random() * this.#data.length) / SECTOR_BYTES) * SECTOR_BYTES;
    return this.#data.slice(other, other + SECTOR_BYTES);
  }

  #reserve(length: number): void {
    if (length <= this.#data.length) return;
    let capacity = this.#data.length;
    while (capacity < length) capacity *= 2;
    const data = new Uint8Array(capacity);
    data.set(this.#data);
    this.#data = data;
  }

  #touch(from: number, to: number): void {
    const layer = this.#layers.at(-1);
    if (layer === undefined) return;
    for (let sector = Math.floor(from / SECTOR_BYTES); sector * SECTOR_BYTES < to; sector++) {
      if (layer.sectors.has(sector)) continue;
      const at = sector * SECTOR_BYTES;
      const lost = this.#lost?.sectors.get(sector);
      layer.sectors.set(sector, lost ?? this.#data.slice(at, at + SECTOR_BYTES));
      this.#lost?.sectors.delete(sector);
    }
  }
}
