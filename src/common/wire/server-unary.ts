/**
 * Unary calls on a server: Get, Put, Delete, Increment and Batch for any gRPC client, as sessions of one request with the same handler,
 * and administration. Here the server plays the client of the data path: it brings deduplication ids for callers that
 * have none, and repeats a write once the leader has told its log time (SESSION_TIME).
 * INVARIANT: an id of the pool belongs to one write at a time, with a sequence of its own that is never used again; its
 * low-water mark is that sequence, so a late duplicate of an abandoned write is refused, not applied.
 * The pool keeps sessions few: one per write in flight, not one per write.
 */
import { randomBytes } from 'node:crypto';
import { Metadata, type ServerUnaryCall, status as Status, type sendUnaryData } from '@grpc/grpc-js';
import { type ErrorCode, RingkeepError } from '../errors.ts';
import { toFailure } from '../failure.ts';
import { PROTOCOL_MIN, REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX } from '../limits.ts';
import { LINEARIZABLE_GET } from '../reads.ts';
import { FAILURE_TRAILER } from './channel.ts';
import type { KeyValueHandler, Peer, SessionSink } from './contract.ts';
import { answerHello, makeHello, refuseOlder } from './handshake.ts';
import type { Failure, Hello, Reply, Request, UnaryRequest } from './messages.ts';
import { failureCodec } from './schema.ts';
import { orRefuse, type StreamHost } from './server-stream.ts';

const STATUSES: Partial<Record<ErrorCode, Status>> = {
  INVALID_ARGUMENT: Status.INVALID_ARGUMENT,
  KEY_TOO_LARGE: Status.INVALID_ARGUMENT,
  VALUE_TOO_LARGE: Status.INVALID_ARGUMENT,
  CONDITION_UNSUPPORTED: Status.INVALID_ARGUMENT,
  CROSS_PARTITION: Status.INVALID_ARGUMENT,
  BATCH_TOO_LARGE: Status.INVALID_ARGUMENT,
  MESSAGE_TOO_LARGE: Status.RESOURCE_EXHAUSTED,
  OVERLOADED: Status.RESOURCE_EXHAUSTED,
  DISK_FULL: Status.RESOURCE_EXHAUSTED,
  NOT_LEADER: Status.FAILED_PRECONDITION,
  VERSION_MISMATCH: Status.FAILED_PRECONDITION,
  WRONG_CLUSTER: Status.FAILED_PRECONDITION,
  WRONG_NODE: Status.FAILED_PRECONDITION,
  ROLLED_BACK: Status.FAILED_PRECONDITION,
  NOT_A_COUNTER: Status.FAILED_PRECONDITION,
  IDEMPOTENCY_CONFLICT: Status.FAILED_PRECONDITION,
  SESSION_TIME: Status.FAILED_PRECONDITION,
  SESSION_EXPIRED: Status.ABORTED,
  COUNTER_OVERFLOW: Status.OUT_OF_RANGE,
  ACK_NOT_REACHED: Status.DEADLINE_EXCEEDED,
  DEADLINE_EXCEEDED: Status.DEADLINE_EXCEEDED,
  CANCELLED: Status.CANCELLED,
  NO_QUORUM: Status.UNAVAILABLE,
  UNAVAILABLE: Status.UNAVAILABLE,
  SHUTTING_DOWN: Status.UNAVAILABLE,
  NOT_READY: Status.UNAVAILABLE,
  CLOSED: Status.UNAVAILABLE,
  DAMAGED: Status.DATA_LOSS,
  WRITE_LOST: Status.DATA_LOSS,
};

/** Converts a Failure to what grpc-js takes as an error. The text is plain ASCII, as a header must be. */
export function toStatus(failure: Failure): { code: Status; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set(FAILURE_TRAILER, failureCodec.serialize(failure));
  const code = STATUSES[failure.code as ErrorCode] ?? Status.INTERNAL;
  const details = `${failure.code}: ${failure.message}`.replace(/[^\x20-\x7e]/g, '?');
  return { code, details, metadata };
}

/** Deduplication ids for callers without one. */
export class ClientIdPool {
  readonly #free: { clientId: Uint8Array; sequence: number }[] = [];

  /** Takes an id with a fresh sequence. Give it back once, when its write has ended, however it ended. */
  take(): { clientId: Uint8Array; sequence: number } {
    const entry = this.#free.pop() ?? { clientId: randomBytes(16), sequence: 0 };
    entry.sequence += 1;
    return entry;
  }

  giveBack(entry: { clientId: Uint8Array; sequence: number }): void {
    this.#free.push(entry);
  }
}

/** Resends after SESSION_TIME: the leader may change between two attempts, but not for ever. */
const SESSION_TIME_ATTEMPTS = 3;

export type UnaryKind = 'get' | 'put' | 'delete' | 'increment' | 'batch';

const WITH_ARGUMENTS: readonly UnaryKind[] = ['put', 'increment', 'batch'];

/** Completes a request for `kind`, from what the caller left out. @throws RingkeepError INVALID_ARGUMENT */
export function completeRequest(
  given: Request | null,
  kind: UnaryKind,
  deadlineMs: number | undefined,
): Request {
  if (given === null) throw new RingkeepError('INVALID_ARGUMENT', 'the request is missing');
  const named: string | undefined = given.operation;
  if (named !== undefined && named !== kind) {
    throw new RingkeepError('INVALID_ARGUMENT', `this call takes a ${kind} operation, not ${named}`);
  }
  if (WITH_ARGUMENTS.includes(kind) && !given[kind])
    throw new RingkeepError('INVALID_ARGUMENT', `the ${kind} operation is missing`);
  const timeLeftMs = Math.min(
    given.timeLeftMs > 0 ? given.timeLeftMs : REQUEST_TIMEOUT_MS,
    deadlineMs ?? REQUEST_TIMEOUT_MS,
    REQUEST_TIMEOUT_MS_MAX,
  );
  const operation = given[kind] ? {} : { [kind]: kind === 'get' ? LINEARIZABLE_GET : {} };
  return { ...given, ...operation, id: 1, timeLeftMs, attempt: Math.max(1, given.attempt), operation: kind };
}

/** Sends one request through a session of its own and hands over the reply with the end mark. */
class OneRequest {
  readonly #done: (reply: Reply | Failure) => void;
  #sink: SessionSink | undefined;
  #over = false;

  constructor(
    handler: KeyValueHandler,
    peer: Peer,
    request: Request,
    done: (reply: Reply | Failure) => void,
  ) {
    this.#done = done;
    const sink = handler.onSession(peer, {
      bufferedBytes: 0,
      reply: (replies) => {
        const last = replies.find((reply) => reply.end);
        if (last !== undefined) this.#finish(last);
      },
      goaway: () => {},
      fail: (error) => this.#finish(toFailure(error)),
      close: () =>
        this.#finish(toFailure(new RingkeepError('UNAVAILABLE', 'the session was closed', 'unknown'))),
    });
    this.#sink = sink;
    if (!this.#over) sink.onRequests([request]);
  }

  /** The caller has gone. */
  cancel(): void {
    if (this.#over) return;
    this.#sink?.onCancels([1]);
    this.#finish(toFailure(new RingkeepError('CANCELLED', 'the caller has gone', 'unknown')));
  }

  #finish(reply: Reply | Failure): void {
    if (this.#over) return;
    this.#over = true;
    setImmediate(() => {
      this.#sink?.onEnd();
      this.#done(reply);
    });
  }
}

function deadlineLeftMs(call: ServerUnaryCall<UnaryRequest, unknown>): number | undefined {
  const deadline = call.getDeadline();
  const at = deadline instanceof Date ? deadline.getTime() : deadline;
  return Number.isFinite(at) ? Math.max(1, Math.floor(at - Date.now())) : undefined;
}

/** Serves Get, Put, Delete or Increment. `pick` takes the method's reply out of the session's. */
export function serveUnary<Response>(
  call: ServerUnaryCall<UnaryRequest, Response>,
  host: StreamHost,
  handler: KeyValueHandler,
  pool: ClientIdPool,
  kind: UnaryKind,
  pick: (reply: Reply) => Response | null | undefined,
  callback: sendUnaryData<Response>,
): void {
  const fail = (failure: Failure): void => callback(toStatus(failure));
  orRefuse(
    () => {
      const given = completeRequest(call.request.request, kind, deadlineLeftMs(call));
      const hello: Hello = call.request.hello ?? makeHello({ role: 'client' });
      const { protocol } = answerHello(hello, host.identity());
      const own = kind !== 'get' && given.clientId.length === 0 && hello.clientId.length === 0;
      const entry = own ? pool.take() : undefined;
      const request =
        entry === undefined
          ? given
          : { ...given, clientId: entry.clientId, sequence: entry.sequence, lowWater: entry.sequence };
      const peer: Peer = {
        hello: entry === undefined ? hello : { ...hello, clientId: entry.clientId },
        protocol,
        remote: call.getPeer(),
      };
      let current: OneRequest | undefined;
      const attempt = (next: Request): void => {
        current = new OneRequest(handler, peer, next, (reply) => {
          const failure = 'code' in reply ? reply : (reply.failure ?? undefined);
          const again = failure?.code === 'SESSION_TIME' && entry !== undefined;
          if (again && next.attempt < given.attempt + SESSION_TIME_ATTEMPTS) {
            orRefuse(
              () => attempt({ ...next, sessionTime: failure.logTime, attempt: next.attempt + 1 }),
              (error) => finish(toFailure(error)),
            );
          } else finish(reply);
        });
      };
      const finish = (reply: Reply | Failure): void => {
        if (entry !== undefined) pool.giveBack(entry);
        if ('code' in reply) {
          fail(reply);
          return;
        }
        const response = pick(reply);
        if (response) callback(null, response);
        else
          fail(
            reply.failure ?? toFailure(new RingkeepError('INTERNAL', 'a reply of another kind', 'unknown')),
          );
      };
      call.on('cancelled', () => current?.cancel());
      try {
        attempt(request);
      } catch (error) {
        if (entry !== undefined) pool.giveBack(entry);
        throw error;
      }
    },
    (error) => fail(toFailure(error)),
  );
}

/** Answers an administrative call that there is from version `since` on; `hello` may be absent. */
export function serveAdmin<Response>(
  call: ServerUnaryCall<{ hello: Hello | null }, Response>,
  host: StreamHost,
  answer: (peer: Peer) => Promise<Response>,
  callback: sendUnaryData<Response>,
  since: number = PROTOCOL_MIN,
): void {
  const refuse = (error: RingkeepError): void => callback(toStatus(toFailure(error)));
  orRefuse(() => {
    const hello = call.request.hello ?? makeHello({ role: 'client' });
    const { protocol } = answerHello(hello, host.identity());
    if (protocol < since) throw refuseOlder(protocol, since, host.identity());
    answer({ hello, protocol, remote: call.getPeer() }).then(
      (response) => callback(null, response),
      (error: unknown) =>
        orRefuse(() => {
          throw error;
        }, refuse),
    );
  }, refuse);
}
