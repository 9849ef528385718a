/**
 * KeyValue sessions over the simulated network, from clients to routers and from routers to nodes: dialing, hello and
 * welcome, messages of one turn that leave together, goaway, ends. What a request means is for both ends to know.
 * INVARIANT: what the wire's contract promises its users holds here (src/common/wire/contract.ts): every handler call is an
 * event of its own, `onEnd` is the last one and says `not_applied` only before the welcome.
 * INVARIANT: nothing is told to a process that has ended; the other end of its sessions hears that they broke.
 */
import { NO_BYTES } from '../../src/common/bytes.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { fromFailure, toFailure } from '../../src/common/failure.ts';
import { CONNECT_TIMEOUT_MS, KEY_BYTES_MAX } from '../../src/common/limits.ts';
import type {
  Connector,
  KeyValueHandler,
  OpenOptions,
  ServerIdentity,
  Session,
  SessionConnection,
  SessionHandlers,
  SessionSink,
} from '../../src/common/wire/contract.ts';
import { answerHello, refuseWelcome } from '../../src/common/wire/handshake.ts';
import type { Failure, Hello, Reply, Request, Welcome } from '../../src/common/wire/messages.ts';
import type { Connection, Network } from './network.ts';
import { guarded } from './sim-clock.ts';
import type { SimNode } from './sim-node.ts';
import type { World } from './world.ts';

/** A place that takes sessions. */
export interface SessionServer {
  readonly id: string;
  /** The process is there; else a connection is refused. */
  readonly running: boolean;
  /** It is there and takes nothing at present: a handshake gets no answer. */
  readonly paused: boolean;
  /** Requests without an end mark that a session may have. */
  readonly inFlightMax: number;
  readonly handler: KeyValueHandler;
  identity(): ServerIdentity;
}

/** What opens sessions from one place. */
export type SessionConnector = Pick<Connector, 'openSession' | 'watchTopology'>;

interface ToServer {
  hello: Hello | null;
  requests: Request[];
  cancels: number[];
}

interface ToCaller {
  welcome: Welcome | null;
  replies: Reply[];
  goaway: boolean;
  failure: Failure | null;
}

type SessionPipe = Connection<ToServer, ToCaller>;

/** All sessions of a simulated cluster. An address is the id of a place. */
export class SimSessions {
  readonly network: Network;
  readonly open = new Set<CallerEnd>();
  private readonly servers = new Map<string, SessionServer>();

  constructor(network: Network) {
    this.network = network;
  }

  /** Adds a place that takes sessions. */
  add(server: SessionServer): void {
    this.servers.set(server.id, server);
  }

  server(id: string): SessionServer {
    return this.servers.get(id)!;
  }

  /** Returns what a place opens its sessions with. */
  connector(place: string): SessionConnector {
    return {
      openSession: (address, hello, handlers, options) =>
        new CallerEnd(this, place, address, hello, handlers, options),
      watchTopology: () => {
        throw new Error('no topology is watched here');
      },
    };
  }

  /** A process has crashed: the sessions that it opened and those that it served break. */
  stopped(place: string): void {
    for (const session of [...this.open]) session.processEnded(place);
  }

  /** A server is about to stop: it asks for no new requests. */
  goaway(place: string): void {
    for (const session of this.open) if (session.address === place) session.served?.goaway();
  }
}

/** The end that has opened the session. */
class CallerEnd implements Session {
  readonly address: string;
  readonly bufferedBytes = 0;
  ready = false;
  /** The other end, once it has been reached. */
  served: ServerEnd | null = null;
  private readonly sessions: SimSessions;
  private readonly world: World;
  private readonly place: string;
  private readonly hello: Hello;
  private readonly handlers: SessionHandlers;
  private pipe: SessionPipe | null = null;
  private unsent: ToServer | null = null;
  private closing = false;
  private ended = false;

  constructor(
    sessions: SimSessions,
    place: string,
    address: string,
    hello: Hello,
    handlers: SessionHandlers,
    options: OpenOptions = {},
  ) {
    this.sessions = sessions;
    this.world = sessions.network.world;
    this.place = place;
    this.address = address;
    this.hello = hello;
    this.handlers = handlers;
    sessions.open.add(this);
    const { world } = this;
    world.schedule(world.between(1, 10), () => this.dial());
    world.schedule(options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS, () => {
      if (!this.ready) this.end(new RingkeepError('UNAVAILABLE', 'no welcome in time'));
    });
  }

  send(request: Request): boolean {
    if (!this.ready || this.closing) return false;
    // The envelope is the caller's: it may send the same one elsewhere later.
    this.queue().requests.push({ ...request });
    return true;
  }

  cancel(id: number): void {
    if (this.ready && !this.closing) this.queue().cancels.push(id);
  }

  /** Only scans have more than one reply, and nobody scans here. */
  credit(): void {}

  close(): void {
    if (this.closing || this.ended) return;
    this.closing = true;
    this.pipe?.break();
    this.world.schedule(0, () => this.end(new RingkeepError('CLOSED', 'closed by this side', this.lost())));
  }

  /** Breaks the session if the process of either end was this one. */
  processEnded(place: string): void {
    if (place === this.place) {
      this.ended = true;
      this.ready = false;
      this.sessions.open.delete(this);
    } else if (place === this.address) this.served?.processEnded();
    else return;
    this.pipe?.break();
  }

  private lost(): 'unknown' | 'not_applied' {
    return this.ready ? 'unknown' : 'not_applied';
  }

  private queue(): ToServer {
    if (this.unsent !== null) return this.unsent;
    const unsent: ToServer = { hello: null, requests: [], cancels: [] };
    this.unsent = unsent;
    this.world.schedule(0, () => {
      this.unsent = null;
      if (!this.ended) this.pipe?.sendRight(unsent);
    });
    return unsent;
  }

  private dial(): void {
    if (this.ended || this.closing) return;
    const { world, sessions, address, place } = this;
    const server = sessions.server(address);
    if (!server.running) {
      this.end(new RingkeepError('UNAVAILABLE', 'connection refused'));
      return;
    }
    if (server.paused || !sessions.network.reachable(place, address)) {
      world.schedule(world.between(50, 200), () => this.dial());
      return;
    }
    const served = new ServerEnd(world, server, place);
    const pipe: SessionPipe = sessions.network.connect(
      place,
      address,
      { message: (message) => this.told(message), closed: () => this.broken() },
      { message: (message) => served.told(message), closed: () => served.broken() },
    );
    served.pipe = pipe;
    this.served = served;
    this.pipe = pipe;
    pipe.sendRight({ hello: this.hello, requests: [], cancels: [] });
  }

  private told({ welcome, replies, goaway, failure }: ToCaller): void {
    if (this.ended || this.closing) return;
    guarded(this.world, this.place, () => {
      if (welcome !== null) this.welcomed(welcome);
      if (replies.length > 0) this.handlers.onReplies(replies);
      if (goaway) this.handlers.onGoaway();
    });
    if (failure !== null) this.end(fromFailure(failure));
  }

  private welcomed(welcome: Welcome): void {
    const refusal = refuseWelcome(welcome, this.hello);
    if (refusal !== undefined) return this.end(refusal);
    this.ready = true;
    this.handlers.onWelcome(welcome);
  }

  private broken(): void {
    this.end(new RingkeepError('UNAVAILABLE', 'the connection broke', this.lost()));
  }

  private end(error: RingkeepError): void {
    if (this.ended) return;
    this.ended = true;
    this.ready = false;
    this.sessions.open.delete(this);
    this.pipe?.break();
    guarded(this.world, this.place, () => this.handlers.onEnd(error));
  }
}

/** The end that serves the session. */
class ServerEnd implements SessionConnection {
  readonly bufferedBytes = 0;
  pipe!: SessionPipe;
  private readonly world: World;
  private readonly server: SessionServer;
  private readonly remote: string;
  private sink: SessionSink | null = null;
  private unsent: ToCaller | null = null;
  private over = false;
  /** Requests without an end mark. */
  private readonly requests = new Set<number>();

  constructor(world: World, server: SessionServer, remote: string) {
    this.world = world;
    this.server = server;
    this.remote = remote;
  }

  reply(replies: Reply[]): void {
    for (const reply of replies) {
      if (!this.requests.has(reply.id)) continue;
      if (reply.end) this.requests.delete(reply.id);
      this.queue().replies.push({ ...reply });
    }
  }

  goaway(): void {
    if (this.sink !== null) this.queue().goaway = true;
  }

  fail(error: RingkeepError): void {
    this.queue().failure = toFailure(error);
  }

  close(): void {
    this.pipe.break();
  }

  /** Nobody is there to be told anything any more. */
  processEnded(): void {
    this.over = true;
  }

  told({ hello, requests, cancels }: ToServer): void {
    if (this.over) return;
    guarded(this.world, this.server.id, () => {
      if (hello !== null) this.greet(hello);
      const { sink } = this;
      if (sink === null) return;
      if (requests.length > 0) {
        for (const { id } of requests) this.begin(id);
        sink.onRequests(requests);
      }
      const open = cancels.filter((id) => this.requests.has(id));
      if (open.length > 0) sink.onCancels(open);
    });
  }

  broken(): void {
    if (this.over) return;
    this.over = true;
    guarded(this.world, this.server.id, () => this.sink?.onEnd());
  }

  private greet(hello: Hello): void {
    const { server } = this;
    // Of a process that does not run, nobody hears anything.
    if (server.paused) return;
    try {
      const welcome = answerHello(hello, server.identity(), server.inFlightMax);
      this.queue().welcome = welcome;
      const { protocol } = welcome;
      this.sink = server.handler.onSession({ hello, protocol, remote: this.remote }, this);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      this.fail(error);
    }
  }

  private begin(id: number): void {
    const { server, remote, requests } = this;
    const world: World = this.world;
    world.check(!requests.has(id), () => `${remote} sends ${server.id} request ${id} while it is open`);
    requests.add(id);
    world.check(
      requests.size <= server.inFlightMax,
      () => `${remote} has more than ${server.inFlightMax} requests open at ${server.id}`,
    );
  }

  private queue(): ToCaller {
    if (this.unsent !== null) return this.unsent;
    const unsent: ToCaller = { welcome: null, replies: [], goaway: false, failure: null };
    this.unsent = unsent;
    this.world.schedule(0, () => {
      this.unsent = null;
      if (!this.over) this.pipe.sendLeft(unsent);
    });
    return unsent;
  }
}

/** A node as routers reach it. */
export function nodeServer(node: SimNode, inFlightMax: number, partitions: number): SessionServer {
  return {
    id: node.id,
    get running() {
      return node.running;
    },
    get paused() {
      return node.paused;
    },
    inFlightMax,
    identity: () => ({
      clusterId: node.knownTopology()?.clusterId ?? '',
      role: 'node',
      nodeId: node.id,
      boot: node.boot,
      partitions,
      keyBytesMax: KEY_BYTES_MAX,
      valueBytesMax: 0,
    }),
    handler: {
      onSession: (_peer, connection) => {
        const number = node.accept(NO_BYTES, (reply) => connection.reply([reply]))!;
        return {
          onRequests: (requests) => {
            for (const request of requests) node.request(number, request);
          },
          onCancels: (ids) => {
            for (const id of ids) node.cancel(number, id);
          },
          onCredits: () => {},
          onEnd: () => node.closed(number),
        };
      },
    },
  };
}
