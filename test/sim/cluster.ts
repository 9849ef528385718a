/**
 * A whole simulated cluster: nodes, controllers, topology store, network, clients, and the checks that watch them, all
 * in one world. It owns how they are wired, and which random shape a seed gives to the cluster.
 */
import { partitionOf } from '../../src/common/hash.ts';
import { MESSAGE_BYTES_TARGET, SESSION_SEQUENCES_MAX, SESSIONS_MAX } from '../../src/common/limits.ts';
import {
  MOVE_SETTINGS,
  type MoveSettings,
  type NodeRecord,
  type PartitionRecord,
} from '../../src/common/topology.ts';
import type { NodeCoreOptions } from '../../src/node/core/api.ts';
import { Sessions } from '../../src/node/core/sessions.ts';
import type { StoreState } from '../../src/router/topology-store.ts';
import { ClientChecks } from './client-checks.ts';
import { ControlLinks } from './control-links.ts';
import { watchCopies } from './copy-checks.ts';
import { GhostPartition } from './ghost.ts';
import { Invariants } from './invariants.ts';
import { Network, type NetworkProfile } from './network.ts';
import { PeerLinks } from './peer-links.ts';
import { RowChecks } from './row-checks.ts';
import { isSalted, Salter } from './salter.ts';
import { TAGGED_COUNTERS, TAGGED_KEYS } from './sim-batch.ts';
import { ACKS, SimClient } from './sim-client.ts';
import { SimController } from './sim-controller.ts';
import { SimNode } from './sim-node.ts';
import { SimRoutedClient } from './sim-routed-client.ts';
import { SimRouter } from './sim-router.ts';
import { nodeServer, SimSessions } from './sim-sessions.ts';
import { type Fate, SimTopologyStore } from './sim-topology-store.ts';
import { EQUAL_PREFIX, MIXED_PREFIX } from './spread-checks.ts';
import type { Workload, WorkloadClient } from './workload.ts';
import type { World } from './world.ts';

/** The shape of a cluster; whatever is absent is drawn from the seed. */
export interface ClusterShape {
  readonly nodes: number;
  /** Nodes that are not there at the beginning, and may join. */
  readonly spares: number;
  /** Zones that the nodes are spread over, one after the other. */
  readonly zones: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly controllers: number;
  readonly clients: number;
  /** How many of the clients go through routers; a router is beside every controller. */
  readonly routedClients: number;
  readonly datagrams: boolean;
  /** Deduplication window, ms of log time. */
  readonly sessionWindowMs: number;
  readonly idempotencyMs: number;
}

/** Numbers that a test sets; the others are drawn from the seed. */
export interface ClusterNumbers {
  readonly core?: Partial<NodeCoreOptions>;
  readonly moves?: Partial<MoveSettings>;
}

/** Default acknowledgements of clusters: of a third of the seeds each. */
const DEFAULT_ACKS = ['quorum', 'leader', 'all'] as const;

/** Part of the seeds with one or two copies: of those no replica may be lost, so the nemesis takes none. */
const FEW_COPIES = 0.08;

/** Draws nodes and copies. */
function drawCopies(
  world: World,
  fixed: Partial<ClusterShape>,
): { nodes: number; replicationFactor: number } {
  if (fixed.nodes === undefined && fixed.replicationFactor === undefined && world.chance(FEW_COPIES)) {
    world.count('few copies');
    const nodes = world.pick([1, 2, 2, 3, 4]);
    return { nodes, replicationFactor: Math.min(nodes, world.pick([1, 2])) };
  }
  const nodes = fixed.nodes ?? world.pick([3, 4, 4, 5]);
  return { nodes, replicationFactor: Math.min(nodes, world.pick([3, 3, 3, 5])) };
}

/** Draws the shape of a cluster. */
export function drawShape(world: World, fixed: Partial<ClusterShape>): ClusterShape {
  return {
    ...drawCopies(world, fixed),
    spares: world.pick([0, 1, 1, 2]),
    zones: world.pick([1, 1, 2, 3]),
    partitions: world.pick(isSalted(world) ? [2, 3, 4] : [1, 2, 3]),
    controllers: world.pick([1, 2]),
    clients: world.pick([2, 3]),
    routedClients: world.pick([0, 1, 1, 2]),
    datagrams: world.chance(0.4),
    sessionWindowMs: world.pick([600_000, 600_000, 1_500]),
    idempotencyMs: world.pick([600_000, 2_000]),
    ...fixed,
  };
}

export class Cluster {
  readonly world: World;
  readonly shape: ClusterShape;
  readonly network: Network;
  /** How the network is when nothing ails it. */
  readonly calm: NetworkProfile;
  readonly ghosts: readonly GhostPartition[];
  readonly invariants: Invariants;
  readonly rows: RowChecks;
  readonly checks: ClientChecks;
  readonly store: SimTopologyStore;
  readonly nodes: readonly SimNode[];
  readonly controllers: readonly SimController[];
  readonly sessions: SimSessions;
  readonly routers: readonly SimRouter[];
  readonly clients: WorkloadClient[] = [];
  readonly workload: Workload;
  /** As the topology store has them. */
  readonly nodeRecords = new Map<string, NodeRecord>();
  /** Told of every record that the topology store has taken, before anybody else. */
  readonly recordListeners = new Set<(record: PartitionRecord) => void>();
  /** What the topology store held at every moment, the first time first. */
  readonly backups: StoreState[] = [];
  /** While true, the topology store leaves the outcome of many writes unknown. */
  storeUnsure = false;
  readonly salter: Salter;
  private readonly numbers: ClusterNumbers;

  constructor(world: World, shape: ClusterShape, numbers: ClusterNumbers = {}) {
    this.numbers = numbers;
    this.world = world;
    this.shape = shape;
    this.calm = {
      delayMsMin: 0.2,
      delayMsMax: world.between(1, 6),
      breakChance: 0,
      datagrams: shape.datagrams,
      dropChance: 0.01,
      duplicateChance: 0.02,
    };
    this.network = new Network(world, this.calm);
    const limits = {
      windowMs: shape.sessionWindowMs,
      sequencesMax: SESSION_SEQUENCES_MAX,
      sessionsMax: SESSIONS_MAX,
    };
    this.ghosts = Array.from(
      { length: shape.partitions },
      (_, partition) => new GhostPartition(world, partition, new Sessions(limits)),
    );
    this.invariants = new Invariants(world, this.ghosts);
    this.rows = new RowChecks(world, this.ghosts);
    this.checks = new ClientChecks(world, this.ghosts, this.invariants);
    this.store = new SimTopologyStore({
      schedule: (delayMs, run) => world.schedule(delayMs, run),
      random: () => world.random.next(),
      fate: () =>
        this.storeUnsure ? world.pick<Fate>(['normal', 'lost', 'applied', 'applied-late']) : 'normal',
      committed: ({ entries }) => {
        this.backups.push(this.store.state());
        for (const { value } of entries) {
          if ('run' in value) this.nodeRecords.set(value.id, value);
          if (!('partition' in value)) continue;
          this.invariants.recordWritten(value);
          for (const listener of [...this.recordListeners]) listener(value);
        }
      },
    });
    this.workload = {
      partitions: shape.partitions,
      keys: [...keysFor('k', 2, shape.partitions), ...TAGGED_KEYS],
      counters: [...keysFor('n', 1, shape.partitions), ...TAGGED_COUNTERS],
      spread: isSalted(world)
        ? [
            ...keysFor(EQUAL_PREFIX, 1, shape.partitions).slice(0, 2),
            ...keysFor(MIXED_PREFIX, 1, shape.partitions).slice(0, 1),
          ]
        : [],
      concurrency: 8,
      thinkMs: world.pick(isSalted(world) ? [1, 2, 4] : [2, 4, 8]),
      // A key that is written all the time has no copies.
      reads: isSalted(world) ? 0.93 : 0.35,
      hot: isSalted(world) ? 0.6 : 0,
      linearizable: isSalted(world) ? 0.8 : 0.4,
      timeoutMs: 3_000,
      defaultAck: DEFAULT_ACKS[world.seed % DEFAULT_ACKS.length]!,
    };
    const peers = new PeerLinks(this.network);
    const control = new ControlLinks(this.network);
    this.nodes = this.makeNodes(peers, control);
    for (const node of this.nodes) peers.add(node);
    this.controllers = this.makeControllers(control);
    for (const controller of this.controllers) control.add(this.nodes, controller);
    this.sessions = new SimSessions(this.network);
    this.routers = this.makeRouters();
    this.salter = new Salter(world, this.nodes, this.workload);
    if (isSalted(world)) watchCopies(this);
  }

  /** Crashes a node together with its clients' connections. */
  stopNode(node: SimNode, kind: 'power' | 'process'): void {
    node.crash(kind);
    this.sessions.stopped(node.id);
    for (const client of this.clients) client.nodeStopped(node.id);
  }

  /** Lets the topology store answer, and surely. */
  healStore(): void {
    this.store.unavailable = false;
    this.storeUnsure = false;
  }

  /** Crashes all controllers and puts the topology store back; what was on its way to it never arrives. */
  restoreStore(backup: StoreState): void {
    for (const controller of this.controllers) controller.crash();
    this.store.restore(backup);
    this.nodeRecords.clear();
    const records = new Map<number, PartitionRecord>();
    for (const { value } of backup.entries.values()) {
      if ('run' in value) this.nodeRecords.set(value.id, value);
      if ('partition' in value) records.set(value.partition, value);
    }
    for (const { partition } of this.ghosts)
      this.invariants.storeRestored(partition, records.get(partition) ?? null);
  }

  /** Adds a client of the nodes, or of the routers; it begins to work at once unless it has no concurrency. */
  addClient(id: string, concurrency: number, routed = false): WorkloadClient {
    const { world, network, nodes, checks, sessions } = this;
    const workload = { ...this.workload, concurrency };
    const routers = this.routers.map((router) => router.id);
    const client = routed
      ? new SimRoutedClient(id, { world, sessions, routers, checks, workload })
      : new SimClient(id, { world, network, nodes, checks, workload });
    this.clients.push(client);
    return client;
  }

  private makeNodes(peers: PeerLinks, control: ControlLinks): SimNode[] {
    const { world, invariants, rows, checks, shape } = this;
    const core = {
      valueBytesMax: 1_000_000,
      checkpointBytes: world.pick([2_000, 6_000, 1_000_000]),
      walRetentionBytes: world.pick([1_000, 20_000]),
      walHeldBytes: 100_000,
      // As much as a full disk has left at most.
      copyReserveBytes: 4_000,
      sessionWindowMs: shape.sessionWindowMs,
      idempotencyMs: shape.idempotencyMs,
      logCacheBytes: world.pick([200, 2_000, 100_000]),
      // Appends of few entries leave what lies behind them to the next one, by which time the leader may be another.
      appendEntriesMax: world.pick([1, 2, 8, 2_048, 2_048, 2_048]),
      appendBytesTarget: world.pick([100, MESSAGE_BYTES_TARGET, MESSAGE_BYTES_TARGET]),
      snapshotChunkBytes: world.pick([100, 1_000]),
      // Sometimes so slow that leaders change while a snapshot is under way.
      snapshotBytesPerSecond: world.pick([200_000, 200_000, 3_000]),
      scrubIntervalMs: 3_000,
      // As much as a simulated node holds, at once: scrubs never wait.
      scrubBytesPerSecond: 100_000_000,
      // Seeds with salts have them by hand.
      saltReadsPerSecond: 0,
      requestsMax: 10_000,
      requestBytesMax: 10_000_000,
      ...this.numbers.core,
    };
    const around = {
      world,
      invariants,
      rows,
      clients: checks,
      peers,
      control,
      core,
      segmentBytes: world.pick([600, 4_096]),
      stopNode: (node: SimNode) => this.stopNode(node, 'process'),
      // Slower than a round among the voters: what a decision needs is not there when a read is confirmed.
      storeReadMs: world.pick([0.2, 0.2, 0.2, 0.2, 4, 30]),
    };
    const count = shape.nodes + shape.spares;
    const placeOf = (at: number) => ({ zone: `z${at % shape.zones}`, joins: at >= shape.nodes });
    return Array.from({ length: count }, (_, at) => new SimNode(`n${at + 1}`, placeOf(at), around));
  }

  private makeRouters(): SimRouter[] {
    const { world, sessions, shape } = this;
    const inFlightMax = world.pick([3, 20, 2_048]);
    for (const node of this.nodes) sessions.add(nodeServer(node, inFlightMax, shape.partitions));
    // Sometimes so tight that requests are refused.
    const limits = world.chance(0.2) ? { requestsMax: 12, nodeRequestsMax: 6 } : {};
    const around = { world, sessions, limits, inFlightMax: world.pick([4, 2_048]) };
    return this.controllers.map((controller, at) => {
      const router = new SimRouter(`r${at + 1}`, controller, around);
      controller.housemate = router;
      sessions.add(router);
      return router;
    });
  }

  private makeControllers(control: ControlLinks): SimController[] {
    const { world, store, shape } = this;
    const { nodes: initialNodes, partitions, replicationFactor } = shape;
    const ack = ACKS[this.workload.defaultAck];
    const moves = {
      ...MOVE_SETTINGS,
      bytesPerSecond: world.pick([1_000_000, 100_000, 5_000]),
      perNode: world.pick([1, 2]),
      // Sometimes so soon that nodes are replaced that only restart.
      lostAfterSeconds: world.pick([0, 0.5, 5]),
      automatic: world.chance(0.8),
      ...this.numbers.moves,
    };
    const bootstrap = { initialNodes, partitions, replicationFactor, ack, moves };
    // Mostly quicker than in production, so that a run sees many failovers; sometimes hasty, so that they are needless.
    const floorMs = world.pick([60, 150, 300, 700]);
    const options = {
      detector: {
        floorMs,
        disconnectMs: world.between(10, 200),
        phiThreshold: world.pick([2, 8]),
        stallMs: 100,
      },
      resendMs: world.between(20, 100),
      resendMsMax: 400,
      sealGraceMs: world.pick([0, 10, 150]),
      ledMs: world.between(200, 1_500),
      establishMs: world.between(200, 3_000),
      // Sometimes so soon that new voters are given up although they had a leader.
      reconfigureMs: world.chance(0.3) ? world.between(30, 300) : world.between(500, 5_000),
      prepareMs: world.between(200, 2_000),
      requiredSealMs: world.between(100, 1_500),
      planBackoffMs: 200,
      planBackoffMsMax: 2_000,
      balanceAfterMs: world.between(300, 3_000),
      loadSteadyMs: world.between(100, 2_000),
      loadLeast: 1,
      settleMs: world.between(20, 500),
      planEveryMs: world.between(20, 200),
      storeRetryMs: world.between(50, 500),
    };
    const around = { world, control, store, bootstrap, options };
    return Array.from({ length: shape.controllers }, (_, at) => new SimController(`c${at + 1}`, around));
  }
}

/** Returns keys with this prefix, `each` of them in every partition. */
function keysFor(prefix: string, each: number, partitions: number): string[] {
  const keys: string[] = [];
  const counts = new Array<number>(partitions).fill(0);
  for (let at = 0; keys.length < each * partitions; at += 1) {
    const key = `${prefix}${at}`;
    const partition = partitionOf(Buffer.from(key), partitions);
    if (counts[partition]! >= each) continue;
    counts[partition]! += 1;
    keys.push(key);
  }
  return keys;
}
