/**
 * One request on its way through the router, the answers that the router gives by itself, and the pure rules of
 * forwarding: whether a refused request may go out again, and until when it may wait. No I/O, no time of its own.
 * INVARIANT: `sent` means that a node may have it; only a refusal that says `not_applied` takes it back from there.
 * There is no retry loop here: the client's is the only one. Forwarding again is for attempts that certainly had no
 * effect, to a leadership that is newer than the refusal, FORWARDS_MAX times at most.
 */

import type { ErrorCode, Outcome } from '../common/errors.ts';
import { NO_DETAILS } from '../common/failure.ts';
import { heldBytes } from '../common/held-bytes.ts';
import { CLIENT_ID_BYTES, REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX } from '../common/limits.ts';
import type { Failure, Reply, Request } from '../common/wire/messages.ts';
import type { Route } from './routing.ts';

/** Times that one request is sent to nodes. */
export const FORWARDS_MAX = 5;
/** With less time left than this, in ms, a refused request is not forwarded again. */
const FORWARD_TIME_MIN_MS = 5;
/** An unsent request is answered this long before its deadline, or a tenth of its time, so that the reason arrives. */
const LAST_WORDS_MS = 50;

/** Operations, in the order of the request counters. */
export const OPERATIONS = ['get', 'put', 'delete', 'increment', 'scan', 'touch', 'batch', 'salt'] as const;

/**
 * `joined`: waits for another get of its key, or goes with one. `held`: no leader is known. `queued`: waits for its node's connection or credit. `sent`: a node may have it.
 * `done`: answered, or nobody waits for an answer any more.
 */
export type ForwardState = 'joined' | 'held' | 'queued' | 'sent' | 'done';

/** Whom a request's answer goes to. */
export interface ForwardOwner {
  /** Takes a reply under the owner's own request id. */
  answer(forward: Forward, reply: Reply): void;
  /** `again` takes the place of one of its requests, under the same id. */
  replaced(again: Forward): void;
}

/** A request in the router. Times are monotonic ms. */
export interface Forward {
  /** Null once nobody waits for an answer any more. */
  owner: ForwardOwner | null;
  /** The request's id on the client's stream; `request.id` is the one on the node's. */
  readonly ownId: number;
  readonly request: Request;
  readonly partition: number;
  /** Estimated memory. */
  readonly bytes: number;
  readonly deadline: number;
  /** While unsent it is answered at this time. */
  readonly heldUntil: number;
  state: ForwardState;
  /** Node it is queued for or was sent to, and the epoch of that leadership; empty and 0 before. */
  node: string;
  epoch: number;
  /** Times sent. */
  attempts: number;
  /** Replies allowed beyond the first, told before it was sent. */
  credits: number;
  /** By what it is told apart from gets that it may go together with; null: it goes by itself. */
  sharedKey: string | null;
  /** It is under way for its key. */
  active: boolean;
  /** With whom a `joined` one goes; null: it waits. */
  goesWith: { readonly forward: Forward } | null;
  /** It goes to another node than this, if it can; empty: to any. */
  avoids: string;
  /** Its bytes are its own, not a view of a received message. */
  detached: boolean;
}

/** Fixed cost of a request in memory, beside keys and values. */
const REQUEST_BYTES = 256;

/** Creates the forward of a request that came at `now`. */
export function createForward(
  owner: ForwardOwner,
  request: Request,
  partition: number,
  now: number,
): Forward {
  const asked = request.timeLeftMs > 0 ? request.timeLeftMs : REQUEST_TIMEOUT_MS;
  const timeMs = Math.min(asked, REQUEST_TIMEOUT_MS_MAX);
  return {
    owner,
    ownId: request.id,
    request,
    partition,
    bytes: REQUEST_BYTES + heldBytes(request),
    deadline: now + timeMs,
    heldUntil: now + timeMs - Math.min(LAST_WORDS_MS, timeMs / 10),
    state: 'held',
    node: '',
    epoch: 0,
    attempts: 0,
    credits: 0,
    sharedKey: null,
    active: false,
    goesWith: null,
    avoids: '',
    detached: false,
  };
}

/** Whether a request is an increment of a sub-counter, which its client has pinned there. */
export function isOfSub({ operation, saltSet, saltIn }: Request): boolean {
  return operation === 'increment' && Boolean(saltSet) && Boolean(saltIn);
}

/** Whether it goes to a copy of its key. */
export function isOfCopy({ request }: Pick<Forward, 'request'>): boolean {
  return Boolean(request.get) && Boolean(request.saltIn);
}

/** Returns the partition that a request is for. `partitionOf`: that of a key. */
export function partitionFor(request: Request, partitionOf: (key: Uint8Array) => number): number {
  if (request.scan) return request.scan.partition;
  return isOfSub(request) ? request.saltIn! - 1 : partitionOf(request.key);
}

/** Returns the partition whose leader is asked: that of the request, or the one that holds a copy of its key. */
export function askedPartition({ request, partition }: Pick<Forward, 'request' | 'partition'>): number {
  return request.saltIn ? request.saltIn - 1 : partition;
}

/** Returns what takes the place of a read that a node still has and nobody waits for there any more. */
export function secondTry(forward: Forward): Forward {
  const { request, active } = forward;
  forward.active = false;
  return { ...forward, request: { ...request, saltIn: 0 }, active, state: 'held', node: '' };
}

/** Returns whether the request can change anything. */
export function isWrite(request: Request): boolean {
  return request.operation !== 'get' && request.operation !== 'scan';
}

/** Returns what is wrong with a request as far as forwarding it goes; empty when nothing is. */
export function checkForwarded(request: Request, partitions: number): string {
  if ((request.operation as string | undefined) === undefined) return 'a request without an operation';
  if (request.operation === 'scan') {
    const inRange = request.scan && request.scan.partition < partitions;
    return inRange ? '' : `a scan names a partition below ${partitions}`;
  }
  if (isOfSub(request) && request.saltIn! > partitions) return `there is no partition ${request.saltIn! - 1}`;
  const anonymous = isWrite(request) && request.clientId.length !== CLIENT_ID_BYTES;
  return anonymous ? `a write needs a client id of ${CLIENT_ID_BYTES} bytes` : '';
}

/** Copies the request's bytes, so that keeping it does not keep the whole message that it came in. */
export function detach(forward: Forward): void {
  if (forward.detached) return;
  forward.detached = true;
  const { request } = forward;
  request.key = Buffer.from(request.key);
  if (request.put) request.put.value = Buffer.from(request.put.value);
  if (request.idempotencyKey) request.idempotencyKey = Buffer.from(request.idempotencyKey);
  for (const item of request.batch?.items ?? []) {
    item.key = Buffer.from(item.key);
    if (item.put) item.put.value = Buffer.from(item.put.value);
  }
}

/** What to do with a request that a node refused: forward it at once, after a moment, or answer the refusal. */
export type Again = 'now' | 'later' | 'no';

/**
 * Decides on a request that was refused with NOT_LEADER and certainly had no effect. `route` is what is known now, the
 * refusal's hint included; `refusalEpoch` is the newest epoch that the refusing node knows of, 0 if it did not say.
 */
export function forwardAgain(
  forward: Pick<Forward, 'attempts' | 'node' | 'epoch' | 'deadline'>,
  refusalEpoch: number,
  route: Route | null,
  now: number,
): Again {
  if (forward.attempts >= FORWARDS_MAX || forward.deadline - now < FORWARD_TIME_MIN_MS) return 'no';
  // It will be held until a leader is known.
  if (route === null) return 'now';
  if (route.node !== forward.node || route.epoch > forward.epoch) return 'now';
  // The node has not heard of its leadership yet, or has just given it up and the topology does not say so yet.
  return refusalEpoch < route.epoch ? 'later' : 'no';
}

/** Returns a reply that ends the request with a failure. */
export function failureReply(
  code: ErrorCode,
  outcome: Outcome,
  message: string,
  details: Partial<Pick<Failure, 'retryAfterMs' | 'partition'>> = {},
): Reply {
  const failure: Failure = { ...NO_DETAILS, ...details, code, outcome, message };
  return { id: 0, end: true, result: 'failure', failure };
}

/** Whether any voter of the partition may answer it. */
export function isForAnyVoter({ get }: Request): boolean {
  return get != null && get.level !== 'READ_LINEARIZABLE';
}

/** Returns why a request was not sent in time. `unavailable`: reasons by partition; `link`: the way to the node that it waits for. */
export function unsentReply(
  { partition, state, node }: Pick<Forward, 'partition' | 'state' | 'node'>,
  link: { readonly ready: boolean; readonly trouble: string } | undefined,
  unavailable: ReadonlyMap<number, string>,
): Reply {
  const answer = (code: ErrorCode, text: string): Reply =>
    failureReply(code, 'not_applied', text, { partition });
  if (state === 'joined')
    return answer('DEADLINE_EXCEEDED', 'other gets of the same key were not answered in time');
  if (state === 'held') {
    const reason = unavailable.get(partition) ?? '';
    return reason === ''
      ? answer('UNAVAILABLE', `partition ${partition} had no leader in time`)
      : answer('NO_QUORUM', `partition ${partition} has no leader: ${reason}`);
  }
  return link === undefined || link.ready
    ? answer('DEADLINE_EXCEEDED', `the time ran out before node ${node} took the request`)
    : answer('UNAVAILABLE', `node ${node} cannot be reached (${link.trouble})`);
}
