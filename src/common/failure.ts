/**
 * Operating errors on the wire: RingkeepError to the `Failure` message of proto/ringkeep.proto and back.
 * It does not know how a Failure travels (in a stream message, or in the trailer of a unary call): src/common/wire does.
 * INVARIANT: what is not a RingkeepError crosses the wire as INTERNAL with outcome `unknown`, its text withheld.
 */
import { ERROR_CODES, type ErrorCode, type ErrorDetails, type Outcome, RingkeepError } from './errors.ts';
import type { Failure } from './wire/messages.ts';

/** Tells whether `code` is one this build knows. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

/** Returns `error`'s text without the code that RingkeepError puts in front. */
export function describe(error: RingkeepError): string {
  const prefix = `${error.code}: `;
  return error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message;
}

/** The details of a Failure that has none. */
export const NO_DETAILS: Omit<Failure, 'code' | 'outcome' | 'message'> = {
  retryAfterMs: 0,
  leader: '',
  partition: 0,
  epoch: 0,
  logTime: 0,
  version: 0,
  reached: 0,
  voters: 0,
};

/** Converts any thrown value to a Failure. Details that are absent become 0 or the empty string. */
export function toFailure(error: unknown): Failure {
  if (!(error instanceof RingkeepError)) {
    return { ...NO_DETAILS, code: 'INTERNAL', outcome: 'unknown', message: ERROR_CODES.INTERNAL };
  }
  return {
    code: error.code,
    outcome: error.outcome,
    message: describe(error),
    retryAfterMs: error.retryAfterMs ?? 0,
    leader: error.leader ?? '',
    partition: error.partition ?? 0,
    epoch: error.epoch ?? 0,
    logTime: error.logTime ?? 0,
    version: error.version ?? 0,
    reached: error.reached ?? 0,
    voters: error.voters ?? 0,
  };
}

/**
 * Converts a Failure to the error it stands for. A code or outcome of a newer version becomes INTERNAL or `unknown`.
 * The partition is told only together with an epoch or a leader, since 0 is also a partition.
 */
export function fromFailure(failure: Failure): RingkeepError {
  const known = isErrorCode(failure.code);
  const code: ErrorCode = known ? (failure.code as ErrorCode) : 'INTERNAL';
  const message = known ? failure.message : `${failure.code}: ${failure.message}`;
  const outcomes: readonly Outcome[] = ['applied', 'not_applied', 'unknown'];
  const outcome = outcomes.includes(failure.outcome) ? failure.outcome : 'unknown';
  const located = failure.epoch > 0 || failure.leader !== '' || failure.partition > 0;
  const details: ErrorDetails = {
    ...(failure.retryAfterMs > 0 ? { retryAfterMs: failure.retryAfterMs } : {}),
    ...(failure.leader === '' ? {} : { leader: failure.leader }),
    ...(located ? { partition: failure.partition } : {}),
    ...(failure.epoch > 0 ? { epoch: failure.epoch } : {}),
    ...(failure.logTime > 0 ? { logTime: failure.logTime } : {}),
    ...(failure.version > 0 ? { version: failure.version } : {}),
    ...(failure.voters > 0 ? { reached: failure.reached, voters: failure.voters } : {}),
  };
  return new RingkeepError(code, message, outcome, details);
}
