/**
 * A client's session as the router sees it: its open requests by the client's ids, and the replies of the present
 * event, which leave together. Everything else is its host's (proxy.ts). A unary call is a session of one request.
 * INVARIANT: `open` holds exactly the requests that still need their reply with `end`.
 */
import type { Peer, SessionConnection, SessionSink } from '../common/wire/contract.ts';
import type { Credit, Reply, Request } from '../common/wire/messages.ts';
import type { Forward, ForwardOwner } from './forward.ts';

/** Takes what clients send. */
export interface ClientSessionHost {
  takeRequests(session: ClientSession, requests: Request[]): void;
  takeCancels(session: ClientSession, ids: number[]): void;
  takeCredits(session: ClientSession, credits: Credit[]): void;
  sessionEnded(session: ClientSession): void;
  /** The session has its first reply since the last `flush`, and wants one. */
  hasReplies(session: ClientSession): void;
}

export class ClientSession implements SessionSink, ForwardOwner {
  /** Of its hello; 16 bytes or none. */
  readonly clientId: Uint8Array;
  readonly open = new Map<number, Forward>();
  readonly #host: ClientSessionHost;
  readonly #connection: SessionConnection;
  #replies: Reply[] = [];

  constructor(host: ClientSessionHost, peer: Peer, connection: SessionConnection) {
    this.#host = host;
    this.clientId = peer.hello.clientId;
    this.#connection = connection;
  }

  onRequests(requests: Request[]): void {
    this.#host.takeRequests(this, requests);
  }

  onCancels(ids: number[]): void {
    this.#host.takeCancels(this, ids);
  }

  onCredits(credits: Credit[]): void {
    this.#host.takeCredits(this, credits);
  }

  onEnd(): void {
    this.#host.sessionEnded(this);
  }

  answer(forward: Forward, reply: Reply): void {
    reply.id = forward.ownId;
    if (reply.end) this.open.delete(forward.ownId);
    this.queue(reply);
  }

  replaced(again: Forward): void {
    this.open.set(again.ownId, again);
  }

  /** Adds a reply that already carries the client's id. */
  queue(reply: Reply): void {
    if (this.#replies.length === 0) this.#host.hasReplies(this);
    this.#replies.push(reply);
  }

  /** Sends the replies that were added. */
  flush(): void {
    const replies = this.#replies;
    this.#replies = [];
    this.#connection.reply(replies);
  }
}
