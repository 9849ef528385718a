/**
 * The data directory of a simulated node: disk, store, the production FORMAT file on that disk, and the last topology. It
 * outlives the node's processes. Owns what happens to a directory as a whole: wiped, copied, an old copy put back.
 */
import { SimDisk } from '../../src/common/sim-disk.ts';
import type { Topology } from '../../src/common/topology.ts';
import { type Format, openFormat } from '../../src/node/format.ts';
import { dumpWal } from '../../src/node/wal/dump.ts';
import { segmentName } from '../../src/node/wal/segment.ts';
import type { Invariants } from './invariants.ts';
import type { ShadowWal } from './shadow.ts';
import { SimStore } from './sim-store.ts';
import type { World } from './world.ts';

/** Where the WAL is in it. */
export const WAL_DIRECTORY = 'wal';

/** What a copy of a directory holds, and what the checks know of it. */
export interface DirectoryCopy {
  readonly incarnation: string;
  readonly boot: number;
  /** No later record of the core, as this run counts them, is in it; Infinity if that is not known. */
  readonly lsn: number;
  readonly topology: Topology | null;
  readonly files: ReturnType<SimDisk['contents']>;
  readonly rows: ReturnType<SimStore['contents']>;
  readonly shadow: ShadowWal;
}

/** What a directory needs of its surroundings. */
export interface DirectorySurroundings {
  readonly world: World;
  readonly invariants: Invariants;
  /** Mean time of a read of the store, ms. */
  readonly storeReadMs: number;
}

export class SimDirectory {
  disk!: SimDisk;
  store!: SimStore;
  /** Null while no process has started on it since it was wiped or put back. */
  format: Format | null = null;
  topology: Topology | null = null;
  /** An old copy was put in its place, and has not been found out. */
  isOldCopy = false;
  /** Only the controllers that have heard the end of its log can find it out: they have to go on. */
  needsWitness = false;
  private readonly node: string;
  private readonly around: DirectorySurroundings;
  private readonly later: (delayMs: number, run: () => void) => void;

  /** `later` runs something in the node's process, unless that has ended by then. */
  constructor(
    node: string,
    around: DirectorySurroundings,
    later: (delayMs: number, run: () => void) => void,
  ) {
    this.node = node;
    this.around = around;
    this.later = later;
    this.wipe();
  }

  /** Counts a start of a process, as production does. Throws a DiskError when the disk refuses. */
  open(): Format {
    this.format = openFormat(this.disk, { nodeId: this.node, newId: () => this.around.world.random.id() });
    return this.format;
  }

  /** Empties it. */
  wipe(): void {
    const { world, invariants, storeReadMs } = this.around;
    const random = (): number => world.random.next();
    this.format = null;
    this.topology = null;
    this.isOldCopy = false;
    this.needsWitness = false;
    this.disk = new SimDisk(this.later, random);
    this.store = new SimStore({ schedule: this.later, random, clearRowsMax: 20, readMs: storeReadMs });
    invariants.wiped(this.node);
  }

  /** Copies it in one moment. `lsn` is that of the last record a running process has appended. */
  copy(lsn = Number.POSITIVE_INFINITY): DirectoryCopy {
    const { disk, store, format, topology } = this;
    const shadow = this.around.invariants.copied(this.node);
    const { incarnation, boot } = { incarnation: '', boot: 0, ...format };
    return { incarnation, boot, lsn, topology, files: disk.contents(), rows: store.contents(), shadow };
  }

  /** Puts a copy in its place, while no process runs on it. */
  putBack(copy: DirectoryCopy): void {
    this.format = null;
    this.topology = copy.topology;
    this.disk.putBack(copy.files);
    this.store.putBack(copy.rows);
    this.around.invariants.putBack(this.node, copy.shadow);
    this.isOldCopy = true;
    this.needsWitness = false;
  }

  /**
   * Flips a bit in the older half of the WAL's first segment, which is durable up to `durableLsn`; false if there is nothing
   * to flip. The last group is spared, which can be larger than all before it: until something durable follows it, nothing
   * tells its damage from a torn tail (docs/GUARANTEES.md, G1), and a power cut can still take what has followed.
   */
  flipWalBit(durableLsn: number): boolean {
    const { world, invariants } = this.around;
    const { segment, bytes, provenBytes } = this.firstSegment(durableLsn);
    if (bytes < 256) return false;
    const path = `${WAL_DIRECTORY}/${segmentName(segment)}`;
    const offset = world.random.integer(Math.min(Math.floor(bytes / 2), provenBytes));
    world.trace(`${this.node}: a bit flips in ${path} at ${offset}`);
    invariants.tainted(this.node);
    this.disk.flipBit(path, offset, world.random.integer(8));
    return true;
  }

  /** The first segment, and how many of its bytes something durable proves to have been durable. */
  private firstSegment(durableLsn: number): { segment: number; bytes: number; provenBytes: number } {
    const lines = [...dumpWal(this.disk, WAL_DIRECTORY)];
    // A mark of the durable end may be on its way to the disk itself. What follows it says as much.
    const records = lines.filter((line) => line.kind === 'record').filter(({ type }) => type !== 'mark');
    const proofs = [
      ...lines.filter((line) => line.kind === 'manifest'),
      ...records.filter(({ lsn }) => lsn <= durableLsn),
    ];
    const proven = Math.max(...proofs.map((proof) => proof.durableLsn));
    const first = lines.find((line) => line.kind === 'segment');
    if (first === undefined) return { segment: 0, bytes: 0, provenBytes: 0 };
    const { segment, bytes } = first;
    const open = records.find((line) => line.segment === segment && line.lsn > proven);
    return { segment, bytes, provenBytes: open?.offset ?? bytes };
  }

  /** It was found to be an old copy, and goes on as another directory. */
  renew(): void {
    this.format?.renew(this.around.world.random.id());
    this.isOldCopy = false;
    this.needsWitness = false;
  }
}
