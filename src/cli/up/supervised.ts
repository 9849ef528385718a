/**
 * One process that is kept running: its first start, which may fail, and then a restart after every end, with a pause
 * that doubles while it keeps ending soon. The same address is used again as long as it is free.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import { type Child, type ChildEnd, type ReadyLine, startChild } from './child.ts';
import { RotatingFile } from './rotating-file.ts';

/** How a process is started. */
export interface ProcessSpec {
  readonly name: string;
  readonly kind: 'node' | 'router';
  /** Address to listen on at first. */
  readonly listen: string;
  /** Whether another port may be taken when that one is not free. */
  readonly portMayChange: boolean;
  readonly logPath: string;
  readonly dataDirectory: string;
  /** Its command line, given the address to listen on. */
  readonly args: (listen: string) => readonly string[];
}

/** Told about ends and restarts. */
export interface ProcessReporter {
  ended(name: string, pid: number, reason: string, restartMs: number): void;
  restarted(name: string, ready: ReadyLine, reason: string): void;
  /** A node was added, taken away, or could not be added, as `scale` had asked for. */
  joined(name: string, ready: ReadyLine): void;
  left(name: string): void;
  failed(name: string, reason: string): void;
}

/** Any free port of this machine's loopback. */
export const ANY_ADDRESS = '127.0.0.1:0';

const RESTART_MS_MIN = 500;
const RESTART_MS_MAX = 10_000;
/** A process that ran this long starts anew with the shortest pause. */
const HEALTHY_MS = 30_000;
/** Processes of an `up` that was killed need a moment to notice and to let go of their directories. */
const DIRECTORY_WAIT_MS = 5_000;
const DIRECTORY_POLL_MS = 100;

/** Refusals that waiting does not mend. */
const LASTING: ReadonlySet<string> = new Set(['WRONG_CLUSTER', 'WRONG_NODE', 'VERSION_MISMATCH']);

type Start = { readonly ready: ReadyLine } | { readonly end: ChildEnd };

export class Supervised {
  readonly spec: ProcessSpec;
  readonly #reporter: ProcessReporter;
  readonly #log: RotatingFile;
  readonly #stop = new AbortController();
  #listen: string;
  #child: Child | null = null;
  #ready: ReadyLine | null = null;
  #restartMs = RESTART_MS_MIN;
  #kept: Promise<void> = Promise.resolve();
  /** Resolves if the cluster refuses this process for good. */
  readonly refused: Promise<RingkeepError>;
  #refuse: (error: RingkeepError) => void = () => {};

  constructor(spec: ProcessSpec, reporter: ProcessReporter) {
    this.spec = spec;
    this.#reporter = reporter;
    this.#log = new RotatingFile(spec.logPath);
    this.#listen = spec.listen;
    this.refused = new Promise((resolve) => {
      this.#refuse = resolve;
    });
  }

  /** Its ready line, the newest one; null while it does not run. */
  get running(): ReadyLine | null {
    return this.#ready;
  }

  /** Starts it for the first time. Rejects with the error it ended with. */
  async start(): Promise<ReadyLine> {
    const patience = performance.now() + DIRECTORY_WAIT_MS;
    while (!this.#stop.signal.aborted) {
      const child = this.#spawn();
      const start = await this.#whenStarted(child);
      if ('ready' in start) {
        this.#kept = this.#keep(child);
        return start.ready;
      }
      const { error, reason } = start.end;
      if (this.#stop.signal.aborted) break;
      if (this.#takeAnotherPort(error)) continue;
      if (error?.code !== 'DIRECTORY_IN_USE' || performance.now() > patience) {
        const { name, logPath } = this.spec;
        throw error ?? new RingkeepError('INTERNAL', `${name} ${reason}; see ${logPath}`);
      }
      await this.#pause(DIRECTORY_POLL_MS);
    }
    throw new RingkeepError('SHUTTING_DOWN', 'stopped while starting');
  }

  /** Starts it no more when it ends. */
  leave(): void {
    this.#stop.abort();
  }

  /** Asks it to stop within `graceMs`, and starts it no more. */
  stop(graceMs: number): void {
    this.leave();
    this.#child?.stop(graceMs);
  }

  /** Ends it at once, and starts it no more. */
  kill(): void {
    this.leave();
    this.#child?.kill();
  }

  /** Resolves when it has ended for good, after `stop` or `kill`. */
  async ended(): Promise<void> {
    await this.#child?.ended;
    await this.#kept;
  }

  #spawn(): Child {
    const child = startChild(this.spec.name, this.spec.args(this.#listen), this.#log);
    this.#child = child;
    void child.refused.then((error) => {
      if (LASTING.has(error.code)) this.#refuse(error);
    });
    return child;
  }

  async #whenStarted(child: Child): Promise<Start> {
    const start = await Promise.race([
      child.ready.then((ready) => ({ ready })),
      child.ended.then((end) => ({ end })),
    ]);
    if ('ready' in start) {
      this.#ready = start.ready;
      this.#listen = start.ready.address;
    }
    return start;
  }

  #takeAnotherPort(error: RingkeepError | null): boolean {
    if (error?.code !== 'ADDRESS_IN_USE' || !this.spec.portMayChange) return false;
    if (this.#listen === ANY_ADDRESS) return false;
    this.#listen = ANY_ADDRESS;
    return true;
  }

  #pause(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }

  /** Restarts the process whenever it ends, until it is stopped. */
  async #keep(first: Child): Promise<void> {
    let child = first;
    let readyAt = performance.now();
    for (;;) {
      const end = await child.ended;
      this.#ready = null;
      if (this.#stop.signal.aborted) return;
      if (performance.now() - readyAt > HEALTHY_MS) this.#restartMs = RESTART_MS_MIN;
      this.#takeAnotherPort(end.error);
      const { reason } = end;
      this.#reporter.ended(this.spec.name, child.pid, reason, this.#restartMs);
      await this.#pause(this.#restartMs);
      if (this.#stop.signal.aborted) return;
      this.#restartMs = Math.min(RESTART_MS_MAX, this.#restartMs * 2);
      child = this.#spawn();
      const start = await this.#whenStarted(child);
      if ('ready' in start) {
        readyAt = performance.now();
        this.#reporter.restarted(this.spec.name, start.ready, reason);
      }
    }
  }
}
