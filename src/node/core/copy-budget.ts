/**
 * How many bytes of copies of replicas a node sends and takes: buckets that fill with time, and a queue before each. A copy that makes up for
 * a replica that was lost is urgent, and has the node's own rate, or that of moves where this is larger; one that only moves a replica has the
 * cluster's, in each direction, less what gives way to clients (`GiveWay`).
 * INVARIANT: a bucket never holds more than a quarter of a second's worth, or one chunk where that is more.
 * INVARIANT: copies that wait are served in the order in which they began to: each gets its chunk before any gets its next one.
 */
import { MOVE_SETTINGS, type PartitionRecord, type Replica } from '../../common/topology.ts';
import { GiveWay } from './give-way.ts';

/** Who has not asked again for so long, ms, does not wait any more; everybody asks at every tick. */
const GONE_MS = 1_000;

/** What more was needed than was taken is waited for, but for no longer than that, s: nobody is given up for it. */
const DEBT_S = 5;

/** What was not used is kept for so long, s. */
const BURST_S = 0.25;

/** The node does nothing else while it reads, checks and packs a chunk: of a small rate chunks are smaller, this part of a second's worth. */
const CHUNK_S = 1 / 32;
/** But no smaller than this part of a whole one. */
const CHUNK_LEAST = 1 / 16;
/** So many whole chunks per second may be moved however late the node is. */
const LEAST_CHUNKS = 2;

/** Whoever takes part in a copy: the identity of its object is its place in the queue. */
type Claimant = object;

class Bucket {
  private tokens: number;
  private rate: number;
  private readonly chunk: number;
  /** What is wanted by those who wait, the first one first, and when they last asked. */
  private readonly waiting = new Map<Claimant, { readonly bytes: number; readonly at: number }>();
  private now = 0;

  constructor(rate: number, chunk: number) {
    this.rate = rate;
    this.chunk = chunk;
    this.tokens = this.most;
  }

  private get most(): number {
    return Math.max(this.rate * BURST_S, this.chunk);
  }

  refill(now: number, rate: number): void {
    const elapsed = now - this.now;
    this.now = now;
    this.rate = rate;
    this.add((rate * elapsed) / 1_000);
    for (const [who, { at }] of this.waiting) if (now - at > GONE_MS) this.waiting.delete(who);
  }

  /** Gives back what was taken and not needed; negative: so much more was needed, which the next ones wait for. */
  add(bytes: number): void {
    const tokens = Math.min(this.most, this.tokens + bytes);
    this.tokens = Math.max(tokens, -this.rate * DEBT_S);
  }

  take(bytes: number, who: Claimant): boolean {
    let ahead = 0;
    for (const [other, wanted] of this.waiting) {
      if (other === who) break;
      ahead += wanted.bytes;
    }
    if (this.tokens < ahead + bytes) {
      this.waiting.set(who, { bytes, at: this.now });
      return false;
    }
    this.waiting.delete(who);
    this.tokens -= bytes;
    return true;
  }
}

/** Budgets of one node. Rates in bytes per second. */
export class CopyBudget {
  /** Bytes of rows in snapshots that were really sent and taken, since the start. */
  sentBytes = 0;
  receivedBytes = 0;
  /** Bytes of entries that were sent to learners, and that learners here have taken. */
  sentLogBytes = 0;
  receivedLogBytes = 0;
  private readonly urgentRate: number;
  private readonly chunk: number;
  private readonly giveWay: GiveWay;
  private readonly urgent: Bucket;
  private readonly outward: Bucket;
  private readonly inward: Bucket;

  /** `chunk`: what is taken at a time, at most. */
  constructor(urgentRate: number, chunk: number) {
    this.urgentRate = urgentRate;
    this.chunk = chunk;
    this.giveWay = new GiveWay(LEAST_CHUNKS * chunk);
    const rate = MOVE_SETTINGS.bytesPerSecond;
    this.urgent = new Bucket(Math.max(urgentRate, rate), chunk);
    this.outward = new Bucket(rate, chunk);
    this.inward = new Bucket(rate, chunk);
  }

  /** Time has passed, at a timer that ran so much late; `moveRate` is that of the cluster for moves. */
  refill(now: number, moveRate: number, lateMs = 0): void {
    const sent = this.sentBytes + this.sentLogBytes;
    const received = this.receivedBytes + this.receivedLogBytes;
    this.giveWay.tick(now, lateMs, moveRate, Math.max(sent, received));
    this.urgent.refill(now, Math.max(this.urgentRate, moveRate));
    this.outward.refill(now, this.moveLimit);
    this.inward.refill(now, this.moveLimit);
  }

  /** Bytes per second that moves may use now, in each direction. */
  get moveLimit(): number {
    return this.giveWay.limit;
  }

  /** How many bytes of rows the next chunk should have. */
  chunkBytes(moves: boolean): number {
    const fitting = Math.max(this.moveLimit * CHUNK_S, this.chunk * CHUNK_LEAST);
    return moves ? Math.min(this.chunk, Math.ceil(fitting)) : this.chunk;
  }

  /** Takes the room to send so much; false: it is not `who`'s turn yet, and it has to ask again at the next tick. */
  send(bytes: number, moves: boolean, who: Claimant): boolean {
    return (moves ? this.outward : this.urgent).take(bytes, who);
  }

  /** Gives room back that was taken to send and not needed, or owes what more was sent (negative). */
  sentLess(bytes: number, moves: boolean): void {
    (moves ? this.outward : this.urgent).add(bytes);
  }

  /** Takes the room to receive so much of a move; false: it is not `who`'s turn yet, and it has to ask again at the next tick. */
  receive(bytes: number, who: Claimant): boolean {
    return this.inward.take(bytes, who);
  }

  /** The same as `sentLess`, of what was received. */
  receivedLess(bytes: number): void {
    this.inward.add(bytes);
  }
}

/** Whether a replica is being made to move one, rather than to make up for one that its node has lost. */
export function isMove(
  { voters, learners }: Pick<PartitionRecord, 'voters' | 'learners'>,
  { id, node }: Replica,
): boolean {
  return learners.some((learner) => learner.id === id) && !voters.some((voter) => voter.node === node);
}
