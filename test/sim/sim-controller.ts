/**
 * A simulated controller process: the production controller core over the simulated topology store and links. It can
 * crash and start again, and several can run at once, each believing itself to be the one.
 * INVARIANT: a crashed controller's outstanding store requests may still take effect; their answers are lost.
 */

import type { Topology } from '../../src/common/topology.ts';
import { Controller } from '../../src/router/controller/controller.ts';
import type { RebalanceStatus } from '../../src/router/controller/rebalance.ts';
import type { BootstrapOptions, ControllerOptions } from '../../src/router/controller/types.ts';
import type { StoreCommit, TopologyStore } from '../../src/router/topology-store.ts';
import type { ControlLinks, ToController } from './control-links.ts';
import type { SimNode } from './sim-node.ts';
import { SimulationFailure, type World } from './world.ts';

/** Period of the controller's timer, ms. */
const CONTROLLER_TICK_MS = 30;

/** What a controller works with. */
export interface ControllerSurroundings {
  readonly world: World;
  readonly control: ControlLinks;
  readonly store: TopologyStore;
  readonly bootstrap: BootstrapOptions;
  readonly options: Partial<Omit<ControllerOptions, 'bootstrap'>>;
}

/** What runs in the same process, and is told of topologies as the production proxy is. */
export interface Housemate {
  start(): void;
  crash(): void;
  topologyPushed(change: Topology): void;
}

export class SimController {
  readonly id: string;
  running = false;
  housemate: Housemate | null = null;
  private core: Controller | null = null;
  private readonly around: ControllerSurroundings;
  private life = 0;
  private startedAt = 0;
  private unwatch: () => void = () => {};
  /** Commits told before the store was loaded. */
  private early: StoreCommit[] = [];
  /** By node: the last heartbeat that this process has heard, and of which run. */
  private readonly heard = new Map<string, { incarnation: string; boot: number; sequence: number }>();

  constructor(id: string, around: ControllerSurroundings) {
    this.id = id;
    this.around = around;
  }

  get listening(): boolean {
    return this.core !== null;
  }

  /** Starts the process: reads the whole store, then takes part. */
  start(): void {
    const { world } = this.around;
    world.trace(`${this.id}: starts`);
    this.life += 1;
    this.running = true;
    this.startedAt = world.now;
    this.early = [];
    this.heard.clear();
    this.unwatch = this.around.store.watch((commit) => this.told(commit));
    this.load(this.life);
  }

  /** Kills the process. */
  crash(): void {
    if (!this.running) return;
    this.around.world.trace(`${this.id}: crashes`);
    this.running = false;
    this.life += 1;
    this.core = null;
    this.unwatch();
    this.housemate?.crash();
    this.around.control.stopped(this.id);
  }

  /** Why partitions are not served, as its status says; for failure messages. */
  describe(): string {
    if (this.core === null) return `${this.id}: ${this.running ? 'loading' : 'down'}`;
    const { mode, waitingFor, partitions } = this.core.status();
    const { state, moves, stuck } = this.core.moves.status(this.around.world.now);
    const open = moves.filter((move) => move.state !== 'done').map((move) => JSON.stringify(move));
    const plan = `moves ${state} ${open.join(' ')} stuck ${JSON.stringify(stuck)}`;
    const parts = partitions.map(
      ({ partition, phase, unavailable }) => `p${partition} ${phase} ${unavailable}`,
    );
    return `${this.id}: ${mode} ${waitingFor} ${parts.join('; ')}; ${plan}`;
  }

  /** The whole confirmed topology, or null before the cluster is formed. */
  topology(): Topology | null {
    return this.core?.formed === true ? this.core.topology() : null;
  }

  /** Why partitions are not served, by partition. */
  unavailable(): Map<number, string> {
    const partitions = this.core?.status().partitions ?? [];
    const reasons = partitions.map(({ partition, unavailable }) => [partition, unavailable] as const);
    return new Map(reasons.filter(([, reason]) => reason !== ''));
  }

  /** Asks for a voter to be moved, when this controller can. */
  moveVoter(partition: number, replica: string, toNode: string): boolean {
    return this.core?.moveVoter(partition, replica, toNode) ?? false;
  }

  /** Asks for something of the moves, when this controller can; false: it cannot now. */
  order(order: (core: Controller, now: number) => void): boolean {
    if (this.core?.formed !== true) return false;
    this.event(order);
    return true;
  }

  /** How the moves stand; null: it cannot say. */
  rebalance(): RebalanceStatus | null {
    return this.core?.formed === true ? this.core.moves.status(this.around.world.now) : null;
  }

  /** How many moves it would plan now. */
  preview(): number {
    return this.core?.formed === true ? this.core.moves.preview(this.around.world.now).moves.length : 0;
  }

  /** Whether it is up and has heard a heartbeat of this run of a directory that told of a record after `lsn`. */
  hasHeard(node: SimNode, lsn: number): boolean {
    const heard = this.core === null ? undefined : this.heard.get(node.id);
    if (heard === undefined || heard.incarnation !== node.incarnation || heard.boot !== node.boot)
      return false;
    return node.toldLsn(heard.sequence) > lsn;
  }

  private hear(node: string, { attachment, heartbeat }: ToController): void {
    if (this.core === null) return;
    if (attachment !== undefined) {
      const { incarnation, boot } = attachment;
      this.heard.set(node, { incarnation, boot, sequence: 0 });
    }
    const heard = this.heard.get(node);
    if (heard !== undefined && heartbeat !== undefined) heard.sequence = heartbeat.sequence;
  }

  nodeMessage(node: string, message: ToController): void {
    const { attachment, heartbeat, sealReplies, reports } = message;
    this.hear(node, message);
    this.event((core, now) => {
      if (attachment !== undefined) {
        core.nodeAttached(now, node, attachment);
        if (core.formed) this.around.control.toNode(this.id, node, { topology: core.topology() });
      } else {
        core.nodeMessage(now, node, {
          ...(heartbeat === undefined ? {} : { heartbeat }),
          ...(sealReplies === undefined ? {} : { sealReplies }),
          ...(reports === undefined ? {} : { reports }),
        });
      }
    });
  }

  nodeClosed(node: string): void {
    this.event((core, now) => core.nodeDetached(now, node));
  }

  private load(life: number): void {
    const { world, store, control } = this.around;
    store.load((error, state) => {
      if (life !== this.life) return;
      if (error !== null || state === undefined) {
        world.schedule(200, () => {
          if (life === this.life) this.load(life);
        });
        return;
      }
      const { random } = world;
      const core = new Controller({ random, bootstrap: this.around.bootstrap, options: this.around.options });
      this.core = core;
      this.housemate?.start();
      this.event((loaded, now) => loaded.load(now, [...state.entries.values()]));
      for (const commit of this.early) if (commit.revision > state.revision) this.told(commit);
      control.started(this.id);
      const tick = (): void => {
        if (life !== this.life) return;
        this.event((ticked, now) => ticked.tick(now));
        world.schedule(CONTROLLER_TICK_MS, tick);
      };
      world.schedule(CONTROLLER_TICK_MS, tick);
    });
  }

  private told(commit: StoreCommit): void {
    if (this.core === null) this.early.push(commit);
    for (const entry of commit.entries) this.event((core, now) => core.storeChanged(now, entry));
  }

  private event(run: (core: Controller, now: number) => void): void {
    const { core } = this;
    if (core === null) return;
    try {
      run(core, this.around.world.now - this.startedAt);
      this.carryOut(core);
    } catch (error) {
      if (error instanceof SimulationFailure) throw error;
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw this.around.world.failure(`${this.id} threw: ${message}`, error);
    }
  }

  private carryOut(core: Controller): void {
    const { control, store } = this.around;
    const world: World = this.around.world;
    const { cas, reads, seals, prepares, push, events, rejections } = core.take();
    const { life } = this;
    for (const { tag, changes } of cas) {
      store.compareAndSwap(changes, ({ status }) => {
        if (life === this.life) this.event((told, now) => told.casResult(now, tag, status));
      });
    }
    for (const { tag, keys } of reads) {
      store.read(keys, (error, entries) => {
        const found = error === null && entries !== undefined ? entries : null;
        if (life === this.life) this.event((told, now) => told.readResult(now, tag, found));
      });
    }
    if (push !== null) {
      control.toNode(this.id, null, { topology: push });
      this.housemate?.topologyPushed(push);
    }
    for (const { node, seal } of seals) {
      world.trace(`${this.id} -> ${node}: seal p${seal.partition} e${seal.epoch}`);
      control.toNode(this.id, node, { seals: [seal] });
    }
    for (const { node, prepare } of prepares) {
      world.trace(
        `${this.id} -> ${node}: prepare p${prepare.partition} e${prepare.epoch} for ${prepare.target}`,
      );
      control.toNode(this.id, node, { prepares: [prepare] });
    }
    for (const { level, event, ...fields } of events) {
      world.count(`controller ${event}`);
      world.trace(`${this.id}: ${level} ${event} ${JSON.stringify(fields)}`);
    }
    for (const { node, code, message } of rejections) {
      world.check(code !== 'WRONG_CLUSTER', () => `${this.id} rejects ${node}: ${code} ${message}`);
      world.count(`rejected ${code}`);
      // Whether it is an old copy, the node knows: what is rejected here may be a run that has ended meanwhile.
      if (code === 'ROLLED_BACK') control.toNode(this.id, node, { rolledBack: message });
      else control.close(this.id, node);
    }
  }
}
