/**
 * One child process of `up`: a node or a router, its log file, its ready line, and why it ended. Restarting is the
 * supervisor's. The child's stdin is what ties it to this process: see ../service.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { RingkeepError } from '../../common/errors.ts';
import { isErrorCode } from '../../common/failure.ts';
import type { RotatingFile } from './rotating-file.ts';

const PROGRAM = fileURLToPath(new URL('../../../bin/ringkeep.js', import.meta.url));
const LINE_BYTES_MAX = 64 * 1024;

/** A child's ready line. */
export interface ReadyLine {
  readonly id: string;
  /** HOST:PORT as bound. */
  readonly address: string;
  readonly http: string | null;
  readonly pid: number;
}

/** Why a child ended. */
export interface ChildEnd {
  /** For people: a signal, or the last error it wrote, or its exit status. */
  readonly reason: string;
  /** The operating error it ended with, if it wrote one. */
  readonly error: RingkeepError | null;
}

export interface Child {
  readonly pid: number;
  /** Resolves when it is ready; never, if it ends before. */
  readonly ready: Promise<ReadyLine>;
  /** Resolves once it is gone and everything it wrote has been read. Never rejects. */
  readonly ended: Promise<ChildEnd>;
  /** The error a running child cannot get over by itself: it was refused by the cluster it tried to join. */
  readonly refused: Promise<RingkeepError>;
  /** Asks it to stop within `graceMs`. */
  stop(graceMs: number): void;
  kill(): void;
}

/** Calls `onLine` for every line; longer ones than LINE_BYTES_MAX lose their beginning. */
function eachLine(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = (lines.pop() ?? '').slice(-LINE_BYTES_MAX);
    for (const line of lines) onLine(line);
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}

interface WrittenError {
  readonly code?: unknown;
  readonly message?: unknown;
}

/** A line of a child's stderr, as far as it matters here. */
interface LogLine {
  readonly level?: unknown;
  readonly event?: unknown;
  readonly error?: WrittenError;
}

function parse<T>(line: string): T | null {
  if (!line.startsWith('{')) return null;
  try {
    return JSON.parse(line) as T;
  } catch {
    return null;
  }
}

function toError(name: string, written: WrittenError): RingkeepError | null {
  const { code, message } = written;
  if (typeof code !== 'string' || typeof message !== 'string' || !isErrorCode(code)) return null;
  const prefix = `${code}: `;
  const text = message.startsWith(prefix) ? message.slice(prefix.length) : message;
  return new RingkeepError(code, `${name}: ${text}`);
}

/** What a child's stderr tells about its end. */
class LastWords {
  readonly #name: string;
  readonly #onRefused: (error: RingkeepError) => void;
  error: RingkeepError | null = null;
  text = '';

  constructor(name: string, onRefused: (error: RingkeepError) => void) {
    this.#name = name;
    this.#onRefused = onRefused;
  }

  read(line: string): void {
    const parsed = parse<LogLine>(line);
    if (parsed === null) {
      // A crash of the JavaScript engine itself speaks plain text.
      if (line.trim() !== '') this.text = line.trim();
      return;
    }
    if (parsed.error === undefined || parsed.error === null) return;
    if (parsed.event === undefined) this.error = toError(this.#name, parsed.error);
    if (parsed.event === undefined || parsed.level === 'fatal') {
      if (typeof parsed.error.message === 'string') this.text = parsed.error.message.split('\n')[0] ?? '';
    }
    if (parsed.event === 'controller_refused') {
      const refused = toError(this.#name, parsed.error);
      if (refused !== null) this.#onRefused(refused);
    }
  }
}

function reasonOf(code: number | null, signal: NodeJS.Signals | null, text: string): string {
  if (signal !== null) return `ended by ${signal}`;
  const status = `ended with status ${code ?? 'unknown'}`;
  return text === '' ? status : `${status}: ${text}`;
}

function whenEnded(child: ChildProcess, words: LastWords, log: RotatingFile): Promise<ChildEnd> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      // Without a pid it never ran and `close` may not come.
      if (child.pid === undefined) resolve({ reason: `cannot be started: ${error.message}`, error: null });
    });
    child.on('close', (code, signal) => {
      log.close();
      resolve({ reason: reasonOf(code, signal, words.text), error: words.error });
    });
  });
}

/** Starts `ringkeep ARGS` as a child, with the flags of Node that this process has, whose stderr goes to `log`. */
export function startChild(name: string, args: readonly string[], log: RotatingFile): Child {
  const own = ['--json', '--parent-pid', `${process.pid}`];
  const child = spawn(process.execPath, [...process.execArgv, PROGRAM, ...args, ...own], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '8' },
  });
  let refuse: (error: RingkeepError) => void = () => {};
  const refused = new Promise<RingkeepError>((resolve) => {
    refuse = resolve;
  });
  const words = new LastWords(name, (error) => refuse(error));
  child.stderr.on('data', (chunk: Buffer) => log.write(chunk));
  eachLine(child.stderr, (line) => words.read(line));
  // The other end may be gone; its end is reported by `close`.
  child.stdin.on('error', () => {});
  const ready = new Promise<ReadyLine>((resolve) => {
    eachLine(child.stdout, (line) => {
      const event = parse<ReadyLine & { readonly event?: string }>(line);
      if (event?.event === 'ready') resolve(event);
    });
  });
  return {
    pid: child.pid ?? 0,
    ready,
    ended: whenEnded(child, words, log),
    refused,
    stop: (graceMs) => child.stdin.write(`stop ${graceMs}\n`),
    kill: () => child.kill('SIGKILL'),
  };
}
