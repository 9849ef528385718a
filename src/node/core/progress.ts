/**
 * What a leader knows of one other replica: how far its log is verified to match and durable, what was sent, and when
 * it last answered. The states are those of etcd raft's progress, with the WAL read as a fourth.
 * INVARIANT: match only grows within an epoch; next > match.
 */
import type { Replica } from '../../common/topology.ts';
import { FollowerClock } from './freshness.ts';

/** probe: one append at a time until one matches; replicate: pipelined; reading: entries come from the WAL;
 *  snapshot: the receiver pulls a snapshot. */
export type ProgressState = 'probe' | 'replicate' | 'reading' | 'snapshot';

/** Whoever is level, or is waited for, was heard of within this. */
export const LEVEL_HEARD_MS = 2_000;

/** One follower or learner as its leader sees it. */
export class Progress {
  readonly replica: Replica;
  readonly votes: boolean;
  state: ProgressState = 'replicate';
  match = 0;
  next: number;
  /** Where to ask again when messages were lost: behind `match`, or what it hinted at, or where this leader began. */
  resumeAt: number;
  /** Answered successfully in this epoch: it knows the configuration. */
  confirmed = false;
  /** Told of a higher promise. */
  refused = false;
  /** Our own clock, echoed by the newest answer: it was reachable after this. ms */
  contactAt = Number.NEGATIVE_INFINITY;
  lastSentAt = Number.NEGATIVE_INFINITY;
  lastHeardAt: number;
  /** When it last held more, or asked for more of a snapshot. */
  lastNewsAt: number;
  probeOutstanding = false;
  /** It takes no clients' writes now: its disk is full, or it is behind with applying. */
  full = false;
  appliedIndex = 0;
  readonly clock = new FollowerClock();
  snapshot = '';
  /** The end of the log when it came: what a learner is sent up to here is a copy, and counts as one. */
  readonly copyUntil: number;
  /** There is no room for the next part of that copy now. */
  waitsForRoom = false;
  /** Bytes that were taken of the budget for what is sent next. */
  roomTaken = 0;
  private inFlight: { index: number; bytes: number }[] = [];
  inFlightBytes = 0;

  constructor(replica: Replica, votes: boolean, next: number, now: number) {
    this.replica = replica;
    this.votes = votes;
    this.next = next;
    this.resumeAt = next;
    this.copyUntil = votes ? 0 : next - 1;
    this.lastHeardAt = now;
    this.lastNewsAt = now;
  }

  /** Takes note of entries sent up to `index`. */
  sent(index: number, bytes: number): void {
    this.inFlight.push({ index, bytes });
    this.inFlightBytes += bytes;
    this.next = index + 1;
  }

  /** Takes note that everything up to `index` matches and is durable there. Returns whether that is news. */
  acknowledge(index: number): boolean {
    let done = 0;
    while (done < this.inFlight.length && this.inFlight[done]!.index <= index) {
      this.inFlightBytes -= this.inFlight[done]!.bytes;
      done++;
    }
    if (done > 0) this.inFlight.splice(0, done);
    if (index <= this.match) return false;
    this.match = index;
    this.resumeAt = index + 1;
    if (this.next <= index) this.next = index + 1;
    return true;
  }

  /** Starts again at `next` with one append at a time; by default where that is known to make sense. */
  probe(next: number = this.resumeAt): void {
    this.state = 'probe';
    this.next = Math.max(next, this.match + 1);
    this.resumeAt = this.next;
    this.probeOutstanding = false;
    this.inFlight = [];
    this.inFlightBytes = 0;
  }

  /** Offers no more before the next heartbeat: it takes no writes now. */
  holdBack(): void {
    if (this.state !== 'replicate' && this.state !== 'probe') return;
    this.probe(this.match + 1);
    this.probeOutstanding = true;
  }

  /** Goes on after a matching answer. */
  replicate(): void {
    this.state = 'replicate';
    this.probeOutstanding = false;
    this.next = Math.max(this.next, this.match + 1);
  }
}
