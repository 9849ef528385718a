/**
 * The router process: puts the topology store, the controller, the proxy and the services together, and takes them
 * apart again in order. Signals and exit codes are the command's.
 * INVARIANT: one process per data directory (the store's lock), so one controller per embedded store.
 * INVARIANT: no port is open before the store has been read; a store that cannot be read stops the start.
 * An empty data directory beside nodes that hold data is rebuilt from them by the controller, never formed anew.
 */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { systemClock } from '../common/clock.ts';
import { FailStop, RingkeepError } from '../common/errors.ts';
import { askHot, hotFigures, hotJson } from '../common/hot.ts';
import { createHttpServer, type Health, type HttpServer } from '../common/http.ts';
import * as limits from '../common/limits.ts';
import { createLog, type Log, type LogLevel } from '../common/log.ts';
import { makeDataDirectory } from '../common/node-disk.ts';
import { createRandom } from '../common/random.ts';
import { ACK_DEFAULTS, type AckLevel, type NodeRecord, type Topology } from '../common/topology.ts';
import { parseAddress } from '../common/wire/address.ts';
import type { HotReply, StatusReply } from '../common/wire/admin-messages.ts';
import { checkOwnAddresses } from '../common/wire/advertised.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { AdminHandler, Connector } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { Hello } from '../common/wire/messages.ts';
import { createServer, type WireServer } from '../common/wire/server.ts';
import { AddressChecks, type AddressTrouble } from './address-checks.ts';
import { ClusterScrubs } from './cluster-scrubs.ts';
import { Controller } from './controller/controller.ts';
import type { BootstrapOptions, ControllerOptions, ControllerStatus } from './controller/types.ts';
import { ControllerShell, type NodeProtocol } from './controller-shell.ts';
import { type EmbeddedTopologyStore, openEmbeddedTopologyStore } from './embedded-topology-store.ts';
import { RequestProxy } from './proxy.ts';
import type { ProxyLimits, ProxyStats } from './proxy-options.ts';
import { createRouterMetrics } from './router-metrics.ts';
import { TopologyHub } from './topology-hub.ts';

/** How a router is started. Addresses are HOST:PORT; port 0 takes a free one. */
export interface RouterOptions {
  /** Default: `router`. */
  readonly id?: string;
  readonly dataDirectory: string;
  /** Default: 127.0.0.1:7400. */
  readonly listen?: string;
  /** Address that clients are told in `url`; default: the bound one. */
  readonly advertiseClient?: string;
  /** Allows addresses that other machines can reach. */
  readonly insecure?: boolean;
  /** A new cluster is formed once this many nodes are here; default: the replication factor. */
  readonly initialNodes?: number;
  /** Of a new cluster; an existing one keeps its own. */
  readonly partitions?: number;
  readonly replicationFactor?: number;
  /** At which level writes are acknowledged that name none, in a new cluster; default: ACK_QUORUM. */
  readonly ack?: AckLevel;
  /** Where metrics and health are served; absent: nowhere. */
  readonly httpListen?: string;
  /** Address under which this process reaches a node, by node id. */
  readonly peers?: ReadonlyMap<string, string>;
  /** The highest protocol version to speak, for rolling upgrades; default: PROTOCOL_MAX. */
  readonly protocolMax?: number;
  readonly logLevel?: LogLevel;
  readonly log?: Log;
  /** Times of the controller, for tests and experiments. */
  readonly controller?: Partial<Omit<ControllerOptions, 'bootstrap'>>;
  readonly limits?: Partial<ProxyLimits>;
}

/** A running router. */
export interface RunningRouter {
  readonly id: string;
  /** HOST:PORT as bound. */
  readonly address: string;
  readonly httpAddress: string | null;
  /** What clients connect to. */
  readonly url: string;
  /** Empty until the cluster is formed. */
  readonly clusterId: string;
  /** Refuses new requests, lets open ones end for at most `graceMs`, then closes everything. Idempotent. */
  stop(graceMs?: number): Promise<void>;
  /** Resolves when the router has failed and must not go on: the process should exit and be started again. */
  readonly failed: Promise<Error>;
}

/** `StatusReply.json` of a router. */
export interface RouterFigures {
  readonly id: string;
  readonly pid: number;
  readonly mode: ControllerStatus['mode'];
  /** What the controller waits for; empty when it waits for nothing. */
  readonly waitingFor: string;
  /** Partitions that are not served, and why. */
  readonly unavailable: readonly { partition: number; phase: string; reason: string }[];
  readonly nodes: ControllerStatus['nodes'];
  /** The highest protocol version that this process speaks, and those that nodes have said they do. */
  readonly protocol: number;
  readonly protocols: readonly NodeProtocol[];
  /** Nodes that are not where they say. */
  readonly addressTroubles: readonly AddressTrouble[];
  readonly proxy: ProxyStats;
  readonly watchers: number;
}

const LISTEN_DEFAULT = '127.0.0.1:7400';
const WATCHER_TICK_MS = 100;
const STORE_CLOSE_MS = 2_000;
/** A node tells at once how a scrub stands, and what it is asked for. */
const ADMIN_ASK_MS = 3_000;

function bootstrapOf(options: RouterOptions): BootstrapOptions {
  const replicationFactor = options.replicationFactor ?? limits.REPLICATION_FACTOR_DEFAULT;
  const initialNodes = options.initialNodes ?? replicationFactor;
  const partitions = options.partitions ?? limits.PARTITIONS_DEFAULT;
  const check = (name: string, value: number, max: number): void => {
    if (Number.isInteger(value) && value >= 1 && value <= max) return;
    throw new RingkeepError(
      'INVALID_ARGUMENT',
      `${name} must be a whole number from 1 to ${max}, not ${value}`,
    );
  };
  check('partitions', partitions, limits.PARTITIONS_MAX);
  check('replicationFactor', replicationFactor, limits.REPLICATION_FACTOR_MAX);
  check('initialNodes', initialNodes, Number.MAX_SAFE_INTEGER);
  if (replicationFactor > initialNodes) {
    const text = `${replicationFactor} voters per partition need ${replicationFactor} nodes, not ${initialNodes}`;
    throw new RingkeepError('INVALID_ARGUMENT', `${text}; set initialNodes or replicationFactor`);
  }
  const { ack = ACK_DEFAULTS.cluster } = options;
  return { initialNodes, partitions, replicationFactor, ack };
}

class RouterShell {
  readonly #options: RouterOptions;
  readonly #id: string;
  readonly #protocolMax: number;
  readonly #bootstrap: BootstrapOptions;
  readonly #connector: Connector = grpcConnector;
  readonly #log: Log;
  readonly #store: EmbeddedTopologyStore;
  readonly #shell: ControllerShell;
  readonly #proxy: RequestProxy;
  readonly #hub: TopologyHub;
  readonly #scrubs: ClusterScrubs;
  readonly #addresses: AddressChecks;
  readonly #failed: Promise<Error>;
  #fail: (error: Error) => void = () => {};
  #server: WireServer | undefined;
  #http: HttpServer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #topology: Topology | null = null;
  #stopping: Promise<void> | undefined;

  constructor(options: RouterOptions, bootstrap: BootstrapOptions, store: EmbeddedTopologyStore, log: Log) {
    this.#options = options;
    this.#id = options.id ?? 'router';
    const { protocolMax = limits.PROTOCOL_MAX } = options;
    this.#protocolMax = protocolMax;
    this.#bootstrap = bootstrap;
    this.#store = store;
    this.#log = log;
    this.#failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    const random = createRandom(randomInt(2 ** 47));
    const controller = new Controller({
      random,
      bootstrap,
      ...(options.controller === undefined ? {} : { options: options.controller }),
    });
    this.#hub = new TopologyHub(() => this.#shell.topology());
    const addressOf = (node: Pick<NodeRecord, 'id' | 'address'>): string => this.#addressOf(node);
    const connector = this.#connector;
    this.#addresses = new AddressChecks({ connector, addressOf, log, clock: systemClock, protocolMax });
    this.#proxy = new RequestProxy({
      connector,
      addressOf,
      unavailable: () => this.#shell.unavailable(),
      waitingFor: () => this.#shell.status().waitingFor,
      log,
      protocolMax,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.#scrubs = new ClusterScrubs({
      topology: () => this.#shell.topology(),
      unavailable: () => this.#shell.unavailable(),
      ask: (node, order) =>
        this.#connector.scrub(this.#addressOf(node), this.#helloTo(node), order, ADMIN_ASK_MS),
    });
    this.#shell = new ControllerShell({
      controller,
      store,
      onTopology: (topology) => this.#takeTopology(topology),
      onDamage: (partition, replica) => this.#scrubs.meetDamage(partition, replica),
      storeId: store.storeId,
      addresses: this.#addresses,
      onFatal: (error) => this.failStop(error),
      log,
    });
  }

  #addressOf({ id, address }: Pick<NodeRecord, 'id' | 'address'>): string {
    return this.#options.peers?.get(id) ?? address;
  }

  get #clusterId(): string {
    return this.#topology?.clusterId ?? '';
  }

  async start(): Promise<RunningRouter> {
    await this.#shell.start();
    const server = await this.#listen();
    this.#server = server;
    this.#announce();
    const { httpListen } = this.#options;
    if (httpListen !== undefined) this.#http = await this.#listenHttp(httpListen, server);
    this.#timer = setInterval(() => this.#hub.tick(), WATCHER_TICK_MS);
    this.#log.info('router_started', {
      address: server.address,
      storeId: this.#store.storeId,
      protocol: this.#protocolMax,
      pid: process.pid,
    });
    return this.#handle(server);
  }

  #handle(server: WireServer): RunningRouter {
    const clusterId = (): string => this.#clusterId;
    return {
      id: this.#id,
      address: server.address,
      httpAddress: this.#http?.address ?? null,
      url: `ringkeep://${this.#options.advertiseClient ?? server.address}`,
      get clusterId() {
        return clusterId();
      },
      stop: (graceMs = limits.DRAIN_MS) => this.stop(graceMs),
      failed: this.#failed,
    };
  }

  /** An end without a good-bye: the store holds everything that was confirmed. */
  failStop(error: Error): void {
    this.#log.fatal('router_failed', { error });
    this.#scrubs.stop();
    this.#shell.stop();
    this.#server?.setServing(false);
    this.#fail(error);
  }

  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#log.info('router_stopping', { requests: this.#proxy.stats().requests });
    // The controller goes on meanwhile: open requests may need a failover to be answered.
    await this.#server?.stop(graceMs);
    clearInterval(this.#timer);
    this.#proxy.stop();
    this.#scrubs.stop();
    this.#shell.stop();
    await this.#http?.stop();
    await this.#closeStore();
    this.#log.info('router_stopped');
  }

  #closeStore(): Promise<void> {
    return new Promise((resolve) => {
      // A disk that hangs must not keep the process: everything confirmed is on it.
      const late = setTimeout(resolve, STORE_CLOSE_MS);
      this.#store.close((error) => {
        clearTimeout(late);
        if (error !== null) this.#log.warn('store_not_closed', { error });
        resolve();
      });
    });
  }

  #listen(): Promise<WireServer> {
    return createServer({
      listen: this.#options.listen ?? LISTEN_DEFAULT,
      insecure: this.#options.insecure ?? false,
      identity: () => ({
        clusterId: this.#clusterId,
        role: 'router',
        nodeId: this.#id,
        boot: 0,
        partitions: this.#topology?.partitions ?? 0,
        keyBytesMax: limits.KEY_BYTES_MAX,
        valueBytesMax: this.#proxy.valueBytesMax,
        storeId: this.#store.storeId,
        protocolMax: this.#protocolMax,
      }),
      services: { keyValue: this.#proxy, topology: this.#hub, control: this.#shell, admin: this.#admin() },
    });
  }

  #listenHttp(listen: string, server: WireServer): Promise<HttpServer> {
    const registry = createRouterMetrics(this.#id, {
      proxy: () => this.#proxy.stats(),
      requests: this.#proxy.counters,
      controller: () => this.#shell.status(),
      counts: () => this.#shell.counts(),
      moves: () => this.#shell.moveStatus(),
      server: () => server.stats(),
      watchers: () => this.#hub.watchers,
    });
    const health = (): Health => {
      const { mode, waitingFor } = this.#shell.status();
      const unavailable = this.#shell.unavailable().size;
      return { healthy: mode === 'active' && this.#stopping === undefined, mode, waitingFor, unavailable };
    };
    const pages = { '/hot': async () => hotJson(hotFigures(await this.#hot(0))) };
    return createHttpServer({ listen, insecure: this.#options.insecure ?? false, registry, health, pages });
  }

  #takeTopology(topology: Topology): void {
    const first = this.#topology === null;
    this.#topology = topology;
    this.#proxy.applyTopology(topology);
    this.#hub.broadcast(topology);
    if (first) this.#announce();
  }

  /** The cluster exists, and so does the server: tell who asks for health, and what of the options does not count. */
  #announce(): void {
    const topology = this.#topology;
    if (topology === null || this.#server === undefined) return;
    this.#server.setServing(true);
    const { clusterId, partitions, replicationFactor } = topology;
    this.#log.info('cluster_known', { clusterId, partitions, replicationFactor });
    const { partitions: asked } = this.#bootstrap;
    if (this.#options.partitions !== undefined && asked !== partitions) {
      this.#log.warn('option_ignored', { option: 'partitions', asked, partitions });
    }
    const ack = topology.acks?.cluster ?? ACK_DEFAULTS.cluster;
    if (this.#options.ack !== undefined && this.#options.ack !== ack) {
      this.#log.warn('option_ignored', { option: 'ack', asked: this.#options.ack, ack });
    }
  }

  #admin(): AdminHandler {
    return {
      status: async () => this.#status(),
      hashPartition: async () => {
        throw new RingkeepError('INVALID_ARGUMENT', 'a router holds no rows: ask the nodes');
      },
      setAck: (_peer, change) => this.#shell.setAck(change),
      moves: (_peer, request) => this.#shell.moves(request),
      hot: (_peer, limit) => this.#hot(limit),
      scrub: async (_peer, order) => this.#scrubs.answer(order),
    };
  }

  #hot(limit: number): Promise<HotReply> {
    const ask = (node: NodeRecord, wanted: number): Promise<HotReply> =>
      this.#connector.hot(this.#addressOf(node), this.#helloTo(node), wanted, ADMIN_ASK_MS);
    return askHot(this.#shell.topology()?.nodes ?? [], limit, ({ id }) => id, ask);
  }

  #helloTo({ id }: NodeRecord): Hello {
    const fields = { clusterId: this.#clusterId, expectedNode: id, protocolMax: this.#protocolMax };
    return makeHello({ role: 'router', ...fields });
  }

  #status(): StatusReply {
    const { mode, waitingFor, partitions, nodes } = this.#shell.status();
    const figures: RouterFigures = {
      pid: process.pid,
      id: this.#id,
      mode,
      waitingFor,
      unavailable: partitions
        .filter(({ unavailable }) => unavailable !== '')
        .map(({ partition, phase, unavailable }) => ({ partition, phase, reason: unavailable })),
      nodes,
      protocol: this.#protocolMax,
      protocols: this.#shell.nodeProtocols(),
      addressTroubles: this.#addresses.troubles(),
      proxy: this.#proxy.stats(),
      watchers: this.#hub.watchers,
    };
    return {
      topology: this.#shell.topology(),
      nodes: this.#shell.nodeStatuses(),
      replicas: this.#shell.leaderReports(),
      json: JSON.stringify(figures),
    };
  }
}

/**
 * Starts a router: reads the topology store, then listens.
 * Rejects with RingkeepError DIRECTORY_IN_USE, DAMAGED, FORMAT_TOO_NEW, DISK_FULL, INVALID_ARGUMENT, INSECURE_LISTEN,
 * ADDRESS_IN_USE.
 */
export async function startRouter(options: RouterOptions): Promise<RunningRouter> {
  const bootstrap = bootstrapOf(options);
  for (const address of options.peers?.values() ?? []) parseAddress(address);
  checkOwnAddresses({ ...options, listen: options.listen ?? LISTEN_DEFAULT }, false);
  const log = (
    options.log ??
    createLog({ process: 'router', ...(options.logLevel === undefined ? {} : { level: options.logLevel }) })
  ).with({ node: options.id ?? 'router' });
  makeDataDirectory(options.dataDirectory);
  let shell: RouterShell | undefined;
  const store = await openEmbeddedTopologyStore(join(options.dataDirectory, 'topology'), {
    onFailed: (cause) => shell?.failStop(new FailStop('the topology store cannot be written', cause)),
  });
  shell = new RouterShell(options, bootstrap, store, log);
  try {
    return await shell.start();
  } catch (error) {
    await shell.stop(0);
    throw error;
  }
}
