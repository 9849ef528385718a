/**
 * A storage node as a process part: opens the directory, recovers, listens, connects, and stops in good order. What
 * the node does is decided in `core/`; this file only puts the parts together.
 * INVARIANT: nothing is answered before the WAL's tail has been made durable again (`openWal` does that first).
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DiskError } from '../common/disk.ts';
import { FailStop, type RingkeepError } from '../common/errors.ts';
import { hotFigures, hotJson } from '../common/hot.ts';
import { createHttpServer, type HttpServer } from '../common/http.ts';
import { isCorruption } from '../common/leveldb.ts';
import * as limits from '../common/limits.ts';
import { createLog, type Log } from '../common/log.ts';
import { type DirectoryLock, lockDirectory, makeDataDirectory, NodeDisk } from '../common/node-disk.ts';
import type { Topology } from '../common/topology.ts';
import type { NodeStatus } from '../common/wire/admin-messages.ts';
import { advertisedLoopback, checkOwnAddresses } from '../common/wire/advertised.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { Connector, ServerIdentity } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { ControllerMessage, Heartbeat, Hello, Welcome } from '../common/wire/messages.ts';
import { createServer, type WireServer } from '../common/wire/server.ts';
import { NodeCore } from './core/node-core.ts';
import { type Format, openFormat } from './format.ts';
import { type LevelStore, openLevelStore } from './level-store.ts';
import { coreOptions, type NodeOptions } from './options.ts';
import { ControllerLinks } from './shell/controllers.ts';
import { Engine } from './shell/engine.ts';
import { NodeMetrics } from './shell/node-metrics.ts';
import { PeerLinks } from './shell/peers.ts';
import { ReplicaWatch } from './shell/replica-watch.ts';
import { adminService, hotOf, Sessions, TopologyWatchers } from './shell/services.ts';
import { readTopology, TopologyFile } from './shell/topology-file.ts';
import { type StorageFigures, storageFigures } from './storage-figures.ts';
import { type OpenedWal, openWal } from './wal/wal.ts';

/** A running node. */
export interface RunningNode {
  readonly id: string;
  /** HOST:PORT for nodes and routers. */
  readonly address: string;
  readonly clientAddress: string;
  readonly httpAddress: string | null;
  /** Hands leaderships over, at most for `graceMs`, then closes everything. Idempotent. */
  stop(graceMs?: number): Promise<void>;
  /** Resolves when the node has failed and must not go on: the process should exit and recover. */
  readonly failed: Promise<Error>;
}

const SPACE_CHECK_MS = 500;
/** Between two looks at how large replicas are. */
const FIGURES_MS = 5_000;
const DRAIN_POLL_MS = 20;
/** Longest wait for commits and answers at the end, also when the grace was used up by waiting for a successor. */
const SETTLE_MS = 500;

function randomId(): string {
  return randomBytes(8).toString('hex');
}

class NodeShell {
  readonly options: NodeOptions;
  readonly log: Log;
  private readonly connector: Connector = grpcConnector;
  private lock!: DirectoryLock;
  private disk!: NodeDisk;
  private format!: Format;
  private store!: LevelStore;
  private watch!: ReplicaWatch;
  private opened!: OpenedWal;
  private engine!: Engine;
  private server!: WireServer;
  private http: HttpServer | null = null;
  private peers!: PeerLinks;
  private controllers: ControllerLinks | null = null;
  private sessions!: Sessions;
  private watchers!: TopologyWatchers;
  private metrics!: NodeMetrics;
  private topologyFile!: TopologyFile;
  private readonly timers: NodeJS.Timeout[] = [];
  private walFull = false;
  private spaceLow = false;
  private draining = false;
  private stopping: Promise<void> | null = null;
  private fail!: (error: Error) => void;
  readonly failed: Promise<Error>;

  constructor(options: NodeOptions) {
    this.options = options;
    this.log = (
      options.log ??
      createLog({ process: 'node', ...(options.logLevel === undefined ? {} : { level: options.logLevel }) })
    ).with({ node: options.id });
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
  }

  async start(): Promise<RunningNode> {
    await this.openDirectory();
    this.makeEngine();
    this.recover();
    await this.listen();
    for (const address of advertisedLoopback(this.options))
      this.log.warn('loopback_advertised', { address, listen: this.options.listen });
    this.connect();
    this.log.info('node_started', {
      address: this.address,
      boot: this.format.boot,
      incarnation: this.format.incarnation,
      protocol: this.protocolMax,
      replicas: this.engine.core.replicas.byPartition.size,
      tables: this.store.checked.tables,
      table_check_ms: Math.round(this.store.checked.ms),
      pid: process.pid,
    });
    return {
      id: this.options.id,
      address: this.address,
      clientAddress: this.clientAddress,
      httpAddress: this.http?.address ?? null,
      stop: (graceMs = limits.DRAIN_MS) => {
        this.stopping ??= this.stop(graceMs);
        return this.stopping;
      },
      failed: this.failed,
    };
  }

  private get address(): string {
    return this.options.advertise ?? this.server.address;
  }

  private get clientAddress(): string {
    return this.options.advertiseClient ?? this.address;
  }

  private get protocolMax(): number {
    return this.options.protocolMax ?? limits.PROTOCOL_MAX;
  }

  // ---------------------------------------------------------------- start

  private async openDirectory(): Promise<void> {
    const { dataDirectory, id } = this.options;
    makeDataDirectory(dataDirectory);
    this.lock = await lockDirectory(dataDirectory);
    this.disk = new NodeDisk(dataDirectory);
    this.format = openFormat(this.disk, { nodeId: id, newId: randomId });
    this.disk.makeDirectorySync('store');
    this.store = await openLevelStore(join(dataDirectory, 'store'), { disk: this.disk, path: 'store' });
  }

  private makeEngine(): void {
    const { options, format } = this;
    const core = new NodeCore(coreOptions(options, format));
    this.engine = new Engine(core, this.store, {
      sendPeers: (node, messages) => this.peers.send(node, messages),
      sendController: (part) => this.controllers?.send(part),
      reply: (connection, replies) => this.sessions.reply(connection, replies),
      topologyChanged: (change) => this.topologyChanged(change),
      event: (event) => {
        const { level, event: name, ...fields } = event;
        this.log[level](name, fields as Record<string, string | number>);
        this.metrics.event(event);
      },
      failed: (error) => this.failStop(error),
    });
    this.metrics = new NodeMetrics(
      options.id,
      () => this.figures(),
      () => this.storage(),
    );
    this.sessions = new Sessions(this.engine, (replies) => this.metrics.replied(replies));
    this.watchers = new TopologyWatchers(() => core.topology());
    this.topologyFile = new TopologyFile(this.disk, (error) =>
      this.log.warn('topology_not_saved', { error }),
    );
  }

  /** An end without a good-bye: what was acknowledged is on disk, everything else is for recovery. */
  private failStop(error: Error): void {
    this.log.fatal('node_failed', { error });
    this.condemnIfCorrupt(error);
    for (const timer of this.timers) clearInterval(timer);
    this.controllers?.stop();
    this.peers?.stop();
    this.fail(error);
  }

  /** What compactions cannot read they meet again at every start: the node would end again and again, and lead in between. */
  private condemnIfCorrupt(error: Error): void {
    if (!isCorruption(error)) return;
    try {
      this.format.condemn(`the store is damaged: ${error.message}`);
    } catch (cause) {
      // It is found out again at the next start.
      if (cause instanceof Error) this.log.error('damage_not_noted', { error: cause });
    }
  }

  private recover(): void {
    const { walSegmentBytes } = this.options;
    this.opened = openWal({
      disk: this.disk,
      directory: 'wal',
      found: (lastLsn) => this.format.noteLogEnd(lastLsn),
      schedule: (delayMs, run) => {
        setTimeout(run, delayMs).unref();
      },
      listener: {
        durable: (lsn) => this.engine.run((core) => core.durable(lsn)),
        full: (full) => {
          this.walFull = full;
          this.tellDiskFull();
        },
        failed: (error) => this.engine.fail(new FailStop('the WAL cannot be made durable', error)),
      },
      options: walSegmentBytes === undefined ? {} : { segmentBytes: walSegmentBytes },
    });
    const { wal, replicas, entries, lastLsn, problems } = this.opened;
    for (const problem of problems) this.log.warn('wal_problem', { problem });
    this.engine.attachWal(wal);
    const topology = readTopology(this.disk);
    this.engine.run((core) => core.restore({ replicas, entries, store: this.store, lastLsn, topology }));
  }

  private async listen(): Promise<void> {
    const { options } = this;
    this.peers = new PeerLinks({
      nodeId: options.id,
      connector: this.connector,
      overrides: options.peers ?? new Map(),
      hello: (expectedNode) => this.hello(expectedNode),
      events: {
        connected: (node) => this.engine.run((core) => core.peerConnected(node)),
        speaks: (node, protocol) => this.engine.run((core) => core.peerSpeaks(node, protocol)),
        messages: (node, messages) => this.engine.run((core) => core.peerMessages(node, messages)),
      },
      log: this.log,
    });
    this.server = await createServer({
      listen: options.listen,
      insecure: options.insecure ?? false,
      identity: () => this.identity(),
      services: {
        keyValue: this.sessions.service,
        topology: this.watchers.service,
        replication: this.peers.service,
        admin: adminService(
          this.engine,
          this.store,
          () => this.status(),
          () => ({ ...this.figures(), storage: this.storage() }),
        ),
      },
    });
    this.server.setServing(true);
    if (options.httpListen === undefined) return;
    this.http = await createHttpServer({
      listen: options.httpListen,
      insecure: options.insecure ?? false,
      registry: this.metrics.registry,
      health: () => ({ healthy: !this.draining, ...this.figures() }),
      pages: { '/hot': async () => hotJson(hotFigures(hotOf(this.engine, 0))) },
    });
  }

  private connect(): void {
    const topology = this.engine.core.topology();
    if (topology !== null) this.peers.follow(topology.nodes);
    this.watch = new ReplicaWatch(
      this.store,
      () => this.engine.core.replicas.byPartition.values(),
      (replica, bytes) => {
        replica.rowsBytes = bytes;
      },
    );
    this.controllers = new ControllerLinks({
      routers: this.options.routers,
      connector: this.connector,
      hello: () => this.hello(''),
      log: this.log,
      events: {
        opening: () => ({
          register: {
            address: this.address,
            clientAddress: this.clientAddress,
            zone: this.options.zone ?? '',
            pid: process.pid,
            admittedBoot: this.format.admittedBoot,
            runs: this.format.runs,
            durableLsn: this.format.toldLogEnd(this.opened.wal.durableLsn()),
            joins: this.options.joins ?? false,
          },
          reports: this.engine.core.openingReports(),
          topology: this.engine.core.topology(),
        }),
        heartbeat: (sequence) => this.heartbeat(sequence),
        welcomed: (welcome) => this.welcomed(welcome),
        message: (message) => this.controllerMessage(message),
        refused: (error) => this.refused(error),
      },
    });
    this.every(limits.TICK_MS, () => this.engine.tick());
    this.every(SPACE_CHECK_MS, () => this.checkSpace());
    this.every(FIGURES_MS, () => void this.watch.look());
  }

  private every(periodMs: number, run: () => void): void {
    this.timers.push(setInterval(run, periodMs));
  }

  // ---------------------------------------------------------------- running

  private hello(expectedNode: string): Hello {
    const { incarnation, boot, clusterId } = this.format;
    const own = { role: 'node', nodeId: this.options.id, incarnation, boot, clusterId } as const;
    return makeHello({ ...own, expectedNode, protocolMax: this.protocolMax });
  }

  private identity(): ServerIdentity {
    return {
      clusterId: this.format.clusterId,
      role: 'node',
      nodeId: this.options.id,
      boot: this.format.boot,
      partitions: this.engine.core.topology()?.partitions ?? 0,
      keyBytesMax: limits.KEY_BYTES_MAX,
      valueBytesMax: this.options.valueBytesMax ?? limits.VALUE_BYTES_MAX,
      protocolMax: this.protocolMax,
    };
  }

  private heartbeat(sequence: number): Heartbeat {
    const { diskBytes, diskFull, draining } = this.status();
    const durableLsn = this.format.toldLogEnd(this.opened.wal.durableLsn());
    const { full } = this.engine.core.room;
    const figures = this.watch.news();
    return { sequence, draining, diskBytes, diskFull: diskFull || full, durableLsn, figures };
  }

  private status(): NodeStatus {
    const diskBytes = this.opened.wal.bytes() + this.store.stats().tableBytes;
    return { id: this.options.id, diskBytes, diskFull: this.engine.core.diskFull, draining: this.draining };
  }

  private figures() {
    const { core } = this.engine;
    return {
      ...core.figures(),
      protocol: this.protocolMax,
      walBytes: this.opened.wal.bytes(),
      clearing: this.store.clearing,
      sessions: this.sessions.count,
      peers: this.peers.connected,
      controllerAttached: this.controllers?.attached ?? false,
    };
  }

  private storage(): StorageFigures {
    return storageFigures(this.engine.core.clientBytes, this.opened.wal.writtenBytes(), this.store.stats());
  }

  private welcomed(welcome: Welcome): boolean {
    const { clusterId } = this.format;
    return clusterId === '' || welcome.clusterId === '' || clusterId === welcome.clusterId;
  }

  /** Keeps the list of runs short. It can wait for room; a failed fsync cannot be got over. */
  private noteAdmission(): void {
    try {
      this.format.admit();
    } catch (error) {
      if (!(error instanceof DiskError) || error.code !== 'ENOSPC') return this.engine.fail(error);
      this.log.warn('admission_not_noted', { error });
    }
  }

  private refused(error: RingkeepError): void {
    this.log.error('controller_refused', { error });
    if (error.code === 'ROLLED_BACK') this.rolledBack(error);
  }

  /**
   * The directory is an old copy: nothing in it counts any more. It gets another incarnation, in one step, and the process ends;
   * when it starts again its replicas are those of another directory, and kept until others have replaced them.
   */
  private rolledBack(error: RingkeepError): void {
    try {
      this.format.renew(randomId());
    } catch (cause) {
      // It will be found out again at the next start.
      return this.engine.fail(cause);
    }
    this.engine.fail(error);
  }

  private controllerMessage(message: ControllerMessage): void {
    const { topology } = message;
    if (topology !== null && topology.clusterId !== '') {
      try {
        this.format.setClusterId(topology.clusterId);
      } catch (error) {
        this.log.error('topology_of_another_cluster', { error: error as Error });
        return;
      }
    }
    if (topology !== null && this.engine.core.isAdmittedBy(topology)) this.noteAdmission();
    this.engine.run((core) => {
      if (topology !== null) core.topologyPushed(topology);
      for (const seal of message.seals) core.seal(seal);
      for (const prepare of message.prepares) core.prepare(prepare);
    });
  }

  private topologyChanged(change: Topology): void {
    this.peers.follow(change.nodes);
    this.watchers.push(change);
    const full = this.engine.core.topology();
    if (full !== null) this.topologyFile.save(full);
  }

  private checkSpace(): void {
    const reserve = this.options.diskReserveBytes ?? limits.DISK_RESERVE_BYTES;
    const free = this.disk.freeBytesSync();
    this.spaceLow = free < reserve;
    this.tellDiskFull();
    const { wal } = this.opened;
    this.engine.run((core) => {
      core.diskSpace(free);
      core.walSize(wal.bytes(), wal.writtenBytes());
    });
  }

  private tellDiskFull(): void {
    const full = this.walFull || this.spaceLow;
    this.engine.run((core) => core.diskFullChanged(full));
  }

  // ---------------------------------------------------------------- stop

  /**
   * Whether a partition that was `led` here, since this was first asked, has no leader elsewhere yet. Not leading any more
   * is not enough: the controller still needs the answer to its Seal, or the hand-over becomes a failover.
   */
  private handsOver(led: Set<number>): boolean {
    const { id } = this.options;
    const { core } = this.engine;
    for (const { partition, leader, voters } of core.topology()?.records ?? []) {
      const here = leader?.node === id && leader.boot === this.format.boot;
      if (here && voters.some(({ node }) => node !== id)) led.add(partition);
      else if (leader !== null && !here) led.delete(partition);
    }
    return led.size > 0 || core.handOverCount() > 0;
  }

  private async stop(graceMs: number): Promise<void> {
    const until = Date.now() + graceMs;
    this.draining = true;
    this.log.info('node_stopping', { leaders: this.engine.core.leaderCount() });
    this.engine.run((core) => core.drain());
    this.controllers?.heartbeat();
    const { core } = this.engine;
    const led = new Set<number>();
    while (this.handsOver(led) && this.controllers?.attached === true && Date.now() < until) {
      await delay(DRAIN_POLL_MS);
    }
    // What nobody has taken over (no controller, no other voter): let it commit, and answer those who wait.
    this.engine.run((running) => running.pauseLeaderships());
    const settleUntil = Date.now() + SETTLE_MS;
    while (!core.settled && Date.now() < settleUntil) await delay(DRAIN_POLL_MS);
    this.server.setServing(false);
    await this.server.stop(Math.max(0, Math.min(500, until - Date.now())));
    for (const timer of this.timers) clearInterval(timer);
    this.controllers?.stop();
    this.peers.stop();
    this.topologyFile.close();
    await this.http?.stop();
    this.engine.stop();
    await new Promise<void>((resolve) => this.opened.wal.close(() => resolve()));
    await new Promise<void>((resolve) => this.store.close(() => resolve()));
    await this.lock.release();
    this.log.info('node_stopped');
  }
}

/**
 * Starts a node. Rejects with RingkeepError DIRECTORY_IN_USE, FORMAT_TOO_NEW, WRONG_NODE, WRONG_CLUSTER, DAMAGED,
 * ADDRESS_IN_USE, INSECURE_LISTEN, INVALID_ARGUMENT; with DiskError when the disk refuses.
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  checkOwnAddresses(options, true);
  return new NodeShell(options).start();
}
