/**
 * How many writes a leader takes while a learner cannot catch up with them: less than the learner takes itself, so that a move comes
 * to its end under any load. A learner that copies a snapshot, or that is not heard of, slows nobody down.
 */

/** A learner this close to the end of the log holds nobody up. */
const NEAR_ENTRIES = 256;
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

/** The pace of one leadership. Times are monotonic ms. */
export class Pace {
  private readonly samples = new Map<string, Sample>();
  /** By learner: writes per second. */
  private readonly limits = new Map<string, number>();
  private tokens = 0;
  private refilledAt = 0;

  /** Writes per second that are taken; infinite: nobody is slowed down. */
  get limit(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.limits.values());
  }

  /** Looks at the learners that take entries now, and at the end of the log. */
  look(now: number, last: number, learners: readonly Follows[]): void {
    for (const id of this.samples.keys()) if (!learners.some((learner) => learner.id === id)) this.forget(id);
    for (const { id, match } of learners) {
      const before = this.samples.get(id);
      if (last - match <= NEAR_ENTRIES) this.forget(id);
      else if (before === undefined) this.samples.set(id, { at: now, match, last });
      else if (now - before.at >= WINDOW_MS) {
        this.judge(id, now, before, { at: now, match, last });
        this.samples.set(id, { at: now, match, last });
      }
    }
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
