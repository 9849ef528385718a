/**
 * The processes of the peers: servers, which run until they are ended, and tools, which run to their end.
 * INVARIANT: none outlives this process, unless it is killed; whoever asks for the end of all gets it, twice if need be.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer, type Server as NetServer } from 'node:net';
import { join } from 'node:path';
import { RingkeepError } from '#src/common/errors.ts';

interface Server {
  readonly name: string;
  readonly child: ChildProcess;
  readonly log: string;
  /** Null while it runs. */
  end: string | null;
}

const TAIL_LINES = 5;

function isOver({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function tailOf(text: string): string {
  return text.trim().split('\n').slice(-TAIL_LINES).join('\n');
}

/** At once: what a server would still write is removed anyway. */
async function endOf(child: ChildProcess): Promise<void> {
  if (isOver(child) || child.pid === undefined) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

export class Processes {
  readonly #servers: Server[] = [];
  readonly #live = new Set<ChildProcess>();

  constructor() {
    process.once('exit', () => {
      for (const child of this.#live) child.kill('SIGKILL');
    });
  }

  /** Starts a server that writes its log beside its data. Its failure to start shows in `checkServers`. */
  startServer(name: string, program: string, args: readonly string[], directory: string): void {
    const log = join(directory, `${name}.log`);
    const descriptor = openSync(log, 'a');
    const child = spawn(program, args, { cwd: directory, stdio: ['ignore', descriptor, descriptor] });
    closeSync(descriptor);
    const server: Server = { name, child, log, end: null };
    this.#servers.push(server);
    this.#track(child);
    child.on('error', (error) => {
      server.end = error.message;
    });
    child.on('exit', (status, signal) => {
      server.end = signal === null ? `status ${status}` : `${signal}`;
    });
  }

  /** @throws RingkeepError UNAVAILABLE if a server has ended that was not told to, with the end of its log */
  checkServers(): void {
    for (const { name, end, log } of this.#servers) {
      if (end === null) continue;
      throw new RingkeepError(
        'UNAVAILABLE',
        `${name} has ended (${end}):\n${tailOf(readFileSync(log, 'utf8'))}`,
      );
    }
  }

  /** Runs a tool; resolves with what it prints. Rejects with INTERNAL if it fails, or with the reason of `stopped`. */
  async runTool(program: string, args: readonly string[], stopped: AbortSignal): Promise<string> {
    stopped.throwIfAborted();
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#track(child);
    const kill = () => child.kill('SIGKILL');
    stopped.addEventListener('abort', kill, { once: true });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    try {
      const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
      stopped.throwIfAborted();
      if (status === 0) return stdout;
      const how = signal ?? `status ${status}`;
      throw new RingkeepError('INTERNAL', `${program} ended with ${how}:\n${tailOf(stderr || stdout)}`);
    } finally {
      stopped.removeEventListener('abort', kill);
    }
  }

  /** Ends all servers. Never rejects. */
  async stopServers(): Promise<void> {
    const servers = this.#servers.splice(0);
    await Promise.all(servers.map(({ child }) => endOf(child)));
  }

  #track(child: ChildProcess): void {
    this.#live.add(child);
    child.once('exit', () => this.#live.delete(child));
    child.once('error', () => this.#live.delete(child));
  }
}

/** Resolves with that many different ports of the loopback address that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: NetServer[] = [];
  try {
    for (let n = 0; n < count; n += 1) {
      const server = createServer();
      servers.push(server);
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    return servers.map((server) => {
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    });
  } finally {
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }
}
