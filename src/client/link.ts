/**
 * One session with one router or node: credit, the queue in front of it, and which answer belongs to which
 * operation. It takes no decision about retries: answers and losses go to its sink, its own ups and downs to
 * its owner.
 * INVARIANT: never more requests without an end mark than the welcome allows, abandoned ones included.
 * INVARIANT: an increment of a sub-counter goes only to those who know of these. Others pass over its set, and count it at
 * home, under a sequence that is not of the home.
 * INVARIANT: what was handed to an open session counts as sent; what waits here has not left this process.
 */
import { assert, RingkeepError } from '../common/errors.ts';
import { SALT_PROTOCOL } from '../common/limits.ts';
import type { Connector, Session } from '../common/wire/contract.ts';
import type { Hello, Reply, Welcome } from '../common/wire/messages.ts';
import { buildRequest, type Operation } from './operation.ts';

/** The part of the wire that a client needs. */
export type Transport = Pick<Connector, 'openSession' | 'watchTopology'>;

/** Who opened the link. `linkEnded` is called once, last, also after `close`. */
export interface LinkOwner {
  linkOpened(link: Link, welcome: Welcome): void;
  /** The other side takes no new requests; open ones go on. */
  linkDraining(link: Link): void;
  linkEnded(link: Link, error: RingkeepError): void;
}

/** Where answers go. */
export interface LinkSink {
  /** About to be sent: sets the times of the attempt; returns the ms that the server may take. */
  sending(operation: Operation): number;
  answered(operation: Operation, reply: Reply): void;
  /** The session ended, or could not take the request; `error.outcome` says whether it may have left. */
  failed(operation: Operation, error: RingkeepError): void;
  /** Was queued here and has to go elsewhere; nothing was sent. */
  returned(operation: Operation): void;
}

export type LinkState = 'connecting' | 'open' | 'draining' | 'ended';

/** Stale places in the queue that are tolerated before it is rebuilt. */
const STALE_MAX = 1_024;

/** A session and its queue. */
export class Link {
  readonly address: string;
  readonly #owner: LinkOwner;
  readonly #sink: LinkSink;
  readonly #session: Session;
  #state: LinkState = 'connecting';
  #credit = 0;
  /** The version that both sides speak; 0 before the welcome. */
  #protocol = 0;
  #opened = false;
  #nextId = 1;
  /** Null: abandoned, its end mark is still due. */
  readonly #unanswered = new Map<number, Operation | null>();
  #queue: Operation[] = [];
  #head = 0;
  #stale = 0;

  constructor(
    transport: Transport,
    address: string,
    hello: Hello,
    connectTimeoutMs: number,
    owner: LinkOwner,
    sink: LinkSink,
  ) {
    this.address = address;
    this.#owner = owner;
    this.#sink = sink;
    this.#session = transport.openSession(
      address,
      hello,
      {
        onWelcome: (welcome) => this.#welcomed(welcome),
        onReplies: (replies) => this.#replied(replies),
        onGoaway: () => this.#goaway(),
        onEnd: (error) => this.#ended(error),
      },
      { connectTimeoutMs },
    );
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Whether it was ever welcomed. */
  get opened(): boolean {
    return this.#opened;
  }

  /** Whether the other side knows what this asks for: an earlier version would pass over the set of an increment, and count it at home. */
  knows({ saltSet }: Operation): boolean {
    return saltSet === 0 || this.#protocol >= SALT_PROTOCOL;
  }

  /** Requests whose end mark is due. */
  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Whether it has as much as it may have: what is enqueued now has to wait. */
  get isFull(): boolean {
    return this.#unanswered.size >= this.#credit;
  }

  /** Sends the operation when there is credit, after those that wait already. Only while open. */
  enqueue(operation: Operation): void {
    assert(this.knows(operation), 'an increment of a sub-counter goes only to those who know of these');
    operation.link = this;
    operation.state = 'queued';
    this.#queue.push(operation);
    this.pump();
  }

  /** Takes the operation away: if it was sent, its answer is no longer wanted. */
  abandon(operation: Operation): void {
    if (operation.state === 'sent') {
      this.#unanswered.set(operation.requestId, null);
      this.#session.cancel(operation.requestId);
    } else {
      this.#stale += 1;
      if (this.#stale > STALE_MAX && this.#stale * 2 > this.#queue.length) {
        const live = this.#queue
          .slice(this.#head)
          .filter((other) => other !== operation && this.#waits(other));
        this.#queue = [...new Set(live)];
        this.#head = 0;
        this.#stale = 0;
      }
    }
    operation.link = null;
  }

  /** Sends what waits while there is credit. */
  pump(): void {
    while (
      this.#state === 'open' &&
      this.#head < this.#queue.length &&
      this.#unanswered.size < this.#credit
    ) {
      const operation = this.#queue[this.#head]!;
      if (this.#waits(operation) && !this.#send(operation)) return;
      this.#head += 1;
    }
    if (this.#head === this.#queue.length) {
      this.#queue = this.#head === 0 ? this.#queue : [];
      this.#head = 0;
      this.#stale = 0;
    } else if (this.#head >= STALE_MAX) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Ends the session. What was sent and not answered is lost. */
  close(): void {
    this.#session.close();
  }

  #waits(operation: Operation): boolean {
    return operation.link === this && operation.state === 'queued';
  }

  /** Returns false if the session takes nothing more for now. */
  #send(operation: Operation): boolean {
    const id = this.#nextId;
    operation.attempt += 1;
    const request = buildRequest(operation, id, this.#sink.sending(operation));
    try {
      if (!this.#session.send(request)) {
        operation.attempt -= 1;
        return false;
      }
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      this.#sink.failed(operation, error);
      return true;
    }
    this.#nextId += 1;
    operation.state = 'sent';
    operation.requestId = id;
    this.#unanswered.set(id, operation);
    return true;
  }

  #welcomed(welcome: Welcome): void {
    this.#state = 'open';
    this.#opened = true;
    this.#protocol = welcome.protocol;
    this.#credit = Math.max(1, welcome.maxInFlight);
    this.#owner.linkOpened(this, welcome);
    this.pump();
  }

  #replied(replies: readonly Reply[]): void {
    for (const reply of replies) {
      const operation = this.#unanswered.get(reply.id);
      if (operation === undefined) continue;
      if (reply.end) this.#unanswered.delete(reply.id);
      if (operation === null) continue;
      this.#sink.answered(operation, reply);
    }
    this.pump();
    this.#closeIfDrained();
  }

  #goaway(): void {
    if (this.#state !== 'open') return;
    this.#state = 'draining';
    this.#owner.linkDraining(this);
    this.#returnQueue();
    this.#closeIfDrained();
  }

  #closeIfDrained(): void {
    if (this.#state === 'draining' && this.#unanswered.size === 0) this.close();
  }

  #ended(error: RingkeepError): void {
    this.#state = 'ended';
    // The owner first, so that what is sent again does not come back here.
    this.#owner.linkEnded(this, error);
    const lost = [...this.#unanswered.values()];
    this.#unanswered.clear();
    for (const operation of lost) {
      if (operation === null) continue;
      this.#sink.failed(operation, lostError(error, operation.isWrite));
    }
    this.#returnQueue();
  }

  #returnQueue(): void {
    const queue = this.#queue.slice(this.#head);
    this.#queue = [];
    this.#head = 0;
    this.#stale = 0;
    for (const operation of queue) {
      if (!this.#waits(operation)) continue;
      operation.link = null;
      this.#sink.returned(operation);
    }
  }
}

/**
 * What an unanswered operation learns of its session's end. Only an end before the welcome proves that
 * nothing left.
 */
function lostError(error: RingkeepError, isWrite: boolean): RingkeepError {
  const outcome = isWrite ? 'unknown' : 'not_applied';
  return new RingkeepError('UNAVAILABLE', `connection lost: ${error.message}`, outcome, { cause: error });
}
