/**
 * What operators ask for of moves, over the wire: orders to the controller, answered with how the moves stand once what was asked for
 * is stored. It decides nothing; the controller does.
 */
import { RingkeepError } from '../common/errors.ts';
import type { Move, MovesReply, MovesRequest } from '../common/wire/admin-messages.ts';
import type { Controller } from './controller/controller.ts';
import type { MoveStatus } from './controller/rebalance.ts';

/** How large a replica is, and how much of it a node has copied so far; 0: not known. */
export interface CopySizes {
  bytesOf(partition: number): number;
  copiedOf(partition: number, node: string): number;
}

/** The rate is that of about so long. */
const METER_MS = 10_000;
const METER_STEP_MS = 1_000;

/** How fast a number grows, over the last seconds. */
export class Meter {
  private samples: { readonly at: number; readonly value: number }[] = [];

  /** Takes a sample, unless the last one is from just now. `read` is called then only. */
  look(now: number, read: () => number): void {
    const last = this.samples.at(-1);
    if (last !== undefined && now - last.at < METER_STEP_MS) return;
    const value = read();
    // Another plan has begun.
    if (last !== undefined && value < last.value) this.samples = [];
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
        controller.moves.run();
        await this.stored(asked, () => !controller.moves.pending);
        break;
      case 'MOVES_ABORT':
        controller.moves.abort();
        await this.stored(asked, () => !controller.moves.pending);
        break;
      case 'MOVES_CONFIGURE': {
        const factor =
          request.replicationFactor === 0 ? {} : { replicationFactor: request.replicationFactor };
        controller.moves.configure({ ...request.settings, ...factor });
        await this.stored(asked, () => controller.moves.configured);
        break;
      }
      case 'MOVES_MEMBERSHIP':
        controller.moves.setMembership(now, request.node, request.membership);
        await this.stored(asked, () => controller.moves.configured);
        break;
      default:
        throw new RingkeepError('INVALID_ARGUMENT', 'unknown order');
    }
    return this.reply(now);
  }

  private stored(asked: () => void, isStored: () => boolean): Promise<void> {
    asked();
    return new Promise((resolve, reject) => this.waiters.push({ isStored, resolve, reject }));
  }

  /** The controller has gone on. */
  look(now: number): void {
    if (this.controller.formed) this.meter.look(now, () => this.copied(now));
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
    const { moves } = this.controller.moves.status(now);
    return moves.reduce((sum, move) => sum + this.shown(move).copied, 0);
  }

  private preview(now: number): MovesReply {
    const plan = this.controller.moves.preview(now);
    if (plan === null) throw new RingkeepError('NOT_READY', 'not all records of partitions are known yet');
    const moves = plan.moves.map((move) => this.shown({ ...move, state: 'waiting', reason: '' }));
    return { ...this.reply(now), state: 'preview', reason: '', moves, stuck: plan.stuck };
  }

  private reply(now: number): MovesReply {
    const { state, reason, moves, stuck } = this.controller.moves.status(now);
    const { settings, replicationFactor } = this.controller.moves.configuration;
    const shown = moves.map((move) => this.shown(move));
    const bytesPerSecond = Math.round(this.meter.rate);
    return { state, reason, moves: shown, stuck, settings, replicationFactor, choices: [], bytesPerSecond };
  }

  private shown({ partition, from, to, state, reason }: MoveStatus): Move {
    const bytes = to === null ? 0 : this.sizes.bytesOf(partition);
    const copied = to === null ? 0 : state === 'done' ? bytes : this.sizes.copiedOf(partition, to);
    return { partition, from: from ?? '', to: to ?? '', state, reason, bytes, copied };
  }
}
