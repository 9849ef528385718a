/**
 * The requests of one session that have no end mark yet: those with the handler, and those that wait here until the
 * session's share has room (fair-share.ts) and there is room for answers (reply-room.ts). It knows ids, sizes and
 * deadlines of requests, and which are reads; not more of their meaning.
 * INVARIANT: requests start in the order in which they came; what waits has not been seen by the handler, so ending it
 * here is always `not_applied`.
 */

import { assert } from '../errors.ts';
import { heldBytes } from '../held-bytes.ts';
import { type Share, type Ticket, unitsOf } from './fair-share.ts';
import type { Credit, Reply, Request } from './messages.ts';
import type { ReplyRoom } from './reply-room.ts';
import { sizeOfReply, sizeOfRequest } from './sizes.ts';

interface Waiting {
  readonly request: Request;
  readonly bytes: number;
  /** Monotonic, ms. */
  readonly since: number;
  /** Told while it waited. */
  credits: number;
}

/** What `resume` found. */
export interface Resumed {
  /** To be handed on, with the time that they have left. */
  readonly requests: Request[];
  readonly credits: Credit[];
  /** Ids of those whose time ran out here. */
  readonly late: number[];
}

function isRead({ operation }: Request): boolean {
  return operation === 'get' || operation === 'scan';
}

function unitsOfRequest(request: Request): number {
  return unitsOf(heldBytes(request));
}

/** Open requests by id. Times are monotonic ms. */
export class SessionRequests {
  readonly #share: Share;
  readonly #room: ReplyRoom;
  /** Bytes of answers that the client has not read. */
  readonly #unread: () => number;
  readonly #started = new Map<number, Ticket>();
  /** Those of `#started` that read. */
  readonly #reads = new Set<number>();
  readonly #waiting = new Map<number, Waiting>();
  #waitingBytes = 0;

  constructor(share: Share, room: ReplyRoom, unread: () => number) {
    this.#share = share;
    this.#room = room;
    this.#unread = unread;
  }

  get size(): number {
    return this.#started.size + this.#waiting.size;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  has(id: number): boolean {
    return this.#started.has(id) || this.#waiting.has(id);
  }

  /** Whether a request that has just come may go on at once. */
  mayStart(request: Request, now: number): boolean {
    return this.#waiting.size === 0 && this.#hasRoom(request, now);
  }

  /** Whether `resume` would find anything. */
  mayResume(now: number): boolean {
    for (const { request } of this.#waiting.values()) return this.#hasRoom(request, now);
    return false;
  }

  #hasRoom(request: Request, now: number): boolean {
    return this.#share.mayStart(now) && (!isRead(request) || this.#room.mayStart(this.#unread()));
  }

  /** Opens a request that is handed on now. */
  start(request: Request, now: number): void {
    this.#share.enter(unitsOfRequest(request), now);
    this.#begin(request, now);
  }

  #begin(request: Request, now: number): void {
    this.#started.set(request.id, this.#share.start(unitsOfRequest(request), now));
    if (!isRead(request)) return;
    this.#reads.add(request.id);
    this.#room.expect();
  }

  /** Opens a request that has to wait. */
  wait(request: Request, now: number): void {
    const bytes = sizeOfRequest(request);
    this.#share.enter(unitsOfRequest(request), now);
    this.#waiting.set(request.id, { request, bytes, since: now, credits: 0 });
    this.#waitingBytes += bytes;
  }

  /** Takes what may go on now out of the queue, at most so many. */
  resume(now: number, most: number): Resumed {
    const resumed: Resumed = { requests: [], credits: [], late: [] };
    for (const [id, { request, since, credits }] of this.#waiting) {
      if (!this.#hasRoom(request, now) || resumed.requests.length >= most) break;
      this.#leave(id);
      const left = request.timeLeftMs - Math.ceil(now - since);
      // Zero asks for the default time.
      if (request.timeLeftMs > 0 && left < 1) {
        this.#share.withdraw(unitsOfRequest(request), now);
        resumed.late.push(id);
        continue;
      }
      if (request.timeLeftMs > 0) request.timeLeftMs = left;
      this.#begin(request, now);
      resumed.requests.push(request);
      if (credits > 0) resumed.credits.push({ id, replies: credits });
    }
    return resumed;
  }

  /** Closes a request that waits; false if it does not. */
  withdraw(id: number, now: number): boolean {
    const request = this.#leave(id);
    if (request === undefined) return false;
    this.#share.withdraw(unitsOfRequest(request), now);
    return true;
  }

  /** Takes a request out of the queue, if it is there. */
  #leave(id: number): Request | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    this.#waitingBytes -= waiting.bytes;
    assert(this.#waitingBytes >= 0, 'a request waits once');
    return waiting.request;
  }

  /** Keeps a credit for a request that waits; false if it does not. */
  credit({ id, replies }: Credit): boolean {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return false;
    waiting.credits += replies;
    return true;
  }

  /** Closes a request that was handed on with its last answer; false if it is not open. */
  end(reply: Reply, now: number): boolean {
    const { id } = reply;
    const ticket = this.#started.get(id);
    if (ticket === undefined) return false;
    this.#started.delete(id);
    const read = this.#reads.delete(id);
    const bytes = read ? sizeOfReply(reply) : 0;
    this.#share.end(ticket, unitsOf(bytes), now);
    // A refusal tells nothing of how long the next answer will be.
    if (read) this.#room.answered(reply.failure ? null : bytes);
    return true;
  }

  isStarted(id: number): boolean {
    return this.#started.has(id);
  }

  /** Forgets everything. */
  clear(now: number): void {
    for (const ticket of this.#started.values()) this.#share.end(ticket, 0, now);
    for (const { request } of this.#waiting.values()) this.#share.withdraw(unitsOfRequest(request), now);
    this.#started.clear();
    this.#reads.clear();
    this.#room.clear();
    this.#waiting.clear();
    this.#waitingBytes = 0;
  }
}
