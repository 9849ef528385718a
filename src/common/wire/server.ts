/**
 * A listening gRPC server: binds one address, answers the services it is given with event-style handlers, health and
 * reflection, and stops in good order. Nothing of gRPC is in its interface.
 * INVARIANT: whatever bytes arrive, at worst their call ends with an error status; the process lives on.
 * INVARIANT: `stop` ends within its grace and a little, whatever clients do.
 */
import { createServer as createProbe } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type ChannelOptions,
  logVerbosity,
  Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  setLogVerbosity,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { assert, RingkeepError } from '../errors.ts';
import { toFailure } from '../failure.ts';
import * as limits from '../limits.ts';
import type { AckDefaults } from '../topology.ts';
import { type Address, formatAddress, parseAddress } from './address.ts';
import type {
  HashReply,
  HashRequest,
  HotReply,
  HotRequest,
  MovesReply,
  MovesRequest,
  ScrubReply,
  ScrubRequest,
  SetAckRequest,
  StatusReply,
} from './admin-messages.ts';
import type { AdminHandler, KeyValueHandler, ServerIdentity, Services, StreamEnd } from './contract.ts';
import { assertListenAllowed, serverCredentials } from './credentials.ts';
import { FairShares } from './fair-share.ts';
import type {
  ClientMessage,
  ControllerMessage,
  Hello,
  NodeMessage,
  PeerBatch,
  Receipt,
  Reply,
  ServerMessage,
  TopologyMessage,
  UnaryRequest,
  Value,
} from './messages.ts';
import { readGates } from './read-gate.ts';
import { packageDefinition, services as schema } from './schema.ts';
import { serveAttach, serveSubscribe, serveWatch } from './server-pushes.ts';
import { SessionCall } from './server-session.ts';
import { overloaded, type StreamHost, type StreamLimits } from './server-stream.ts';
import { ClientIdPool, serveAdmin, serveUnary, toStatus, type UnaryKind } from './server-unary.ts';

export type { StreamLimits } from './server-stream.ts';

export interface ServerOptions {
  /** HOST:PORT; port 0 takes a free one. */
  readonly listen: string;
  /** Allows addresses that other machines can reach. */
  readonly insecure: boolean;
  readonly identity: () => ServerIdentity;
  readonly services: Services;
  readonly limits?: Partial<StreamLimits>;
}

/** Figures for metrics. */
export interface ServerStats {
  /** Long-lived streams that hold a slot. */
  readonly streams: number;
  readonly sessions: number;
  readonly unary: number;
  /** Unsent reply bytes of all sessions. */
  readonly replyBytes: number;
}

export interface WireServer {
  /** HOST:PORT as bound. */
  readonly address: string;
  /** What the health service answers; not serving at first. */
  setServing(serving: boolean): void;
  stats(): ServerStats;
  /**
   * Refuses new streams, asks clients to go, waits until their requests are answered or `graceMs` is over, ends every
   * stream and closes the port. Resolves when all is closed. Idempotent.
   */
  stop(graceMs: number): Promise<void>;
}

const SERVER_OPTIONS: ChannelOptions = {
  'grpc.max_send_message_length': limits.MESSAGE_BYTES_MAX,
  'grpc.max_receive_message_length': limits.MESSAGE_BYTES_MAX,
  'grpc.max_concurrent_streams': limits.CONNECTION_STREAMS_MAX,
  'grpc-node.max_session_memory': limits.SERVER_SESSION_MEMORY_MB,
  'grpc.keepalive_time_ms': limits.SERVER_KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': limits.SERVER_KEEPALIVE_MS,
  'grpc.default_compression_algorithm': 0,
};

const DEFAULT_LIMITS: StreamLimits = {
  inFlightMax: limits.STREAM_IN_FLIGHT_MAX,
  replyBytesMax: limits.STREAM_REPLY_BYTES_MAX,
  waitingBytesMax: limits.STREAM_WAITING_BYTES_MAX,
  serverWaitingBytesMax: limits.SERVER_WAITING_BYTES_MAX,
  serverReplyBytesMax: limits.SERVER_REPLY_BYTES_MAX,
  peerBytesMax: limits.PEER_SEND_BYTES_MAX,
  pushBytesMax: limits.PUSH_SEND_BYTES_MAX,
  streamsMax: limits.SERVER_STREAMS_MAX,
  unaryMax: limits.UNARY_IN_FLIGHT_MAX,
  helloTimeoutMs: limits.HELLO_TIMEOUT_MS,
};

/** After goaway a session must have been idle this long before it is ended, so that what is on its way arrives. */
const GOAWAY_IDLE_MS = 100;
const STOP_POLL_MS = 10;
/** Time for last words to leave, and then for connections to close. */
const LAST_WORDS_MS = 250;

class GrpcServer implements WireServer, StreamHost {
  readonly limits: StreamLimits;
  readonly identity: () => ServerIdentity;
  readonly #server: Server;
  readonly #health = new HealthImplementation({ '': 'NOT_SERVING' });
  readonly #sessions = new Set<SessionCall>();
  readonly #pushes = new Set<StreamEnd>();
  readonly #pool = new ClientIdPool();
  #streams = 0;
  #unary = 0;
  #replyBytes = 0;
  #waitingBytes = 0;
  readonly shares: FairShares;
  readonly #shareTimer: NodeJS.Timeout;
  #address: Address = { host: '', port: 0 };
  #stopping: Promise<void> | undefined;

  constructor(options: ServerOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.identity = options.identity;
    this.shares = new FairShares();
    this.#shareTimer = setInterval(() => {
      this.shares.tick(performance.now());
      for (const session of this.#sessions) session.resume();
    }, limits.SHARE_PERIOD_MS);
    this.#server = new Server({ ...SERVER_OPTIONS, interceptors: [readGates()] });
    this.#health.addToServer(this.#server);
    new ReflectionService(packageDefinition).addToServer(this.#server);
    this.#addServices(options.services);
  }

  get address(): string {
    return formatAddress(this.#address);
  }

  get replyBytes(): number {
    return this.#replyBytes;
  }

  accountReplies(bytes: number): void {
    this.#replyBytes += bytes;
    assert(this.#replyBytes >= 0, 'more reply bytes were sent than queued');
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  accountWaiting(bytes: number): void {
    this.#waitingBytes += bytes;
    assert(this.#waitingBytes >= 0, 'more requests went on than waited');
  }

  admit(): () => void {
    this.#refuseWhenStopping();
    if (this.#streams >= this.limits.streamsMax)
      throw overloaded('the server has as many streams as it takes');
    this.#streams += 1;
    return () => {
      this.#streams -= 1;
    };
  }

  setServing(serving: boolean): void {
    this.#health.setStatus('', serving && this.#stopping === undefined ? 'SERVING' : 'NOT_SERVING');
  }

  stats(): ServerStats {
    return {
      streams: this.#streams,
      sessions: this.#sessions.size,
      unary: this.#unary,
      replyBytes: this.#replyBytes,
    };
  }

  /** @throws RingkeepError ADDRESS_IN_USE, INVALID_ARGUMENT */
  async bind(listen: Address): Promise<void> {
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(formatAddress(listen), serverCredentials(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    }).catch(async (error: unknown) => {
      clearInterval(this.#shareTimer);
      this.#server.forceShutdown();
      throw await explainBind(listen, error);
    });
    this.#address = { host: listen.host, port };
  }

  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#health.setStatus('', 'NOT_SERVING');
    const deadline = performance.now() + graceMs;
    for (const session of this.#sessions) session.goaway();
    // Clients leave by themselves. Those that stay are ended when nothing of theirs has moved for a moment.
    let idleSince = performance.now();
    while (performance.now() < deadline && this.#sessions.size + this.#unary > 0) {
      const busy = this.#unary > 0 || [...this.#sessions].some((session) => !session.idle);
      if (busy) idleSince = performance.now();
      else if (performance.now() - idleSince >= GOAWAY_IDLE_MS) break;
      await delay(STOP_POLL_MS);
    }
    const last = new RingkeepError('SHUTTING_DOWN', 'the process is stopping', 'unknown');
    for (const stream of [...this.#sessions, ...this.#pushes]) stream.fail(last);
    const lastWords = performance.now() + LAST_WORDS_MS;
    while (performance.now() < lastWords && this.#streams > 0) await delay(STOP_POLL_MS);
    await this.#shutDown();
  }

  async #shutDown(): Promise<void> {
    clearInterval(this.#shareTimer);
    this.#server.drain(this.address, LAST_WORDS_MS);
    const closed = new Promise<void>((resolve) => {
      this.#server.tryShutdown(() => resolve());
    });
    await within(closed, 2 * LAST_WORDS_MS);
    this.#server.forceShutdown();
    await within(closed, LAST_WORDS_MS);
  }

  #refuseWhenStopping(): void {
    if (this.#stopping === undefined) return;
    throw new RingkeepError('SHUTTING_DOWN', 'the process is stopping', 'not_applied', {
      retryAfterMs: limits.OVERLOADED_RETRY_AFTER_MS,
    });
  }

  #addServices(services: Services): void {
    if (services.keyValue !== undefined) this.#addKeyValue(services.keyValue);
    if (services.admin !== undefined) this.#addAdmin(services.admin);
    const { topology, control, replication } = services;
    const keep = (serve: (onEnd: () => void) => StreamEnd): void => {
      const stream: StreamEnd = serve(() => this.#pushes.delete(stream));
      this.#pushes.add(stream);
    };
    if (topology !== undefined) {
      this.#server.addService(schema.topology, {
        Watch: (call: ServerWritableStream<Hello, TopologyMessage>) =>
          keep((onEnd) => serveWatch(call, this, topology, onEnd)),
      });
    }
    if (control !== undefined) {
      this.#server.addService(schema.control, {
        Attach: (call: ServerDuplexStream<NodeMessage, ControllerMessage>) =>
          keep((onEnd) => serveAttach(call, this, control, onEnd)),
      });
    }
    if (replication !== undefined) {
      this.#server.addService(schema.replication, {
        Subscribe: (call: ServerWritableStream<Hello, PeerBatch>) =>
          keep((onEnd) => serveSubscribe(call, this, replication, onEnd)),
      });
    }
  }

  #addKeyValue(handler: KeyValueHandler): void {
    const unary =
      <Response>(kind: UnaryKind, pick: (reply: Reply) => Response | null | undefined) =>
      (call: ServerUnaryCall<UnaryRequest, Response>, callback: sendUnaryData<Response>): void =>
        this.#admitUnary(callback, (done) => serveUnary(call, this, handler, this.#pool, kind, pick, done));
    this.#server.addService(schema.keyValue, {
      Session: (call: ServerDuplexStream<ClientMessage, ServerMessage>) => {
        const session: SessionCall = new SessionCall(call, this, handler, () =>
          this.#sessions.delete(session),
        );
        this.#sessions.add(session);
      },
      Get: unary<Value>('get', (reply) => reply.value),
      Put: unary<Receipt>('put', (reply) => reply.receipt),
      Delete: unary<Receipt>('delete', (reply) => reply.receipt),
      Increment: unary<Receipt>('increment', (reply) => reply.receipt),
      Batch: unary<Receipt>('batch', (reply) => reply.receipt),
    });
  }

  #addAdmin(handler: AdminHandler): void {
    this.#server.addService(schema.admin, {
      Status: (
        call: ServerUnaryCall<{ hello: Hello | null }, StatusReply>,
        callback: sendUnaryData<StatusReply>,
      ) => this.#admitUnary(callback, (done) => serveAdmin(call, this, (peer) => handler.status(peer), done)),
      HashPartition: (call: ServerUnaryCall<HashRequest, HashReply>, callback: sendUnaryData<HashReply>) =>
        this.#admitUnary(callback, (done) =>
          serveAdmin(call, this, (peer) => handler.hashPartition(peer, call.request.partition), done),
        ),
      SetAck: (call: ServerUnaryCall<SetAckRequest, AckDefaults>, callback: sendUnaryData<AckDefaults>) =>
        this.#admitUnary(callback, (done) =>
          serveAdmin(call, this, (peer) => handler.setAck(peer, call.request), done),
        ),
      Moves: (call: ServerUnaryCall<MovesRequest, MovesReply>, callback: sendUnaryData<MovesReply>) =>
        this.#admitUnary(callback, (done) =>
          serveAdmin(call, this, (peer) => handler.moves(peer, call.request), done),
        ),
      Hot: (call: ServerUnaryCall<HotRequest, HotReply>, callback: sendUnaryData<HotReply>) =>
        this.#admitUnary(callback, (done) =>
          serveAdmin(call, this, (peer) => handler.hot(peer, call.request.limit), done),
        ),
      Scrub: (call: ServerUnaryCall<ScrubRequest, ScrubReply>, callback: sendUnaryData<ScrubReply>) =>
        this.#admitUnary(callback, (done) =>
          serveAdmin(call, this, (peer) => handler.scrub(peer, call.request), done, limits.SCRUB_PROTOCOL),
        ),
    });
  }

  #admitUnary<Response>(
    callback: sendUnaryData<Response>,
    serve: (done: sendUnaryData<Response>) => void,
  ): void {
    try {
      this.#refuseWhenStopping();
      if (this.#unary >= this.limits.unaryMax) throw overloaded('the server has as many calls as it takes');
    } catch (error) {
      callback(toStatus(toFailure(error)));
      return;
    }
    this.#unary += 1;
    serve((...args) => {
      this.#unary -= 1;
      callback(...args);
    });
  }
}

/** Waits for `event`, but no longer than `ms`. */
async function within(event: Promise<void>, ms: number): Promise<void> {
  const over = new AbortController();
  const late = delay(ms, undefined, { signal: over.signal }).catch(() => {});
  await Promise.race([event, late]);
  over.abort();
}

/** grpc-js tells a failed bind in words only, so the system is asked again for the reason's code. */
async function explainBind(listen: Address, cause: unknown): Promise<RingkeepError> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = createProbe();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    probe.listen({ host: listen.host, port: listen.port, exclusive: true }, () =>
      probe.close(() => resolve(undefined)),
    );
  });
  const address = formatAddress(listen);
  // Free again by now means that it was taken a moment ago.
  if (code === 'EADDRINUSE' || code === undefined) {
    return new RingkeepError('ADDRESS_IN_USE', `${address} is taken by another process`, 'not_applied', {
      cause,
    });
  }
  return new RingkeepError('INVALID_ARGUMENT', `cannot listen on ${address} (${code})`, 'not_applied', {
    cause,
  });
}

/**
 * Listens and serves until `stop`.
 * @throws RingkeepError INVALID_ARGUMENT, INSECURE_LISTEN, ADDRESS_IN_USE
 */
export async function createServer(options: ServerOptions): Promise<WireServer> {
  const listen = parseAddress(options.listen, { listen: true });
  assertListenAllowed(listen, options.insecure);
  // grpc-js writes to stderr by itself, where each line is one of our log's.
  setLogVerbosity(logVerbosity.NONE);
  const server = new GrpcServer(options);
  await server.bind(listen);
  return server;
}
