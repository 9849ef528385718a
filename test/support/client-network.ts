/**
 * An in-memory twin of the wire for client tests: servers by address that answer as a test scripts them, and
 * a small model of one partitioned store with deduplication that they can share. Keeps the wire's contract:
 * no handler is called from inside a call, exactly one end, credit is checked. It measures nothing and is no
 * cluster.
 */

import { assert, RingkeepError } from '../../src/common/errors.ts';
import { NO_DETAILS } from '../../src/common/failure.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { PROTOCOL_MAX } from '../../src/common/limits.ts';
import type { AckLevel, NodeRecord, PartitionRecord, Topology } from '../../src/common/topology.ts';
import type { Connector, SessionHandlers, WatchHandlers } from '../../src/common/wire/contract.ts';
import { answerHello } from '../../src/common/wire/handshake.ts';
import type { Failure, Hello, Receipt, Reply, Request } from '../../src/common/wire/messages.ts';

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** A failure message; what is left out is empty. */
export function failure(code: string, fields: Partial<Failure> = {}): Failure {
  return { ...NO_DETAILS, code, outcome: 'not_applied', message: 'scripted', ...fields };
}

/** A last reply that is a failure. */
export function refusal(request: Request, code: string, fields: Partial<Failure> = {}): Reply {
  return { id: request.id, end: true, result: 'failure', failure: failure(code, fields) };
}

/** The server's end of one session. */
export interface ScriptedSession {
  readonly hello: Hello;
  readonly clientId: string;
  reply(...replies: Reply[]): void;
  goaway(): void;
  /** Breaks the connection. */
  cut(): void;
}

/** What a server does with a request. */
export type Script = (request: Request, session: ScriptedSession) => void;

/** One address. */
export class ScriptedServer {
  readonly address: string;
  readonly role: 'router' | 'node';
  readonly nodeId: string;
  clusterId = 'cluster-1';
  /** What new sessions speak at most. */
  protocolMax = PROTOCOL_MAX;
  partitions = 8;
  maxInFlight = 64;
  valueBytesMax = 1024 * 1024;
  /** Down: connections fail at once. Silent: they never get a welcome. */
  state: 'up' | 'down' | 'silent' = 'up';
  refuse: RingkeepError | null = null;
  script: Script = () => {};
  topology: Topology | null = null;
  readonly requests: Request[] = [];
  readonly cancels: number[] = [];
  readonly sessions = new Set<ScriptedSession>();
  readonly watchers = new Set<{ push(topology: Topology): void; cut(): void }>();

  constructor(address: string, role: 'router' | 'node' = 'router', nodeId = '') {
    this.address = address;
    this.role = role;
    this.nodeId = nodeId;
  }

  /** Breaks all connections and refuses new ones. */
  stop(): void {
    this.state = 'down';
    for (const session of [...this.sessions]) session.cut();
    for (const watcher of [...this.watchers]) watcher.cut();
  }

  /** Pushes a topology to all watchers, present and future. */
  push(topology: Topology): void {
    this.topology = topology;
    for (const watcher of this.watchers) watcher.push(topology);
  }
}

/** Servers by address, and the client's way to them. */
export class ScriptedNetwork {
  readonly #servers = new Map<string, ScriptedServer>();

  add(...servers: ScriptedServer[]): this {
    for (const server of servers) this.#servers.set(server.address, server);
    return this;
  }

  readonly transport: Pick<Connector, 'openSession' | 'watchTopology'> = {
    openSession: (address, hello, handlers) => openSession(this.#servers.get(address), hello, handlers),
    watchTopology: (address, hello, handlers) => watch(this.#servers.get(address), hello, handlers),
  };
}

/** Runs every event in a turn of its own, in order, and none after the end. */
class Line {
  #ended = false;
  readonly #onEnd: (error: RingkeepError) => void;
  welcomed = false;

  constructor(onEnd: (error: RingkeepError) => void) {
    this.#onEnd = onEnd;
  }

  get ended(): boolean {
    return this.#ended;
  }

  later(event: () => void): void {
    setImmediate(() => {
      if (!this.#ended) event();
    });
  }

  end(code: 'UNAVAILABLE' | 'CLOSED' | RingkeepError): void {
    if (this.#ended) return;
    this.#ended = true;
    const outcome = this.welcomed ? 'unknown' : 'not_applied';
    const error = code instanceof RingkeepError ? code : new RingkeepError(code, 'scripted end', outcome);
    setImmediate(() => this.#onEnd(error));
  }
}

function openSession(server: ScriptedServer | undefined, hello: Hello, handlers: SessionHandlers) {
  const line = new Line((error) => handlers.onEnd(error));
  const open = new Set<number>();
  const session: ScriptedSession = {
    hello,
    clientId: toHex(hello.clientId),
    reply: (...replies) => {
      line.later(() => {
        for (const reply of replies) if (reply.end) open.delete(reply.id);
        handlers.onReplies(replies);
      });
    },
    goaway: () => line.later(() => handlers.onGoaway()),
    cut: () => {
      server?.sessions.delete(session);
      line.end('UNAVAILABLE');
    },
  };
  line.later(() => welcome(server, hello, handlers, session, line));
  return {
    get ready() {
      return line.welcomed && !line.ended;
    },
    bufferedBytes: 0,
    send: (request: Request) => {
      if (line.ended || server === undefined) return false;
      assert(line.welcomed, 'the client waits for its welcome');
      assert(!open.has(request.id), 'request ids are fresh');
      open.add(request.id);
      assert(open.size <= server.maxInFlight, 'the client keeps to its credit');
      line.later(() => {
        server.requests.push(request);
        server.script(request, session);
      });
      return true;
    },
    cancel: (id: number) => line.later(() => server?.cancels.push(id)),
    credit: () => {},
    close: () => {
      server?.sessions.delete(session);
      line.end('CLOSED');
    },
  };
}

function welcome(
  server: ScriptedServer | undefined,
  hello: Hello,
  handlers: SessionHandlers,
  session: ScriptedSession,
  line: Line,
): void {
  if (server === undefined || server.state === 'down') return line.end('UNAVAILABLE');
  if (server.state === 'silent') return;
  try {
    if (server.refuse !== null) throw server.refuse;
    const answer = answerHello(hello, { ...identity(server) }, server.maxInFlight);
    line.welcomed = true;
    server.sessions.add(session);
    handlers.onWelcome(answer);
  } catch (error) {
    assert(error instanceof RingkeepError, `a handshake threw ${String(error)}`);
    line.end(error);
  }
}

function identity(server: ScriptedServer) {
  const { clusterId, role, nodeId, partitions, valueBytesMax, protocolMax } = server;
  return { clusterId, role, nodeId, boot: 1, partitions, keyBytesMax: 4096, valueBytesMax, protocolMax };
}

function watch(server: ScriptedServer | undefined, hello: Hello, handlers: WatchHandlers) {
  const line = new Line((error) => handlers.onEnd(error));
  const watcher = {
    push: (topology: Topology) => line.later(() => handlers.onTopology(topology)),
    cut: () => {
      server?.watchers.delete(watcher);
      line.end('UNAVAILABLE');
    },
  };
  line.later(() => {
    if (server === undefined || server.state === 'down') return line.end('UNAVAILABLE');
    if (server.state === 'silent') return;
    try {
      if (server.refuse !== null) throw server.refuse;
      answerHello(hello, identity(server));
    } catch (error) {
      assert(error instanceof RingkeepError, `a handshake threw ${String(error)}`);
      return line.end(error);
    }
    line.welcomed = true;
    server.watchers.add(watcher);
    if (server.topology !== null) handlers.onTopology(server.topology);
  });
  return {
    get ready() {
      return line.welcomed && !line.ended;
    },
    close: () => {
      server?.watchers.delete(watcher);
      line.end('CLOSED');
    },
  };
}

// ------------------------------------------------------------ a model of the store

interface ModelValue {
  value: Uint8Array;
  codec: number;
  version: number;
}

interface ModelSession {
  readonly seen: Map<number, Reply>;
  lowWater: number;
  lastUse: number;
}

/** One store behind all servers of a test: values, deduplication sessions, log time. */
export class StoreModel {
  readonly values = new Map<string, ModelValue>();
  readonly counters = new Map<string, number>();
  readonly #sessions = new Map<string, ModelSession>();
  /** Log time of all partitions, in ms. */
  logTime = 1_000_000;
  windowMs = 600_000;
  epoch = 1;
  /** What writes at ACK_DEFAULT are acknowledged at. */
  defaultAck: AckLevel = 'ACK_QUORUM';
  /** Writes that took effect. */
  applied = 0;
  #version = 0;
  readonly partitions: number;

  constructor(partitions = 8) {
    this.partitions = partitions;
  }

  /** Executes a request as an established leader would. */
  execute(request: Request, clientId: string): Reply {
    switch (request.operation) {
      case 'get':
        return this.#get(request);
      case 'scan':
        throw new Error('the model has no pages');
      default:
        return this.#write(request, request.clientId.length > 0 ? toHex(request.clientId) : clientId);
    }
  }

  #partition(request: Request): number {
    return partitionOf(request.key, this.partitions);
  }

  #name(request: Request): string {
    return JSON.stringify([request.keyspace, Buffer.from(request.key).toString('hex')]);
  }

  #get(request: Request): Reply {
    const known = this.values.get(this.#name(request));
    const { epoch } = this;
    const where = { epoch, partition: this.#partition(request), expiresAt: 0, seenIndex: 0, stalenessMs: 0 };
    const value =
      known === undefined
        ? { found: false, value: new Uint8Array(0), codec: 0, version: 0, ...where }
        : { found: true, ...known, ...where };
    return { id: request.id, end: true, result: 'value', value };
  }

  #write(request: Request, clientId: string): Reply {
    assert(request.sequence > 0, 'a write has a sequence');
    assert(request.lowWater >= 1 && request.lowWater <= request.sequence, 'its low water is not above it');
    const name = `${clientId}/${this.#partition(request)}`;
    let session = this.#sessions.get(name);
    if (session !== undefined && this.logTime - session.lastUse > this.windowMs) {
      this.#sessions.delete(name);
      session = undefined;
    }
    if (session === undefined) {
      if (request.sessionTime === 0) return refusal(request, 'SESSION_TIME', { logTime: this.logTime });
      if (this.logTime - request.sessionTime > this.windowMs) return refusal(request, 'SESSION_EXPIRED');
      session = { seen: new Map(), lowWater: 1, lastUse: this.logTime };
      this.#sessions.set(name, session);
    }
    const seen = session.seen.get(request.sequence);
    if (seen !== undefined) {
      return { ...seen, id: request.id, receipt: { ...seen.receipt!, duplicate: true } };
    }
    if (request.sequence < session.lowWater)
      return refusal(request, 'SESSION_EXPIRED', { outcome: 'unknown' });
    const reply = this.#apply(request);
    session.lastUse = this.logTime;
    session.lowWater = Math.max(session.lowWater, request.lowWater);
    session.seen.set(request.sequence, reply);
    for (const sequence of session.seen.keys())
      if (sequence < session.lowWater) session.seen.delete(sequence);
    assert(session.seen.size <= 4_096, 'the window of sequences is bounded');
    return reply;
  }

  #apply(request: Request): Reply {
    const name = this.#name(request);
    const current = this.values.get(name)?.version ?? 0;
    const conditionFailed = !holds(request, current) || (request.operation === 'touch' && current === 0);
    this.logTime += 1;
    this.#version += 1;
    let counter = 0;
    if (conditionFailed) return this.#receipt(request, current, counter, true);
    this.applied += 1;
    if (request.put) {
      const { value, codec } = request.put;
      this.values.set(name, { value, codec, version: this.#version });
    } else if (request.touch) {
      const known = this.values.get(name);
      if (known !== undefined) this.values.set(name, { ...known, version: this.#version });
    } else if (request.increment) {
      counter = (this.counters.get(name) ?? 0) + Number(request.increment.delta);
      this.counters.set(name, counter);
    } else {
      this.values.delete(name);
    }
    return this.#receipt(request, this.#version, counter, false);
  }

  #receipt(request: Request, version: number, counter: number, conditionFailed: boolean): Reply {
    const ack = request.ack === 'ACK_DEFAULT' ? this.defaultAck : request.ack;
    const durability = ack === 'ACK_ALL' ? 'all' : ack === 'ACK_LEADER' ? 'leader' : 'quorum';
    const { epoch, logTime } = this;
    const partition = this.#partition(request);
    const receipt: Receipt = {
      partition,
      epoch,
      version,
      durability,
      logTime,
      duplicate: false,
      counter,
      conditionFailed,
      index: conditionFailed ? 0 : version,
      items: [],
      repeated: false,
    };
    return { id: request.id, end: true, result: 'receipt', receipt };
  }
}

function holds({ condition }: Request, current: number): boolean {
  switch (condition?.kind) {
    case 'CONDITION_ABSENT':
      return current === 0;
    case 'CONDITION_EXISTS':
      return current > 0;
    case 'CONDITION_VERSION':
      return current === condition.version;
    default:
      return true;
  }
}

// ------------------------------------------------------------ topologies

/** A node that is alive; its client address is `ID.test:1`. */
export function nodeRecord(id: string): NodeRecord {
  return {
    id,
    incarnation: `i-${id}`,
    boot: 1,
    address: `${id}.test:2`,
    clientAddress: `${id}.test:1`,
    zone: '',
    alive: true,
    reason: '',
    pid: 1,
    run: `r-${id}`,
    formerRuns: [],
  };
}

/** A partition led by `leader`, or by nobody. */
export function partitionRecord(
  partition: number,
  epoch: number,
  leader: string | null,
  revision = epoch,
): PartitionRecord {
  return {
    partition,
    revision,
    epoch,
    reservationId: `r${epoch}`,
    configuration: 1,
    voters: [],
    previousVoters: [],
    led: leader !== null,
    learners: [],
    leader: leader === null ? null : { replica: `${leader}.${partition}`, node: leader, boot: 1 },
    established: leader !== null,
  };
}

let topologyRevision = 0;

/** A topology of a cluster with 8 partitions. */
export function topologyOf(
  nodes: readonly NodeRecord[],
  records: readonly PartitionRecord[],
  full = true,
): Topology {
  topologyRevision += 1;
  return {
    clusterId: 'cluster-1',
    revision: topologyRevision,
    partitions: 8,
    replicationFactor: 3,
    full,
    nodes,
    records,
  };
}
