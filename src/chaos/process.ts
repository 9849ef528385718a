/**
 * One real process of a cluster, a node or a router, for what kills it, pauses it, and starts it in other surroundings. It keeps
 * its name, port and directory through all of its lives.
 * INVARIANT: only what was started here is signalled, by its pid; it follows when the own process dies.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { RingkeepError } from '../common/errors.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
export const HOST = '127.0.0.1';
/** Below the ports that the system hands to outgoing connections, which could take a dead process's port. */
const PORT_MIN = 15_000;
const PORT_MAX = 32_000;
const POLL_MS = 25;
const LOG_TAIL_LINES = 40;
const END_MS = 15_000;
/** One that is not ready by then is killed, ms: it may have been stopped, or hang. */
const START_MS = 45_000;
/** Liveness only: generous, because the machine may be shared. */
export const HEALTHY_MS = 60_000;
/** Of a step of a fault, which another fault beside it may keep from coming about. */
export const STEP_MS = 20_000;

/** Waits until `probe` returns something else than null; fails with what it last said is missing. */
export async function eventually<T>(
  what: string,
  probe: (missing: (text: string) => null) => Promise<T | null> | T | null,
  timeoutMs: number = HEALTHY_MS,
): Promise<T> {
  const until = performance.now() + timeoutMs;
  let reason = '';
  const missing = (text: string): null => {
    reason = text;
    return null;
  };
  for (;;) {
    const value = await probe(missing);
    if (value !== null) return value;
    if (performance.now() > until)
      throw new RingkeepError('NOT_READY', `not within ${timeoutMs} ms: ${what} (${reason})`);
    await delay(POLL_MS);
  }
}

/** Finds a port that nobody listens on, besides those `taken`. */
export async function freePort(taken: ReadonlySet<number>): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (taken.has(port)) continue;
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** A command line with its environment, as it is about to be started. */
export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** The parts of a ready line that matter here. */
interface Ready {
  readonly event?: string;
  readonly http?: string | null;
}

/** One process of the cluster: the same name, port and directory in all of its lives. */
export class ClusterProcess {
  readonly name: string;
  readonly address: string;
  readonly data: string;
  readonly logPath: string;
  /** Told about the pid of every life. */
  onStart: (pid: number) => void = () => {};
  /** Told how it has ended, if it was not asked to. */
  onOwnEnd: (how: string) => void = () => {};
  /** HOST:PORT of its metrics, of its last life; null: it has none. */
  http: string | null = null;
  readonly #args: readonly string[];
  readonly #surroundings = new Set<(launch: Launch) => Launch>();
  #child: ChildProcess | null = null;
  /** The life that was asked to end. */
  #asked: ChildProcess | null = null;
  /** The life that has said that it is ready. */
  #readied: ChildProcess | null = null;

  constructor(name: string, address: string, directory: string, args: readonly string[]) {
    this.name = name;
    this.address = address;
    this.data = join(directory, name);
    this.logPath = join(directory, `${name}.log`);
    this.#args = [...args, '--data', this.data, '--listen', address];
  }

  /** 0 while it does not run. */
  get pid(): number {
    return this.running ? (this.#child?.pid ?? 0) : 0;
  }

  get running(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** It runs, and has said so: what is sent to it before may end it. */
  get ready(): boolean {
    return this.running && this.#readied === this.#child;
  }

  /**
   * Changes how its next lives are started, until the function that is returned is called: in another environment, with other
   * flags, or by way of another program that becomes it. Changes are made in the order in which they came, and end in any.
   */
  surround(change: (launch: Launch) => Launch): () => void {
    // Of its own, also where the same function comes twice.
    const own = (launch: Launch): Launch => change(launch);
    this.#surroundings.add(own);
    return () => void this.#surroundings.delete(own);
  }

  /** Starts it; resolves at its ready line. Rejects with RingkeepError NOT_READY if it ends before, or has not come to it in time. */
  async start(): Promise<void> {
    if (this.running) throw new RingkeepError('DIRECTORY_IN_USE', `${this.name} runs already`);
    const args = [PROGRAM, ...this.#args, '--json', '--parent-pid', `${process.pid}`];
    let launch: Launch = { file: process.execPath, args, env: process.env };
    for (const change of this.#surroundings) launch = change(launch);
    const log = openSync(this.logPath, 'a');
    const child = spawn(launch.file, launch.args, { stdio: ['pipe', 'pipe', log], env: launch.env });
    closeSync(log);
    this.#child = child;
    child.on('exit', (code, signal) => {
      if (this.#asked !== child) this.onOwnEnd(code === null ? `by ${signal}` : `with status ${code}`);
    });
    if (child.pid !== undefined) this.onStart(child.pid);
    // The other end may be gone; its exit tells.
    child.stdin?.on('error', () => {});
    let text = '';
    let late: NodeJS.Timeout | null = null;
    await new Promise<void>((resolve, reject) => {
      late = setTimeout(() => {
        this.#asked = child;
        child.kill('SIGKILL');
        reject(
          new RingkeepError('NOT_READY', `${this.name} was not ready within ${START_MS} ms, and was killed`),
        );
      }, START_MS);
      child.on('error', reject);
      child.on('exit', (code, signal) =>
        reject(new RingkeepError('NOT_READY', `${this.name} ended before it was ready: ${code ?? signal}`)),
      );
      child.stdout?.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        const line = text.split('\n').find((one) => one.includes('"event":"ready"'));
        if (line === undefined) return;
        this.http = (JSON.parse(line) as Ready).http ?? null;
        this.#readied = child;
        resolve();
      });
    }).finally(() => clearTimeout(late ?? undefined));
  }

  /** Sends a signal without waiting for anything. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child?.kill(signal);
  }

  /** Sends a signal that ends it, and resolves with the exit status once it is gone; null: ended by the signal. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    const child = this.#child;
    if (child === null || !this.running) return child?.exitCode ?? null;
    const gone = once(child, 'exit');
    this.#asked = child;
    child.kill(signal);
    await gone;
    return child.exitCode;
  }

  /**
   * SIGTERM; one that has not ended by then, as it does not while it is stopped, is killed after 15 s. Resolves once it is gone, with
   * what was not as it should be: it has to end with status 0. Empty: nothing.
   */
  async end(): Promise<string> {
    const late = setTimeout(() => this.signal('SIGKILL'), END_MS);
    try {
      const status = await this.kill('SIGTERM');
      if (status === 0) return '';
      if (status === null) return `${this.name} had not ended ${END_MS} ms after SIGTERM, and was killed`;
      this.onOwnEnd(`with status ${status}, at SIGTERM`);
      return `${this.name} has ended with status ${status} at SIGTERM`;
    } finally {
      clearTimeout(late);
    }
  }

  /** Takes away its data directory. It must not run. */
  async wipe(): Promise<void> {
    if (this.running) throw new RingkeepError('DIRECTORY_IN_USE', `${this.name} runs`);
    await rm(this.data, { recursive: true, force: true });
  }

  /** The last lines of its log. */
  async logTail(lines: number = LOG_TAIL_LINES): Promise<string> {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** The lines of its log, of all its lives. */
  async logLines(): Promise<Record<string, unknown>[]> {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text.split('\n').flatMap((line) => parsed(line));
  }

  /** All its log lines with this event, of all its lives. */
  async logged(event: string): Promise<Record<string, unknown>[]> {
    return (await this.logLines()).filter((line) => line.event === event);
  }
}

/** A line of a log as a list of one; what is no JSON, such as the last words of the engine, is none. */
function parsed(line: string): Record<string, unknown>[] {
  if (!line.startsWith('{')) return [];
  try {
    return [JSON.parse(line) as Record<string, unknown>];
  } catch {
    return [];
  }
}
