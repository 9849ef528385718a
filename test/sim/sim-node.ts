/**
 * A simulated storage node: the production core, WAL and effects' order over simulated disk, store and links. The shell
 * takes no decisions: it carries out effects in the order of their fields, as the production shell does.
 * Owns the faults of one node: crash, restart, pause, wipe, flipped bits.
 * INVARIANT: the core is entered by one event at a time; a paused or crashed node runs nothing.
 */
import { DiskError } from '../../src/common/disk.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { HEARTBEAT_MS, PROTOCOL_MAX, TICK_MS } from '../../src/common/limits.ts';
import { createRandom, type Random } from '../../src/common/random.ts';
import type { Topology } from '../../src/common/topology.ts';
import type { PeerMessage, Reply, Request } from '../../src/common/wire/messages.ts';
import type { NodeCoreOptions } from '../../src/node/core/api.ts';
import type { Effects, StoreEffect } from '../../src/node/core/effects.ts';
import { NodeCore } from '../../src/node/core/node-core.ts';
import type { Wal } from '../../src/node/wal/types.ts';
import { type OpenedWal, openWal } from '../../src/node/wal/wal.ts';
import type { NodeAttachment } from '../../src/router/controller/types.ts';
import type { ClientChecks } from './client-checks.ts';
import type { ControlLinks, ToNode } from './control-links.ts';
import { heartbeatOf } from './heartbeat.ts';
import { NodeSessions } from './node-sessions.ts';
import { describeMessage, type PeerLinks } from './peer-links.ts';
import { type NodePlace, registerOf } from './register.ts';
import type { RowChecks } from './row-checks.ts';
import { type DirectorySurroundings, SimDirectory, WAL_DIRECTORY } from './sim-directory.ts';
import { SimulationFailure, type World } from './world.ts';

/** Ticks are up to so much late now and then, so that copies give way. */
const LATE_MS_MAX = 100;
/** Wall clock of the simulated machines at virtual time 0, ms. */
const WALL_START_MS = 1_700_000_000_000;

/** What a node works with. */
export interface NodeSurroundings extends DirectorySurroundings {
  readonly rows: RowChecks;
  readonly clients: ClientChecks;
  readonly peers: PeerLinks;
  readonly control: ControlLinks;
  readonly core: Omit<NodeCoreOptions, 'nodeId' | 'incarnation' | 'boot' | 'run' | 'random'>;
  readonly segmentBytes: number;
  /** Ends a process together with all connections to it. */
  stopNode(node: SimNode): void;
}

export class SimNode {
  readonly id: string;
  readonly place: NodePlace;
  running = false;
  paused = false;
  draining = false;
  /** Why the process has ended by itself; nothing runs in it any more. */
  failure: DiskError | null = null;
  core: NodeCore | null = null;
  /** How often its disk was found full. */
  fullTimes = 0;
  readonly directory: SimDirectory;
  private wal: Wal | null = null;
  private readonly around: NodeSurroundings;
  private life = 0;
  private startedAt = 0;
  private inbox: (() => void)[] = [];
  private busy = false;
  private scheduled = false;
  private heartbeats = 0;
  /** By heartbeat of this run: the core's own last durable record, as the checks know it. */
  private told: number[] = [];
  private readonly sessions: NodeSessions;
  /** This machine's clock rate and wall clock offset. */
  private readonly clockRate: number;
  private readonly wallOffsetMs: number;
  private readonly tickMs: number;
  /** Of its own, so that what does not copy goes the same way with it and without it. */
  private readonly lateness: Random;

  constructor(id: string, place: NodePlace, around: NodeSurroundings) {
    const { world } = around;
    this.id = id;
    this.place = place;
    this.around = around;
    this.clockRate = world.between(0.95, 1.05);
    this.wallOffsetMs = Math.floor(world.between(-2_000, 2_000));
    this.tickMs = TICK_MS * world.between(0.7, 2);
    this.lateness = createRandom(world.seed * 1_000 + Buffer.from(id).reduce((sum, byte) => sum + byte));
    this.sessions = new NodeSessions(id, world, around.clients);
    const later = (delayMs: number, run: () => void): void => this.later(delayMs, run);
    this.directory = new SimDirectory(id, around, later);
  }

  /** Of the directory, as of the last start on it; empty before there was one. */
  get incarnation(): string {
    return this.directory.format?.incarnation ?? '';
  }

  get boot(): number {
    return this.directory.format?.boot ?? 0;
  }

  get disk(): SimDirectory['disk'] {
    return this.directory.disk;
  }

  get store(): SimDirectory['store'] {
    return this.directory.store;
  }

  /** Starts the process: recovers the WAL, restores the core, connects. */
  start(): void {
    const { world, peers, control } = this.around;
    this.running = true;
    this.paused = false;
    this.draining = false;
    this.failure = null;
    this.life += 1;
    this.startedAt = world.now;
    this.heartbeats = 0;
    this.told = [];
    this.guard(() => this.recover());
    if (!this.running) return;
    const life = this.life;
    this.every(this.tickMs, life, () => {
      this.event((core) => {
        core.walSize(this.wal?.bytes() ?? 0, this.wal?.writtenBytes() ?? 0);
        core.diskSpace(this.disk.freeBytesSync());
        core.tick(this.lateness.next() < 0.1 ? this.lateness.next() * LATE_MS_MAX : 0);
      });
    });
    this.every(HEARTBEAT_MS, life, () => this.heartbeat());
    peers.started(this.id);
    control.started(this.id);
  }

  /** Kills the process; `power` also loses what was not fsynced. */
  crash(kind: 'power' | 'process'): void {
    if (!this.running) return;
    this.around.world.trace(`${this.id}: crashes (${kind})`);
    this.running = false;
    this.paused = false;
    this.life += 1;
    this.inbox = [];
    this.scheduled = false;
    this.core = null;
    this.wal = null;
    this.sessions.clear();
    this.disk.crash(kind);
    this.store.crash();
    this.around.peers.stopped(this.id);
    this.around.control.stopped(this.id);
  }

  /** Stops the process from running without ending it. */
  pause(): void {
    this.paused = true;
  }

  /** Lets a paused process run everything that has arrived meanwhile. */
  resume(): void {
    if (this.failure !== null) return;
    this.paused = false;
    this.drainInbox();
  }

  /** Flips a bit of the WAL; false if there is nothing to flip. */
  flipWalBit(): boolean {
    return this.wal !== null && this.directory.flipWalBit(this.wal.durableLsn());
  }

  /** Which record was the last durable one when this run sent a heartbeat; 0 for one that it has not sent. */
  toldLsn(sequence: number): number {
    return this.told[sequence] ?? 0;
  }

  /** Asks the core to hand its leaderships over before a stop. */
  drain(): void {
    this.draining = true;
    this.event((core) => core.drain());
  }

  /** Opens a client's connection and returns its number, or null when nothing listens. */
  accept(clientId: Uint8Array, reply: (reply: Reply) => void): number | null {
    return this.running ? this.sessions.open(clientId, reply) : null;
  }

  request(connection: number, request: Request): void {
    if (!this.sessions.has(connection)) return;
    this.event((core) => core.request(connection, request, this.sessions.begin(connection, request)));
  }

  cancel(connection: number, id: number): void {
    this.event((core) => core.cancel(connection, id));
  }

  closed(connection: number): void {
    if (this.sessions.close(connection)) this.event((core) => core.connectionClosed(connection));
  }

  peerConnected(node: string): void {
    this.event((core) => core.peerConnected(node));
  }

  peerMessages(node: string, messages: readonly PeerMessage[]): void {
    this.event((core) => {
      core.peerSpeaks(node, PROTOCOL_MAX);
      core.peerMessages(node, messages);
    });
  }

  controllerMessage(message: ToNode): void {
    const { topology, seals, prepares, rolledBack } = message;
    if (rolledBack !== undefined) return this.rejected(rolledBack);
    if (topology !== undefined) this.topologyPushed(topology);
    for (const seal of seals ?? []) this.event((core) => core.seal(seal));
    for (const prepare of prepares ?? []) this.event((core) => core.prepare(prepare));
  }

  private topologyPushed(topology: Topology): void {
    this.event((core) => {
      if (core.isAdmittedBy(topology)) this.write(() => this.directory.format?.admit());
      core.topologyPushed(topology);
    });
  }

  /** Writes to FORMAT while the process runs: without room it may be left for later, a failed fsync ends the process. */
  private write(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      if (error.code !== 'ENOSPC') this.walFailed(this.life, error);
    }
  }

  /** Nothing in the directory counts any more: it gets a new incarnation, and the process starts again. */
  private rejected(reason: string): void {
    const world: World = this.around.world;
    world.check(this.directory.isOldCopy, () => `${this.id} is rejected: ${reason}`);
    world.trace(`${this.id}: has found out that its directory is an old copy`);
    this.write(() => this.directory.renew());
    if (this.core !== null) this.around.stopNode(this);
    const { life } = this;
    world.schedule(20, () => {
      if (!this.running && life === this.life) this.start();
    });
  }

  /** What the node says first on a control stream; null while it cannot speak. */
  attachment(): NodeAttachment | null {
    const { format, topology } = this.directory;
    if (this.core === null || format === null || this.paused) return null;
    const register = registerOf(this, format, this.wal?.durableLsn() ?? 0);
    const { incarnation, boot } = this;
    const reports = this.core.openingReports();
    const clusterId = topology?.clusterId ?? '';
    return { incarnation, boot, register, clusterId, reports, knownTopology: topology };
  }

  /** The topology that a client would be pushed, or null. */
  knownTopology(): Topology | null {
    return this.running && !this.paused ? this.directory.topology : null;
  }

  /** A process that cannot start, for want of room or a failed fsync, is started again until it can. */
  private startLater(error: Error): void {
    const { world } = this.around;
    const { boot, incarnation } = this;
    world.trace(`${this.id}: cannot start: ${error.message}`);
    world.count('start refused');
    this.fullTimes += 1;
    this.running = false;
    this.disk.crash('process');
    world.schedule(world.between(50, 200), () => {
      if (!this.running && this.boot === boot && this.incarnation === incarnation) this.start();
    });
  }

  private recover(): void {
    const { world, invariants, core: options } = this.around;
    let opened: OpenedWal;
    try {
      this.directory.open();
      world.trace(`${this.id}: starts with boot ${this.boot}`);
      opened = this.openWal();
    } catch (error) {
      if (!endsProcess(error)) throw error;
      return this.startLater(error);
    }
    const { wal, replicas, lastLsn, entries, problems } = opened;
    for (const { damage, meta } of replicas) if (damage !== null || meta.damaged) world.count('damage found');
    for (const problem of problems) world.trace(`${this.id}: WAL: ${problem}`);
    this.wal = wal;
    invariants.recovered(this.id, this.boot, replicas);
    this.core = new NodeCore({
      ...options,
      nodeId: this.id,
      incarnation: this.incarnation,
      boot: this.boot,
      run: this.directory.format!.runs.at(-1)!,
      random: () => world.random.next(),
    });
    const { store, topology } = this.directory;
    this.event((core) => core.restore({ replicas, entries, store, lastLsn, topology }));
  }

  private openWal(): OpenedWal {
    const { world, invariants, segmentBytes } = this.around;
    const { life } = this;
    return openWal({
      disk: this.disk,
      directory: WAL_DIRECTORY,
      found: (lastLsn) => this.directory.format?.noteLogEnd(lastLsn),
      schedule: (delayMs, run) => this.later(delayMs, run),
      options: { segmentBytes, reserveBytes: 4 * segmentBytes, aheadBytes: segmentBytes / 8 },
      newSalt: () => Uint8Array.from({ length: 8 }, () => world.random.integer(256)),
      listener: {
        durable: (lsn) => {
          if (life !== this.life) return;
          this.guard(() => invariants.synced(this.id, lsn));
          this.event((core) => core.durable(lsn));
        },
        full: (full) => {
          if (full) this.fullTimes += 1;
          this.event((core) => core.diskFullChanged(full));
        },
        failed: (error) => this.walFailed(life, error),
      },
    });
  }

  /** A failed fsync ends the process; anything else that ends the WAL is a bug. */
  private walFailed(life: number, error: DiskError): void {
    const world: World = this.around.world;
    world.check(error.code === 'EIO', () => `${this.id}: the WAL failed: ${error.message}`);
    if (life !== this.life) return;
    world.trace(`${this.id}: the WAL failed, the process ends`);
    this.failure = error;
    this.paused = true;
  }

  private heartbeat(): void {
    this.enter(() => {
      if (this.core === null) return;
      this.heartbeats += 1;
      const { heartbeats: sequence, draining } = this;
      const walLsn = this.wal?.durableLsn() ?? 0;
      const durableLsn = this.directory.format?.toldLogEnd(walLsn) ?? 0;
      // Before it is admitted, a run tells what it has found, and nothing of what it has added.
      this.told[this.heartbeats] = durableLsn === walLsn ? this.core.durableLsn : 0;
      const heartbeat = heartbeatOf(this.core, { sequence, draining, durableLsn });
      this.around.control.toControllers(this.id, { heartbeat });
    });
  }

  private every(periodMs: number, life: number, run: () => void): void {
    const { world } = this.around;
    const next = (): void => {
      if (life !== this.life) return;
      if (!this.paused) run();
      world.schedule(periodMs, next);
    };
    world.schedule(world.between(0, periodMs), next);
  }

  /** The time of day by this machine's clock. */
  get wallMs(): number {
    return Math.floor(WALL_START_MS + this.wallOffsetMs + this.around.world.now * this.clockRate);
  }

  /** Feeds one event to the core, at the times of this machine's clocks. */
  private event(run: (core: NodeCore) => void): void {
    this.enter(() => {
      const { core } = this;
      if (core === null) return;
      const { now } = this.around.world;
      core.advance((now - this.startedAt) * this.clockRate, this.wallMs);
      run(core);
      this.scheduleCarryOut();
    });
  }

  /** Effects are taken at the end of the event loop's turn: several events may share them. */
  private scheduleCarryOut(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    const { world } = this.around;
    this.later(world.chance(0.5) ? 0 : world.between(0, 0.5), () => {
      this.scheduled = false;
      if (this.core !== null) this.carryOut(this.core, this.core.take());
    });
  }

  /** Runs something in the process: at once, or after what runs now, or when it is resumed. */
  private enter(run: () => void): void {
    if (!this.running) return;
    this.inbox.push(run);
    this.drainInbox();
  }

  private drainInbox(): void {
    if (this.busy || this.paused) return;
    this.busy = true;
    this.guard(() => {
      for (let run = this.inbox.shift(); run !== undefined; run = this.inbox.shift()) run();
    });
    this.busy = false;
  }

  private later(delayMs: number, run: () => void): void {
    const { life } = this;
    this.around.world.schedule(delayMs, () => {
      if (life === this.life) this.enter(run);
    });
  }

  /** Turns what production code throws into a failure of the simulation. */
  private guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof SimulationFailure) throw error;
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw this.around.world.failure(`${this.id} threw: ${message}`, error);
    }
  }

  private carryOut(core: NodeCore, effects: Effects): void {
    const { invariants, control, world } = this.around;
    const { wal } = this;
    if (wal === null) return;
    for (const record of effects.wal) {
      world.count(`wal ${record.type}`);
      invariants.appended(this.id, wal.append(record), record);
    }
    if (effects.wal.length > 0) wal.flush();
    invariants.reported(this.id, core.reportAll());
    for (const { partition, from, countMax, bytesMax, done } of effects.walReads) {
      wal.read(partition, from, countMax, bytesMax, (error, result) => this.event(() => done(error, result)));
    }
    if (effects.walFloors !== null) wal.truncateHead(effects.walFloors.floors, effects.walFloors.keepBytes);
    for (const effect of effects.store) this.carryOutStore(effect);
    this.sendPeers(effects.peers);
    for (const reply of effects.sealReplies) invariants.sealAnswered(this.id, reply);
    if (effects.sealReplies.length > 0) control.toControllers(this.id, { sealReplies: effects.sealReplies });
    if (effects.reports.length > 0) control.toControllers(this.id, { reports: effects.reports });
    for (const { connection, reply } of effects.replies) this.sessions.answer(connection, reply);
    for (const { event, level, ...fields } of effects.events) {
      world.count(`node ${event}`);
      world.trace(`${this.id}: ${level} ${event} ${JSON.stringify(fields)}`);
    }
    if (effects.topologyChanged !== null) this.directory.topology = core.topology();
  }

  private carryOutStore(effect: StoreEffect): void {
    const { store } = this;
    switch (effect.kind) {
      case 'write':
        this.around.rows.batch(this.id, effect.batch);
        store.write(effect.batch, (error) => this.event(() => effect.done(error)));
        break;
      case 'get':
        store.get(effect.key, (error, value) => this.event(() => effect.done(error, value)));
        break;
      case 'openView':
        store.openView((error, view) => this.event(() => effect.done(error, view)));
        break;
      case 'readView':
        effect.view.read(effect.from, effect.to, effect.bytesMax, (error, result) =>
          this.event(() => effect.done(error, result)),
        );
        break;
      case 'closeView':
        effect.view.close();
        break;
      case 'sync':
        store.sync((error) => this.event(() => effect.done(error)));
        break;
      case 'clear':
        store.clear(effect.from, effect.to, () => {});
    }
  }

  private sendPeers(sent: Effects['peers']): void {
    const { invariants, peers, world } = this.around;
    const batches = new Map<string, PeerMessage[]>();
    for (const { node, message } of sent) {
      invariants.sent(this.id, message);
      world.count(`peer ${message.body}`);
      const batch = batches.get(node);
      if (batch === undefined) batches.set(node, [message]);
      else batch.push(message);
    }
    for (const [node, batch] of batches) {
      world.trace(`${this.id} -> ${node}: ${batch.map(describeMessage).join(', ')}`);
      peers.send(this.id, node, batch);
    }
  }
}

function endsProcess(error: unknown): error is Error {
  return error instanceof DiskError || (error instanceof RingkeepError && error.code === 'DISK_FULL');
}
