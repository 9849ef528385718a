/**
 * The router's way to one node: one session, opened again whenever it ends, and the queue in front of it. It decides
 * nothing: what a reply or a lost connection means for a request is its host's.
 * INVARIANT: never more requests without an end mark than the node's welcome allows, abandoned ones included.
 * INVARIANT: an increment of a sub-counter goes to no node that would pass over its set, and count it at home.
 * INVARIANT: a request is handed to a session only after its welcome; what waits in the queue has not left this process.
 */
import type { Clock } from '../common/clock.ts';
import { assert, RingkeepError } from '../common/errors.ts';
import { SALT_PROTOCOL } from '../common/limits.ts';
import type { Log } from '../common/log.ts';
import type { Connector, Session } from '../common/wire/contract.ts';
import type { Hello, Reply, Welcome } from '../common/wire/messages.ts';
import { type ConnectionSignals, type Reconnecting, reconnecting } from '../common/wire/reconnecting.ts';
import { type Forward, isOfSub } from './forward.ts';

/** Told what becomes of requests. */
export interface NodeLinkHost {
  /** A reply to a sent request; after the one with `end` the link knows the request no more. */
  replied(forward: Forward, reply: Reply, link: NodeLink): void;
  /** All replies of one message have been told. */
  repliesEnded(): void;
  /** It was sent and its connection has ended. */
  lost(forward: Forward, link: NodeLink): void;
  /** Its time was over before it could be sent. */
  expired(forward: Forward): void;
  /** It cannot be sent: the transport refuses it, or the node would not know what it is. */
  unsendable(forward: Forward, error: RingkeepError): void;
}

export interface NodeLinkOptions {
  readonly node: string;
  readonly address: string;
  readonly connector: Pick<Connector, 'openSession'>;
  readonly hello: Hello;
  readonly host: NodeLinkHost;
  readonly log: Log;
  readonly clock: Clock;
}

export class NodeLink {
  readonly node: string;
  readonly address: string;
  readonly #options: NodeLinkOptions;
  readonly #connection: Reconnecting<Session>;
  /** The welcomed session. */
  #session: Session | null = null;
  #credit = 0;
  #protocol = 0;
  #goneAway = false;
  #nextId = 1;
  #valueBytesMax = 0;
  readonly #sent = new Map<number, Forward>();
  #queue: Forward[] = [];
  #head = 0;
  #queued = 0;
  /** Why the node cannot be reached; empty while it can. */
  #trouble = 'not connected yet';
  #stopped = false;

  /** Starts to connect at once. */
  constructor(options: NodeLinkOptions) {
    this.#options = options;
    this.node = options.node;
    this.address = options.address;
    this.#connection = reconnecting((signals) => this.#open(signals), undefined, options.clock);
  }

  /** Takes requests at present. */
  get ready(): boolean {
    return this.#session !== null && !this.#goneAway;
  }

  /** Longest value that the node takes, as it said last; 0 before it has said so. */
  get valueBytesMax(): number {
    return this.#valueBytesMax;
  }

  get queued(): number {
    return this.#queued;
  }

  get sent(): number {
    return this.#sent.size;
  }

  /** Requests that wait for the node or are with it. */
  get load(): number {
    return this.#queued + this.#sent.size;
  }

  /** Why the node takes nothing; empty while `ready`. */
  get trouble(): string {
    return this.#goneAway ? 'it is stopping' : this.#trouble;
  }

  /** Appends a request to the queue. `pump` sends it. */
  enqueue(forward: Forward): void {
    forward.state = 'queued';
    forward.node = this.node;
    this.#queue.push(forward);
    this.#queued += 1;
  }

  /** Sends from the queue what credit and connection allow; what has no time left ends here. */
  pump(now: number): void {
    const session = this.#session;
    if (session === null || this.#goneAway) return;
    while (this.#head < this.#queue.length && this.#sent.size < this.#credit) {
      const forward = this.#queue[this.#head]!;
      if (forward.state === 'queued' && !this.#send(session, forward, now)) return;
      this.#head += 1;
    }
    if (this.#head === this.#queue.length && this.#head > 0) {
      this.#queue = [];
      this.#head = 0;
    }
  }

  /** Takes the requests for which `moves` says so out of the queue. */
  takeQueued(moves: (forward: Forward) => boolean): Forward[] {
    const taken: Forward[] = [];
    const kept: Forward[] = [];
    for (let at = this.#head; at < this.#queue.length; at += 1) {
      const forward = this.#queue[at]!;
      if (forward.state !== 'queued') continue;
      if (moves(forward)) taken.push(forward);
      else kept.push(forward);
    }
    this.#queue = kept;
    this.#head = 0;
    this.#queued = kept.length;
    return taken;
  }

  /** Tells that a queued request is done. Its place goes with the next `compact`. */
  dropped(): void {
    this.#queued -= 1;
  }

  /** Frees the places of requests that are done. */
  compact(): void {
    if (this.#queue.length - this.#head > this.#queued) this.takeQueued(() => false);
  }

  /** Tells the node that no answer to a sent request is wanted; its end mark still comes. */
  cancel(forward: Forward): void {
    this.#session?.cancel(forward.request.id);
  }

  /** Allows more replies of a sent request. */
  credit(forward: Forward, replies: number): void {
    this.#session?.credit(forward.request.id, replies);
  }

  /** Closes the connection for good. What was sent is lost; returns what was not. */
  stop(): Forward[] {
    const unsent = this.takeQueued(() => true);
    this.#stopped = true;
    this.#connection.stop();
    this.#lose('the connection was closed');
    return unsent;
  }

  #send(session: Session, forward: Forward, now: number): boolean {
    const { request } = forward;
    if (forward.deadline - now < 1) {
      this.#queued -= 1;
      this.#options.host.expired(forward);
      return true;
    }
    if (this.#protocol < SALT_PROTOCOL && isOfSub(request)) {
      this.#queued -= 1;
      // Another node that leads there later will know.
      const text = `node ${this.node} speaks an earlier protocol, which has no sub-counters`;
      this.#options.host.unsendable(forward, new RingkeepError('UNAVAILABLE', text));
      return true;
    }
    const id = this.#nextId;
    request.id = id;
    request.timeLeftMs = Math.floor(forward.deadline - now);
    try {
      if (!session.send(request)) return false;
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      this.#queued -= 1;
      this.#options.host.unsendable(forward, error);
      return true;
    }
    this.#nextId += 1;
    this.#queued -= 1;
    forward.state = 'sent';
    forward.attempts += 1;
    this.#sent.set(id, forward);
    if (forward.credits > 0) session.credit(id, forward.credits);
    return true;
  }

  #open(signals: ConnectionSignals): Session {
    const { connector, hello, log } = this.#options;
    const session: Session = connector.openSession(this.address, hello, {
      onWelcome: (welcome) => {
        signals.up();
        this.#welcomed(session, welcome);
      },
      onReplies: (replies) => this.#replied(replies),
      onGoaway: () => {
        this.#goneAway = true;
        log.info('node_going_away', { node: this.node });
        this.#closeWhenIdle();
      },
      onEnd: (error) => {
        this.#ended(error);
        signals.down();
      },
    });
    return session;
  }

  #welcomed(session: Session, welcome: Welcome): void {
    this.#session = session;
    this.#protocol = welcome.protocol;
    this.#credit = welcome.maxInFlight;
    this.#valueBytesMax = welcome.valueBytesMax;
    this.#goneAway = false;
    this.#trouble = '';
    this.#options.log.info('node_connected', { node: this.node, address: this.address });
    this.pump(this.#options.clock.now());
  }

  #replied(replies: Reply[]): void {
    const { host } = this.#options;
    for (const reply of replies) {
      const forward = this.#sent.get(reply.id);
      if (forward === undefined) continue;
      if (reply.end) this.#sent.delete(reply.id);
      host.replied(forward, reply, this);
    }
    this.pump(this.#options.clock.now());
    this.#closeWhenIdle();
    host.repliesEnded();
  }

  #closeWhenIdle(): void {
    if (this.#goneAway && this.#sent.size === 0) this.#session?.close();
  }

  #ended(error: RingkeepError): void {
    if (this.#stopped) return;
    // Every attempt ends while a node is down: one line per change of the reason.
    if (this.#trouble !== error.code) {
      this.#options.log.warn('node_disconnected', { node: this.node, address: this.address, error });
    }
    this.#lose(error.code);
  }

  #lose(trouble: string): void {
    this.#trouble = trouble;
    this.#session = null;
    this.#goneAway = false;
    const lost = [...this.#sent.values()];
    this.#sent.clear();
    for (const forward of lost) {
      assert(forward.state !== 'queued', 'a request is queued or sent, not both');
      this.#options.host.lost(forward, this);
    }
    this.#options.host.repliesEnded();
  }
}
