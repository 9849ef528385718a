/**
 * The connections that a process opens, over gRPC: the `Connector` of contract.ts. Each has one channel of its own,
 * says hello, waits for the welcome within a time, and ends exactly once. Reconnecting is the caller's.
 * INVARIANT: nothing but hello (and a node's opening) leaves before the welcome, so an end before it means that no
 * request was sent.
 * INVARIANT: every way to end closes the channel.
 */
import { assert, RingkeepError } from '../errors.ts';
import { fromFailure } from '../failure.ts';
import { CONNECT_TIMEOUT_MS, PUSH_SEND_BYTES_MAX, SESSION_SEND_BYTES_MAX } from '../limits.ts';
import type { MovesRequest } from './admin-messages.ts';
import { Channel } from './channel.ts';
import type { Attachment, Connector, NodePart, OpenOptions, Session, Subscription } from './contract.ts';
import { refuseWelcome } from './handshake.ts';
import type { ClientMessage, Credit, Failure, Hello, NodeMessage, Request, Welcome } from './messages.ts';
import { Outbox } from './outbox.ts';
import { methods } from './schema.ts';
import { sizeOfCredit, sizeOfReplicas, sizeOfRequest } from './sizes.ts';

/** What all connections share: the channel, the time to the welcome, and the one end. */
class Link {
  readonly #onEnd: (error: RingkeepError) => void;
  readonly #timer: NodeJS.Timeout;
  #channel: Channel | undefined;
  #cancel: (() => void) | undefined;
  #release: (() => void) | undefined;
  #welcomed = false;
  #ended = false;

  constructor(address: string, onEnd: (error: RingkeepError) => void, options: OpenOptions | undefined) {
    this.#onEnd = onEnd;
    const timeoutMs = options?.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#timer = setTimeout(() => {
      this.end(new RingkeepError('UNAVAILABLE', `${address} did not answer within ${timeoutMs} ms`));
    }, timeoutMs);
  }

  get ready(): boolean {
    return this.#welcomed && !this.#ended;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Hands over the open call: how to cancel it, and what to drop at the end. */
  bind(channel: Channel, cancel: () => void, release?: () => void): void {
    this.#channel = channel;
    this.#cancel = cancel;
    this.#release = release;
  }

  /** Ends the link when the welcome is not for us. */
  welcome(): void {
    this.#welcomed = true;
    clearTimeout(this.#timer);
  }

  /** Ends it, once. The handler runs in a turn of its own. */
  end(error: RingkeepError): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#cancel?.();
    this.#channel?.close();
    this.#release?.();
    const outcome = this.#welcomed ? error.outcome : 'not_applied';
    const told = outcome === error.outcome ? error : withOutcome(error);
    setImmediate(() => this.#onEnd(told));
  }

  /** The call itself is over. */
  over(error: RingkeepError | undefined): void {
    this.end(error ?? new RingkeepError('UNAVAILABLE', 'the other side ended the stream', 'unknown'));
  }

  /** A Failure came; it is the last word. */
  failed(failure: Failure): void {
    this.end(fromFailure(failure));
  }

  close(): void {
    this.end(new RingkeepError('CLOSED', 'closed by the caller', 'unknown'));
  }

  /** Checks a welcome. @returns whether it is good */
  accept(welcome: Welcome, hello: Hello): boolean {
    const refused = refuseWelcome(welcome, hello);
    if (refused === undefined) {
      this.welcome();
      return true;
    }
    this.end(refused);
    return false;
  }
}

/** Ended before the welcome: nothing was sent. */
function withOutcome(error: RingkeepError): RingkeepError {
  const text = error.message.slice(error.code.length + 2);
  return new RingkeepError(error.code, text, 'not_applied', {
    cause: error,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
  });
}

/** Runs `open`, or ends the link with its error (a malformed address). */
function opening(link: Link, open: () => void): void {
  try {
    open();
  } catch (error) {
    assert(error instanceof RingkeepError, `opening a connection threw ${String(error)}`);
    link.end(error);
  }
}

// ------------------------------------------------------------ KeyValue.Session

type SessionItem = Request | { readonly cancel: number } | { readonly credit: Credit };

function composeSession(items: SessionItem[]): ClientMessage {
  const message: ClientMessage = { hello: null, requests: [], cancels: [], credits: [] };
  for (const item of items) {
    if ('cancel' in item) message.cancels.push(item.cancel);
    else if ('credit' in item) message.credits.push(item.credit);
    else message.requests.push(item);
  }
  return message;
}

function sizeOfSessionItem(item: SessionItem): number {
  if ('cancel' in item) return 12;
  return 'credit' in item ? sizeOfCredit(item.credit) : sizeOfRequest(item);
}

const openSession: Connector['openSession'] = (address, hello, handlers, options): Session => {
  const link = new Link(address, (error) => handlers.onEnd(error), options);
  let write: (message: ClientMessage, taken: () => void) => void = () => {};
  const outbox = new Outbox<SessionItem>({
    sizeOf: sizeOfSessionItem,
    bytesMax: options?.sendBytesMax ?? SESSION_SEND_BYTES_MAX,
    held: true,
    write: (items, taken) => write(composeSession(items), taken),
  });
  opening(link, () => {
    const channel = new Channel(address);
    const call = channel.openStream(methods.session, {
      onMessage: (message) => {
        if (link.ended) return;
        if (message.failure !== null) return link.failed(message.failure);
        if (message.welcome !== null && !link.ready) {
          if (!link.accept(message.welcome, hello)) return;
          outbox.release();
          handlers.onWelcome(message.welcome);
        }
        if (message.replies.length > 0 && !link.ended) handlers.onReplies(message.replies);
        if (message.goaway && !link.ended) handlers.onGoaway();
      },
      onEnd: (error) => link.over(error),
    });
    link.bind(channel, call.cancel, () => outbox.close());
    write = call.write;
    call.write({ hello, requests: [], cancels: [], credits: [] }, () => {});
  });
  return {
    get ready() {
      return link.ready;
    },
    get bufferedBytes() {
      return outbox.bytes;
    },
    send: (request) => !link.ended && outbox.push(request),
    cancel: (id) => outbox.pushUnbounded({ cancel: id }),
    credit: (id, replies) => outbox.pushUnbounded({ credit: { id, replies } }),
    close: () => link.close(),
  };
};

// ------------------------------------------------------------ Control.Attach

function sizeOfNodePart(part: NodePart): number {
  let size = 64;
  for (const reply of part.sealReplies ?? []) {
    size += 100 + 3 * (reply.replica.length + reply.reservationId.length);
  }
  for (const report of part.reports ?? []) {
    size += 160 + 3 * (report.replica.length + report.reservationId.length + report.levelTarget.length);
    size += sizeOfReplicas(report.voters) + sizeOfReplicas(report.previousVoters);
    for (const learner of report.levelLearners) size += 8 + 3 * learner.length;
  }
  return size;
}

function composeNode(part: NodePart | undefined): NodeMessage {
  return {
    hello: null,
    register: null,
    heartbeat: null,
    sealReplies: [],
    reports: [],
    topology: null,
    ...part,
  };
}

const attachController: Connector['attachController'] = (
  address,
  hello,
  first,
  handlers,
  options,
): Attachment => {
  const link = new Link(address, (error) => handlers.onEnd(error), options);
  let write: (message: NodeMessage, taken: () => void) => void = () => {};
  const outbox = new Outbox<NodePart>({
    sizeOf: sizeOfNodePart,
    bytesMax: options?.sendBytesMax ?? PUSH_SEND_BYTES_MAX,
    messageItems: 1,
    held: true,
    write: (items, taken) => write(composeNode(items[0]), taken),
  });
  opening(link, () => {
    const channel = new Channel(address);
    const call = channel.openStream(methods.attach, {
      onMessage: (message) => {
        if (link.ended) return;
        if (message.failure !== null) return link.failed(message.failure);
        if (message.welcome !== null && !link.ready) {
          if (!link.accept(message.welcome, hello)) return;
          outbox.release();
          handlers.onWelcome(message.welcome);
        }
        const { topology, seals, prepares, addressCheck } = message;
        const empty = topology === null && addressCheck === null && seals.length + prepares.length === 0;
        if (!empty && !link.ended) handlers.onMessage(message);
      },
      onEnd: (error) => link.over(error),
    });
    link.bind(channel, call.cancel, () => outbox.close());
    write = call.write;
    call.write({ ...composeNode(undefined), hello, ...first }, () => {});
  });
  return {
    get ready() {
      return link.ready;
    },
    get bufferedBytes() {
      return outbox.bytes;
    },
    send: (part) => !link.ended && outbox.push(part),
    close: () => link.close(),
  };
};

// ------------------------------------------------------------ downloads

function subscription(link: Link): Subscription {
  return {
    get ready() {
      return link.ready;
    },
    close: () => link.close(),
  };
}

const watchTopology: Connector['watchTopology'] = (address, hello, handlers, options): Subscription => {
  const link = new Link(address, (error) => handlers.onEnd(error), options);
  opening(link, () => {
    const channel = new Channel(address);
    const call = channel.openDownload(methods.watch, hello, {
      onMessage: (message) => {
        if (link.ended) return;
        if (message.failure !== null) return link.failed(message.failure);
        if (message.topology === null) return;
        // The server has checked the hello; the first topology is the welcome.
        link.welcome();
        handlers.onTopology(message.topology);
      },
      onEnd: (error) => link.over(error),
    });
    link.bind(channel, call.cancel);
  });
  return subscription(link);
};

const subscribePeer: Connector['subscribePeer'] = (address, hello, handlers, options): Subscription => {
  const link = new Link(address, (error) => handlers.onEnd(error), options);
  opening(link, () => {
    const channel = new Channel(address);
    const call = channel.openDownload(methods.subscribe, hello, {
      onMessage: (batch) => {
        if (link.ended) return;
        if (batch.failure !== null) return link.failed(batch.failure);
        if (batch.welcome !== null && !link.ready) {
          if (!link.accept(batch.welcome, hello)) return;
          handlers.onWelcome(batch.welcome);
        }
        if (batch.messages.length > 0 && !link.ended) handlers.onMessages(batch.messages);
      },
      onEnd: (error) => link.over(error),
    });
    link.bind(channel, call.cancel);
  });
  return subscription(link);
};

// ------------------------------------------------------------ administration

async function once<T>(address: string, ask: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = new Channel(address);
  try {
    return await ask(channel);
  } finally {
    channel.close();
  }
}

const NO_ORDER: Omit<MovesRequest, 'hello' | 'order'> = {
  settings: null,
  replicationFactor: 0,
  node: '',
  membership: 'NODE_MEMBER',
  partition: 0,
};

/** The connections of contract.ts over gRPC. */
export const grpcConnector: Connector = {
  openSession,
  watchTopology,
  attachController,
  subscribePeer,
  adminStatus: (address, hello, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.status, { hello }, timeoutMs)),
  hashPartition: (address, hello, partition, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.hashPartition, { hello, partition }, timeoutMs)),
  setAck: (address, hello, change, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.setAck, { hello, ...change }, timeoutMs)),
  moves: (address, hello, order, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.moves, { ...NO_ORDER, ...order, hello }, timeoutMs)),
  hot: (address, hello, limit, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.hot, { hello, limit }, timeoutMs)),
  scrub: (address, hello, order, timeoutMs) =>
    once(address, (channel) => channel.unary(methods.scrub, { hello, ...order }, timeoutMs)),
};
