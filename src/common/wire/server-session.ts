/**
 * KeyValue.Session on a server: handshake, credit, and the bounds of one client's memory. It knows ids and sizes of
 * requests and replies, not their meaning.
 * INVARIANT: at most 2 * inFlightMax requests are with the handler; beyond inFlightMax nothing more is read, and what
 * still arrives in a message already read is refused with OVERLOADED, unseen by the handler.
 * INVARIANT: a client that sends and does not read is not read either beyond replyBytesMax of unsent replies. Its reads
 * start as far as their answers should fit into STREAM_REPLY_ROOM times that (reply-room.ts); what fits into neither
 * STREAM_REPLY_OVERRUN times that nor its part of what the server has left is refused when it is answered.
 * Clients that keep to the credit in Welcome, and to STREAM_WAITING_BYTES_MAX while the server is busy with others, are
 * never paused for it, so their cancels and credits always get through.
 * While several connections are busy, each has its share in progress and the rest waits (fair-share.ts).
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { RingkeepError } from '../errors.ts';
import { toFailure } from '../failure.ts';
import {
  ITEM_BYTES_MAX,
  ROUTER_REPLY_FACTOR,
  ROUTER_SHARE_WEIGHT,
  STREAM_REPLY_OVERRUN,
  STREAM_REPLY_ROOM,
} from '../limits.ts';
import type { KeyValueHandler, SessionConnection, SessionSink } from './contract.ts';
import type { Share } from './fair-share.ts';
import type { ClientMessage, Hello, Reply, Request, ServerMessage } from './messages.ts';
import { gateOf, type ReadGate } from './read-gate.ts';
import { ReplyRoom } from './reply-room.ts';
import {
  admit,
  endedWithoutHello,
  greet,
  orRefuse,
  overloaded,
  ServerStream,
  type StreamHost,
} from './server-stream.ts';
import { SessionRequests } from './session-requests.ts';
import { sizeOfReply, sizeOfRequest } from './sizes.ts';

type Item = Reply | { readonly goaway: true };

function compose(items: Item[]): ServerMessage {
  const message: ServerMessage = { welcome: null, replies: [], goaway: false, failure: null };
  for (const item of items) {
    if ('goaway' in item) message.goaway = true;
    else message.replies.push(item);
  }
  return message;
}

/** Of the reply bytes that the server has left, the part that one stream may hold unread. */
const FREE_REPLY_PART = 1 / 2;
/** One client's message must not keep the process from its heartbeats: the rest of it has to wait for the next turn. */
const TURN_REQUESTS_MAX = 512;

const EMPTY: ServerMessage = { welcome: null, replies: [], goaway: false, failure: null };

/** One session as its server sees it. */
export class SessionCall implements SessionConnection {
  readonly #call: ServerDuplexStream<ClientMessage, ServerMessage>;
  readonly #host: StreamHost;
  readonly #handler: KeyValueHandler;
  readonly #gate: ReadGate;
  readonly #stream: ServerStream<Item, ServerMessage>;
  readonly #helloTimer: NodeJS.Timeout;
  readonly #onEnd: () => void;
  #share: Share;
  #replyFactor = 1;
  #requests: SessionRequests;
  #sink: SessionSink | undefined;
  /** Requests that may be handed on before the event loop has turned, and whether that is awaited. */
  #turnLeft = TURN_REQUESTS_MAX;
  #resuming = false;
  #halfClosed = false;
  #goneAway = false;
  #accounted = 0;
  #accountedWaiting = 0;

  /** Serves the call from here on. `onEnd` is told when the session is over. */
  constructor(
    call: ServerDuplexStream<ClientMessage, ServerMessage>,
    host: StreamHost,
    handler: KeyValueHandler,
    onEnd: () => void,
  ) {
    this.#call = call;
    this.#host = host;
    this.#handler = handler;
    this.#onEnd = onEnd;
    this.#gate = gateOf(call.metadata);
    this.#share = host.shares.join(call.getPeer(), 1, true);
    this.#requests = this.#makeRequests();
    this.#stream = new ServerStream<Item, ServerMessage>({
      call,
      sizeOf: (item) => ('goaway' in item ? 4 : sizeOfReply(item)),
      compose,
      composeFailure: (failure) => ({ ...EMPTY, failure }),
      bytesMax: Number.POSITIVE_INFINITY,
      onTaken: () => {
        this.#regulate();
        if (this.#requests.mayResume(performance.now())) this.#resumeSoon();
      },
      onEnd: () => this.#ended(),
    });
    this.#helloTimer = setTimeout(() => {
      this.#stream.fail(new RingkeepError('DEADLINE_EXCEEDED', 'no hello came'));
    }, host.limits.helloTimeoutMs);
    orRefuse(
      () => admit(host, call),
      (error) => this.#stream.fail(error),
    );
    call.on('data', (message: ClientMessage) => this.#receive(message));
    call.on('end', () => {
      this.#halfClosed = true;
      // Also the way in which the transport shows a first message that was cut off.
      if (this.#sink === undefined) this.#stream.fail(endedWithoutHello());
      else if (this.#requests.size === 0) this.#stream.close();
    });
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes;
  }

  /** No request waits for its end mark and every reply has left. */
  get idle(): boolean {
    return this.#requests.size === 0 && this.#stream.bufferedBytes === 0;
  }

  reply(replies: Reply[]): void {
    const now = performance.now();
    for (const reply of replies) {
      if (!this.#requests.isStarted(reply.id)) continue;
      const told = this.#affordable(reply);
      if (told.end) this.#requests.end(reply, now);
      this.#stream.pushUnbounded(told);
    }
    this.#regulate();
    if (this.#requests.mayResume(now)) this.#resumeSoon();
    this.#closeWhenDone();
  }

  /** Hands on what waited for the session's share, as far as that goes now. */
  resume(): void {
    const now = performance.now();
    if (this.#sink === undefined || this.#stream.ended || !this.#requests.mayResume(now)) return;
    const { requests, credits, late } = this.#requests.resume(now, this.#turnLeft);
    this.#turnLeft -= requests.length;
    for (const id of late) this.#end(id, overloaded('the time ran out before its turn'));
    if (requests.length > 0) this.#sink.onRequests(requests);
    if (credits.length > 0 && !this.#stream.ended) this.#sink.onCredits(credits);
    if (this.#turnLeft < TURN_REQUESTS_MAX) this.#resumeSoon();
    this.#regulate();
    this.#closeWhenDone();
  }

  /** The handler is not called from inside a call of its own. */
  #resumeSoon(): void {
    if (this.#resuming) return;
    this.#resuming = true;
    setImmediate(() => {
      this.#resuming = false;
      this.#turnLeft = TURN_REQUESTS_MAX;
      this.resume();
    });
  }

  #closeWhenDone(): void {
    if (this.#halfClosed && this.#requests.size === 0) this.#stream.close();
  }

  goaway(): void {
    if (this.#goneAway) return;
    this.#goneAway = true;
    this.#stream.pushUnbounded({ goaway: true });
  }

  fail(error: RingkeepError): void {
    this.#stream.fail(error);
  }

  close(): void {
    this.#stream.close();
  }

  #receive(message: ClientMessage): void {
    if (this.#stream.ended) return;
    if (this.#sink === undefined) {
      orRefuse(
        () => this.#greet(message.hello),
        (error) => this.#stream.fail(error),
      );
      if (this.#sink === undefined) return;
    } else if (message.hello !== null) {
      this.#stream.fail(new RingkeepError('INVALID_ARGUMENT', 'a second hello'));
      return;
    }
    this.#dispatch(message, this.#sink);
    this.#regulate();
  }

  #greet(hello: Hello | null): void {
    clearTimeout(this.#helloTimer);
    const { peer, welcome } = greet(this.#host, this.#call, hello);
    this.#stream.writeFirst({ ...EMPTY, welcome });
    if (peer.hello.role === 'router') {
      // It shares its work out among its own clients already.
      this.#host.shares.leave(this.#share);
      this.#share = this.#host.shares.join(this.#call.getPeer(), ROUTER_SHARE_WEIGHT, false);
      this.#replyFactor = ROUTER_REPLY_FACTOR;
      this.#requests = this.#makeRequests();
    }
    this.#sink = this.#handler.onSession(peer, this);
  }

  #makeRequests(): SessionRequests {
    const room = new ReplyRoom(this.#replyFactor * STREAM_REPLY_ROOM * this.#host.limits.replyBytesMax);
    return new SessionRequests(this.#share, room, () => this.#stream.bufferedBytes);
  }

  #dispatch(message: ClientMessage, sink: SessionSink): void {
    const accepted: Request[] = [];
    const now = performance.now();
    for (const request of message.requests) {
      if (this.#requests.has(request.id)) {
        this.#stream.fail(new RingkeepError('INVALID_ARGUMENT', `request id ${request.id} is still open`));
        return;
      }
      const refusal = this.#refusal(request, now);
      if (refusal !== '') this.#end(request.id, overloaded(refusal));
      else if (this.#turnLeft > 0 && this.#requests.mayStart(request, now)) {
        this.#turnLeft -= 1;
        this.#requests.start(request, now);
        accepted.push(request);
      } else this.#requests.wait(request, now);
    }
    if (accepted.length > 0) sink.onRequests(accepted);
    if (this.#turnLeft < TURN_REQUESTS_MAX) this.#resumeSoon();
    this.#takeCancels(message.cancels, sink);
    if (message.credits.length === 0 || this.#stream.ended) return;
    const credits = message.credits.filter(
      (credit) => !this.#requests.credit(credit) && this.#requests.isStarted(credit.id),
    );
    if (credits.length > 0) sink.onCredits(credits);
  }

  #takeCancels(ids: readonly number[], sink: SessionSink): void {
    if (ids.length === 0 || this.#stream.ended) return;
    const started: number[] = [];
    const now = performance.now();
    for (const id of ids) {
      if (this.#requests.withdraw(id, now))
        this.#end(id, new RingkeepError('CANCELLED', 'cancelled by the client'));
      else if (this.#requests.isStarted(id)) started.push(id);
    }
    if (started.length > 0) sink.onCancels(started);
    this.#closeWhenDone();
  }

  /** Why a request cannot even wait; empty when it can. */
  #refusal(request: Request, now: number): string {
    const { limits, waitingBytes } = this.#host;
    if (this.#requests.size >= 2 * limits.inFlightMax) return 'more requests than the stream has credit for';
    if (this.#requests.mayStart(request, now)) return '';
    const waiting = waitingBytes - this.#accountedWaiting + this.#requests.waitingBytes;
    const full = waiting + sizeOfRequest(request) > limits.serverWaitingBytesMax;
    return full ? 'too many requests wait for their turn' : '';
  }

  /** Ends a request that the handler has not seen. */
  #end(id: number, error: RingkeepError): void {
    this.#stream.pushUnbounded({ id, end: true, result: 'failure', failure: toFailure(error) });
  }

  /** The reply, or what is told instead when it is too long or the client does not read. */
  #affordable(reply: Reply): Reply {
    if (!reply.value && !reply.rows) return reply;
    if (sizeOfReply(reply) > ITEM_BYTES_MAX) {
      const failure = toFailure(
        new RingkeepError('MESSAGE_TOO_LARGE', 'the reply does not fit into a message'),
      );
      return { id: reply.id, end: true, result: 'failure', failure };
    }
    const { limits, replyBytes } = this.#host;
    // A part of what is free: those who read get through, however many there are who do not.
    const free = (limits.serverReplyBytesMax - replyBytes) * FREE_REPLY_PART;
    const allowed = Math.min(this.#replyFactor * STREAM_REPLY_OVERRUN * limits.replyBytesMax, free);
    if (this.#stream.bufferedBytes <= allowed) return reply;
    const failure = toFailure(overloaded('replies are not read fast enough'));
    return { id: reply.id, end: true, result: 'failure', failure };
  }

  /** Counts what is held, and reads on or not; called whenever a reason may have changed. */
  #regulate(): void {
    const { limits } = this.#host;
    const bytes = this.#stream.ended ? 0 : this.#stream.bufferedBytes;
    this.#host.accountReplies(bytes - this.#accounted);
    this.#accounted = bytes;
    const { size, waitingBytes } = this.#requests;
    this.#host.accountWaiting(waitingBytes - this.#accountedWaiting);
    this.#accountedWaiting = waitingBytes;
    this.#share.overdrawn = size > limits.inFlightMax;
    const full = this.#share.overdrawn || waitingBytes > limits.waitingBytesMax;
    if (full || bytes > limits.replyBytesMax) this.#gate.close();
    else this.#gate.open();
  }

  #ended(): void {
    clearTimeout(this.#helloTimer);
    this.#requests.clear(performance.now());
    this.#host.shares.leave(this.#share);
    this.#regulate();
    this.#onEnd();
    this.#sink?.onEnd();
  }
}
