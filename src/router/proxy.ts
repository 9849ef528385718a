/**
 * The data path of a router: takes requests from sessions and unary calls and forwards each to the leader of its
 * partition, over one pipelined session per node. Bounds, deadlines, cancels. Where to send and whether to send again
 * is decided in routing.ts and forward.ts; what a request means is the node's.
 * INVARIANT: every request gets exactly one reply with `end`, unless its session has ended.
 * INVARIANT: requests and their bytes count against the bounds until no node can still answer them.
 * INVARIANT: a sent write that was not answered is told `unknown`; everything unsent, and every read, `not_applied`.
 */
import { type Clock, every, systemClock } from '../common/clock.ts';
import { type ErrorCode, RingkeepError } from '../common/errors.ts';
import * as limits from '../common/limits.ts';
import { goesToLeader, lessLoaded } from '../common/replica-choice.ts';
import type { Topology } from '../common/topology.ts';
import type { KeyValueHandler, Peer, SessionConnection, SessionSink } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { Credit, Reply, Request } from '../common/wire/messages.ts';
import { ClientSession, type ClientSessionHost } from './client-session.ts';
import {
  askedPartition,
  checkForwarded,
  createForward,
  detach,
  type Forward,
  failureReply,
  forwardAgain,
  isForAnyVoter,
  isOfCopy,
  isOfSub,
  isWrite,
  partitionFor,
  secondTry,
  unsentReply,
} from './forward.ts';
import { HeldRequests } from './held-requests.ts';
import { NodeLink, type NodeLinkHost } from './node-link.ts';
import type { ProxyLimits, ProxyOptions, ProxyStats } from './proxy-options.ts';
import { type Bound, RequestCounters } from './request-counters.ts';
import { type Route, Routing } from './routing.ts';
import { SaltedReads } from './salted-reads.ts';
import { Flight, SingleFlight, sharedKey } from './single-flight.ts';

/** Period of the sweep that expires and repeats, ms. No request has a timer of its own. */
const SWEEP_MS = 20;
/** A sent request is given this long beyond its deadline: the node's own answer says more than ours. */
const DEADLINE_GRACE_MS = 100;
const NOT_READY_RETRY_MS = 200;

export class RequestProxy implements KeyValueHandler, NodeLinkHost, ClientSessionHost {
  readonly counters = new RequestCounters();
  readonly #options: ProxyOptions;
  readonly #limits: ProxyLimits;
  readonly #routing = new Routing();
  readonly #links = new Map<string, NodeLink>();
  readonly #sessions = new Set<ClientSession>();
  #answering: ClientSession[] = [];
  /** Requests without a known leader. */
  readonly #held = new HeldRequests();
  /** Refused by a leader that is not ready; the next sweep forwards them. */
  #later: Forward[] = [];
  readonly #singleFlight = new SingleFlight();
  readonly #salted: SaltedReads;
  /** Gets that go for several clients. */
  readonly #flights = new Set<Forward>();
  #requests = 0;
  #requestBytes = 0;
  readonly #clock: Clock;
  readonly #stopSweep: () => void;
  #stopped = false;

  /** Starts with no topology: sessions are refused with NOT_READY. */
  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#limits = {
      requestsMax: limits.ROUTER_REQUESTS_MAX,
      requestBytesMax: limits.ROUTER_REQUEST_BYTES_MAX,
      nodeRequestsMax: limits.ROUTER_NODE_REQUESTS_MAX,
      ...options.limits,
    };
    this.#clock = options.clock ?? systemClock;
    this.#salted = new SaltedReads({
      counters: this.counters,
      routing: this.#routing,
      openLink: (node) => this.#openLink(node),
      clock: this.#clock,
    });
    this.#stopSweep = every(this.#clock, SWEEP_MS, () => this.#sweep(this.#clock.now()));
  }

  stats(): ProxyStats {
    return {
      sessions: this.#sessions.size,
      requests: this.#requests,
      requestBytes: this.#requestBytes,
      held: this.#held.count,
      nodes: [...this.#links.values()].map(({ node, ready, queued, sent }) => {
        return { node, connected: ready, queued, sent };
      }),
    };
  }

  /** Longest value that any node takes; the ceiling while none is known. What is too long for its node, that refuses. */
  get valueBytesMax(): number {
    const told = [...this.#links.values()].map((link) => link.valueBytesMax).filter((bytes) => bytes > 0);
    return told.length === 0 ? limits.VALUE_BYTES_CEILING : Math.max(...told);
  }

  /** Takes a topology or a change: connects to new nodes, and moves what waits for a leader that has changed. */
  applyTopology(topology: Topology): void {
    if (this.#stopped || !this.#routing.apply(topology)) return;
    const now = this.#clock.now();
    for (const node of topology.nodes) this.#syncLink(node.id, now);
    const changed = new Set(topology.records.map((record) => record.partition));
    for (const link of this.#links.values()) {
      const moves = (forward: Forward): boolean => {
        const asked = askedPartition(forward);
        return changed.has(asked) && this.#routing.leader(asked)?.node !== link.node;
      };
      if (link.queued > 0) for (const forward of link.takeQueued(moves)) this.#dispatch(forward);
    }
    this.#leaveOldLeaders(changed);
    const isLed = (at: number): boolean => this.#links.has(this.#routing.leader(at)?.node ?? '');
    for (const forward of this.#held.release(isLed)) this.#dispatch(forward);
    this.#settle(now);
  }

  /** Ends every connection to nodes and answers every request. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#stopSweep();
    for (const link of this.#links.values()) link.stop();
    const reply = (): Reply => failureReply('SHUTTING_DOWN', 'not_applied', 'the router is stopping');
    for (const session of this.#sessions) {
      for (const forward of [...session.open.values()]) this.#finish(forward, reply());
    }
    this.#flush();
  }

  // ------------------------------------------------------------ clients

  /** @throws RingkeepError NOT_READY before the cluster is formed: without partitions there is nothing to route by */
  onSession(peer: Peer, connection: SessionConnection): SessionSink {
    if (!this.#routing.ready) {
      const text = `the cluster is not formed yet; waiting for ${this.#options.waitingFor()}`;
      throw new RingkeepError('NOT_READY', text, 'not_applied', { retryAfterMs: NOT_READY_RETRY_MS });
    }
    const session = new ClientSession(this, peer, connection);
    this.#sessions.add(session);
    return session;
  }

  takeRequests(session: ClientSession, requests: Request[]): void {
    const now = this.#clock.now();
    for (const request of requests) this.#admit(session, request, now);
    this.#settle(now);
  }

  takeCancels(session: ClientSession, ids: number[]): void {
    for (const id of ids) {
      const forward = session.open.get(id);
      if (forward !== undefined) this.#abandon(forward, 'cancelled by the caller');
    }
    this.#settle(this.#clock.now());
  }

  takeCredits(session: ClientSession, credits: Credit[]): void {
    for (const { id, replies } of credits) {
      const forward = session.open.get(id);
      if (forward === undefined) continue;
      forward.credits += replies;
      if (forward.state === 'sent') this.#links.get(forward.node)?.credit(forward, replies);
    }
  }

  sessionEnded(session: ClientSession): void {
    this.#sessions.delete(session);
    for (const forward of session.open.values()) {
      forward.owner = null;
      this.#abandon(forward, 'the caller has gone');
    }
    session.open.clear();
  }

  hasReplies(session: ClientSession): void {
    this.#answering.push(session);
  }

  #admit(session: ClientSession, request: Request, now: number): void {
    if (request.clientId.length === 0) request.clientId = session.clientId;
    // Of routers alone.
    request.sharedReads = 0;
    if (!isOfSub(request)) request.saltIn = 0;
    const invalid = checkForwarded(request, this.#routing.partitions);
    if (invalid !== '')
      return this.#refuse(session, request, failureReply('INVALID_ARGUMENT', 'not_applied', invalid));
    const partition = partitionFor(request, (key) => this.#routing.partitionOf(key));
    const forward = createForward(session, request, partition, now);
    const { requestsMax, requestBytesMax } = this.#limits;
    const full = this.#requests >= requestsMax;
    if (full || this.#requestBytes + forward.bytes > requestBytesMax)
      return this.#refuse(session, request, this.#overloaded(full ? 'requests' : 'bytes', 'the router'));
    session.open.set(forward.ownId, forward);
    this.#count(forward);
    forward.sharedKey = sharedKey(request);
    if (this.#isBeside(session, forward) || this.#singleFlight.admit(forward)) return this.#dispatch(forward);
    forward.state = 'joined';
    detach(forward);
  }

  /** Whether it is a second attempt: that goes by itself, elsewhere than the first one, and nobody waits for the end of that one any more. */
  #isBeside({ open }: ClientSession, forward: Forward): boolean {
    const { beside = 0 } = forward.request;
    forward.request.beside = 0;
    const first = open.get(beside);
    if (beside === 0 || forward.sharedKey === null || first?.sharedKey !== forward.sharedKey) return false;
    const slow = first.goesWith?.forward ?? first;
    forward.avoids = slow.node;
    this.#letGo(slow);
    return true;
  }

  /** A get has ended, or is given up. Whoever calls has the links pumped, or the next sweep has. */
  #landed(forward: Forward): void {
    this.#flights.delete(forward);
    this.#letGo(forward);
  }

  /** Sends the gets that wait for the end of one of the same key. */
  #letGo(forward: Forward): void {
    const riders = this.#stopped ? [] : this.#singleFlight.ended(forward);
    const [first] = riders;
    if (first === undefined) return;
    if (riders.length === 1) {
      first.active = true;
      return this.#dispatch(first);
    }
    const flight = new Flight(riders, this.#clock.now(), (rider, reply) => this.#finish(rider, reply));
    this.counters.sharedReads += riders.length - 1;
    this.#count(flight.forward);
    this.#flights.add(flight.forward);
    this.#dispatch(flight.forward);
  }

  #refuse(session: ClientSession, request: Request, reply: Reply): void {
    reply.id = request.id;
    this.counters.count(request.operation, reply);
    session.queue(reply);
  }

  #overloaded(bound: Bound, who: string): Reply {
    this.counters.refused(bound);
    const details = { retryAfterMs: limits.OVERLOADED_RETRY_AFTER_MS };
    return failureReply('OVERLOADED', 'not_applied', `${who} holds as much as it takes`, details);
  }

  // ------------------------------------------------------------ on the way

  /** Queues an unsent request for its leader's node, or holds it while there is none. `#settle` sends it. */
  #dispatch(forward: Forward): void {
    const route =
      this.#voter(forward) ?? this.#salted.choose(forward) ?? this.#routing.leader(forward.partition);
    const link = route === null ? undefined : this.#links.get(route.node);
    if (route === null || link === undefined) {
      this.#hold(forward);
    } else if (link.load >= this.#limits.nodeRequestsMax) {
      this.#finish(forward, this.#overloaded('node', `the way to node ${link.node}`));
    } else {
      if (!link.ready) detach(forward);
      forward.epoch = route.epoch;
      link.enqueue(forward);
    }
  }

  /** Of a read that any voter may answer, one that is connected; else null. */
  #voter({ request, partition, attempts, avoids }: Forward): Pick<Route, 'node' | 'epoch'> | null {
    if (!isForAnyVoter(request) || attempts > 0 || goesToLeader(request.attempt)) return null;
    const record = this.#routing.record(partition);
    const links = (record?.voters ?? []).flatMap(({ node }) => this.#links.get(node) ?? []);
    const ready = links.filter((link) => link.ready && link.node !== avoids);
    const random = (): number => this.#clock.random();
    const link = lessLoaded(ready, ({ load }) => load, random);
    return link === undefined ? null : { node: link.node, epoch: record!.epoch };
  }

  /** The way to a node, while it takes requests and is not full of them. */
  #openLink(node: string): NodeLink | null {
    const link = this.#links.get(node);
    return link?.ready && link.load < this.#limits.nodeRequestsMax ? link : null;
  }

  #hold(forward: Forward): void {
    if (this.#held.count < this.#limits.nodeRequestsMax) this.#held.add(forward);
    else this.#finish(forward, this.#overloaded('held', 'the queue of partitions without a leader'));
  }

  #syncLink(id: string, now: number): void {
    const node = this.#routing.node(id);
    const address = node === undefined ? '' : this.#options.addressOf(node);
    const old = this.#links.get(id);
    if (address === '' || old?.address === address) return;
    const { connector, log } = this.#options;
    const { clusterId } = this.#routing.topology();
    const { protocolMax = limits.PROTOCOL_MAX } = this.#options;
    const hello = makeHello({ role: 'router', clusterId, expectedNode: id, protocolMax });
    const link = new NodeLink({ node: id, address, connector, hello, host: this, log, clock: this.#clock });
    this.#links.set(id, link);
    for (const forward of old?.stop() ?? []) this.#dispatch(forward);
    link.pump(now);
  }

  // ------------------------------------------------------------ nodes

  replied(forward: Forward, reply: Reply, link: NodeLink): void {
    if (forward.owner === null) {
      if (reply.end) this.#release(forward);
      return;
    }
    if (!reply.end) {
      forward.owner.answer(forward, reply);
      return;
    }
    if (!this.#salted.replied(forward, reply)) return this.#goHome(forward);
    const refusal = reply.failure;
    const mayMove = refusal?.code === 'NOT_LEADER' && refusal.outcome === 'not_applied';
    if (!mayMove || !this.#forwardAgain(forward, refusal.leader, refusal.epoch, link))
      this.#finish(forward, reply);
  }

  /** No copy answers a get, and no node has it any more. */
  #goHome(forward: Forward): void {
    this.#salted.missed(forward);
    forward.state = 'held';
    this.#dispatch(forward);
    this.#links.get(forward.node)?.pump(this.#clock.now());
  }

  #forwardAgain(forward: Forward, leader: string, epoch: number, link: NodeLink): boolean {
    if (leader !== '' && leader !== link.node) this.#routing.hint(forward.partition, leader, epoch);
    const now = this.#clock.now();
    const route = this.#routing.leader(forward.partition);
    const again = forwardAgain(forward, epoch, route, now);
    if (again === 'no') return false;
    this.counters.forwardedAgain += 1;
    // Unsent again, from here on; it is counted as held until it has a queue.
    forward.state = 'held';
    if (again === 'later') this.#later.push(forward);
    else {
      this.#dispatch(forward);
      this.#links.get(forward.node)?.pump(now);
    }
    return true;
  }

  repliesEnded(): void {
    this.#flush();
  }

  lost(forward: Forward, link: NodeLink): void {
    if (isOfCopy(forward) && forward.owner !== null && !this.#stopped) return this.#goHome(forward);
    const outcome = isWrite(forward.request) ? 'unknown' : 'not_applied';
    const text = `the connection to node ${link.node} broke (${link.trouble})`;
    this.#finish(forward, failureReply('UNAVAILABLE', outcome, text, { partition: forward.partition }));
  }

  expired(forward: Forward): void {
    const text = `the time ran out before node ${forward.node} took the request`;
    this.#finish(forward, failureReply('DEADLINE_EXCEEDED', 'not_applied', text));
  }

  unsendable(forward: Forward, error: RingkeepError): void {
    this.#finish(forward, failureReply(error.code, 'not_applied', error.message));
  }

  // ------------------------------------------------------------ ends

  #abandon(forward: Forward, text: string): void {
    if (forward.state === 'sent') this.#links.get(forward.node)?.cancel(forward);
    else this.#abandonUnsent(forward, failureReply('CANCELLED', 'not_applied', text));
  }

  /** Ends a request that no node has: it is taken out of where it waits. */
  #abandonUnsent(forward: Forward, reply: Reply): void {
    const later = this.#later.indexOf(forward);
    if (later >= 0) this.#later.splice(later, 1);
    else if (forward.state === 'held') this.#held.dropped();
    else if (forward.state === 'queued') this.#links.get(forward.node)?.dropped();
    this.#finish(forward, reply);
  }

  /** Answers a request that is nowhere any more. */
  #finish(forward: Forward, reply: Reply): void {
    this.#answer(forward, reply);
    this.#release(forward);
  }

  #answer(forward: Forward, reply: Reply): void {
    const { owner } = forward;
    if (owner === null) return;
    forward.owner = null;
    if (!this.#flights.has(forward)) this.counters.count(forward.request.operation, reply);
    owner.answer(forward, reply);
  }

  #count({ bytes }: Forward): void {
    this.#requests += 1;
    this.#requestBytes += bytes;
  }

  #release(forward: Forward): void {
    forward.state = 'done';
    this.#requests -= 1;
    this.#requestBytes -= forward.bytes;
    this.#landed(forward);
  }

  #settle(now: number): void {
    for (const link of this.#links.values()) if (link.queued > 0) link.pump(now);
    this.#flush();
  }

  /** All that has no end yet: of clients, and what goes for several of them. */
  #open(): Iterable<Forward>[] {
    return [[...this.#flights], ...[...this.#sessions].map(({ open }) => open.values())];
  }

  #flush(): void {
    if (this.#answering.length === 0) return;
    const sessions = this.#answering;
    this.#answering = [];
    for (const session of sessions) session.flush();
  }

  #sweep(now: number): void {
    const later = this.#later;
    this.#later = [];
    for (const forward of later) this.#dispatch(forward);
    let unavailable: ReadonlyMap<number, string> | undefined;
    for (const open of this.#open()) {
      for (const forward of open) {
        if (forward.state === 'sent') {
          if (now >= forward.deadline + DEADLINE_GRACE_MS)
            this.#giveUp(forward, 'DEADLINE_EXCEEDED', `node ${forward.node} did not answer in time`);
        } else if (now >= forward.heldUntil) {
          unavailable ??= this.#options.unavailable();
          this.#abandonUnsent(forward, unsentReply(forward, this.#links.get(forward.node), unavailable));
        }
      }
    }
    this.#held.compact();
    for (const link of this.#links.values()) {
      // What waits for a copy whose node is gone need not wait for its return.
      const away = link.ready ? [] : link.takeQueued(isOfCopy);
      for (const forward of away) this.#dispatch(forward);
      link.compact();
    }
    this.#settle(now);
  }

  /**
   * What was sent to a leader that is none any more may never be answered there: it may be cut off, or paused. Its client asks
   * again, under the same id.
   */
  #leaveOldLeaders(changed: ReadonlySet<number>): void {
    for (const open of this.#open()) {
      for (const forward of open) {
        const { state, node, request } = forward;
        const asked = askedPartition(forward);
        if (state !== 'sent' || !changed.has(asked) || isForAnyVoter(request)) continue;
        const route = this.#routing.leader(asked);
        if (route === null || route.node === node) continue;
        if (isOfCopy(forward)) this.#leaveCopy(forward);
        else
          this.#giveUp(forward, 'NOT_LEADER', `node ${route.node} leads now, and ${node} has not answered`);
      }
    }
  }

  /** Asks a key's home for what a copy has not answered. */
  #leaveCopy(forward: Forward): void {
    const { owner } = forward;
    if (owner === null) return;
    this.#salted.missed(forward);
    const again = secondTry(forward);
    this.#count(again);
    owner.replaced(again);
    if (this.#flights.delete(forward)) this.#flights.add(again);
    forward.owner = null;
    this.#links.get(forward.node)?.cancel(forward);
    this.#dispatch(again);
  }

  /** Answers a request that a node still has. */
  #giveUp(forward: Forward, code: ErrorCode, text: string): void {
    const outcome = isWrite(forward.request) ? 'unknown' : 'not_applied';
    const reply = failureReply(code, outcome, text, { partition: forward.partition });
    this.#answer(forward, reply);
    this.#links.get(forward.node)?.cancel(forward);
    this.#landed(forward);
  }
}
