/**
 * How many writes a leader takes while a learner cannot catch up with them: less than the learner takes itself, so that a move comes
 * to its end under any load. While a learner copies a snapshot nobody is slowed down for it, unless what the WAL keeps for it meanwhile
 * comes near its bound: beyond that, it would have to begin anew.
 * INVARIANT: who is not heard of, has a full disk, or has taken nothing for `STALLED_MS`, slows nobody down.
 */
import type { Hold } from './wal-holds.ts';

/** A learner this close to the end of the log holds nobody up. */
export const NEAR_ENTRIES = 256;
/** It has to be near within so long at the rates as they are, ms; else writers are slowed down. */
const HORIZON_MS = 10_000;
/** Rates are taken over at least so long, ms. */
const WINDOW_MS = 500;
/** Of what the learner takes, so much is left to writers. */
const SHARE = 0.8;
/** Writers are never slowed down below that, per second. */
const LEAST_PER_SECOND = 20;
/** What was not used is kept for so long, ms. */
const BURST_MS = 50;
/** A learner that has taken nothing for so long, ms, slows nobody down before it takes something again. */
export const STALLED_MS = 10_000;
/** The part of what may be held from which on writers are slowed down, and how long the rest has to last at any time, s. */
const HELD_FREELY = 0.5;
const HELD_LASTS_S = 60;

/** A learner that takes entries, as its leader sees it. */
export interface Follows {
  readonly id: string;
  /** Last entry that it has durable. */
  readonly match: number;
}

interface Sample {
  readonly at: number;
  readonly match: number;
  readonly last: number;
}

interface Stall {
  readonly match: number;
  readonly since: number;
}

/** The pace of one leadership. Times are monotonic ms. */
export class Pace {
  private readonly samples = new Map<string, Sample>();
  private readonly stalls = new Map<string, Stall>();
  /** By learner: writes per second. */
  private readonly limits = new Map<string, number>();
  private heldSample: { readonly at: number; readonly grown: number; readonly last: number } | null = null;
  private heldLimit = Number.POSITIVE_INFINITY;
  private tokens = 0;
  private refilledAt = 0;

  /** Writes per second that are taken; infinite: nobody is slowed down. */
  get limit(): number {
    return Math.min(this.heldLimit, ...this.limits.values());
  }

  get isSlowed(): boolean {
    return this.limit !== Number.POSITIVE_INFINITY;
  }

  /** Looks at the learners that take entries now, and at the end of the log. */
  look(now: number, last: number, learners: readonly Follows[]): void {
    for (const id of this.stalls.keys())
      if (!learners.some((learner) => learner.id === id)) {
        this.stalls.delete(id);
        this.forget(id);
      }
    for (const { id, match } of learners) {
      const before = this.samples.get(id);
      if (last - match <= NEAR_ENTRIES || this.isStalled(id, match, now)) this.forget(id);
      else if (before === undefined) this.samples.set(id, { at: now, match, last });
      else if (now - before.at >= WINDOW_MS) {
        this.judge(id, now, before, { at: now, match, last });
        this.samples.set(id, { at: now, match, last });
      }
    }
  }

  private isStalled(id: string, match: number, now: number): boolean {
    const known = this.stalls.get(id);
    if (known?.match === match) return now - known.since >= STALLED_MS;
    this.stalls.set(id, { match, since: now });
    return false;
  }

  private forget(id: string): void {
    this.samples.delete(id);
    this.limits.delete(id);
  }

  private judge(id: string, now: number, before: Sample, { match, last }: Sample): void {
    const elapsed = now - before.at;
    const taken = match - before.match;
    const gained = taken - (last - before.last);
    const isNearInTime = gained * (HORIZON_MS / elapsed) >= last - match;
    // Once slowed down, writers stay so until it is near: else the two would take turns.
    if (isNearInTime && !this.limits.has(id)) return;
    this.limits.set(id, Math.max(LEAST_PER_SECOND, (taken * SHARE * 1_000) / elapsed));
  }

  /**
   * Looks at what the WAL keeps for a copy of this partition that is under way; null: nothing. The WAL is that of all partitions of the
   * node: of its growth these writers give up the same part as all would have to.
   */
  lookAtHold(now: number, last: number, hold: Hold | null): void {
    if (hold === null || hold.grown < hold.most * HELD_FREELY) {
      this.heldSample = null;
      this.heldLimit = Number.POSITIVE_INFINITY;
      return;
    }
    const { grown, most } = hold;
    const before = this.heldSample;
    if (before !== null && grown >= before.grown && now - before.at < WINDOW_MS) return;
    this.heldSample = { at: now, grown, last };
    if (before === null || grown < before.grown) return;
    const seconds = (now - before.at) / 1_000;
    const growth = (grown - before.grown) / seconds;
    const allowed = (most - grown) / HELD_LASTS_S;
    const entries = (last - before.last) / seconds;
    if (growth <= allowed && this.heldLimit === Number.POSITIVE_INFINITY) return;
    this.heldLimit = Math.max(LEAST_PER_SECOND, (entries * allowed) / Math.max(1, growth));
  }

  /** Takes the room for a write; false: none is taken now. */
  take(now: number): boolean {
    const { limit } = this;
    if (limit === Number.POSITIVE_INFINITY) return true;
    const most = Math.max(1, (limit * BURST_MS) / 1_000);
    this.tokens = Math.min(most, this.tokens + (limit * (now - this.refilledAt)) / 1_000);
    this.refilledAt = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
