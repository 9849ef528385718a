/**
 * Direct mode: a watched topology and one session per node, so that an operation takes one hop to its leader.
 * The watch may hang on any router or node; nodes learnt from it are watched too, so the client goes on when
 * all routers are gone (G10).
 */
import { RingkeepError } from '../common/errors.ts';
import { goesToLeader, lessLoaded } from '../common/replica-choice.ts';
import { saltedWay } from '../common/salt-hints.ts';
import type { Topology } from '../common/topology.ts';
import type { Subscription } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { Welcome } from '../common/wire/messages.ts';
import type { Link, LinkOwner } from './link.ts';
import type { Operation } from './operation.ts';
import { Rotation } from './rotation.ts';
import { isFatal } from './routed.ts';
import type { Routes, RoutesHost } from './routes.ts';
import { type Target, TopologyView } from './topology-view.ts';

/** One node's session, or the pause until the next try. */
interface NodeLink {
  readonly target: Target;
  readonly rotation: Rotation;
  link: Link | null;
  refusal: RingkeepError | null;
}

/** Another process is watched at most this often because leaders do not answer, ms. */
const DOUBT_EVERY_MS = 1_000;

/** The topology watch and the sessions with nodes. */
export class DirectRoutes implements Routes {
  readonly #host: RoutesHost;
  readonly #endpoints: readonly string[];
  readonly #view = new TopologyView();
  readonly #nodes = new Map<string, NodeLink>();
  readonly #rotation: Rotation;
  #watch: Subscription | null = null;
  #watchAddress = '';
  #watchedAt = 0;
  /** The watch was ended by the own side, for another one. */
  #doubted = false;
  #watchRefusal: RingkeepError | null = null;
  #known = false;
  #trouble: RingkeepError | null = null;
  #closed = false;

  constructor(host: RoutesHost, endpoints: readonly string[]) {
    this.#host = host;
    this.#endpoints = endpoints;
    this.#rotation = new Rotation(endpoints, Math.floor(host.random() * endpoints.length));
  }

  route(operation: Operation, now: number): Link | null {
    if (!this.ready(now) || operation.partition < 0) return null;
    if (operation.isAnywhere && !goesToLeader(operation.attempt + 1)) {
      const link = this.#voterLink(operation, now);
      if (link !== null || operation.hedgeOf !== null) return link;
    } else if (operation.isSalted) {
      const link = this.#saltedLink(operation, now);
      if (link !== null || operation.hedgeOf !== null) return link;
    }
    const target = this.#view.leaderOf(operation.partition);
    if (target === null) return null;
    return this.#openLink(target, now);
  }

  /** The session with a node while it takes operations; it is being connected otherwise. */
  #openLink(target: Target, now: number): Link | null {
    const node = this.#nodeLink(target);
    if (node.link === null) this.#connect(node, now);
    return node.link !== null && node.link.state === 'open' ? node.link : null;
  }

  /** The home of a salted key or one of its copies, whoever takes it now. A hedge goes elsewhere than the attempt beside it. */
  #saltedLink(operation: Operation, now: number): Link | null {
    operation.saltIn = 0;
    const copies = this.#host.salted.copiesFor(operation, now);
    const linkOf = (partition: number): Link | null => {
      const target = this.#view.leaderOf(partition);
      const link = target === null ? null : this.#openLink(target, now);
      return link === null || link.isFull || link === operation.hedgeOf?.link ? null : link;
    };
    const load = ({ unanswered }: Link): number => unanswered;
    const way = saltedWay(operation.partition, copies, linkOf, load, this.#host.random);
    if (way === undefined) return null;
    operation.saltIn = way.saltIn;
    return way.link;
  }

  /** A connected voter; the others are being connected. A hedge goes elsewhere than the attempt beside it. */
  #voterLink(operation: Operation, now: number): Link | null {
    const links: Link[] = [];
    for (const target of this.#view.votersOf(operation.partition)) {
      const link = this.#openLink(target, now);
      if (link !== null && link !== operation.hedgeOf?.link) links.push(link);
    }
    return lessLoaded(links, (link) => link.unanswered, this.#host.random) ?? null;
  }

  reroute(operation: Operation, error: RingkeepError): boolean {
    if (error.leader !== undefined) this.#view.hint(operation.partition, error.leader, error.epoch ?? 0);
    const target = this.#view.leaderOf(operation.partition);
    return target !== null && target.address !== operation.link?.address;
  }

  ready(now: number): boolean {
    if (this.#watch === null) this.#openWatch(now);
    return this.#known;
  }

  trouble(): RingkeepError | null {
    return this.#trouble;
  }

  obstacle(operation: Operation): RingkeepError | null {
    if (operation.partition < 0) return null;
    const missing = this.#view.missingQuorum(operation.partition);
    return missing === '' ? null : new RingkeepError('NO_QUORUM', missing);
  }

  /**
   * Who is watched may be cut off from the routers, and then hears of no change: another one is watched. Not often, since that
   * one sends its whole topology.
   */
  doubt(now: number): void {
    if (this.#watch === null || now - this.#watchedAt < DOUBT_EVERY_MS) return;
    this.#doubted = true;
    this.#watch.close();
  }

  pump(): void {
    for (const node of this.#nodes.values()) node.link?.pump();
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
  }

  #openWatch(now: number): void {
    const address = this.#rotation.candidate(now);
    if (address === null || this.#closed) return;
    const { transport, cluster, clientId, connectTimeoutMs } = this.#host;
    this.#watchAddress = address;
    this.#watchedAt = now;
    this.#watch = transport.watchTopology(
      address,
      makeHello({ role: 'client', clusterId: cluster.clusterId, clientId }),
      { onTopology: (topology) => this.#taken(topology), onEnd: (error) => this.#watchEnded(error) },
      { connectTimeoutMs },
    );
  }

  #taken(topology: Topology): void {
    this.#watchRefusal = this.#host.cluster.meet(topology.clusterId, topology.partitions, 0);
    if (this.#watchRefusal !== null) {
      this.#watch?.close();
      return;
    }
    this.#rotation.succeeded();
    this.#trouble = null;
    const changed = this.#view.apply(topology);
    this.#rotation.replace([...new Set([...this.#endpoints, ...this.#view.addresses()])]);
    this.#host.reporter.topologyTaken(topology.revision);
    if (!this.#known || topology.nodes.length > 0) {
      this.#known = true;
      this.#host.wake();
    } else {
      for (const partition of changed) this.#host.wake(partition);
    }
    this.#host.moved(this.#leadersOf(changed));
  }

  /** Addresses of the leaders that are known. */
  #leadersOf(partitions: readonly number[]): Map<number, string> {
    const leaders = new Map<number, string>();
    for (const partition of partitions) {
      const target = this.#view.leaderOf(partition);
      if (target !== null) leaders.set(partition, target.address);
    }
    return leaders;
  }

  #watchEnded(error: RingkeepError): void {
    this.#watch = null;
    if (this.#closed) return;
    if (this.#doubted) {
      this.#doubted = false;
      this.#rotation.advance();
      this.#openWatch(this.#host.now());
      return;
    }
    const cause = this.#watchRefusal ?? error;
    this.#watchRefusal = null;
    this.#trouble = cause;
    this.#rotation.failed(this.#host.now(), this.#host.random());
    this.#host.reporter.trouble(this.#watchAddress, cause);
    if (isFatal(cause)) this.#host.fatal(cause);
    else this.#openWatch(this.#host.now());
  }

  /**
   * The session for a node at its present address: a node that has moved gets a new one, the old one drains.
   */
  #nodeLink(target: Target): NodeLink {
    const known = this.#nodes.get(target.node);
    if (known !== undefined && known.target.address === target.address) return known;
    known?.link?.close();
    const rotation = new Rotation([target.address]);
    const node: NodeLink = { target, rotation, link: null, refusal: null };
    this.#nodes.set(target.node, node);
    return node;
  }

  #connect(node: NodeLink, now: number): void {
    const address = node.rotation.candidate(now);
    if (address === null || this.#closed) return;
    node.refusal = null;
    node.link = this.#host.openLink(address, node.target.node, this.#owner(node));
  }

  #owner(node: NodeLink): LinkOwner {
    return {
      linkOpened: (link, welcome) => this.#opened(node, link, welcome),
      linkDraining: (link) => {
        if (node.link === link) node.link = null;
        // It comes back under the same address, or somebody else leads: until then, no hammering.
        node.rotation.failed(this.#host.now(), this.#host.random());
        this.#host.wake();
      },
      linkEnded: (link, error) => this.#linkEnded(node, link, error),
    };
  }

  #opened(node: NodeLink, link: Link, welcome: Welcome): void {
    node.refusal = this.#host.cluster.meet(welcome.clusterId, welcome.partitions, welcome.valueBytesMax);
    if (node.refusal !== null) {
      link.close();
      return;
    }
    node.rotation.succeeded();
    this.#trouble = null;
    this.#host.reporter.connected(link.address, welcome.role, welcome.nodeId);
    this.#host.wake();
  }

  #linkEnded(node: NodeLink, link: Link, error: RingkeepError): void {
    if (node.link === link) node.link = null;
    if (this.#closed) return;
    const cause = node.refusal ?? error;
    node.rotation.failed(this.#host.now(), this.#host.random());
    if (link.opened && node.refusal === null) {
      this.#host.reporter.disconnected(link.address, error);
    } else {
      this.#host.reporter.trouble(link.address, cause);
      this.#trouble = cause;
    }
    if (isFatal(cause)) this.#host.fatal(cause);
    else this.#host.wake();
  }
}
