/**
 * Runs the node core on real time: feeds it events, carries its effects out in their order, once per event-loop turn,
 * so that everything that arrives in one turn shares WAL groups and messages. It takes no decisions.
 * INVARIANT: an exception out of the core or the WAL ends the node (`fail`): a broken invariant is never run past.
 */
import { performance } from 'node:perf_hooks';
import { assert } from '../../common/errors.ts';
import { TICK_MS } from '../../common/limits.ts';
import type { Topology } from '../../common/topology.ts';
import type { PeerMessage, ReplicaReport, Reply, SealReply } from '../../common/wire/messages.ts';
import type { CoreEvent, Effects, StoreEffect } from '../core/effects.ts';
import type { NodeCore } from '../core/node-core.ts';
import type { Store } from '../store.ts';
import type { Wal } from '../wal/types.ts';

/** Where effects go that leave the node. */
export interface EngineOutputs {
  sendPeers(node: string, messages: PeerMessage[]): void;
  sendController(part: { sealReplies?: SealReply[]; reports?: ReplicaReport[] }): void;
  reply(connection: number, replies: Reply[]): void;
  topologyChanged(change: Topology): void;
  event(event: CoreEvent): void;
  /** Called once. */
  failed(error: Error): void;
}

/** Runs one node core on real time. */
export class Engine {
  readonly core: NodeCore;
  private readonly store: Store;
  private readonly outputs: EngineOutputs;
  private wal: Wal | null = null;
  private scheduled = false;
  private stopped = false;
  private tickedAt = performance.now();

  constructor(core: NodeCore, store: Store, outputs: EngineOutputs) {
    this.core = core;
    this.store = store;
    this.outputs = outputs;
  }

  /** Hands over the WAL, which needs the engine as its listener before it exists. */
  attachWal(wal: Wal): void {
    this.wal = wal;
  }

  /** Feeds one event to the core; its effects are carried out at the end of this event-loop turn. */
  run(event: (core: NodeCore) => void): void {
    if (this.stopped) return;
    try {
      this.core.advance(performance.now(), Date.now());
      event(this.core);
    } catch (error) {
      return this.fail(error);
    }
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.carryOut());
  }

  /** Called every `TICK_MS`: tells the core how much later than that it is. */
  tick(): void {
    const now = performance.now();
    const lateMs = Math.max(0, now - this.tickedAt - TICK_MS);
    this.tickedAt = now;
    this.run((core) => core.tick(lateMs));
  }

  /** Ends the node for good. */
  fail(error: unknown): void {
    if (this.stopped) return;
    this.stopped = true;
    this.outputs.failed(error instanceof Error ? error : new Error(String(error)));
  }

  /** Takes no more events; what is scheduled is dropped. */
  stop(): void {
    this.stopped = true;
  }

  private carryOut(): void {
    this.scheduled = false;
    if (this.stopped) return;
    try {
      this.perform(this.core.take());
    } catch (error) {
      this.fail(error);
    }
  }

  private perform(effects: Effects): void {
    const { wal, outputs } = this;
    if (wal !== null) {
      let lsn = 0;
      for (const record of effects.wal) lsn = wal.append(record);
      assert(lsn === 0 || lsn === this.core.appendedLsn, 'the WAL and the core count records alike');
      if (lsn > 0) wal.flush();
      for (const { partition, from, countMax, bytesMax, done } of effects.walReads) {
        wal.read(partition, from, countMax, bytesMax, (error, result) => this.run(() => done(error, result)));
      }
      if (effects.walFloors !== null) wal.truncateHead(effects.walFloors.floors, effects.walFloors.keepBytes);
    }
    for (const effect of effects.store) this.performStore(effect);
    this.sendPeers(effects.peers);
    const { sealReplies, reports } = effects;
    if (sealReplies.length > 0 || reports.length > 0) outputs.sendController({ sealReplies, reports });
    this.reply(effects.replies);
    for (const event of effects.events) outputs.event(event);
    if (effects.topologyChanged !== null) outputs.topologyChanged(effects.topologyChanged);
  }

  private sendPeers(peers: Effects['peers']): void {
    if (peers.length === 0) return;
    const batches = new Map<string, PeerMessage[]>();
    for (const { node, message } of peers) {
      const batch = batches.get(node);
      if (batch === undefined) batches.set(node, [message]);
      else batch.push(message);
    }
    for (const [node, batch] of batches) this.outputs.sendPeers(node, batch);
  }

  private reply(replies: Effects['replies']): void {
    if (replies.length === 0) return;
    const batches = new Map<number, Reply[]>();
    for (const { connection, reply } of replies) {
      const batch = batches.get(connection);
      if (batch === undefined) batches.set(connection, [reply]);
      else batch.push(reply);
    }
    for (const [connection, batch] of batches) this.outputs.reply(connection, batch);
  }

  private performStore(effect: StoreEffect): void {
    const { store } = this;
    switch (effect.kind) {
      case 'write':
        return store.write(effect.batch, (error) => this.run(() => effect.done(error)));
      case 'get':
        return store.get(effect.key, (error, value) => this.run(() => effect.done(error, value)));
      case 'openView':
        return store.openView((error, view) => this.run(() => effect.done(error, view)));
      case 'readView':
        return effect.view.read(effect.from, effect.to, effect.bytesMax, (error, result) =>
          this.run(() => effect.done(error, result)),
        );
      case 'closeView':
        return effect.view.close();
      case 'sync':
        return store.sync((error) => this.run(() => effect.done(error)));
      case 'clear':
        return store.clear(effect.from, effect.to, (error) => {
          if (error !== null) this.fail(error);
        });
    }
  }
}
