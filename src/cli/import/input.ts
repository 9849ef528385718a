/**
 * The input of an import as lines: a file or stdin, from its beginning or from where an earlier run has come to.
 * INVARIANT: lines are skipped only if the bytes before them have the checksum that the earlier run took of them.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { crc32c } from '../../common/crc32c.ts';
import { RingkeepError } from '../../common/errors.ts';
import { type Line, LineSplitter, type Position, START } from './line-splitter.ts';

type Chunks = AsyncIterable<Uint8Array>;

const CHUNK_BYTES = 256 * 1024;

async function* splitLines(chunks: Chunks, position: Position, lineBytesMax: number): AsyncGenerator<Line> {
  const splitter = new LineSplitter(lineBytesMax, position);
  for await (const chunk of chunks) yield* splitter.push(chunk);
  yield* splitter.finish();
}

/**
 * Reads `position.end` bytes and yields what follows them.
 * @throws RingkeepError INVALID_ARGUMENT if those bytes are not the ones of the position
 */
async function* skip(chunks: Chunks, position: Position, name: string): AsyncGenerator<Uint8Array> {
  let left = position.end;
  let checksum = 0;
  const check = () => {
    if (left === 0 && checksum === position.checksum) return;
    const text = `${name} does not begin as it did when the import was interrupted`;
    throw new RingkeepError('INVALID_ARGUMENT', text);
  };
  for await (const chunk of chunks) {
    if (left === 0) {
      yield chunk;
      continue;
    }
    const skipped = Math.min(left, chunk.length);
    checksum = crc32c(chunk.subarray(0, skipped), checksum);
    left -= skipped;
    if (left > 0) continue;
    check();
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
  check();
}

/** An input that can be read once as lines. */
export interface Input {
  readonly name: string;
  /** Length in bytes; null if it is not known. */
  readonly bytes: number | null;
  /** Where the lines begin. */
  readonly position: Position;
  readonly lines: AsyncIterable<Line>;
  /** Ends a wait for more of it; the lines may then reject. */
  close(): void;
}

async function beginsWith(path: string, position: Position): Promise<boolean> {
  let checksum = 0;
  let read = 0;
  const chunks = createReadStream(path, { end: position.end - 1, highWaterMark: CHUNK_BYTES });
  for await (const chunk of chunks as Chunks) {
    checksum = crc32c(chunk, checksum);
    read += chunk.length;
  }
  return read === position.end && checksum === position.checksum;
}

/**
 * Opens a file, or stdin for `-`. `resumeAt` is where an earlier run has come to; a file that has changed before that
 * place is read from its beginning, and `position` says so.
 * Rejects with the system's error, such as ENOENT; the lines reject with INVALID_ARGUMENT if stdin has changed.
 */
export async function openInput(
  path: string,
  resumeAt: Position | null,
  lineBytesMax: number,
): Promise<Input> {
  if (path === '-') {
    const position = resumeAt ?? START;
    const chunks = position.end === 0 ? process.stdin : skip(process.stdin, position, 'stdin');
    const lines = splitLines(chunks, position, lineBytesMax);
    return { name: 'stdin', bytes: null, position, lines, close: () => process.stdin.destroy() };
  }
  const about = await stat(path);
  if (about.isDirectory()) throw new RingkeepError('INVALID_ARGUMENT', `${path} is a directory`);
  const regular = about.isFile();
  const same = resumeAt !== null && resumeAt.end > 0 && regular && (await beginsWith(path, resumeAt));
  const position = same ? resumeAt : START;
  const chunks = createReadStream(path, { start: position.end, highWaterMark: CHUNK_BYTES });
  return {
    name: path,
    bytes: regular ? about.size : null,
    position,
    lines: splitLines(chunks, position, lineBytesMax),
    close: () => chunks.destroy(),
  };
}
