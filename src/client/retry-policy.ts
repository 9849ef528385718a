/**
 * When and how soon a failed attempt is repeated: the pure half of the only retry loop there is. It
 * classifies codes, computes delays and keeps the retry budget; it knows nothing of operations, sessions or
 * time, which are passed in.
 * INVARIANT: a delay is never shorter than the server's `retryAfterMs`.
 * INVARIANT: over any stretch of t seconds with n first attempts, at most `budgetBurst + t * budgetPerSecond
 * + n * budgetRatio` retries are due, so retries cannot multiply an overload.
 * Source: exponential backoff with full jitter (Brooker, AWS, 2015); retry budgets (SRE book, chapter 21).
 */
import type { ErrorCode } from '../common/errors.ts';

/** Numbers of the retry loop. Times in ms. */
export interface RetryOptions {
  /** Upper bound of the first delay; it doubles with every further failure. */
  readonly backoffMs: number;
  /** Upper bound of every delay before `retryAfterMs` is added. */
  readonly backoffMsMax: number;
  /** Retries that may be due at once. */
  readonly budgetBurst: number;
  /** Retries per second that are always allowed. */
  readonly budgetPerSecond: number;
  /** Further retries for each first attempt. */
  readonly budgetRatio: number;
  /** Shortest time, in ms, after which an unanswered attempt is repeated with the same request id. */
  readonly attemptMsMin: number;
}

/** Defaults: a failover (about 1 s) with a full window in flight fits into the burst. */
export const RETRY_DEFAULTS: RetryOptions = {
  backoffMs: 20,
  backoffMsMax: 1_000,
  budgetBurst: 4_096,
  budgetPerSecond: 500,
  budgetRatio: 0.2,
  attemptMsMin: 500,
};

/** What follows a failed attempt. `redirect`: once at once to the leader that is named, then as `backoff`. */
export type RetryClass = 'redirect' | 'backoff' | 'never';

const RETRIED: ReadonlyMap<ErrorCode, RetryClass> = new Map<ErrorCode, RetryClass>([
  ['NOT_LEADER', 'redirect'],
  ['UNAVAILABLE', 'backoff'],
  ['NO_QUORUM', 'backoff'],
  ['OVERLOADED', 'backoff'],
  ['SHUTTING_DOWN', 'backoff'],
  ['NOT_READY', 'backoff'],
  ['DAMAGED', 'backoff'],
  // One attempt's time ran out on the server, or its stream was closed; the operation may have time left.
  ['DEADLINE_EXCEEDED', 'backoff'],
  ['CANCELLED', 'backoff'],
  ['WRONG_NODE', 'backoff'],
  // The leader that waited for the last voters is gone, or gave up; another one may still hear of them.
  ['ACK_NOT_REACHED', 'backoff'],
  // Normally answered by the session rules before this table is asked; here only if a server repeats it.
  ['SESSION_TIME', 'backoff'],
]);

/** Returns whether an attempt that failed with `code` may be repeated under the same request id. */
export function retryClass(code: ErrorCode): RetryClass {
  return RETRIED.get(code) ?? 'never';
}

/** Returns whether a new leader or connection may cure `code`, so that its backoff can end early. */
export function curedByRouting(code: ErrorCode): boolean {
  return code !== 'OVERLOADED' && code !== 'DAMAGED';
}

/**
 * Returns the delay in ms before the next attempt after `failures` failed ones (from 1): `retryAfterMs` plus
 * a uniformly random part of the exponential bound. `random` is in [0, 1).
 */
export function backoffDelayMs(
  options: RetryOptions,
  failures: number,
  random: number,
  retryAfterMs: number,
): number {
  const bound = Math.min(options.backoffMsMax, options.backoffMs * 2 ** Math.min(30, failures - 1));
  return retryAfterMs + random * bound;
}

/**
 * Returns how long one attempt may wait for its answer, in ms: a quarter of what is left, at least
 * `attemptMsMin`, never more than what is left. An attempt that waits for `all` voters, or reads a page, gets
 * all of it.
 */
export function attemptTimeMs(options: RetryOptions, remainingMs: number, whole: boolean): number {
  if (whole) return remainingMs;
  return Math.min(remainingMs, Math.max(options.attemptMsMin, remainingMs / 4));
}

/**
 * The retry budget: a token bucket that may go into debt. A retry beyond the budget is not refused but put
 * off until its token exists, so a long failover slows retries down instead of failing the operations.
 */
export class RetryBudget {
  readonly #options: RetryOptions;
  #tokens: number;
  #filledAt = 0;

  constructor(options: RetryOptions) {
    this.#options = options;
    this.#tokens = options.budgetBurst;
  }

  /** Notes a first attempt, which earns a part of a retry. */
  earn(): void {
    this.#tokens = Math.min(this.#options.budgetBurst, this.#tokens + this.#options.budgetRatio);
  }

  /**
   * Takes one token at time `now` (ms, never decreasing) and returns in how many ms it may be used; 0: at
   * once.
   */
  take(now: number): number {
    const elapsedMs = Math.max(0, now - this.#filledAt);
    this.#filledAt = Math.max(this.#filledAt, now);
    const { budgetBurst, budgetPerSecond } = this.#options;
    this.#tokens = Math.min(budgetBurst, this.#tokens + (elapsedMs * budgetPerSecond) / 1_000) - 1;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / budgetPerSecond) * 1_000;
  }
}
