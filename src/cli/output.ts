/**
 * What the commands print and how they end: results on stdout, notes and errors on stderr, an exit status.
 * INVARIANT: with `--json` every line on stdout and every error line on stderr is one JSON value.
 * INVARIANT: a reader that goes away (`| head`) ends a command quietly, and does not end a service.
 */
import { DiskError } from '../common/disk.ts';
import { AssertionError, type ErrorCode, FailStop, type Outcome, RingkeepError } from '../common/errors.ts';
import { describe } from '../common/failure.ts';

/**
 * Exit statuses. `FAILED` is an operating error or an absent key, `USAGE` a command line that makes no sense, `UNDECIDED` a
 * check that did not come to an end.
 */
export const EXIT = { OK: 0, FAILED: 1, USAGE: 2, UNDECIDED: 3, BUG: 70, INTERRUPTED: 130 } as const;

/** The code of an error whose code is none of ours: the system's name of it, such as EACCES. */
export interface ShownError {
  readonly code: ErrorCode | string;
  readonly message: string;
  readonly outcome?: Outcome;
}

const LINE_MS = 200;

/** Writes to stdout and resolves when more may be written. */
export function write(text: string | Uint8Array): Promise<void> {
  if (process.stdout.write(text)) return Promise.resolve();
  return new Promise((resolve) => process.stdout.once('drain', resolve));
}

/** Prints a line of text. */
export function print(text: string): Promise<void> {
  return write(`${text}\n`);
}

/** Prints a value as one line of JSON. */
export function printJson(value: object): Promise<void> {
  return write(`${JSON.stringify(value)}\n`);
}

/** Returns rows, the head first, with their columns under each other. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
  return rows.map((row) => line(row).join('  ').trimEnd()).join('\n');
}

/** Writes a line to stderr, for people; nothing depends on it. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Redraws a line on stderr until the returned function is called; on a terminal only, so that logs of scripts stay readable. */
export function showLine(text: () => string): () => void {
  if (!process.stderr.isTTY) return () => {};
  const timer = setInterval(() => process.stderr.write(`\r\u001b[K${text()}`), LINE_MS);
  return () => {
    clearInterval(timer);
    process.stderr.write('\r\u001b[K');
  };
}

/** Ends a command quietly when the reader of its output goes away. */
export function endOnClosedOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.OK);
    throw error;
  });
  process.stderr.on('error', () => {});
}

/** Lets a service go on when nobody reads what it prints. */
export function surviveClosedOutput(): void {
  process.stdout.removeAllListeners('error');
  process.stdout.on('error', () => {});
}

const BY_ERRNO: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: 'ADDRESS_IN_USE',
  ENOSPC: 'DISK_FULL',
  ELOCKED: 'DIRECTORY_IN_USE',
};

/** Returns what is shown of an operating error, or null if it is none: then it is a bug. */
export function shownError(error: unknown): ShownError | null {
  if (error instanceof RingkeepError) {
    return { code: error.code, message: describe(error), outcome: error.outcome };
  }
  if (error instanceof AssertionError || error instanceof FailStop || !(error instanceof Error)) return null;
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof DiskError) {
    return { code: BY_ERRNO[error.code] ?? error.code, message: error.message.slice(error.code.length + 2) };
  }
  if (typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return null;
  return { code: BY_ERRNO[code] ?? code, message: error.message.replace(`${code}: `, '') };
}

/** Writes an error to stderr and returns the exit status it stands for. */
export function showError(error: unknown, json: boolean): number {
  const shown = shownError(error);
  if (shown === null) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    note(json ? JSON.stringify({ error: { code: 'INTERNAL', message: text } }) : `error: INTERNAL ${text}`);
    return EXIT.BUG;
  }
  note(json ? JSON.stringify({ error: shown }) : `error: ${shown.code} ${shown.message}`);
  return EXIT.FAILED;
}
