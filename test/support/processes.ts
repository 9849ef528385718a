/**
 * A cluster of real processes for the tests that kill them: one router and N nodes, started directly and not under
 * `ringkeep up`, so that the test alone decides when a dead process comes back. Ports are fixed for the life of the
 * cluster, so that a restarted process is found where it was. Data and logs live in a directory of their own.
 * INVARIANT: only processes started here are signalled, by their pid; all of them are gone after `stop`, and also when
 * the test's own process dies (they are told to follow it).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach } from 'vitest';
import type { Topology } from '../../src/common/topology.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { HashReply, ReplicaReport, StatusReply } from '../../src/common/wire/messages.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
const HOST = '127.0.0.1';
/** Below the ports that the system hands to outgoing connections, which could take a dead process's port. */
const PORT_MIN = 15_000;
const PORT_MAX = 32_000;
const STATUS_TIMEOUT_MS = 2_000;
const POLL_MS = 25;
const LOG_TAIL_LINES = 40;
/** Liveness only: generous, because the machine may be shared. */
export const HEALTHY_MS = 60_000;

export interface ClusterShape {
  readonly nodes?: number;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  /** More flags of every node, such as `--checkpoint-bytes`. */
  readonly nodeFlags?: readonly string[];
  readonly routerFlags?: readonly string[];
}

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
    if (performance.now() > until) throw new Error(`not within ${timeoutMs} ms: ${what} (${reason})`);
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

/** One process of the cluster: the same name, port and directory in all of its lives. */
export class ClusterProcess {
  readonly name: string;
  readonly address: string;
  readonly data: string;
  readonly logPath: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;

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

  /** Starts it; resolves at its ready line. */
  async start(): Promise<void> {
    if (this.running) throw new Error(`${this.name} runs already`);
    const log = openSync(this.logPath, 'a');
    const args = [PROGRAM, ...this.#args, '--json', '--parent-pid', `${process.pid}`];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', log] });
    closeSync(log);
    this.#child = child;
    // The other end may be gone; its exit tells.
    child.stdin?.on('error', () => {});
    let text = '';
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) =>
        reject(new Error(`${this.name} ended before it was ready: ${code ?? signal}`)),
      );
      child.stdout?.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.includes('"event":"ready"')) resolve();
      });
    });
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
    child.kill(signal);
    await gone;
    return child.exitCode;
  }

  /** The last lines of its log. */
  async logTail(lines: number = LOG_TAIL_LINES): Promise<string> {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text.trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** All its log lines with this event, of all its lives. */
  async logged(event: string): Promise<Record<string, unknown>[]> {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line.includes(`"event":"${event}"`))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }
}

/** The partitions whose recorded leader is on `node`. */
export function ledBy(topology: Topology, node: string): number[] {
  return topology.records.filter(({ leader }) => leader?.node === node).map(({ partition }) => partition);
}

/** A router and its nodes. */
export class ProcessCluster {
  readonly directory: string;
  readonly router: ClusterProcess;
  readonly nodes: readonly ClusterProcess[];

  constructor(directory: string, router: ClusterProcess, nodes: readonly ClusterProcess[]) {
    this.directory = directory;
    this.router = router;
    this.nodes = nodes;
  }

  /** For `connect`: through the router. */
  get url(): string {
    return `ringkeep://${this.router.address}`;
  }

  /** For `connect` with mode `direct`, and for sessions of one's own. */
  get nodeAddresses(): string[] {
    return this.nodes.map(({ address }) => address);
  }

  get processes(): readonly ClusterProcess[] {
    return [this.router, ...this.nodes];
  }

  node(name: string): ClusterProcess {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  /** Status as `from` (default: the router) tells it. */
  status(from: ClusterProcess = this.router): Promise<StatusReply> {
    return grpcConnector.adminStatus(from.address, makeHello({ role: 'client' }), STATUS_TIMEOUT_MS);
  }

  hash(node: ClusterProcess, partition: number): Promise<HashReply> {
    return grpcConnector.hashPartition(
      node.address,
      makeHello({ role: 'client' }),
      partition,
      STATUS_TIMEOUT_MS,
    );
  }

  async topology(): Promise<Topology> {
    const { topology } = await this.status();
    if (topology === null) throw new Error('there is no topology');
    return topology;
  }

  /** Starts every process that does not run. */
  async start(): Promise<void> {
    await Promise.all(this.processes.filter(({ running }) => !running).map((process) => process.start()));
  }

  /**
   * Resolves when all is well: every node is known under its present pid, every partition has an established leader in a
   * process that runs, no set is in change, and every voter holds everything that its leader had committed.
   */
  whenHealthy(timeoutMs: number = HEALTHY_MS): Promise<Topology> {
    return eventually('a healthy cluster', (missing) => this.#ifHealthy(missing), timeoutMs);
  }

  /** Resolves when no partition is led by `dead` any more and every one has an established leader. */
  whenServed(dead: ClusterProcess, timeoutMs: number = HEALTHY_MS): Promise<Topology> {
    return eventually(
      `leaders without ${dead.name}`,
      async (missing) => {
        const topology = await this.topology();
        const open = topology.records.filter(
          ({ established, leader }) => !established || leader === null || leader.node === dead.name,
        );
        return open.length === 0 ? topology : missing(`${open.length} partitions are not served`);
      },
      timeoutMs,
    );
  }

  async #ifHealthy(missing: (text: string) => null): Promise<Topology | null> {
    let replies: StatusReply[];
    try {
      replies = await Promise.all(this.processes.map((process) => this.status(process)));
    } catch (error) {
      return missing(String(error));
    }
    const [router, ...nodes] = replies;
    const topology = router?.topology ?? null;
    if (topology === null || topology.partitions === 0) return missing('not formed');
    const boots = new Map<string, number>();
    for (const { id, alive, pid, boot } of topology.nodes) {
      if (alive && this.nodes.find(({ name }) => name === id)?.pid === pid) boots.set(id, boot);
    }
    if (boots.size < this.nodes.length) return missing(`alive: ${[...boots.keys()].join(', ')}`);
    const reports = new Map<string, ReplicaReport>();
    for (const { replicas } of nodes) for (const report of replicas) reports.set(report.replica, report);
    for (const record of topology.records) {
      const { partition, leader, established, voters, previousVoters, learners } = record;
      if (leader === null || !established || boots.get(leader.node) !== leader.boot)
        return missing(`partition ${partition} has no leader`);
      if (voters.length < topology.replicationFactor || previousVoters.length + learners.length > 0)
        return missing(`partition ${partition} is in change`);
      const committed = reports.get(leader.replica)?.commitIndex ?? Number.POSITIVE_INFINITY;
      const behind = voters.find(({ id }) => (reports.get(id)?.commitIndex ?? -1) < committed - LEVEL_SLACK);
      if (behind !== undefined) return missing(`partition ${partition}: ${behind.node} is behind`);
    }
    return topology.records.length === topology.partitions ? topology : missing('records');
  }

  /** Prints the ends of all logs. */
  async printLogs(): Promise<void> {
    for (const process of this.processes) {
      console.error(`--- ${process.name} (${process.logPath})\n${await process.logTail()}`);
    }
  }

  /** Kills everything and removes the directory. */
  async stop(): Promise<void> {
    // A stopped (SIGSTOP) process takes SIGKILL as well.
    await Promise.all(this.processes.map((process) => process.kill('SIGKILL')));
    if (process.env.RINGKEEP_KEEP_TEST_DATA === undefined)
      await rm(this.directory, { recursive: true, force: true });
  }
}

/** Entries that a voter under load may lack for a moment: the statuses are not taken at one time. */
const LEVEL_SLACK = 1_000;

const clusters = new Set<ProcessCluster>();

async function stopAll(failed: boolean): Promise<void> {
  const all = [...clusters];
  clusters.clear();
  if (failed) for (const cluster of all) await cluster.printLogs();
  await Promise.all(all.map((cluster) => cluster.stop()));
}

// Not onTestFailed: that runs after these hooks, when the logs are gone.
afterEach(({ task }) => stopAll(task.result?.state === 'fail'));
afterAll(() => stopAll(false));

/** Prepares a cluster without starting it. Stopped after the test; its logs are printed if the test fails. */
export async function prepareCluster(shape: ClusterShape = {}): Promise<ProcessCluster> {
  const { nodes = 3, partitions = 48, replicationFactor = Math.min(3, nodes) } = shape;
  const directory = await mkdtemp(join(tmpdir(), 'ringkeep-test-'));
  const ports = new Set<number>();
  while (ports.size < nodes + 1) ports.add(await freePort(ports));
  const [routerAddress = '', ...addresses] = [...ports].map((port) => `${HOST}:${port}`);
  await mkdir(directory, { recursive: true });
  const router = new ClusterProcess('router', routerAddress, directory, [
    ...['router', '--initial-nodes', `${nodes}`, '--partitions', `${partitions}`],
    ...['--replication-factor', `${replicationFactor}`, ...(shape.routerFlags ?? [])],
  ]);
  const members = addresses.map((address, index) => {
    const name = `n${index + 1}`;
    return new ClusterProcess(name, address, directory, [
      ...['node', '--id', name, '--router', routerAddress, ...(shape.nodeFlags ?? [])],
    ]);
  });
  const cluster = new ProcessCluster(directory, router, members);
  clusters.add(cluster);
  return cluster;
}

/** Starts a cluster and waits until it is healthy. Call it inside a test; it is stopped after it. */
export async function startCluster(shape: ClusterShape = {}): Promise<ProcessCluster> {
  const cluster = await prepareCluster(shape);
  await cluster.start();
  await cluster.whenHealthy();
  return cluster;
}
