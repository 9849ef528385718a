/**
 * The last topology a node was pushed, kept in its directory (`TOPOLOGY`): a restarted node finds its neighbours without
 * a router, and a wiped topology store can be rebuilt from it and the promises. Not an authority: replicas believe
 * their own promises only. A damaged file is ignored; it is written again with the next change.
 *
 *   u32 LE CRC32C of the rest | msgpack Topology
 */
import { Packr } from 'msgpackr';
import { asBuffer } from '../../common/bytes.ts';
import { crc32c } from '../../common/crc32c.ts';
import { type Disk, DiskError } from '../../common/disk.ts';
import type { Topology } from '../../common/topology.ts';

const NAME = 'TOPOLOGY';
const TEMPORARY = 'TOPOLOGY.tmp';
/** From the end of one write to the next one at least, ms: moves bring a topology at every step, and renaming blocks. */
const PAUSE_MS = 500;
const packr = new Packr({ useRecords: false, copyBuffers: true, moreTypes: false });

/** Reads the file; null when there is none that can be trusted. */
export function readTopology(disk: Disk): Topology | null {
  if (!disk.existsSync(NAME)) return null;
  const bytes = asBuffer(disk.readSync(NAME));
  if (bytes.byteLength < 4 || crc32c(bytes.subarray(4)) !== bytes.readUInt32LE(0)) return null;
  return packr.unpack(bytes.subarray(4)) as Topology;
}

/** Writes the newest of the topologies it is given, one at a time and with pauses, without blocking. */
export class TopologyFile {
  private readonly disk: Disk;
  private readonly failed: (error: DiskError) => void;
  private next: Topology | null = null;
  private writing = false;
  private pausing: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(disk: Disk, failed: (error: DiskError) => void) {
    this.disk = disk;
    this.failed = failed;
  }

  /** Remembers a topology to be written. */
  save(topology: Topology): void {
    this.next = topology;
    if (!this.writing && this.pausing === null && !this.closed) this.write();
  }

  /** Writes nothing more. */
  close(): void {
    this.closed = true;
    if (this.pausing !== null) clearTimeout(this.pausing);
  }

  private write(): void {
    const packed = packr.pack(this.next);
    this.next = null;
    this.writing = true;
    const bytes = Buffer.allocUnsafe(4 + packed.byteLength);
    bytes.set(packed, 4);
    bytes.writeUInt32LE(crc32c(packed), 0);
    try {
      const file = this.disk.openSync(TEMPORARY, true);
      file.truncateSync(0);
      file.write(0, [bytes], (writeError) => {
        if (writeError !== null) return this.ended(writeError, () => file.closeSync());
        file.sync((syncError) => this.ended(syncError, () => file.closeSync()));
      });
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.ended(error, () => {});
    }
  }

  private publish(): void {
    try {
      this.disk.renameSync(TEMPORARY, NAME);
    } catch (error) {
      // A full directory must not end the node: the file is a convenience, and is written again with the next change.
      if (!(error instanceof DiskError)) throw error;
      this.failed(error);
    }
  }

  private ended(error: DiskError | null, close: () => void): void {
    this.writing = false;
    close();
    if (this.closed) return;
    if (error === null) this.publish();
    else this.failed(error);
    this.pausing = setTimeout(() => {
      this.pausing = null;
      if (this.next !== null) this.write();
    }, PAUSE_MS);
  }
}
