/**
 * The writing side of one stream on a server, shared by sessions, watchers, nodes and subscribers: an outbox on the
 * call, a last word, one end. Also the bookkeeping that all streams of a server share (`StreamHost`).
 * INVARIANT: `onEnd` runs once, in a turn of its own, whoever ended the stream; nothing is written after the last word.
 * INVARIANT: a stream keeps its slot of SERVER_STREAMS_MAX until the transport is done with it, not only until we are:
 * a client that does not read cannot pile up ended streams.
 */
import type { EventEmitter } from 'node:events';
import { assert, RingkeepError } from '../errors.ts';
import { toFailure } from '../failure.ts';
import { OVERLOADED_RETRY_AFTER_MS } from '../limits.ts';
import type { Peer, ServerIdentity, StreamEnd } from './contract.ts';
import type { FairShares } from './fair-share.ts';
import { answerHello } from './handshake.ts';
import type { Failure, Hello, Welcome } from './messages.ts';
import { Outbox } from './outbox.ts';

/** What a server's streams may use; the defaults are those of limits.ts. */
export interface StreamLimits {
  /** Requests of one session without an end mark. */
  readonly inFlightMax: number;
  /** Unsent reply bytes of one session before it is not read any more. */
  readonly replyBytesMax: number;
  /** Unsent reply bytes of all sessions before values are refused. */
  readonly serverReplyBytesMax: number;
  /** Request bytes of one session that wait for its share before it is not read any more; and of all of them. */
  readonly waitingBytesMax: number;
  readonly serverWaitingBytesMax: number;
  /** Unsent bytes of a subscriber, and of a watcher or node, before a push is refused. */
  readonly peerBytesMax: number;
  readonly pushBytesMax: number;
  readonly streamsMax: number;
  readonly unaryMax: number;
  readonly helloTimeoutMs: number;
}

/** What the streams of one server share. */
export interface StreamHost {
  readonly limits: StreamLimits;
  identity(): ServerIdentity;
  /**
   * Takes a slot for a long-lived stream and returns what gives it back.
   * @throws RingkeepError OVERLOADED, SHUTTING_DOWN
   */
  admit(): () => void;
  /** Adds to the unsent reply bytes of the server. */
  accountReplies(bytes: number): void;
  readonly replyBytes: number;
  /** Adds to the bytes of requests that wait for their stream's share. */
  accountWaiting(bytes: number): void;
  readonly waitingBytes: number;
  readonly shares: FairShares;
}

/** The part of a gRPC server call that is written to. */
export interface WritableCall<Message> extends EventEmitter {
  write(message: Message, taken: () => void): boolean;
  end(): void;
  getPeer(): string;
}

export interface ServerStreamOptions<Item, Message> {
  readonly call: WritableCall<Message>;
  sizeOf(item: Item): number;
  compose(items: Item[]): Message;
  composeFailure(failure: Failure): Message;
  readonly bytesMax: number;
  readonly messageItems?: number;
  onTaken?(): void;
  /** Logical end. */
  onEnd(): void;
}

/** The outbox, the last word and the one end of a server's stream. */
export class ServerStream<Item, Message> implements StreamEnd {
  readonly #options: ServerStreamOptions<Item, Message>;
  readonly #outbox: Outbox<Item>;
  #ended = false;

  constructor(options: ServerStreamOptions<Item, Message>) {
    this.#options = options;
    const { call } = options;
    this.#outbox = new Outbox<Item>({
      sizeOf: (item) => options.sizeOf(item),
      bytesMax: options.bytesMax,
      ...(options.messageItems === undefined ? {} : { messageItems: options.messageItems }),
      write: (items, taken) => {
        call.write(options.compose(items), taken);
      },
      onTaken: () => options.onTaken?.(),
    });
    call.on('cancelled', () => {
      this.#outbox.close();
      this.#end();
    });
    // grpc-js turns it into the call's status; 'cancelled' follows.
    call.on('error', () => {});
  }

  get bufferedBytes(): number {
    return this.#outbox.bytes;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** @returns false when the bound is reached or the stream has ended. @throws RingkeepError MESSAGE_TOO_LARGE */
  push(item: Item): boolean {
    return !this.#ended && this.#outbox.push(item);
  }

  /** Queues beyond the bound; for items whose number is bounded otherwise. */
  pushUnbounded(item: Item): void {
    if (!this.#ended) this.#outbox.pushUnbounded(item);
  }

  /** Writes past the outbox; for the welcome, before anything else. */
  writeFirst(message: Message): void {
    this.#options.call.write(message, () => {});
  }

  /** Sends what is queued, then the failure, and ends the stream. */
  fail(error: RingkeepError): void {
    this.#last(toFailure(error), true);
  }

  /** Drops what is queued, sends the failure, and ends the stream; for those who do not read. */
  abort(error: RingkeepError): void {
    this.#last(toFailure(error), false);
  }

  close(): void {
    this.#last(undefined, true);
  }

  #last(failure: Failure | undefined, flush: boolean): void {
    if (this.#ended) return;
    if (flush) this.#outbox.flushAll();
    this.#outbox.close();
    const { call, composeFailure } = this.#options;
    if (failure !== undefined) call.write(composeFailure(failure), () => {});
    call.end();
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    setImmediate(() => this.#options.onEnd());
  }
}

/**
 * Takes a slot for the call, before its first message is read, until the transport is done with it.
 * @throws RingkeepError as `StreamHost.admit`
 */
export function admit(host: StreamHost, call: WritableCall<never>): void {
  call.once('cancelled', host.admit());
}

/**
 * Checks a hello and answers it.
 * @throws RingkeepError as `answerHello`
 */
export function greet(
  host: StreamHost,
  call: WritableCall<never>,
  hello: Hello | null,
): { peer: Peer; welcome: Welcome } {
  const welcome = answerHello(hello, host.identity(), host.limits.inFlightMax);
  assert(hello !== null, 'a hello that is answered exists');
  return { peer: { hello, protocol: welcome.protocol, remote: call.getPeer() }, welcome };
}

/** The refusal of a stream whose caller is done before it has said who it is. */
export function endedWithoutHello(): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', 'the stream ended before its hello');
}

/** The refusal of a bound. */
export function overloaded(what: string): RingkeepError {
  return new RingkeepError('OVERLOADED', what, 'not_applied', { retryAfterMs: OVERLOADED_RETRY_AFTER_MS });
}

/**
 * Runs a handler's code. RingkeepErrors go to `refuse`; anything else is a bug and must end the process: thrown in a
 * turn of its own, because grpc-js would turn it into a status.
 */
export function orRefuse(run: () => void, refuse: (error: RingkeepError) => void): void {
  try {
    run();
  } catch (error) {
    if (error instanceof RingkeepError) refuse(error);
    else {
      setImmediate(() => {
        throw error;
      });
    }
  }
}
