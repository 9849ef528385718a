/**
 * What follows a failed attempt: the rules of outcomes (G5), sessions (G4) and retries in one place. Decides,
 * and notes on the operation what the decision rests on; moves nothing, sends nothing and reads no clock.
 * INVARIANT: an operation ends as not_applied only if every attempt was answered not_applied or never left.
 * INVARIANT: a fresh sequence is taken only while no attempt under the old one can have taken effect.
 */
import { type ErrorCode, type ErrorDetails, RingkeepError } from '../common/errors.ts';
import { describe } from '../common/failure.ts';
import type { Operation } from './operation.ts';
import {
  backoffDelayMs,
  curedByRouting,
  type RetryBudget,
  type RetryOptions,
  retryClass,
} from './retry-policy.ts';

/** Fresh sequences that one write may take: its leader's log time jumped past the window that many times. */
const RENEWALS_MAX = 3;

/** Codes that say why the time ran out. */
const MEANINGFUL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNAVAILABLE',
  'NO_QUORUM',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'NOT_READY',
  'DAMAGED',
]);

/** What the rules need besides the operation and its failure. */
export interface AttemptContext {
  readonly retry: RetryOptions;
  readonly budget: RetryBudget;
  /** In [0, 1). */
  readonly random: () => number;
  readonly now: number;
  /** The error named a leader that is worth trying at once. */
  readonly redirect: boolean;
}

/** What to do next with the operation. */
export type Verdict =
  | { readonly kind: 'end'; readonly error: RingkeepError }
  | { readonly kind: 'resend' }
  /** As `resend`, after taking a fresh sequence. */
  | { readonly kind: 'renew' }
  | { readonly kind: 'later'; readonly delayMs: number; readonly wakeable: boolean };

const RESEND: Verdict = { kind: 'resend' };
const RENEW: Verdict = { kind: 'renew' };

/**
 * Decides what follows an answer that was a failure, or the loss of an attempt (then `error.outcome` says
 * whether it may have left: unknown, or not).
 */
export function judge(operation: Operation, error: RingkeepError, context: AttemptContext): Verdict {
  if (operation.isWrite) {
    if (error.code === 'SESSION_TIME') {
      const verdict = answerSessionTime(operation, error);
      if (verdict !== null) return verdict;
    } else if (error.code === 'SESSION_EXPIRED') {
      return answerSessionExpired(operation, error);
    } else if (error.outcome === 'applied') {
      // Asked again under the same id, the leader of the time answers it as a duplicate, once the level is reached.
      operation.maybeApplied = true;
      operation.applied = true;
      operation.reached = error;
    } else if (error.outcome === 'unknown') {
      operation.maybeApplied = true;
    }
  }
  if (operation.lastError === null || MEANINGFUL.has(error.code)) operation.lastError = error;
  const kind = retryClass(error.code);
  if (kind === 'never') {
    const code = operation.applied ? 'ACK_NOT_REACHED' : error.code;
    return { kind: 'end', error: restate(operation, code, describe(error), error) };
  }
  if (kind === 'redirect' && context.redirect && !operation.redirected) {
    operation.redirected = true;
    return RESEND;
  }
  operation.redirected = false;
  return postpone(operation, error, context);
}

function postpone(operation: Operation, error: RingkeepError, context: AttemptContext): Verdict {
  operation.failures += 1;
  const { retry, budget, now } = context;
  const backoff = backoffDelayMs(retry, operation.failures, context.random(), error.retryAfterMs ?? 0);
  const delayMs = Math.max(backoff, budget.take(now));
  // A change of leader or connection may end the wait; for everything else, waiting past the deadline is
  // pointless.
  const wakeable = curedByRouting(error.code);
  if (!wakeable && now + delayMs >= operation.spec.deadline) {
    return { kind: 'end', error: deadlineError(operation, null) };
  }
  return { kind: 'later', delayMs, wakeable };
}

/**
 * The leader tells its log time before it opens a session: not a failure. Null: it has no business to say so.
 */
function answerSessionTime(operation: Operation, error: RingkeepError): Verdict | null {
  operation.sequences?.observe(error.logTime ?? 0);
  if (operation.sessionTime !== 0 || (error.logTime ?? 0) === 0) return null;
  return RESEND;
}

function answerSessionExpired(operation: Operation, error: RingkeepError): Verdict {
  // The leader may know that the write was applied once, and no longer how it ended.
  if (error.outcome !== 'not_applied') operation.maybeApplied = true;
  const ended = operation.maybeApplied || operation.renewals >= RENEWALS_MAX;
  if (ended) {
    const code = operation.applied ? 'ACK_NOT_REACHED' : error.code;
    return { kind: 'end', error: restate(operation, code, describe(error), error) };
  }
  operation.renewals += 1;
  operation.lastError = error;
  return RENEW;
}

/**
 * The error of a write whose session can no longer be proven the one that an earlier attempt may have used.
 */
export function sessionLostError(operation: Operation): RingkeepError {
  const text = 'the deduplication session ended while an earlier attempt was unanswered';
  const code = operation.applied ? 'ACK_NOT_REACHED' : 'SESSION_EXPIRED';
  return restate(operation, code, text, operation.lastError);
}

/** The error of a session read whose session has been told of more early writes than it can ask for; null: it has not. */
export function uncertainError(operation: Operation): RingkeepError | null {
  const { level, session } = operation.spec;
  if (level !== 'READ_SESSION' || session?.hasForgotten(operation.partition) !== true) return null;
  const text = 'writes that were acknowledged at leader before several failovers may be lost';
  return restate(operation, 'WRITE_LOST', text, null);
}

/**
 * The error of an operation whose time has run out, nothing of it being in flight any more: the last code
 * that says why, else DEADLINE_EXCEEDED. `trouble` is what keeps the client from reaching the cluster at all,
 * if anything; `obstacle` what is known to keep this operation from a leader, and counts more than earlier answers.
 */
export function deadlineError(
  operation: Operation,
  trouble: RingkeepError | null,
  obstacle: RingkeepError | null = null,
): RingkeepError {
  const last = obstacle ?? operation.lastError ?? trouble;
  const attempts = operation.attempt === 1 ? '1 attempt' : `${operation.attempt} attempts`;
  if (last === null) return restate(operation, 'DEADLINE_EXCEEDED', `no answer in time, ${attempts}`, null);
  // Nodes that name each other, or nobody, as the leader: for the caller, the partition cannot be reached.
  const code = last.code === 'NOT_LEADER' ? 'UNAVAILABLE' : last.code;
  const reason = MEANINGFUL.has(code) ? code : 'DEADLINE_EXCEEDED';
  const told = operation.applied ? 'ACK_NOT_REACHED' : reason;
  return restate(operation, told, `time ran out after ${attempts}; last: ${last.message}`, last);
}

/** The error of an operation that its caller gave up, nothing of it being in flight any more. */
export function cancelledError(operation: Operation): RingkeepError {
  return restate(operation, 'CANCELLED', 'aborted by the caller', operation.spec.signal?.reason);
}

/** What is known of a write that is in effect. */
function receiptOf({ reached, saltSet }: Operation): ErrorDetails {
  if (reached?.version === undefined) return {};
  const { epoch = 0, reached: holders, voters } = reached;
  // That of a sub-counter is none of its key.
  const version = saltSet > 0 ? 0 : reached.version;
  return { version, epoch, ...(voters === undefined ? {} : { reached: holders ?? 0, voters }) };
}

/** An error with the outcome over all attempts. */
export function restate(
  operation: Operation,
  code: ErrorCode,
  text: string,
  cause: unknown,
  outcome = operation.outcome,
): RingkeepError {
  const from = cause instanceof RingkeepError ? cause : null;
  const partition = operation.partition >= 0 ? operation.partition : from?.partition;
  return new RingkeepError(code, text, outcome, {
    ...(cause === null || cause === undefined ? {} : { cause }),
    ...(partition === undefined ? {} : { partition }),
    ...(from?.retryAfterMs === undefined ? {} : { retryAfterMs: from.retryAfterMs }),
    ...(from?.leader === undefined ? {} : { leader: from.leader }),
    ...(from?.epoch === undefined ? {} : { epoch: from.epoch }),
    ...receiptOf(operation),
  });
}
