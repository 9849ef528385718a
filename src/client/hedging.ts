/**
 * When a read that any voter may answer, or a copy of its hot key, is asked a second time, elsewhere ("The tail at scale", Dean and Barroso, 2013): after
 * several times what answers usually take, and for a small part of the reads only, so that hedges cannot double the load of a
 * cluster that is slow as a whole. Pure.
 * INVARIANT: over n reads, at most `HEDGE_BURST + n * HEDGE_RATIO` hedges.
 */
import type { Operation } from './operation.ts';

/** A leader that has not answered for this long may have been replaced without this client having heard, ms. */
const OVERDUE_MS = 600;
/** Hedges that may be due at once: what is in flight to a node when it stops. */
const HEDGE_BURST = 512;
const HEDGE_RATIO = 0.1;
/** So many times the usual time of an answer; never sooner or later than the bounds, ms. */
const FACTOR = 4;
const AFTER_MS_MIN = 10;
const AFTER_MS_MAX = 60;
/** Where answers usually take longer than that, no sooner than after so many times the usual: most are still to come. */
const FACTOR_MIN = 1.5;
/** The usual time is near the median, which a part of the reads that waits for a leader does not move: each answer shifts it by this part. */
const STEP = 1 / 32;
const USUAL_MS_MIN = 0.1;

/** The hedges of one client. */
export class Hedging {
  private tokens = HEDGE_BURST;
  private usualMs = AFTER_MS_MIN / FACTOR;

  /** A read was started. */
  earn(): void {
    this.tokens = Math.min(HEDGE_BURST, this.tokens + HEDGE_RATIO);
  }

  /** A first attempt was answered, or overtaken by its hedge, after `ms`. */
  answered(ms: number): void {
    this.usualMs =
      ms > this.usualMs ? this.usualMs * (1 + STEP) : Math.max(USUAL_MS_MIN, this.usualMs * (1 - STEP));
  }

  /** How long an attempt may be unanswered before it is hedged, ms. */
  get afterMs(): number {
    const most = Math.max(AFTER_MS_MAX, this.usualMs * FACTOR_MIN);
    return Math.min(most, Math.max(AFTER_MS_MIN, this.usualMs * FACTOR));
  }

  /** Takes one hedge of the budget; false if it is spent. */
  take(): boolean {
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

/** One of several that may answer has been asked, and takes longer than usual; nobody else has been asked yet. */
export function isSlow(
  { state, isHedgeable, isHedged, sentAt }: Operation,
  now: number,
  afterMs: number,
): boolean {
  return isHedgeable && state === 'sent' && !isHedged && now - sentAt >= afterMs;
}

/** A leader has been asked, and takes so long that it may be none any more. */
export function isOverdue({ state, isAnywhere, isWhole, sentAt }: Operation, now: number): boolean {
  return state === 'sent' && !isAnywhere && !isWhole && now - sentAt >= OVERDUE_MS;
}
