/**
 * Clusters as people start them: `ringkeep up`, its JSON lines, its signals. For tests of `up` itself and of the
 * commands; tests that decide themselves when a process dies use processes.ts.
 * INVARIANT: only processes started here are signalled, by their pid, and all of them are gone after the test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';
import { type CommandResult, runCommand } from './command.ts';
import { eventually } from './processes.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
/** Liveness only: generous, because the machine may be shared. */
const READY_MS = 90_000;
const LOG_TAIL_BYTES = 4_000;

export interface UpProcess {
  readonly id: string;
  readonly address: string;
  readonly pid: number;
  readonly data: string;
}

/** The ready line of `up --json`. */
export interface UpReady {
  readonly event: 'ready';
  readonly url: string;
  readonly clusterId: string;
  readonly nodes: readonly UpProcess[];
  readonly routers: readonly UpProcess[];
  readonly data: string;
  readonly ephemeral: boolean;
}

/** A line about a child that ended or runs again, or about a node that `scale` has added or taken away. */
export interface UpEvent {
  readonly event: 'ended' | 'restarted' | 'joined' | 'left' | 'failed';
  readonly id: string;
  readonly pid: number;
  readonly address?: string;
  readonly reason: string;
}

/** Tells whether a process of this id exists and is no zombie. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return process.platform !== 'linux';
  }
}

/** Resolves when none of the processes runs any more. */
export async function allGone(pids: readonly number[]): Promise<void> {
  await eventually('the end of every process', (missing) => {
    const left = pids.filter(isRunning);
    return left.length === 0 ? true : missing(`left: ${left.join(', ')}`);
  });
}

/** A running `ringkeep up`. */
export class UpCluster {
  readonly #child: ChildProcess;
  readonly #lines: object[] = [];
  readonly #pids = new Set<number>();
  stderr = '';

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [PROGRAM, 'up', '--json', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const parts = (text + chunk.toString()).split('\n');
      text = parts.pop() ?? '';
      for (const part of parts) this.#take(JSON.parse(part) as UpReady | UpEvent);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  #take(line: UpReady | UpEvent): void {
    this.#lines.push(line);
    if (line.event === 'ready') for (const { pid } of [...line.nodes, ...line.routers]) this.#pids.add(pid);
    if (line.event === 'restarted' || line.event === 'joined') this.#pids.add(line.pid);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Every process that it has ever told of. */
  get pids(): readonly number[] {
    return [...this.#pids];
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The ready line. Only after `whenReady`. */
  get ready(): UpReady {
    const [first] = this.#lines;
    if (first === undefined) throw new Error('up is not ready yet');
    return first as UpReady;
  }

  /** What it has told since it was ready. */
  get events(): readonly UpEvent[] {
    return this.#lines.slice(1) as UpEvent[];
  }

  /** Resolves at the ready line; rejects if it ends before. */
  whenReady(): Promise<UpReady> {
    return eventually(
      'the ready line of up',
      (missing) => {
        if (this.#lines.length > 0) return this.ready;
        if (this.ended) throw new Error(`up ended with ${this.#child.exitCode}: ${this.stderr}`);
        return missing(this.stderr);
      },
      READY_MS,
    );
  }

  node(id: string): UpProcess {
    const found = this.ready.nodes.find((node) => node.id === id);
    if (found === undefined) throw new Error(`there is no ${id}`);
    return found;
  }

  /** Signals `up` and resolves with its exit status once it is gone; null if the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.ended) return this.#child.exitCode;
    const closed = once(this.#child, 'close');
    this.#child.kill(signal);
    await closed;
    return this.#child.exitCode;
  }

  /** Runs a command against this cluster. */
  run(args: readonly string[], input?: string | Uint8Array): Promise<CommandResult> {
    const env = { ...process.env, RINGKEEP_URL: this.ready.url };
    return runCommand(args, { env, ...(input === undefined ? {} : { input }) });
  }

  /** The ends of all logs, for a test that failed. */
  logTails(): string {
    if (this.#lines.length === 0) return '';
    const { data, nodes, routers } = this.ready;
    const tail = ({ id }: UpProcess) => {
      try {
        return `--- ${id}\n${readFileSync(`${data}/logs/${id}.log`, 'utf8').slice(-LOG_TAIL_BYTES)}`;
      } catch {
        return `--- ${id}: no log`;
      }
    };
    return [...nodes, ...routers].map(tail).join('\n');
  }

  /** Ends everything, whatever state it is in, and removes a temporary directory that is left. */
  async clean(): Promise<void> {
    await this.end('SIGKILL');
    await allGone(this.pids);
    if (this.#lines.length > 0 && this.ready.ephemeral) {
      await rm(this.ready.data, { recursive: true, force: true });
    }
  }
}

const open = new Set<UpCluster>();

/** Ends the clusters that `launchUp` has started. Called after every test unless they are shared. */
export async function cleanUp(): Promise<void> {
  const all = [...open];
  open.clear();
  await Promise.all(all.map((cluster) => cluster.clean()));
}

/** Ends every cluster after each test, its logs printed if the test has failed. Call it in a file or `describe`. */
export function cleanUpAfterEach(): void {
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') for (const cluster of open) console.error(cluster.logTails());
    await cleanUp();
  });
}

/** Starts `ringkeep up --json ARGS` without waiting for it. */
export function launchUp(args: readonly string[]): UpCluster {
  const cluster = new UpCluster(args);
  open.add(cluster);
  return cluster;
}

/** Starts `ringkeep up --json --port 0 ARGS` and waits until it is ready. */
export async function startUp(args: readonly string[]): Promise<UpCluster> {
  const cluster = launchUp(['--port', '0', ...args]);
  await cluster.whenReady();
  return cluster;
}
