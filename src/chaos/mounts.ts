/**
 * File systems of a node's own, in the place of its data directory: one in memory with an end, which can be filled, and ext4 on a loop
 * device, whose power can be cut. As root only; best in a mount namespace of one's own (scripts/test-rooted.sh), with which they go.
 * INVARIANT: `close` leaves no mount and no loop device.
 */
import { mkdir, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import { missingPrograms, missingRoot, runProgram } from './tools.ts';

/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): nothing is written any more, the journal neither. */
const SHUTDOWN = `for (@ARGV) { sysopen(my $d, $_, 0) or die "$_: $!"; my $f = pack("L", 2);
  ioctl($d, 0x8004587d, $f) or die "$_: $!"; }`;
const UNMOUNT_TRIES = 50;
const BALLAST = 'ballast';
const SYNCED = 'synced';
const UNSYNCED = 'unsynced';
const CHUNK_BYTES = 64 * 1024;

async function unmount(path: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await runProgram('umount', [path]);
      return;
    } catch (error) {
      // Whoever was killed may still be about to let go of it.
      if (tries === UNMOUNT_TRIES) throw error;
      await delay(100);
    }
  }
}

/** Why there can be no file system in memory; null: there can. */
export function missingMemoryDisk(): string | null {
  return missingRoot() ?? missingPrograms('mount', 'umount');
}

/** A file system in memory, of so many bytes. */
export class MemoryDisk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Mounts it on `path`, which is made. Rejects with RingkeepError NOT_READY. */
  static async mount(path: string, bytes: number): Promise<MemoryDisk> {
    await mkdir(path, { recursive: true });
    await runProgram('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'ringkeep', path]);
    return new MemoryDisk(path);
  }

  /** Takes all of the space that is left. Returns how much that was, bytes. */
  async fill(): Promise<number> {
    const file = await open(join(this.path, BALLAST), 'a');
    try {
      for (;;) await file.write(Buffer.alloc(CHUNK_BYTES));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      return (await file.stat()).size;
    } finally {
      await file.close();
    }
  }

  /** Gives it free again. Idempotent. */
  async release(): Promise<void> {
    await rm(join(this.path, BALLAST), { force: true });
  }

  /** Its name is free at once; it goes with the last process that uses it. Idempotent. */
  async close(): Promise<void> {
    await runProgram('umount', ['--lazy', this.path]).catch(() => {});
  }
}

/** Why there can be no power cut; null: there can. */
export function missingPowerDisk(): string | null {
  return missingRoot() ?? missingPrograms('mount', 'umount', 'mkfs.ext4', 'losetup', 'perl');
}

/** An ext4 on a loop device, whose power can be cut. */
export class PowerDisk {
  readonly path: string;
  private readonly image: string;
  private mounted = false;

  private constructor(path: string, image: string) {
    this.path = path;
    this.image = image;
  }

  /** Mounts one of `bytes` on `path`, which is made; its image is beside it. Rejects with RingkeepError NOT_READY. */
  static async mount(path: string, bytes: number): Promise<PowerDisk> {
    const disk = new PowerDisk(path, `${path}.image`);
    await mkdir(path, { recursive: true });
    await writeFile(disk.image, '');
    await truncate(disk.image, bytes);
    await runProgram('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', disk.image]);
    await disk.remount();
    await rm(join(path, 'lost+found'), { recursive: true, force: true });
    return disk;
  }

  private async remount(): Promise<void> {
    await runProgram('mount', ['-t', 'ext4', '-o', 'loop,noatime', this.image, this.path]);
    this.mounted = true;
  }

  /** Writes what shall be there after a power cut, and what shall not. */
  private async mark(): Promise<void> {
    const synced = await open(join(this.path, SYNCED), 'w');
    await synced.writeFile(SYNCED);
    await synced.sync();
    await synced.close();
    await writeFile(join(this.path, UNSYNCED), UNSYNCED);
  }

  /**
   * Cuts the power of several at once: from here on nothing reaches them, every fsync fails. Whoever uses them is to be killed
   * before `restore`.
   */
  static async cut(disks: readonly PowerDisk[]): Promise<void> {
    await Promise.all(disks.map((disk) => disk.mark()));
    await runProgram('perl', ['-e', SHUTDOWN, ...disks.map(({ path }) => path)]);
  }

  /** Mounts it again, as after the power has come back. Rejects if it shows what was never synced, or not what was. */
  async restore(): Promise<void> {
    await unmount(this.path);
    this.mounted = false;
    await this.remount();
    const synced = await readFile(join(this.path, SYNCED), 'utf8').catch(() => '');
    const unsynced = await stat(join(this.path, UNSYNCED)).then(
      ({ size }) => size,
      () => 0,
    );
    if (synced !== SYNCED || unsynced > 0)
      throw new RingkeepError(
        'NOT_READY',
        `${this.path}: no power cut: "${synced}", ${unsynced} unsynced bytes`,
      );
    for (const name of [SYNCED, UNSYNCED]) await rm(join(this.path, name), { force: true });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.mounted) await runProgram('umount', ['--lazy', this.path]).catch(() => {});
    this.mounted = false;
    await rm(this.image, { force: true });
  }
}
