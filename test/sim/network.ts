/**
 * The simulated network: cuts between places, in-order connections that lose what was in flight when they break, and
 * peer links that are either such streams or unordered datagrams (drop, duplicate, reorder).
 * A place is a name: a node id, a controller id or a client id. It carries values by reference: senders copy.
 * INVARIANT: nothing crosses a cut direction; a stream delivers a prefix of what was sent, in order, at most once.
 */
import type { World } from './world.ts';

/** Delays and faults of all links; probabilities are per message, delays in ms. */
export interface NetworkProfile {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** A connection breaks, losing what is in flight. */
  readonly breakChance: number;
  /** Peers talk in datagrams: each may be lost, doubled or overtaken. */
  readonly datagrams: boolean;
  readonly dropChance: number;
  readonly duplicateChance: number;
}

/** One end of a connection: told of messages and, once, of its end. */
export interface ConnectionEnd<In> {
  message(message: In): void;
  closed(): void;
}

interface Pipe {
  readonly from: string;
  readonly to: string;
  readonly queue: { readonly at: number; readonly deliver: () => void }[];
  lastAt: number;
  stalledSince: number;
  pumping: boolean;
}

/** A cut-off connection breaks after this long, as keepalive would find it. */
const STALL_MS_MIN = 300;
const STALL_MS_MAX = 1_500;

/** A connection between two places, `left` (which opened it) and `right`. */
export class Connection<ToRight, ToLeft> {
  open = true;
  private readonly network: Network;
  private readonly rightward: Pipe;
  private readonly leftward: Pipe;
  private readonly leftEnd: ConnectionEnd<ToLeft>;
  private readonly rightEnd: ConnectionEnd<ToRight>;

  constructor(
    network: Network,
    left: string,
    right: string,
    leftEnd: ConnectionEnd<ToLeft>,
    rightEnd: ConnectionEnd<ToRight>,
  ) {
    this.network = network;
    this.rightward = { from: left, to: right, queue: [], lastAt: 0, stalledSince: -1, pumping: false };
    this.leftward = { from: right, to: left, queue: [], lastAt: 0, stalledSince: -1, pumping: false };
    this.leftEnd = leftEnd;
    this.rightEnd = rightEnd;
  }

  /** Sends from left to right; lost when the connection is closed. */
  sendRight(message: ToRight): void {
    this.push(this.rightward, () => this.rightEnd.message(message));
  }

  /** Sends from right to left; lost when the connection is closed. */
  sendLeft(message: ToLeft): void {
    this.push(this.leftward, () => this.leftEnd.message(message));
  }

  /** Breaks the connection: in-flight messages are lost, each end hears of it after a delay of its own. */
  break(): void {
    if (!this.open) return;
    this.open = false;
    this.rightward.queue.length = 0;
    this.leftward.queue.length = 0;
    const world = this.network.world;
    world.schedule(world.between(0, 30), () => this.leftEnd.closed());
    world.schedule(world.between(0, 30), () => this.rightEnd.closed());
  }

  private push(pipe: Pipe, deliver: () => void): void {
    if (!this.open) return;
    const { world, profile } = this.network;
    if (world.chance(profile.breakChance)) {
      world.trace(`network: connection ${pipe.from} -> ${pipe.to} breaks`);
      this.break();
      return;
    }
    pipe.lastAt = Math.max(pipe.lastAt, world.now + this.network.delay());
    pipe.queue.push({ at: pipe.lastAt, deliver });
    this.schedulePump(pipe, pipe.lastAt - world.now);
  }

  private schedulePump(pipe: Pipe, delayMs: number): void {
    if (pipe.pumping) return;
    pipe.pumping = true;
    this.network.world.schedule(delayMs, () => {
      pipe.pumping = false;
      this.pump(pipe);
    });
  }

  private pump(pipe: Pipe): void {
    if (!this.open) return;
    const world: World = this.network.world;
    if (this.network.isCut(pipe.from, pipe.to)) {
      if (pipe.stalledSince < 0) pipe.stalledSince = world.now;
      if (world.now - pipe.stalledSince > world.between(STALL_MS_MIN, STALL_MS_MAX)) this.break();
      else this.schedulePump(pipe, 50);
      return;
    }
    pipe.stalledSince = -1;
    const head = pipe.queue[0];
    if (head === undefined) return;
    pipe.queue.shift();
    head.deliver();
    const next = pipe.queue[0];
    if (this.open && next !== undefined) this.schedulePump(pipe, next.at - world.now);
  }
}

/** Cuts and delays, shared by all connections and datagrams. */
export class Network {
  readonly world: World;
  profile: NetworkProfile;
  /** Cut directions, and how many cuts each is part of. */
  private readonly cuts = new Map<string, number>();

  constructor(world: World, profile: NetworkProfile) {
    this.world = world;
    this.profile = profile;
  }

  /** Draws one message's delay in ms: mostly short, now and then ten times as long. */
  delay(): number {
    const { delayMsMin, delayMsMax } = this.profile;
    const base = this.world.between(delayMsMin, delayMsMax);
    return this.world.chance(0.01) ? base * 10 : base;
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`);
  }

  /** Cuts the direction from one place to another; directions may be cut several times. */
  cut(from: string, to: string): void {
    const name = `${from}>${to}`;
    this.cuts.set(name, (this.cuts.get(name) ?? 0) + 1);
  }

  /** Ends one cut of a direction. */
  mend(from: string, to: string): void {
    const name = `${from}>${to}`;
    const left = (this.cuts.get(name) ?? 0) - 1;
    if (left > 0) this.cuts.set(name, left);
    else this.cuts.delete(name);
  }

  /** Ends all cuts. */
  heal(): void {
    this.cuts.clear();
  }

  /** True when neither direction is cut: a connection can be opened. */
  reachable(left: string, right: string): boolean {
    return !this.isCut(left, right) && !this.isCut(right, left);
  }

  /** Opens a connection at once; the caller has checked `reachable` and waited for the handshake's delay. */
  connect<ToRight, ToLeft>(
    left: string,
    right: string,
    leftEnd: ConnectionEnd<ToLeft>,
    rightEnd: ConnectionEnd<ToRight>,
  ): Connection<ToRight, ToLeft> {
    return new Connection(this, left, right, leftEnd, rightEnd);
  }

  /** Sends one datagram: it may be lost, doubled or overtaken. */
  datagram(from: string, to: string, deliver: () => void): void {
    const { world, profile } = this;
    const copies = world.chance(profile.dropChance) ? 0 : world.chance(profile.duplicateChance) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      world.schedule(this.delay(), () => {
        if (!this.isCut(from, to)) deliver();
      });
    }
  }
}
