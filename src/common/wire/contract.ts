/**
 * What the wire offers to the rest of Ringkeep, without a transport in it: connections that a process opens
 * (`Connector`) and services that it answers (`Services`). Two implementations: gRPC in this folder, and an in-memory
 * twin for tests.
 * INVARIANT: no handler is called from inside a call of yours; every handler call is its own event.
 * INVARIANT: after `onWelcome`/`onSession`/... exactly one `onEnd` follows, whoever ended it, and nothing after it.
 * Array arguments belong to the callee; decoded bytes are views of the received message (copy what is kept).
 */
import type { RingkeepError } from '../errors.ts';
import type { AckDefaults, Topology } from '../topology.ts';
import type {
  HashReply,
  HotReply,
  MovesReply,
  MovesRequest,
  ScrubReply,
  StatusReply,
} from './admin-messages.ts';
import type {
  AckName,
  ControllerMessage,
  Credit,
  Hello,
  NodeMessage,
  PeerMessage,
  Register,
  ReplicaReport,
  Reply,
  Request,
  Welcome,
} from './messages.ts';

// ------------------------------------------------------------ connections that this process opens

/** Ends of every connection that this process opened. */
export interface EndHandler {
  /**
   * The connection is over; called exactly once, also after `close()` (then CLOSED).
   * Outcome `not_applied`: it ended before it was welcomed, so nothing that was sent has left this process.
   * Outcome `unknown`: whatever was sent and not answered may or may not have been received.
   * Codes: UNAVAILABLE, VERSION_MISMATCH, WRONG_CLUSTER, WRONG_NODE, MESSAGE_TOO_LARGE, CLOSED, or as the other side said.
   */
  onEnd(error: RingkeepError): void;
}

export interface OpenOptions {
  /** Time until the other side must have welcomed us; default CONNECT_TIMEOUT_MS. */
  readonly connectTimeoutMs?: number;
  /** Unsent bytes before `send` refuses; default SESSION_SEND_BYTES_MAX. */
  readonly sendBytesMax?: number;
}

export interface SessionHandlers extends EndHandler {
  onWelcome(welcome: Welcome): void;
  /** Replies of one message, in the order sent. */
  onReplies(replies: Reply[]): void;
  /** The other side is about to stop: no new requests please, open ones will be answered. Then `close()`. */
  onGoaway(): void;
}

/** A client's stream of requests. What is sent before the welcome is held, in order, within `sendBytesMax`. */
export interface Session {
  /** Welcomed and not ended. */
  readonly ready: boolean;
  /** Bytes that the transport has not taken yet. */
  readonly bufferedBytes: number;
  /**
   * Queues a request; everything queued in one callback of the event loop leaves as one message.
   * @returns false when the bound is reached or the session has ended: the request was not sent
   * @throws RingkeepError MESSAGE_TOO_LARGE
   */
  send(request: Request): boolean;
  /** Tells that no reply to this request is wanted any more. The end mark still comes. */
  cancel(id: number): void;
  /** Allows that many more replies of a request with many. */
  credit(id: number, replies: number): void;
  /** Ends it at once; unsent requests are dropped. Idempotent. */
  close(): void;
}

export interface WatchHandlers extends EndHandler {
  /** The full topology first (`full`), then the records that changed. */
  onTopology(topology: Topology): void;
}

export interface AttachHandlers extends EndHandler {
  onWelcome(welcome: Welcome): void;
  /** Everything but `welcome` and `failure`, which are handled here. */
  onMessage(message: ControllerMessage): void;
}

/** What a node says first to a controller: all of its replicas. */
export interface Opening {
  readonly register: Register;
  readonly reports: ReplicaReport[];
  /** The last topology the node was pushed, or null. */
  readonly topology: Topology | null;
}

/** Parts of a NodeMessage or ControllerMessage; what is left out is empty. */
export type NodePart = Partial<Pick<NodeMessage, 'heartbeat' | 'sealReplies' | 'reports'>>;
export type ControllerPart = Partial<
  Pick<ControllerMessage, 'topology' | 'seals' | 'prepares' | 'addressCheck'>
>;

export interface Attachment {
  readonly ready: boolean;
  readonly bufferedBytes: number;
  /** Queues one message. @returns false when the bound is reached or the stream has ended */
  send(part: NodePart): boolean;
  close(): void;
}

export interface SubscribeHandlers extends EndHandler {
  onWelcome(welcome: Welcome): void;
  onMessages(messages: PeerMessage[]): void;
}

/** A connection that only receives. */
export interface Subscription {
  readonly ready: boolean;
  close(): void;
}

/** Opens connections. Each is one channel of its own; reconnecting is the caller's (see reconnecting.ts). */
export interface Connector {
  /** Opens KeyValue.Session on a node or router. Never throws for network reasons: `onEnd` tells. */
  openSession(address: string, hello: Hello, handlers: SessionHandlers, options?: OpenOptions): Session;
  /** Opens TopologyService.Watch on a node or router. */
  watchTopology(address: string, hello: Hello, handlers: WatchHandlers, options?: OpenOptions): Subscription;
  /** Opens Control.Attach on a router, from a node. */
  attachController(
    address: string,
    hello: Hello,
    opening: Opening,
    handlers: AttachHandlers,
    options?: OpenOptions,
  ): Attachment;
  /** Opens Replication.Subscribe on a node, from another node, which then pushes what it has for the caller. */
  subscribePeer(
    address: string,
    hello: Hello,
    handlers: SubscribeHandlers,
    options?: OpenOptions,
  ): Subscription;
  /** Asks a node or router for its status. Rejects with RingkeepError. */
  adminStatus(address: string, hello: Hello, timeoutMs: number): Promise<StatusReply>;
  /** Asks a node for the hash of a partition's rows. Rejects with RingkeepError. */
  hashPartition(address: string, hello: Hello, partition: number, timeoutMs: number): Promise<HashReply>;
  /** Sets a default acknowledgement level on a router; see `AdminHandler.setAck`. Rejects with RingkeepError. */
  setAck(address: string, hello: Hello, change: AckChange, timeoutMs: number): Promise<AckDefaults>;
  /** Asks a router for something of moves; see `AdminHandler.moves`. Rejects with RingkeepError. */
  moves(address: string, hello: Hello, order: MovesCall, timeoutMs: number): Promise<MovesReply>;
  /** Asks a node or a router what is asked for most; see `AdminHandler.hot`. Rejects with RingkeepError. */
  hot(address: string, hello: Hello, limit: number, timeoutMs: number): Promise<HotReply>;
  /** Begins a scrub, or asks how one stands; see `AdminHandler.scrub`. Rejects with RingkeepError. */
  scrub(address: string, hello: Hello, order: ScrubOrder, timeoutMs: number): Promise<ScrubReply>;
}

// ------------------------------------------------------------ services that this process answers

/** Who this process is, asked anew for every handshake. `clusterId` is empty until it is known. */
export interface ServerIdentity {
  readonly clusterId: string;
  readonly role: 'router' | 'node';
  readonly nodeId: string;
  readonly boot: number;
  readonly partitions: number;
  readonly keyBytesMax: number;
  readonly valueBytesMax: number;
  /** Of a router's topology store. */
  readonly storeId?: string;
  /** The highest protocol version that it speaks; default: PROTOCOL_MAX. */
  readonly protocolMax?: number;
}

/** The caller of a stream or call, its hello already checked. */
export interface Peer {
  readonly hello: Hello;
  /** The version that both sides speak. */
  readonly protocol: number;
  /** Network address, for logs. */
  readonly remote: string;
}

/** The server's end of any stream. */
export interface StreamEnd {
  /** Bytes that the transport has not taken yet. */
  readonly bufferedBytes: number;
  /** Sends what is queued, then the error, and ends the stream. */
  fail(error: RingkeepError): void;
  /** Sends what is queued and ends the stream. */
  close(): void;
}

export interface SessionConnection extends StreamEnd {
  /**
   * Queues replies. Every request must get one with `end`, cancelled ones too. Replies after the end of the stream,
   * or to ids that are not open, are dropped. When the client does not read, values and rows are replaced by
   * OVERLOADED beyond a bound.
   */
  reply(replies: Reply[]): void;
  /** Asks the client to send no new requests. */
  goaway(): void;
}

export interface SessionSink {
  /** New requests with ids that are not open. Fields are decoded, not validated: `operation` may be absent. */
  onRequests(requests: Request[]): void;
  onCancels(ids: number[]): void;
  onCredits(credits: Credit[]): void;
  onEnd(): void;
}

export interface KeyValueHandler {
  /** @throws RingkeepError to refuse the session */
  onSession(peer: Peer, connection: SessionConnection): SessionSink;
}

export interface TopologyPush extends StreamEnd {
  /** Queues a topology. A watcher that does not read is ended with OVERLOADED; it comes back for the full one. */
  send(topology: Topology): void;
}
export interface EndSink {
  onEnd(): void;
}
export interface TopologyHandler {
  /** @throws RingkeepError to refuse the watcher */
  onWatch(peer: Peer, push: TopologyPush): EndSink;
}

export interface ControlPush extends StreamEnd {
  /** Queues one message. @returns false when the bound is reached or the stream has ended */
  send(part: ControllerPart): boolean;
}
export interface AttachSink {
  onMessage(message: NodeMessage): void;
  onEnd(): void;
}
export interface ControlHandler {
  /** @throws RingkeepError to refuse the node */
  onAttach(peer: Peer, opening: Opening, push: ControlPush): AttachSink;
}

export interface PeerPush extends StreamEnd {
  /** Queues messages, all or none. @returns false when the bound is reached or the stream has ended */
  push(messages: PeerMessage[]): boolean;
}
export interface ReplicationHandler {
  /** @throws RingkeepError to refuse the subscriber */
  onSubscribe(peer: Peer, push: PeerPush): EndSink;
}

/** A default acknowledgement level of a keyspace, or with the empty name of the cluster. ACK_DEFAULT: none is set. */
export interface AckChange {
  readonly keyspace: string;
  readonly ack: AckName;
}

/** What is asked for of moves; what an order does not need is left out. */
export type MovesCall = Pick<MovesRequest, 'order'> & Partial<Omit<MovesRequest, 'hello' | 'order'>>;

/** `run` 0 begins one of these partitions, or of all; another tells how that one stands. */
export interface ScrubOrder {
  readonly run: number;
  readonly partitions: readonly number[];
}

export interface AdminHandler {
  /** Rejects with RingkeepError. */
  status(peer: Peer): Promise<StatusReply>;
  /** Rejects with RingkeepError. */
  hashPartition(peer: Peer, partition: number): Promise<HashReply>;
  /** Resolves with all defaults once the change is durable. The change is decoded, not validated. Rejects with RingkeepError. */
  setAck(peer: Peer, change: AckChange): Promise<AckDefaults>;
  /** Resolves with how moves stand, once a change is durable. The request is decoded, not validated. Rejects with RingkeepError. */
  moves(peer: Peer, request: MovesRequest): Promise<MovesReply>;
  /** Resolves with what is asked for most: at most `limit` keys and partitions, 0: 10. Rejects with RingkeepError. */
  hot(peer: Peer, limit: number): Promise<HotReply>;
  /**
   * Resolves at once with what is known so far. Rejects with RingkeepError, INVALID_ARGUMENT for a run that is not known. Callers that
   * speak an earlier version than SCRUB_PROTOCOL are refused with VERSION_MISMATCH before.
   */
  scrub(peer: Peer, order: ScrubOrder): Promise<ScrubReply>;
}

/** What a server answers; what is left out is answered as unimplemented. */
export interface Services {
  readonly keyValue?: KeyValueHandler;
  readonly topology?: TopologyHandler;
  readonly control?: ControlHandler;
  readonly replication?: ReplicationHandler;
  readonly admin?: AdminHandler;
}
