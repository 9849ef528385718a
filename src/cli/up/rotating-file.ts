/**
 * A log file of bounded size: when it is full it becomes `NAME.1`, in place of the one before it. So at most twice
 * `bytesMax` are kept.
 * INVARIANT: trouble with the disk loses log lines, never the process that writes them.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

/** Size of one log file, in bytes. */
export const LOG_BYTES_MAX = 8 * 1024 * 1024;

/** Appends to a file and rotates it. Writes are synchronous, so that the last words of a process are kept. */
export class RotatingFile {
  readonly #path: string;
  readonly #bytesMax: number;
  #file: number | null = null;
  #bytes = 0;

  constructor(path: string, bytesMax: number = LOG_BYTES_MAX) {
    this.#path = path;
    this.#bytesMax = bytesMax;
  }

  /** Appends whole pieces; a piece is never divided between two files. */
  write(piece: Uint8Array): void {
    try {
      let file = this.#file ?? this.#open();
      if (this.#bytes > 0 && this.#bytes + piece.length > this.#bytesMax) {
        this.close();
        renameSync(this.#path, `${this.#path}.1`);
        file = this.#open();
      }
      this.#bytes += writeSync(file, piece);
    } catch {
      this.close();
    }
  }

  /** Closes the file; a later write opens it again. */
  close(): void {
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    try {
      closeSync(file);
    } catch {
      // The file is given up either way.
    }
  }

  #open(): number {
    const file = openSync(this.#path, 'a', 0o600);
    this.#file = file;
    this.#bytes = fstatSync(file).size;
    return file;
  }
}
