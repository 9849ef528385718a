/**
 * What operators ask for of moves, over the wire: orders to the controller, answered with how the moves stand once what was asked for
 * is stored. It decides nothing; the controller does.
 */
import { RingkeepError } from '../common/errors.ts';
import type { MoveSettings } from '../common/topology.ts';
import type { Move, MoveChange, MovesReply, MovesRequest } from '../common/wire/admin-messages.ts';
import type { MoveConfiguration } from './controller/cluster-settings.ts';
import type { Controller } from './controller/controller.ts';
import type { MoveStatus } from './controller/rebalance.ts';
import type { VoterMove } from './placement.ts';

/**
 * How large a replica is, in tables on disk, and how many bytes of its rows a node has copied so far, 0 again once the copy is
 * installed; 0: not known.
 */
export interface CopySizes {
  bytesOf(partition: number): number;
  copiedOf(partition: number, node: string): number;
}

/** What has been copied for the moves of one plan: of each the most that was ever told, since after it a learner only catches up. */
export class Copies {
  private plan = '';
  private most = new Map<string, number>();

  /** Takes what is told now of the moves of a plan; forgets those of others. */
  look(plan: string, moves: readonly VoterMove[], copiedOf: CopySizes['copiedOf']): void {
    const before = plan === this.plan ? this.most : new Map<string, number>();
    this.plan = plan;
    this.most = new Map();
    for (const move of moves) {
      if (move.to === null) continue;
      const key = keyOf(move);
      this.most.set(key, Math.max(before.get(key) ?? 0, copiedOf(move.partition, move.to)));
    }
  }

  /** Bytes of rows. */
  of(move: VoterMove): number {
    return this.most.get(keyOf(move)) ?? 0;
  }

  /** Bytes of rows, of all moves: it only grows while the plan is the same. */
  get total(): number {
    return [...this.most.values()].reduce((sum, bytes) => sum + bytes, 0);
  }
}

function keyOf({ partition, to }: VoterMove): string {
  return `${partition} ${to}`;
}

/** The rate is that of about so long. */
const METER_MS = 10_000;
const METER_STEP_MS = 1_000;

/** How fast a number grows, over the last seconds. */
export class Meter {
  private samples: { readonly at: number; readonly value: number }[] = [];
  private plan = '';

  /** Takes a sample of a plan, unless the last one is from just now. `read` is called then only. */
  look(now: number, plan: string, read: () => number): void {
    const last = this.samples.at(-1);
    if (last !== undefined && now - last.at < METER_STEP_MS) return;
    const value = read();
    // What belongs to another plan, or moves that are not part of it any more, is nothing that was copied or lost just now.
    if (plan !== this.plan || (last !== undefined && value < last.value)) this.samples = [];
    this.plan = plan;
    this.samples.push({ at: now, value });
    while (now - this.samples[0]!.at > METER_MS) this.samples.shift();
  }

  /** Per second; 0: it does not grow, or is not known yet. */
  get rate(): number {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (first === undefined || last === undefined || last.at === first.at) return 0;
    return ((last.value - first.value) * 1_000) / (last.at - first.at);
  }
}

/** Only what is named: the rest stays, whoever else changes it at the same time. */
function changeOf({ settings, replicationFactor }: MovesRequest): MoveConfiguration {
  const change: { -readonly [Name in keyof MoveSettings]?: MoveSettings[Name] } = {};
  const { bytesPerSecond, perNode, lostAfterSeconds, automatic }: MoveChange = settings ?? {};
  if (bytesPerSecond !== undefined) change.bytesPerSecond = bytesPerSecond;
  if (perNode !== undefined) change.perNode = perNode;
  if (lostAfterSeconds !== undefined) change.lostAfterSeconds = lostAfterSeconds;
  if (automatic !== undefined) change.automatic = automatic;
  return replicationFactor === 0 ? change : { ...change, replicationFactor };
}

/** An order that waits until it is stored. */
interface Waiter {
  isStored(): boolean;
  resolve(): void;
  reject(error: RingkeepError): void;
}

/** Asks one controller. */
export class MoveOrders {
  private readonly controller: Controller;
  private readonly sizes: CopySizes;
  private waiters: Waiter[] = [];
  private readonly meter = new Meter();
  private readonly copies = new Copies();

  constructor(controller: Controller, sizes: CopySizes) {
    this.controller = controller;
    this.sizes = sizes;
  }

  /**
   * Does what is asked for; resolves with how the moves stand once it is stored. `asked` is called when the controller has
   * something to do. Rejects with RingkeepError INVALID_ARGUMENT, NOT_READY, SHUTTING_DOWN.
   */
  async answer(request: MovesRequest, now: number, asked: () => void): Promise<MovesReply> {
    const { controller } = this;
    if (!controller.formed) throw new RingkeepError('NOT_READY', 'the cluster is not formed yet');
    switch (request.order) {
      case 'MOVES_TELL':
        break;
      case 'MOVES_PREVIEW':
        return this.preview(now);
      case 'MOVES_EXPLAIN':
        return { ...this.reply(now), choices: this.explain(now, request.partition) };
      case 'MOVES_RUN':
      case 'MOVES_ABORT':
        return this.ordered(request.order, now, asked);
      case 'MOVES_CONFIGURE':
        controller.moves.configure(changeOf(request));
        await this.stored(asked, () => controller.moves.configured);
        break;
      case 'MOVES_MEMBERSHIP':
        controller.moves.setMembership(now, request.node, request.membership);
        await this.stored(asked, () => controller.moves.configured);
        break;
      case 'MOVES_FORGET':
        controller.moves.forget(now, request.node);
        await this.stored(asked, () => controller.moves.configured);
        if (!controller.moves.isGone(request.node))
          throw new RingkeepError('INVALID_ARGUMENT', `${request.node} has come back meanwhile`);
        break;
      default:
        throw new RingkeepError('INVALID_ARGUMENT', 'unknown order');
    }
    return this.reply(now);
  }

  /** Begins a plan, or ends one. Tells of that plan only: of an earlier one nobody has asked. */
  private async ordered(
    order: 'MOVES_RUN' | 'MOVES_ABORT',
    now: number,
    asked: () => void,
  ): Promise<MovesReply> {
    const { moves } = this.controller;
    const before = moves.plan;
    const isRun = order === 'MOVES_RUN';
    if (isRun) moves.run();
    else moves.abort();
    await this.stored(asked, () => !moves.pending);
    const reply = this.reply(now);
    const isOpen = before.state === 'running' || (!isRun && before.state === 'aborting');
    if (isOpen || (isRun && moves.plan.id !== before.id)) return reply;
    return { ...reply, state: 'none', reason: '', moves: [], plan: '' };
  }

  private stored(asked: () => void, isStored: () => boolean): Promise<void> {
    asked();
    return new Promise((resolve, reject) => this.waiters.push({ isStored, resolve, reject }));
  }

  /** The controller has gone on. */
  look(now: number): void {
    if (this.controller.formed) this.meter.look(now, this.controller.moves.plan.id, () => this.copied(now));
    if (this.waiters.length === 0) return;
    const open = this.waiters.filter((waiter) => !waiter.isStored());
    const done = this.waiters.filter((waiter) => !open.includes(waiter));
    this.waiters = open;
    for (const { resolve } of done) resolve();
  }

  /** Nothing more will be stored. */
  stop(error: RingkeepError): void {
    for (const { reject } of this.waiters.splice(0)) reject(error);
  }

  private explain(now: number, partition: number): MovesReply['choices'] {
    const { partitions } = this.controller.topology();
    if (partition >= partitions)
      throw new RingkeepError('INVALID_ARGUMENT', `partitions are numbered from 0 to ${partitions - 1}`);
    return this.controller.moves.explain(now, partition);
  }

  private copied(now: number): number {
    const { moves } = this.controller;
    this.copies.look(moves.plan.id, moves.status(now).moves, this.sizes.copiedOf);
    return this.copies.total;
  }

  private preview(now: number): MovesReply {
    const plan = this.controller.moves.preview(now);
    if (plan === null) throw new RingkeepError('NOT_READY', 'not all records of partitions are known yet');
    const moves = plan.moves.map((move) => this.shown({ ...move, state: 'waiting', reason: '' }));
    const overfull = this.controller.moves.overfull(now, plan.moves);
    return { ...this.reply(now), state: 'preview', reason: '', moves, stuck: plan.stuck, plan: '', overfull };
  }

  private reply(now: number): MovesReply {
    const { state, reason, moves, stuck } = this.controller.moves.status(now);
    const { settings, replicationFactor } = this.controller.moves.configuration;
    const shown = moves.map((move) => this.shown(move));
    const bytesPerSecond = Math.round(this.meter.rate);
    const plan = this.controller.moves.plan.id;
    const overfull = this.controller.moves.overfull(now, []);
    return {
      ...{ state, reason, moves: shown, stuck, settings, replicationFactor, choices: [], bytesPerSecond },
      ...{ plan, overfull },
    };
  }

  private shown({ partition, from, to, state, reason }: MoveStatus): Move {
    const bytes = to === null ? 0 : this.sizes.bytesOf(partition);
    // Rows are larger than the tables that they come from, which are compressed.
    const copied = state === 'done' ? bytes : Math.min(bytes, this.copies.of({ partition, from, to }));
    const sender = this.controller.moves.leaderOf(partition) ?? '';
    return { partition, from: from ?? '', to: to ?? '', state, reason, bytes, copied, sender };
  }
}
