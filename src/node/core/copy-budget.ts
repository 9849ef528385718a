/**
 * How many bytes of copies of replicas a node sends and takes: buckets that fill with time. A copy that makes up for a replica that was lost
 * is urgent, and has the node's own rate; one that only moves a replica has the cluster's, in each direction.
 * INVARIANT: a bucket never holds more than a second's worth, or one chunk where that is more.
 */
import { MOVE_SETTINGS, type PartitionRecord, type Replica } from '../../common/topology.ts';

class Bucket {
  private tokens: number;
  private rate: number;
  private readonly chunk: number;

  constructor(rate: number, chunk: number) {
    this.rate = rate;
    this.chunk = chunk;
    this.tokens = Math.max(rate, chunk);
  }

  refill(elapsedMs: number, rate: number): void {
    this.rate = rate;
    this.tokens = Math.min(Math.max(this.rate, this.chunk), this.tokens + (rate * elapsedMs) / 1_000);
  }

  giveBack(bytes: number): void {
    this.tokens = Math.min(Math.max(this.rate, this.chunk), this.tokens + bytes);
  }

  take(bytes: number): boolean {
    if (this.tokens < bytes) return false;
    this.tokens -= bytes;
    return true;
  }
}

/** Budgets of one node. Rates in bytes per second. */
export class CopyBudget {
  /** Bytes of rows that were really sent and taken, since the start. */
  sentBytes = 0;
  receivedBytes = 0;
  private readonly urgentRate: number;
  private readonly urgent: Bucket;
  private readonly outward: Bucket;
  private readonly inward: Bucket;
  private refilledAt = 0;

  /** `chunk`: what is taken at a time, at most. */
  constructor(urgentRate: number, chunk: number) {
    this.urgentRate = urgentRate;
    const rate = Math.min(urgentRate, MOVE_SETTINGS.bytesPerSecond);
    this.urgent = new Bucket(urgentRate, chunk);
    this.outward = new Bucket(rate, chunk);
    this.inward = new Bucket(rate, chunk);
  }

  /** Time has passed; `moveRate` is that of the cluster for moves. */
  refill(now: number, moveRate: number): void {
    const elapsed = now - this.refilledAt;
    this.refilledAt = now;
    this.urgent.refill(elapsed, this.urgentRate);
    const rate = Math.min(this.urgentRate, moveRate);
    this.outward.refill(elapsed, rate);
    this.inward.refill(elapsed, rate);
  }

  /** Takes the room to send so much; false: there is none now. */
  send(bytes: number, moves: boolean): boolean {
    return (moves ? this.outward : this.urgent).take(bytes);
  }

  /** Gives room for a move back that was taken and not needed. */
  giveBack(bytes: number): void {
    this.outward.giveBack(bytes);
  }

  /** Takes the room to receive so much of a move; false: there is none now. */
  receive(bytes: number): boolean {
    return this.inward.take(bytes);
  }
}

/** Whether a replica is being made to move one, rather than to make up for one that its node has lost. */
export function isMove(
  { voters, learners }: Pick<PartitionRecord, 'voters' | 'learners'>,
  { id, node }: Replica,
): boolean {
  return learners.some((learner) => learner.id === id) && !voters.some((voter) => voter.node === node);
}
