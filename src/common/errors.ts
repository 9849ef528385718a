/**
 * Operating errors and assertions. Three kinds of trouble are kept apart (docs/GUARANTEES.md, "Errors"):
 * bugs (`assert`, the process exits), fail-stop (`FailStop`, the process exits and recovers from its WAL), and
 * operating errors (`RingkeepError`, a code and an outcome, handed to the caller).
 * No code matches on message text: `code` and `outcome` are the contract.
 */

/** What is known about the effect of a failed write. Reads are always `not_applied`. */
export type Outcome = 'applied' | 'not_applied' | 'unknown';

/** Every code that a caller can meet, with its meaning. The table in docs/ERRORS.md is checked against this one. */
export const ERROR_CODES = {
  INVALID_ARGUMENT: 'The request is malformed or an argument is out of range.',
  KEY_TOO_LARGE: 'The key is empty or longer than the limit.',
  VALUE_TOO_LARGE: 'The value is longer than the limit.',
  MESSAGE_TOO_LARGE: 'One message is longer than the transport limit.',
  VERSION_MISMATCH: 'The two sides share no protocol version, or none that knows what was asked for.',
  WRONG_CLUSTER: 'The other side belongs to another cluster.',
  WRONG_NODE: 'The other side, or the data directory, is not the node that was expected.',
  ROLLED_BACK: 'The data directory is an old copy of one that has been used since.',
  SECOND_ROUTER: 'Another router, with a topology store of its own, leads this cluster.',
  FORMAT_TOO_NEW: 'The data directory was written by a newer version.',
  NOT_LEADER: 'This node does not lead the partition; the current leader may be named in the error.',
  NO_QUORUM: 'Fewer voters than a quorum can be reached.',
  DEADLINE_EXCEEDED: 'The time for the request ran out.',
  OVERLOADED: 'A bound was reached; retry after `retryAfterMs`.',
  DISK_FULL: 'The node cannot write; reads go on.',
  ACK_NOT_REACHED: 'The write is applied, but the acknowledgement level was not reached in time.',
  SESSION_EXPIRED:
    'The deduplication session of this client is gone; a retry cannot be told from a new write.',
  SESSION_TIME: 'The leader tells its log time before it opens a session; clients resend at once.',
  WRITE_LOST: 'A write that this session has seen, acknowledged at `leader`, was lost in a failover.',
  CONDITION_UNSUPPORTED: 'This acknowledgement level is offered for writes that depend on nothing only.',
  COUNTER_OVERFLOW: 'The counter would leave the signed 64-bit range.',
  COUNTER_SALTED: 'The counter is salted, and until it is unsalted not all can be done with it.',
  NOT_A_COUNTER: 'The key holds a value that is not a counter.',
  CROSS_PARTITION: 'The keys of a batch have different hash tags; write the same `{tag}` into each of them.',
  BATCH_TOO_LARGE: 'The batch has more operations or bytes than the limit.',
  IDEMPOTENCY_CONFLICT: 'Another write of this key, or hash tag, has used the same idempotency key.',
  CANCELLED: 'The caller cancelled the request.',
  CLOSED: 'The client is closed.',
  UNAVAILABLE: 'The other side cannot be reached.',
  SHUTTING_DOWN: 'The process is stopping; another one takes over.',
  DAMAGED: 'Stored bytes failed their checksum; the replica is being repaired from the others.',
  NOT_READY: 'The cluster has not been formed yet.',
  DIRECTORY_IN_USE: 'Another process holds the data directory.',
  ADDRESS_IN_USE: 'The port is taken.',
  INSECURE_LISTEN: 'A listen address other than loopback needs --insecure.',
  INTERNAL: 'An unexpected failure; the log has the details.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Everything that can be said besides code, outcome and message. */
export interface ErrorDetails {
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
  /** Node id of the partition's leader, when the refusing node knows it. */
  readonly leader?: string;
  readonly partition?: number;
  readonly epoch?: number;
  /** Log time in ms, told with SESSION_TIME. */
  readonly logTime?: number;
  /** Told with ACK_NOT_REACHED: the version of the write, which is in effect; 0 where a sub-counter has taken it. */
  readonly version?: number;
  /** Told with ACK_NOT_REACHED where it is known: as many of the `voters` had the write on their disks. */
  readonly reached?: number;
  readonly voters?: number;
}

/** The one class of operating errors. */
export class RingkeepError extends Error {
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryAfterMs: number | undefined;
  readonly leader: string | undefined;
  readonly partition: number | undefined;
  readonly epoch: number | undefined;
  readonly logTime: number | undefined;
  readonly version: number | undefined;
  readonly reached: number | undefined;
  readonly voters: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    outcome: Outcome = 'not_applied',
    details: ErrorDetails = {},
  ) {
    super(`${code}: ${message}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'RingkeepError';
    this.code = code;
    this.outcome = outcome;
    this.retryAfterMs = details.retryAfterMs;
    this.leader = details.leader;
    this.partition = details.partition;
    this.epoch = details.epoch;
    this.logTime = details.logTime;
    this.version = details.version;
    this.reached = details.reached;
    this.voters = details.voters;
  }
}

/** A bug. Thrown by `assert`; no code catches it except the process's last handler, which logs it and exits. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(`assertion failed: ${message}`);
    this.name = 'AssertionError';
  }
}

/** A failure after which the process must not go on (fsync failed, acknowledged bytes are damaged node-wide). */
export class FailStop extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'FailStop';
  }
}

/** Stops the process on a broken invariant. Always on, in production too. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
