/**
 * How far an import has come, kept in a small file beside its input, so that the same command goes on where it was
 * interrupted. Done means: every line up to there is acknowledged or was reported as bad.
 * INVARIANT: what is done never skips a line that is not, whatever order writes are acknowledged in (`DonePrefix`).
 * INVARIANT: a checkpoint is used only for the same cluster, keyspace, key and codec, and an input that begins with the same
 * bytes.
 * INVARIANT: bad lines are counted with the position they are before: resuming neither forgets one nor counts one twice.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { type Line, type Position, START } from './line-splitter.ts';
import type { RecordCodec } from './records.ts';

const FORMAT = 2;
/** Bad lines that are remembered one by one; of the others only the count is. */
export const BAD_LINES_KEPT = 20;

/** What must be the same for a checkpoint to count. */
export interface ImportIdentity {
  readonly cluster: string;
  readonly keyspace: string;
  readonly key: string;
  readonly codec: RecordCodec;
}

/** A line that was not imported. */
export interface BadLine {
  readonly line: number;
  readonly code: ErrorCode;
  readonly message: string;
}

/** What is done: every line up to a position, and which of them were left out. */
export interface Done extends Position {
  readonly bad: number;
  /** The first BAD_LINES_KEPT of them. */
  readonly badLines: readonly BadLine[];
}

/** What is done before an import. */
export const NOTHING_DONE: Done = { ...START, bad: 0, badLines: [] };

interface Saved extends ImportIdentity, Done {
  readonly format: number;
}

/** The finished beginning of an input whose lines end in any order. */
export class DonePrefix {
  #position: Position;
  #bad: number;
  readonly #badLines: BadLine[];
  /** Lines after the position, in their order. */
  readonly #open: { readonly position: Position; done: boolean; bad: BadLine | null }[] = [];
  #first = 0;

  constructor({ bad, badLines, ...position }: Done = NOTHING_DONE) {
    this.#position = position;
    this.#bad = bad;
    this.#badLines = [...badLines];
  }

  /** Everything up to here is done. */
  get position(): Position {
    return this.#position;
  }

  /** The position with the bad lines up to there. */
  get done(): Done {
    return { ...this.#position, bad: this.#bad, badLines: [...this.#badLines] };
  }

  /** Lines that are remembered behind the first one that is not done. */
  get waiting(): number {
    return this.#open.length - this.#first;
  }

  /** Adds the next line and returns what marks it as done, or as left out. */
  add(line: Line): (bad?: BadLine) => void {
    const { number, end, checksum } = line;
    const entry = { position: { number, end, checksum }, done: false, bad: null as BadLine | null };
    this.#open.push(entry);
    return (bad) => {
      entry.done = true;
      entry.bad = bad ?? null;
      this.#advance();
    };
  }

  #advance(): void {
    for (let entry = this.#open[this.#first]; entry?.done === true; entry = this.#open[this.#first]) {
      this.#position = entry.position;
      if (entry.bad !== null) this.#countBad(entry.bad);
      this.#first++;
    }
    // Moving the rest down at every step would be quadratic.
    if (this.#first > 1_024 && this.#first * 2 > this.#open.length) {
      this.#open.splice(0, this.#first);
      this.#first = 0;
    }
  }

  #countBad(bad: BadLine): void {
    this.#bad++;
    if (this.#badLines.length < BAD_LINES_KEPT) this.#badLines.push(bad);
  }
}

function isDone({ number, end, checksum, bad, badLines }: Partial<Saved>): boolean {
  const counts = [number, end, checksum, bad].every((n) => Number.isSafeInteger(n) && (n ?? -1) >= 0);
  return counts && Array.isArray(badLines);
}

/** Reads and writes the checkpoint of one import. */
export class Checkpoint {
  readonly path: string;
  readonly #identity: ImportIdentity;

  constructor(path: string, identity: ImportIdentity) {
    this.path = path;
    this.#identity = identity;
  }

  /**
   * Returns what was done when the import was interrupted, or null if there is no checkpoint or it is of another import.
   * @throws RingkeepError INVALID_ARGUMENT if the file is there and is no checkpoint
   */
  read(): Done | null {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    const saved = this.#parse(text);
    const { cluster, keyspace, key, codec } = this.#identity;
    const same = saved.cluster === cluster && saved.keyspace === keyspace && saved.key === key;
    if (!same || saved.codec !== codec) return null;
    const { number, end, checksum, bad, badLines } = saved;
    return { number, end, checksum, bad, badLines };
  }

  #parse(text: string): Saved {
    let saved: Partial<Saved> | null = null;
    try {
      saved = JSON.parse(text) as Partial<Saved> | null;
    } catch {
      // Told below: it may be any file that was named by mistake.
    }
    if (saved === null || saved.format !== FORMAT || !isDone(saved)) {
      throw new RingkeepError(
        'INVALID_ARGUMENT',
        `${this.path} is no import checkpoint; remove it to start anew`,
      );
    }
    return saved as Saved;
  }

  /** Writes it, whole or not at all. An older one that a power cut leaves behind only means more to repeat. */
  write(done: Done): void {
    const { number, end, checksum, bad, badLines } = done;
    const saved: Saved = { format: FORMAT, ...this.#identity, number, end, checksum, bad, badLines };
    writeFileSync(`${this.path}.tmp`, `${JSON.stringify(saved)}\n`);
    renameSync(`${this.path}.tmp`, this.path);
  }

  /** Removes it: the import is complete. */
  remove(): void {
    rmSync(this.path, { force: true });
  }
}
