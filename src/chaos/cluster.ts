/**
 * A cluster of real processes for what kills them: one router and N nodes, started directly and not under `ringkeep up`, so that
 * the caller alone decides when a dead process comes back. Ports are fixed for the life of the cluster, so that a restarted
 * process is found where it was. Data and logs live in a directory of their own.
 * INVARIANT: all of its processes are gone after `stop`, and also when the own process dies, however it does (guardian.ts).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RingkeepError } from '../common/errors.ts';
import type { Topology } from '../common/topology.ts';
import type { HashReply, MovesReply, ScrubReply, StatusReply } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { MovesCall, ScrubOrder } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { Guardian } from './guardian.ts';
import { Links } from './links.ts';
import { ClusterProcess, eventually, freePort, HEALTHY_MS, HOST } from './process.ts';
import type { ChaosCluster } from './target.ts';
import { missingIn } from './wholeness.ts';

const STATUS_TIMEOUT_MS = 2_000;
const ROUTER = 'router';
/** Metrics and health, on any port. */
const HTTP = ['--http-listen', `${HOST}:0`];

/** What a cluster is made of. */
export interface ClusterShape {
  readonly nodes?: number;
  /** Nodes that are not there at the beginning, and may join. */
  readonly spares?: number;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  /** More flags of every node, such as `--checkpoint-bytes`. */
  readonly nodeFlags?: readonly string[];
  readonly routerFlags?: readonly string[];
  /** Puts a proxy in the place of every link between its processes. */
  readonly links?: boolean;
  /** Where each process listens, by its name; without: on loopback. */
  readonly hosts?: (name: string) => string;
  /** Its directory is kept also when the own process is killed. */
  readonly keep?: boolean;
  /** Of the links' jitter. */
  readonly seed?: number;
}

/** The partitions whose recorded leader is on `node`. */
export function ledBy(topology: Topology, node: string): number[] {
  return topology.records.filter(({ leader }) => leader?.node === node).map(({ partition }) => partition);
}

/** A router and its nodes. */
export class ProcessCluster implements ChaosCluster {
  readonly directory: string;
  readonly oneMachine = true;
  readonly router: ClusterProcess;
  readonly nodes: ClusterProcess[];
  /** Nodes that may join. */
  readonly spares: ClusterProcess[];
  /** The links between its processes; null: they dial each other. */
  readonly links: Links | null;
  readonly replicationFactor: number;
  readonly #guardian: Guardian;

  constructor(
    directory: string,
    router: ClusterProcess,
    nodes: readonly ClusterProcess[],
    spares: readonly ClusterProcess[],
    links: Links | null,
    replicationFactor: number,
    keep: boolean,
  ) {
    this.directory = directory;
    this.router = router;
    this.nodes = [...nodes];
    this.spares = [...spares];
    this.links = links;
    this.replicationFactor = replicationFactor;
    this.#guardian = new Guardian(directory, keep);
    for (const process of [...this.processes, ...spares])
      process.onStart = (pid) => this.#guardian.watch(pid);
  }

  /** For `connect`: through the router. */
  get url(): string {
    return `ringkeep://${this.router.address}`;
  }

  /** For `connect` with mode `direct`, and for sessions of one's own; also of nodes that may join. */
  get nodeAddresses(): string[] {
    return [...this.nodes, ...this.spares].map(({ address }) => address);
  }

  get processes(): readonly ClusterProcess[] {
    return [this.router, ...this.nodes];
  }

  get journals(): readonly ClusterProcess[] {
    return this.processes;
  }

  node(name: string): ClusterProcess {
    const found = this.nodes.find((node) => node.name === name);
    if (found === undefined) throw new RingkeepError('INVALID_ARGUMENT', `there is no node ${name}`);
    return found;
  }

  /** Starts a node that was not there yet. */
  async join(): Promise<ClusterProcess> {
    const node = this.spares.shift();
    if (node === undefined) throw new RingkeepError('INVALID_ARGUMENT', 'there is no node that could join');
    this.nodes.push(node);
    await node.start();
    return node;
  }

  /** Ends a node for good, which may join again as another one would: without its data. */
  async retire(node: ClusterProcess): Promise<void> {
    await node.kill('SIGTERM');
    await node.wipe();
    this.nodes.splice(this.nodes.indexOf(node), 1);
    this.spares.push(node);
  }

  /** Asks the router for something of moves. Rejects with RingkeepError. */
  moves(call: MovesCall): Promise<MovesReply> {
    return grpcConnector.moves(this.router.address, makeHello({ role: 'client' }), call, STATUS_TIMEOUT_MS);
  }

  /** Resolves when no moves are under way and none are to come. */
  whenMoved(timeoutMs: number = HEALTHY_MS): Promise<MovesReply> {
    return eventually(
      'the end of all moves',
      async (missing) => {
        try {
          const told = await this.moves({ order: 'MOVES_TELL' });
          if (told.state === 'running' || told.state === 'aborting') {
            const open = told.moves.filter(({ state }) => state !== 'done');
            return missing(`${open.length} moves: ${open[0]?.reason}`);
          }
          const { moves } = await this.moves({ order: 'MOVES_PREVIEW' });
          return moves.length === 0 ? told : missing(`${moves.length} moves to come`);
        } catch (error) {
          return missing(String(error));
        }
      },
      timeoutMs,
    );
  }

  /** Status as `from` (default: the router) tells it. */
  status(from: ClusterProcess = this.router): Promise<StatusReply> {
    return grpcConnector.adminStatus(from.address, makeHello({ role: 'client' }), STATUS_TIMEOUT_MS);
  }

  /** The protocol version that a process speaks with this one, as its welcome says. Rejects with RingkeepError. */
  protocolOf({ address }: ClusterProcess): Promise<number> {
    return new Promise((resolve, reject) => {
      const session = grpcConnector.openSession(address, makeHello({ role: 'client' }), {
        onWelcome: ({ protocol }) => {
          resolve(protocol);
          session.close();
        },
        onReplies: () => {},
        onGoaway: () => {},
        onEnd: reject,
      });
    });
  }

  hash(node: ClusterProcess, partition: number): Promise<HashReply> {
    return grpcConnector.hashPartition(
      node.address,
      makeHello({ role: 'client' }),
      partition,
      STATUS_TIMEOUT_MS,
    );
  }

  /** Begins a scrub of all partitions, or tells how one stands, as the router knows. */
  scrub(order: ScrubOrder): Promise<ScrubReply> {
    return grpcConnector.scrub(this.router.address, makeHello({ role: 'client' }), order, STATUS_TIMEOUT_MS);
  }

  async topology(): Promise<Topology> {
    const { topology } = await this.status();
    if (topology === null) throw new RingkeepError('NOT_READY', 'there is no topology');
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
    const reports = new Map(
      nodes.flatMap(({ replicas }) => replicas).map((report) => [report.replica, report]),
    );
    const lack = missingIn(topology, boots, reports);
    return lack === null ? topology : missing(lack);
  }

  /** Kills everything and removes the directory, unless it is to be kept. */
  async stop({ keep = false } = {}): Promise<void> {
    // A stopped (SIGSTOP) process takes SIGKILL as well.
    await Promise.all(this.processes.map((process) => process.kill('SIGKILL')));
    this.links?.close();
    this.#guardian.release();
    if (!keep) await rm(this.directory, { recursive: true, force: true });
  }
}

/** Prepares a cluster without starting it; its caller stops it. */
export async function prepareProcesses(shape: ClusterShape = {}): Promise<ProcessCluster> {
  const { nodes = 3, spares = 0, partitions = 48, replicationFactor = Math.min(3, nodes) } = shape;
  const processes = 1 + nodes + spares;
  const ports = new Set<number>();
  const linkPorts = shape.links === true ? Links.portsFor(processes) : 0;
  while (ports.size < processes + linkPorts) ports.add(await freePort(ports));
  const names = [ROUTER, ...Array.from({ length: nodes + spares }, (_, at) => `n${at + 1}`)];
  const { hosts = () => HOST } = shape;
  const endpoints = names.map((name, at) => ({ name, address: `${hosts(name)}:${[...ports][at]}` }));
  const common = shape.hosts === undefined ? HTTP : [...HTTP, '--insecure'];
  const links =
    linkPorts === 0
      ? null
      : await Links.open(endpoints, ROUTER, [...ports].slice(names.length), shape.seed ?? 1);
  const dialled = (from: string, to: string): string =>
    links?.address(from, to) ?? endpoints.find(({ name }) => name === to)!.address;
  const others = (from: string): string[] =>
    links === null ? [] : names.filter((name) => name !== from && name !== ROUTER);
  const peers = (from: string): string[] =>
    others(from).flatMap((name) => ['--peer', `${name}=${dialled(from, name)}`]);
  // The last of what can fail: nothing is left behind then.
  const directory = await mkdtemp(join(tmpdir(), 'ringkeep-chaos-'));
  const router = new ClusterProcess(ROUTER, endpoints[0]!.address, directory, [
    ...['router', ...common, '--initial-nodes', `${nodes}`, '--partitions', `${partitions}`],
    ...['--replication-factor', `${replicationFactor}`, ...peers(ROUTER), ...(shape.routerFlags ?? [])],
  ]);
  const members = names.slice(1).map((name, at) => {
    const router = dialled(name, ROUTER);
    const way = at < nodes ? ['--router', router] : ['--join', `ringkeep://${router}`];
    const flags = ['node', ...common, '--id', name, ...way, ...peers(name)];
    return new ClusterProcess(name, endpoints[at + 1]!.address, directory, [
      ...flags,
      ...(shape.nodeFlags ?? []),
    ]);
  });
  return new ProcessCluster(
    directory,
    router,
    members.slice(0, nodes),
    members.slice(nodes),
    links,
    replicationFactor,
    shape.keep === true,
  );
}
