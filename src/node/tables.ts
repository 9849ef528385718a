/**
 * What LevelDB looks things up by in its tables: the index and the filter of each, which it reads without checking their checksums.
 * A flipped bit in one of them hides rows: a lookup says that there is none. No checksum of a row can tell; these are therefore
 * checked before a store is used (format: doc/table_format.md and table/format.cc of LevelDB 1.20). The blocks of rows are not:
 * every row has a CRC of its own, and the scrub finds rows that are missing.
 */
import { crc32c } from '../common/crc32c.ts';
import type { Disk, DiskFile } from '../common/disk.ts';
import { DiskError } from '../common/disk.ts';

const FOOTER_BYTES = 48;
const MAGIC = 0xdb4775248b80fb57n;
/** Behind every block: how it is compressed, and the checksum of both. */
const TRAILER_BYTES = 5;
const RAW = 0;
const FILTER = 'filter.';

/** A block of a table: where it begins, and its bytes without the trailer. */
interface Handle {
  readonly offset: number;
  readonly bytes: number;
}

/** Reads whole numbers of variable length. */
class Varints {
  private readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  next(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.bytes[this.at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  handle(): Handle {
    return { offset: this.next(), bytes: this.next() };
  }
}

function read(file: DiskFile, offset: number, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    file.read(offset, length, (error, bytes) => {
      if (error !== null || bytes === undefined) reject(error);
      else resolve(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    });
  });
}

/** As it is stored: a checksum of bytes that hold a checksum would be weak. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

class Table {
  private readonly file: DiskFile;
  private readonly size: number;

  constructor(file: DiskFile) {
    this.file = file;
    this.size = file.sizeSync();
  }

  /** Returns what is damaged; null: nothing. */
  async problem(): Promise<string | null> {
    if (this.size < FOOTER_BYTES) return 'it is too short';
    const footer = await read(this.file, this.size - FOOTER_BYTES, FOOTER_BYTES);
    if (footer.readBigUInt64LE(FOOTER_BYTES - 8) !== MAGIC) return 'its footer';
    const numbers = new Varints(footer);
    const contents = numbers.handle();
    const index = numbers.handle();
    if ((await this.block(index)) === null) return 'its index';
    const names = await this.block(contents);
    if (names === null) return 'its list of filters';
    const filter = filterIn(names);
    if (filter !== null && (await this.block(filter)) === null) return 'its filter';
    return null;
  }

  /** Returns a block with its kind of compression behind it; null: it is not what was written. */
  private async block({ offset, bytes }: Handle): Promise<Buffer | null> {
    if (offset + bytes + TRAILER_BYTES > this.size - FOOTER_BYTES) return null;
    const block = await read(this.file, offset, bytes + TRAILER_BYTES);
    const body = block.subarray(0, bytes + 1);
    return masked(crc32c(body)) === block.readUInt32LE(bytes + 1) ? body : null;
  }
}

/** Finds the filter in the list of a table's other blocks, which has one entry at most; null: none is told. */
function filterIn(block: Buffer): Handle | null {
  if (block[block.byteLength - 1] !== RAW) return null;
  const numbers = new Varints(block);
  // Of the first entry: what it shares with the one before, the rest of its key, its value.
  numbers.next();
  const keyBytes = numbers.next();
  numbers.next();
  const name = block.toString('latin1', numbers.at, numbers.at + keyBytes);
  if (!name.startsWith(FILTER)) return null;
  return new Varints(block, numbers.at + keyBytes).handle();
}

/**
 * Checks what tables are looked up by. `names` are files in `path`; one that a compaction has made superfluous meanwhile is left
 * out. Rejects with DiskError EIO that names the first damaged one.
 */
export async function checkTables(
  disk: Pick<Disk, 'openSync'>,
  path: string,
  names: readonly string[],
): Promise<void> {
  for (const name of names) {
    const file = openIfThere(disk, `${path}/${name}`);
    try {
      const problem = file === null ? null : await new Table(file).problem();
      if (problem !== null) throw new DiskError('EIO', `table ${name} of the store is damaged: ${problem}`);
    } finally {
      file?.closeSync();
    }
  }
}

function openIfThere(disk: Pick<Disk, 'openSync'>, path: string): DiskFile | null {
  try {
    return disk.openSync(path, false);
  } catch (error) {
    if (error instanceof DiskError && error.code === 'ENOENT') return null;
    throw error;
  }
}
