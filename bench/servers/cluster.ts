/**
 * The cluster under test: one that runs already, or a throw-away one that the command starts as `ringkeep up --ephemeral` does
 * and ends again. Tells where its processes are, and kills or pauses a node of its own.
 * INVARIANT: only processes that were started here get signals.
 */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { clusterStatus } from '#src/cli/common-options.ts';
import { type ShownStatus, showStatus } from '#src/cli/status.ts';
import { Cluster } from '#src/cli/up/cluster.ts';
import { type Layout, openLayout, type WantedShape } from '#src/cli/up/layout.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { isLoopback, parseAddress } from '#src/common/wire/address.ts';
import type { StatusReply } from '#src/common/wire/admin-messages.ts';
import { monotonicMs } from '../load/monotonic.ts';
import type { Server } from './sampler.ts';

/** Something that a process of a spawned cluster did. */
export interface ProcessEvent {
  readonly node: string;
  readonly event: 'ended' | 'restarted';
  /** Monotonic, in ms. */
  readonly at: number;
  readonly reason: string;
}

export type NodeSignal = 'SIGKILL' | 'SIGSTOP' | 'SIGCONT';

/** A cluster as the benchmark sees it. */
export interface ClusterUnderTest {
  readonly url: string;
  /** Whether it ends with the command. */
  readonly spawned: boolean;
  /** Where a spawned cluster keeps its data; null for others. */
  readonly dataDirectory: string | null;
  servers(): readonly Server[];
  status(): Promise<ShownStatus>;
  /** What its processes did, oldest first. */
  readonly events: readonly ProcessEvent[];
  /** Kills, pauses or continues a node; returns the time. @throws RingkeepError INVALID_ARGUMENT if it is not of this cluster */
  signal(node: string, signal: NodeSignal): number;
  /** Resolves when every node runs and every partition has a leader. Rejects with NOT_READY. */
  whole(): Promise<void>;
  stop(): Promise<void>;
}

const START_MS = 120_000;
const POLL_MS = 100;
const STATUS_MS = 3_000;

async function fetchStatus(url: string): Promise<StatusReply> {
  return clusterStatus({ url, timeout: STATUS_MS, json: false });
}

async function waitUntilWhole(url: string): Promise<void> {
  const until = monotonicMs() + START_MS;
  for (;;) {
    const { nodes, partitions } = showStatus(await fetchStatus(url));
    const whole = nodes.length > 0 && nodes.every(({ alive }) => alive) && partitions.length > 0;
    if (whole && partitions.every(({ established, reason }) => established && reason === '')) return;
    if (monotonicMs() > until) throw new RingkeepError('NOT_READY', 'the cluster did not become whole again');
    await delay(POLL_MS);
  }
}

function isOfThisMachine(address: string): boolean {
  const { host } = parseAddress(address);
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return isLoopback(host) || own.some((candidate) => candidate.address === host);
}

/** A pid that another machine, or another container, has told is that of something else here. */
function isRingkeep(pid: number): boolean {
  try {
    return /ringkeep/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return false;
  }
}

/** Returns the server processes of this machine, by what the cluster says of itself. */
export function localServers(status: StatusReply, url: string): Server[] {
  const nodes = (status.topology?.nodes ?? []).filter(
    ({ address, pid, alive }) => alive && isOfThisMachine(address) && isRingkeep(pid),
  );
  const servers: Server[] = nodes.map(({ id, pid }) => ({ name: id, pid, metricsUrl: null }));
  const { pid } = (status.json === '' ? {} : JSON.parse(status.json)) as { pid?: number };
  const [address = ''] = url.replace(/^ringkeep:\/\//, '').split(',');
  if (pid !== undefined && isOfThisMachine(address) && isRingkeep(pid)) {
    servers.push({ name: 'router', pid, metricsUrl: null });
  }
  return servers;
}

/** Returns a cluster that runs already. Rejects with RingkeepError UNAVAILABLE. */
export async function attachCluster(url: string, named: readonly Server[]): Promise<ClusterUnderTest> {
  const servers = [...localServers(await fetchStatus(url), url), ...named];
  return {
    url,
    spawned: false,
    dataDirectory: null,
    events: [],
    servers: () => servers,
    status: async () => showStatus(await fetchStatus(url)),
    whole: () => waitUntilWhole(url),
    signal: (node) => {
      throw new RingkeepError('INVALID_ARGUMENT', `${node} is not of a cluster that was started here`);
    },
    stop: async () => {},
  };
}

class SpawnedCluster implements ClusterUnderTest {
  readonly spawned = true;
  readonly events: ProcessEvent[] = [];
  readonly #layout: Layout;
  readonly #cluster: Cluster;
  readonly #servers = new Map<string, Server>();
  #stopping: Promise<void> | null = null;
  url = '';

  constructor(layout: Layout, nodeArgs: readonly string[]) {
    const note = (node: string, event: ProcessEvent['event'], reason: string) =>
      this.events.push({ node, event, at: monotonicMs(), reason });
    this.#layout = layout;
    this.#cluster = new Cluster(
      layout,
      { port: 0, logLevel: undefined, startMs: START_MS, ack: undefined, nodeArgs },
      {
        ended: (name, _pid, reason) => void note(name, 'ended', reason),
        restarted: (name, ready, reason) => {
          this.#take({ ...ready, id: name });
          note(name, 'restarted', reason);
        },
        joined: (name, ready) => this.#take({ ...ready, id: name }),
        left: (name) => void this.#servers.delete(name),
        failed: (name, reason) => void note(name, 'ended', reason),
      },
    );
  }

  get dataDirectory(): string {
    return this.#layout.directory;
  }

  async start(): Promise<void> {
    const { url, nodes, routers } = await this.#cluster.start();
    this.url = url;
    for (const process of [...nodes, ...routers]) this.#take(process);
  }

  servers(): readonly Server[] {
    return [...this.#servers.values()];
  }

  async status(): Promise<ShownStatus> {
    return showStatus(await fetchStatus(this.url));
  }

  whole(): Promise<void> {
    return waitUntilWhole(this.url);
  }

  signal(node: string, signal: NodeSignal): number {
    const pid = this.#servers.get(node)?.pid ?? null;
    if (pid === null) throw new RingkeepError('INVALID_ARGUMENT', `there is no node ${node} here`);
    const at = monotonicMs();
    process.kill(pid, signal);
    return at;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#cluster.stop().then(() => this.#layout.close());
    return this.#stopping;
  }

  #take({
    id,
    pid,
    http,
  }: {
    readonly id: string;
    readonly pid: number;
    readonly http: string | null;
  }): void {
    const metricsUrl = http === null ? null : `http://${http}/metrics`;
    this.#servers.set(id, { name: id, pid, metricsUrl });
  }
}

/**
 * Starts a throw-away cluster; resolves when it takes writes. Rejects with what prevents it, `stopped` included, and leaves
 * nothing then, but for a `directory` that is given: it is empty before, and its owner removes it.
 */
export async function spawnCluster(
  shape: WantedShape,
  stopped: AbortSignal,
  directory: string | null = null,
  nodeArgs: readonly string[] = [],
): Promise<ClusterUnderTest> {
  const cluster = new SpawnedCluster(await openLayout(directory, shape), nodeArgs);
  stopped.addEventListener('abort', () => void cluster.stop(), { once: true });
  try {
    stopped.throwIfAborted();
    await cluster.start();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
