/**
 * Clients that send without reading, and clients that flood without regard for credit, against eight ordinary ones:
 * memory stays bounded (G9), the ordinary ones keep their share, and what is refused says so and is not applied.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { type FloodReport, LARGE_KEY } from '../support/flood.ts';
import { type ProcessCluster, startCluster } from '../support/processes.ts';

const LOADER = pathToFileURL(join(import.meta.dirname, '../support/typescript-loader.mjs')).href;
const FLOOD = join(import.meta.dirname, '../support/flood.ts');
const PARTITIONS = 12;
const CLIENTS = 8;
/** Operations that an ordinary client has open. */
const LANES = 4;
/** Windows of measuring without the flood, half of them before it and half after it, and with it. */
const QUIET_WINDOWS = 8;
const LOUD_WINDOWS = 8;
const WINDOW_MS = 1_000;
const ROUNDS_MAX = 3;
/** Starts and ends do not count: code that runs for the first time is slow, and what was taken before has to be done. */
const SETTLE_MS = 4_000;
const SAMPLE_MS = 50;
const ANONYMOUS_BYTES_MAX = 400 * 1024 * 1024;
const TEST_MS = 240_000;

const linux = process.platform === 'linux';
const children = new Set<ChildProcess>();

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

/** A running flood; `stop` resolves with what it was told. */
class FloodProcess {
  readonly #child: ChildProcess;
  #text = '';
  readonly #ended: Promise<void>;
  readonly flooding: Promise<void>;

  constructor(mode: 'unread' | 'greedy', address: string) {
    const args = ['--import', LOADER, FLOOD, mode, address, `${PARTITIONS}`];
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    children.add(this.#child);
    this.#ended = new Promise((resolve) => this.#child.on('close', () => resolve()));
    this.flooding = new Promise((resolve, reject) => {
      this.#child.on('exit', (code) => reject(new Error(`the flood ended with ${code}: ${this.#text}`)));
      this.#child.stdout!.on('data', (chunk: Buffer) => {
        this.#text += chunk.toString();
        if (this.#text.startsWith('flooding\n')) resolve();
      });
    });
  }

  async stop(): Promise<FloodReport> {
    this.#child.stdin!.end();
    await this.#ended;
    return JSON.parse(this.#text.slice('flooding\n'.length)) as FloodReport;
  }
}

/** Anonymous memory of a process in bytes. */
async function anonymousBytes(pid: number): Promise<number> {
  // Gone, when the test has failed already.
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'RssAnon: 0 kB');
  return Number(/RssAnon:\s+(\d+) kB/.exec(text)?.[1]) * 1024;
}

/** Highest anonymous memory of every process while it watches. */
class MemoryWatch {
  readonly highest = new Map<string, number>();
  readonly #cluster: ProcessCluster;
  #watching = true;
  readonly #done: Promise<void>;

  constructor(cluster: ProcessCluster) {
    this.#cluster = cluster;
    this.#done = this.#watch();
  }

  async #watch(): Promise<void> {
    while (this.#watching) {
      for (const { name, pid } of this.#cluster.processes) {
        const bytes = await anonymousBytes(pid);
        this.highest.set(name, Math.max(this.highest.get(name) ?? 0, bytes));
      }
      await delay(SAMPLE_MS);
    }
  }

  async stop(): Promise<void> {
    this.#watching = false;
    await this.#done;
  }
}

/** Eight ordinary clients that count what they got done. */
class OrdinaryClients {
  readonly #clients: RingkeepClient[];
  #running = true;
  #done = 0;
  readonly failures: Record<string, number> = {};
  readonly #lanes: Promise<void>[];

  constructor(cluster: ProcessCluster) {
    this.#clients = Array.from({ length: CLIENTS }, () => connect(cluster.url));
    this.#lanes = this.#clients.flatMap((client, c) =>
      Array.from({ length: LANES }, (_, lane) => this.#run(client, `ordinary ${c} ${lane}`)),
    );
  }

  async #run(client: RingkeepClient, key: string): Promise<void> {
    for (let count = 1; this.#running; count += 1) {
      try {
        await client.put(key, count);
        const found = await client.get(key);
        if (found !== count) throw new Error(`read ${found} after writing ${count}`);
        this.#done += 2;
      } catch (error) {
        const name = (error as { code?: string }).code ?? String(error);
        this.failures[name] = (this.failures[name] ?? 0) + 1;
      }
    }
  }

  /** Operations per second in each of so many windows, after a moment that does not count. */
  async windows(count: number): Promise<number[]> {
    await delay(SETTLE_MS);
    const rates: number[] = [];
    for (let n = 0; n < count; n += 1) {
      const before = this.#done;
      const startedAt = performance.now();
      await delay(WINDOW_MS);
      rates.push(Math.round(((this.#done - before) * 1_000) / (performance.now() - startedAt)));
    }
    return rates;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
    for (const client of this.#clients) client.destroy();
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

interface Outcome {
  readonly without: number;
  readonly during: number;
  readonly reports: readonly FloodReport[];
}

/** Throughput alone, then beside floods of the router and of a node, then alone again: operations per second. */
async function round(
  mode: 'unread' | 'greedy',
  cluster: ProcessCluster,
  clients: OrdinaryClients,
): Promise<Outcome> {
  const quiet = await clients.windows(QUIET_WINDOWS / 2);
  const floods = [cluster.router, cluster.nodes[0]!].map(({ address }) => new FloodProcess(mode, address));
  await Promise.all(floods.map(({ flooding }) => flooding));
  const loud = await clients.windows(LOUD_WINDOWS);
  const reports = await Promise.all(floods.map((flood) => flood.stop()));
  quiet.push(...(await clients.windows(QUIET_WINDOWS / 2)));
  const [without, during] = [median(quiet), median(loud)];
  console.log(
    `overload by ${mode}: ${without} operations/s without (${quiet.join(' ')}), ${during} with it (${loud.join(' ')})\n` +
      reports.map(({ sent, answers }) => `  sent ${sent}: ${JSON.stringify(answers)}`).join('\n'),
  );
  return { without, during, reports };
}

/**
 * Rounds until one leaves the ordinary clients half of their throughput: other programs of the machine may slow one down,
 * what the flood does to them would show in each.
 */
async function flooded(mode: 'unread' | 'greedy', cluster: ProcessCluster): Promise<Outcome> {
  const memory = new MemoryWatch(cluster);
  const clients = new OrdinaryClients(cluster);
  const reports: FloodReport[] = [];
  let outcome: Outcome;
  let rounds = 0;
  do {
    outcome = await round(mode, cluster, clients);
    reports.push(...outcome.reports);
    rounds += 1;
  } while (outcome.during < outcome.without / 2 && rounds < ROUNDS_MAX);
  await clients.stop();
  await memory.stop();
  const mebibytes = [...memory.highest].map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)}`);
  console.log(`anonymous MiB at most: ${mebibytes.join(', ')}`);
  expect(clients.failures).toEqual({});
  for (const [name, bytes] of memory.highest) {
    expect(bytes, `anonymous bytes of ${name}`).toBeLessThanOrEqual(ANONYMOUS_BYTES_MAX);
  }
  return { ...outcome, reports };
}

if (!linux)
  console.warn('overload: skipped, because anonymous memory is read from /proc, which only Linux has');

it.skipIf(!linux)(
  'a client that does not read costs bounded memory, and others keep half of their throughput',
  async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const client = connect(cluster.url, { codec: 'bytes' });
    await client.put(LARGE_KEY, Buffer.alloc(1024 * 1024, 1));
    client.destroy();
    const { without, during } = await flooded('unread', cluster);
    expect(during).toBeGreaterThanOrEqual(without / 2);
  },
  TEST_MS,
);

it.skipIf(!linux)(
  'a client that floods is refused what is beyond its share, with nothing of that applied',
  async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const pids = cluster.processes.map(({ pid }) => pid);
    const { without, during, reports } = await flooded('greedy', cluster);
    expect(during).toBeGreaterThanOrEqual(without / 2);
    const client = connect(cluster.url, { requestTimeoutMs: 60_000 });
    for (const { answers, uncertain, withoutRetryAfter, refusedKeys } of reports) {
      expect({ uncertain, withoutRetryAfter }).toEqual({ uncertain: 0, withoutRetryAfter: 0 });
      expect(answers.OVERLOADED).toBeGreaterThan(0);
      const found = await client.getMany(refusedKeys);
      expect(found.filter((value) => value !== undefined)).toEqual([]);
    }
    client.destroy();
    expect(cluster.processes.map(({ pid }) => pid)).toEqual(pids);
    await cluster.whenHealthy();
  },
  TEST_MS,
);
