/** What operators ask of the controller about moves of replicas, and what they are told: a facade over `rebalance.ts`. */
import { RingkeepError } from '../../common/errors.ts';
import type { Membership, MoveSettings } from '../../common/topology.ts';
import type { NodeLoad, PlacementPlan, VoterMove } from '../placement.ts';
import { writeNodes } from './adoption.ts';
import {
  isConfigured,
  type MoveConfiguration,
  moveSettingsOf,
  stepConfiguration,
  wishConfiguration,
  wishMembership,
} from './cluster-settings.ts';
import type { Context } from './context.ts';
import { explainReplicas, type ReplicaChoice } from './explain.ts';
import { isGone, obstacleToForget, overfullNow } from './members.ts';
import { previewMoves, type RebalanceStatus, rebalanceStatus } from './rebalance.ts';
import type { RebalanceRecord } from './types.ts';

/** Part of one controller run. Only once the cluster is formed. */
export class Moves {
  private readonly context: Context;

  constructor(context: Context) {
    this.context = context;
  }

  /**
   * Asks for a node to give its replicas away, or to be a member again; `configured` tells when it is stored.
   * @throws RingkeepError INVALID_ARGUMENT if there is no such node
   */
  setMembership(now: number, node: string, membership: Membership): void {
    if (this.isGone(node)) throw new RingkeepError('INVALID_ARGUMENT', `there is no node ${node}`);
    if (membership === 'NODE_GONE')
      throw new RingkeepError('INVALID_ARGUMENT', 'nodes are forgotten otherwise');
    wishMembership(this.context, node, membership);
    writeNodes(this.context, now);
  }

  /**
   * Asks for a node that has no replicas and does not run to be forgotten; `configured` tells when that is stored, unless it has come
   * back meanwhile.
   * @throws RingkeepError INVALID_ARGUMENT, NOT_READY while a partition's record is not known
   */
  forget(now: number, node: string): void {
    const obstacle = obstacleToForget(this.context, node);
    if (obstacle !== null) throw obstacle;
    wishMembership(this.context, node, 'NODE_GONE');
    writeNodes(this.context, now);
  }

  /** Whether a node was forgotten and has not come back. */
  isGone(node: string): boolean {
    return isGone(this.context.store.node(node));
  }

  /**
   * Asks for other settings, or another replication factor; `configured` tells when they are stored.
   * @throws RingkeepError INVALID_ARGUMENT
   */
  configure(change: MoveConfiguration): void {
    wishConfiguration(this.context, change);
    stepConfiguration(this.context);
  }

  /** Whether all that was asked for of nodes and settings is stored. */
  get configured(): boolean {
    return isConfigured(this.context);
  }

  /** Asks for a plan to be made and begun now, also after one was aborted; `status` tells what comes of it. */
  run(): void {
    this.context.wishes.plan = true;
  }

  /** Asks for the plan that runs to be ended: what has been begun is taken back, or ended where it cannot be. */
  abort(): void {
    this.context.wishes.abort = true;
  }

  /** Whether a plan that was asked for, or the end of one, is still to be stored. */
  get pending(): boolean {
    const { store, wishes } = this.context;
    return wishes.plan || wishes.abort || store.busy('cluster');
  }

  /** The last plan as it is stored; id empty, state none: there was none yet. */
  get plan(): Pick<RebalanceRecord, 'id'> & Pick<RebalanceStatus, 'state'> {
    return this.context.store.rebalance() ?? { id: '', state: 'none' };
  }

  /** Returns the nodes that have more voters than their share allows once these moves are done. */
  overfull(now: number, moves: readonly VoterMove[]): NodeLoad[] {
    return overfullNow(this.context, now, moves);
  }

  /** Returns how the moves stand. */
  status(now: number): RebalanceStatus {
    return rebalanceStatus(this.context, now);
  }

  /** Returns what would be moved if that began now. */
  preview(now: number): PlacementPlan {
    return previewMoves(this.context, now);
  }

  /** Returns why the voters of a partition are where they are, as far as records are known. */
  explain(now: number, partition: number): ReplicaChoice[] {
    return explainReplicas(this.context, now, partition);
  }

  /** What is confirmed of the settings, and of the replication factor. */
  get configuration(): { readonly settings: MoveSettings; readonly replicationFactor: number } {
    const { replicationFactor } = this.context.store.cluster()!;
    return { settings: moveSettingsOf(this.context), replicationFactor };
  }

  /** Node of a partition's recorded leader; null: none. */
  leaderOf(partition: number): string | null {
    return this.context.partitions.get(partition)?.record?.leader?.node ?? null;
  }
}
