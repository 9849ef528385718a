/**
 * Writes the records of an input, many at once. It holds a bounded number of records, keeps the order of writes to the
 * same key, counts what it cannot write because of the line itself, and gives up at the first error that is not the
 * line's: retrying is the client's, and what is left is for the next run.
 * INVARIANT: two writes of one key are never open at once, so the last record of a key wins.
 */
import type { ErrorCode } from '../../common/errors.ts';
import { RingkeepError } from '../../common/errors.ts';
import { describe } from '../../common/failure.ts';
import type { EncodedValue } from '../values.ts';
import { type BadLine, type Done, DonePrefix } from './checkpoint.ts';
import type { Line, Position } from './line-splitter.ts';
import { parseRecord, type RecordCodec } from './records.ts';

export interface ImporterOptions {
  readonly keyField: string;
  readonly codec: RecordCodec;
  /** Writes that may be open at once. */
  readonly concurrency: number;
  /** Bad lines that are put up with, those of earlier runs included. */
  readonly errorsMax: number;
  /** What earlier runs have done; the lines begin after it. */
  readonly done: Done;
  /** Writes one record; rejects with RingkeepError. */
  readonly put: (key: string, value: EncodedValue) => Promise<unknown>;
  /** Told of every bad line. */
  readonly onBadLine: (line: BadLine) => void;
  /** Told once no further lines are wanted, so that a wait for input can be ended. */
  readonly onEnding: () => void;
}

/** Counts of this run. */
export interface ImportCounts {
  readonly imported: number;
  readonly blank: number;
  /** With those of earlier runs. */
  readonly bad: number;
}

/** Value bytes that are open at once. */
const OPEN_BYTES_MAX = 32 * 1024 * 1024;
/** Lines behind one that is not done yet. */
const WAITING_MAX = 65_536;

/** Errors that are the line's own: the next line may be fine. */
const LINE_CODES: ReadonlySet<ErrorCode> = new Set([
  'INVALID_ARGUMENT',
  'KEY_TOO_LARGE',
  'VALUE_TOO_LARGE',
  'MESSAGE_TOO_LARGE',
]);

export class Importer {
  readonly #options: ImporterOptions;
  readonly #prefix: DonePrefix;
  readonly #openKeys = new Set<string>();
  #openBytes = 0;
  #imported = 0;
  #blank = 0;
  #bad: number;
  #failure: unknown = null;
  #stopped = false;
  #wake: (() => void) | null = null;

  constructor(options: ImporterOptions) {
    this.#options = options;
    this.#prefix = new DonePrefix(options.done);
    this.#bad = options.done.bad;
  }

  /** What this run and the earlier ones have done. */
  get done(): Done {
    return this.#prefix.done;
  }

  /** Everything up to here is done. */
  get position(): Position {
    return this.#prefix.position;
  }

  get counts(): ImportCounts {
    return { imported: this.#imported, blank: this.#blank, bad: this.#bad };
  }

  /** Takes no further lines; what is open ends, and then `run` rejects with `error`. */
  abort(error: unknown): void {
    this.#fail(error);
    this.#changed();
  }

  /** Takes no further lines; what is open ends. */
  stop(): void {
    this.#stopped = true;
    this.#options.onEnding();
    this.#changed();
  }

  /**
   * Imports the lines and resolves when every write has ended, with whether all lines were taken. Rejects with the
   * first error that is not a line's own, or when there are more bad lines than are put up with.
   */
  async run(lines: AsyncIterable<Line>): Promise<boolean> {
    try {
      for await (const line of lines) {
        if (!(await this.#take(line))) break;
      }
    } catch (error) {
      // Once nothing more is wanted, an input that breaks off is as good as its end.
      if (!this.#ending) this.#fail(error);
    }
    while (this.#openKeys.size > 0) await this.#change();
    if (this.#failure !== null) throw this.#failure;
    return !this.#stopped;
  }

  get #ending(): boolean {
    return this.#stopped || this.#failure !== null;
  }

  /** Starts a line's write as soon as there is room. Resolves with false when no more lines are wanted. */
  async #take(line: Line): Promise<boolean> {
    const { keyField, codec, concurrency } = this.#options;
    while (!this.#ending && this.#prefix.waiting >= WAITING_MAX) await this.#change();
    if (this.#ending) return false;
    try {
      const record = parseRecord(line.bytes, keyField, codec);
      if (record === null) {
        this.#blank++;
        this.#prefix.add(line)();
        return true;
      }
      const { key, value } = record;
      const full = () => this.#openKeys.size >= concurrency || this.#openBytes >= OPEN_BYTES_MAX;
      while (!this.#ending && (full() || this.#openKeys.has(key))) await this.#change();
      if (this.#ending) return false;
      void this.#write(line, key, value);
    } catch (error) {
      this.#refuse(line, error, this.#prefix.add(line));
    }
    return !this.#ending;
  }

  async #write(line: Line, key: string, value: EncodedValue): Promise<void> {
    const done = this.#prefix.add(line);
    this.#openKeys.add(key);
    this.#openBytes += value.bytes.length;
    try {
      await this.#options.put(key, value);
      this.#imported++;
      done();
    } catch (error) {
      this.#refuse(line, error, done);
    }
    this.#openKeys.delete(key);
    this.#openBytes -= value.bytes.length;
    this.#changed();
  }

  #refuse(line: Line, error: unknown, done: (bad: BadLine) => void): void {
    if (!(error instanceof RingkeepError) || !LINE_CODES.has(error.code)) {
      this.#fail(error);
      return;
    }
    const { errorsMax, onBadLine } = this.#options;
    this.#bad++;
    const bad: BadLine = { line: line.number, code: error.code, message: describe(error) };
    onBadLine(bad);
    if (this.#bad <= errorsMax) done(bad);
    else {
      const text = `more than ${errorsMax} bad lines, the last one is line ${line.number}`;
      this.#fail(new RingkeepError('INVALID_ARGUMENT', `${text} (${describe(error)})`));
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    this.#options.onEnding();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #changed(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
