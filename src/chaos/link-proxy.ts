/**
 * A TCP proxy in the place of one network link: what dials it is connected to the target, and every byte goes through two
 * flows, one per direction, that can be cut, slowed and broken while they run. Flows belong to pairs of processes, not to
 * connections: the answers on a connection that B has dialled go through the same flow from A to B as A's own requests.
 * Like a network, a flow that is cut delivers nothing and loses nothing: what was sent before the connection ended arrives
 * after the heal. Ends of connections do not cross it either.
 * INVARIANT: bytes of one direction of one connection keep their order, whatever the delays are.
 * INVARIANT: a flow holds at most HELD_BYTES_MAX per connection; beyond that nothing is read, as behind a full window.
 * Not here: which processes there are, and which flows a split cuts (links.ts).
 */
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import type { Random } from '../common/random.ts';

/** How a flow is while nothing is wrong with it. */
export interface FlowShape {
  /** Nothing crosses it. */
  readonly cut: boolean;
  /** Time that every byte takes, ms, and by how much it may take more. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** 0: as fast as the machine is. */
  readonly bytesPerSecond: number;
  /** Nothing is read from the sender: its buffers fill up. */
  readonly deaf: boolean;
}

/** A flow that nothing is wrong with. */
export const CLEAR: FlowShape = { cut: false, delayMs: 0, jitterMs: 0, bytesPerSecond: 0, deaf: false };

const HELD_BYTES_MAX = 1024 * 1024;

/** All bytes from one process to another, on however many connections. */
export class Flow {
  readonly from: string;
  readonly to: string;
  /** Bytes that have crossed it. */
  delivered = 0;
  /** Bytes that wait in it. */
  held = 0;
  /** The longest time that bytes have taken, ms; its reader sets it back. */
  slowestMs = 0;
  private current: FlowShape = CLEAR;
  private readonly pumps = new Set<Pump>();
  private readonly random: Random;
  /** When the bytes that were taken last have gone out, by the bandwidth; performance.now(). */
  private busyUntil = 0;

  constructor(from: string, to: string, random: Random) {
    this.from = from;
    this.to = to;
    this.random = random;
  }

  get shape(): FlowShape {
    return this.current;
  }

  /** Nothing is changed about it. */
  get clear(): boolean {
    const { cut, delayMs, jitterMs, bytesPerSecond, deaf } = this.current;
    return !cut && !deaf && delayMs === 0 && jitterMs === 0 && bytesPerSecond === 0;
  }

  /** Changes some of its properties at once, for what is in it as well. */
  set(shape: Partial<FlowShape>): void {
    this.current = { ...this.current, ...shape };
    for (const pump of this.pumps) pump.changed();
  }

  /** When `bytes` that are taken at `now` arrive, if nothing is cut. */
  arrival(now: number, bytes: number): number {
    const { delayMs, jitterMs, bytesPerSecond } = this.current;
    if (bytesPerSecond > 0) this.busyUntil = Math.max(this.busyUntil, now) + (bytes * 1_000) / bytesPerSecond;
    const sent = bytesPerSecond > 0 ? this.busyUntil : now;
    return sent + delayMs + this.random.next() * jitterMs;
  }

  /** One direction of a connection goes through it from now on. */
  carry(source: Socket, sink: Socket): Pump {
    const pump = new Pump(this, source, sink, () => this.pumps.delete(pump));
    this.pumps.add(pump);
    return pump;
  }
}

/** Returns the bytes that have crossed any of these. */
export function deliveredBy(flows: readonly Flow[]): number {
  return flows.reduce((sum, { delivered }) => sum + delivered, 0);
}

/** One direction of one connection. */
class Pump {
  private readonly flow: Flow;
  private readonly source: Socket;
  private readonly sink: Socket;
  private readonly ended: () => void;
  private readonly queue: { readonly takenAt: number; readonly at: number; readonly chunk: Buffer | null }[] =
    [];
  private held = 0;
  private lastAt = 0;
  private timer: NodeJS.Timeout | null = null;
  private gone = false;

  constructor(flow: Flow, source: Socket, sink: Socket, ended: () => void) {
    this.flow = flow;
    this.source = source;
    this.sink = sink;
    this.ended = ended;
    source.on('data', (chunk: Buffer) => this.take(chunk));
    source.on('end', () => this.take(null));
    sink.on('drain', () => this.changed());
    this.changed();
  }

  private take(chunk: Buffer | null): void {
    const now = performance.now();
    const bytes = chunk?.byteLength ?? 0;
    this.lastAt = Math.max(this.lastAt, this.flow.arrival(now, bytes));
    this.queue.push({ takenAt: now, at: this.lastAt, chunk });
    this.held += bytes;
    this.flow.held += bytes;
    this.changed();
  }

  /** Delivers what may be, and reads on if there is room. */
  changed(): void {
    if (this.gone) return;
    const { cut, deaf } = this.flow.shape;
    if (!cut) this.deliver();
    if (this.gone) return;
    const full = deaf || this.held >= HELD_BYTES_MAX || this.sink.writableNeedDrain;
    if (full) this.source.pause();
    else this.source.resume();
  }

  private deliver(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    const now = performance.now();
    for (let next = this.queue[0]; next !== undefined; next = this.queue[0]) {
      if (next.at > now) {
        this.timer = setTimeout(() => this.changed(), Math.max(1, next.at - now));
        return;
      }
      this.queue.shift();
      if (next.chunk === null) {
        this.sink.end();
        return this.end();
      }
      this.held -= next.chunk.byteLength;
      this.flow.held -= next.chunk.byteLength;
      this.flow.delivered += next.chunk.byteLength;
      this.flow.slowestMs = Math.max(this.flow.slowestMs, now - next.takenAt);
      this.sink.write(next.chunk);
    }
  }

  /** Forgets what is in it. */
  end(): void {
    if (this.gone) return;
    this.gone = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.flow.held -= this.held;
    this.queue.length = 0;
    this.ended();
  }
}

/** One connection through a proxy. */
interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly pumps: readonly Pump[];
  /** One side was told nothing of the end of the other. */
  halfOpen: boolean;
}

/** Stands where `target` is dialled from one process. */
export class LinkProxy {
  /** From who dials to the target, and back. */
  readonly there: Flow;
  readonly back: Flow;
  private readonly target: { readonly host: string; readonly port: number };
  private readonly pairs = new Set<Pair>();
  private readonly server: Server;

  constructor(target: { readonly host: string; readonly port: number }, there: Flow, back: Flow) {
    this.target = target;
    this.there = there;
    this.back = back;
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket));
  }

  /** Connections that go through it. */
  get connections(): number {
    return this.pairs.size;
  }

  /** Listens on a port of the loopback. Rejects with the error of the system. */
  listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, '127.0.0.1', () => resolve());
    });
  }

  private accept(near: Socket): void {
    // Both ends see it open, also while the flows are cut: nothing that is said on it arrives then. A network would not let it open either
    // (kernel-links.ts).
    const far = dial({ ...this.target, allowHalfOpen: true, noDelay: true });
    const pumps = [this.there.carry(near, far), this.back.carry(far, near)];
    const pair: Pair = { near, far, pumps, halfOpen: false };
    this.pairs.add(pair);
    const closed = (socket: Socket, other: Socket): void => {
      if (pair.halfOpen) return;
      // A reset, or the end of both directions. What was cut off hears of it after the heal.
      if (!other.destroyed && socket.errored !== null) this.breakLater(pair);
      if (near.destroyed && far.destroyed) this.drop(pair);
    };
    near.on('error', () => {});
    far.on('error', () => {});
    near.on('close', () => closed(near, far));
    far.on('close', () => closed(far, near));
  }

  private breakLater(pair: Pair): void {
    const attempt = (): void => {
      if (this.there.shape.cut || this.back.shape.cut) {
        setTimeout(attempt, 50).unref();
        return;
      }
      for (const socket of [pair.near, pair.far]) socket.destroy();
      this.drop(pair);
    };
    attempt();
  }

  private drop(pair: Pair): void {
    for (const pump of pair.pumps) pump.end();
    this.pairs.delete(pair);
  }

  /** Resets all connections; both sides notice. Returns how many there were. */
  reset(): number {
    const pairs = [...this.pairs];
    for (const pair of pairs) {
      pair.near.resetAndDestroy();
      pair.far.resetAndDestroy();
      this.drop(pair);
    }
    return pairs.length;
  }

  /**
   * The target's side of all connections ends, and who has dialled is told nothing: as after a machine was replaced. What is
   * sent disappears. Returns how many there were.
   */
  halfOpen(): number {
    const pairs = [...this.pairs].filter((pair) => !pair.halfOpen);
    for (const pair of pairs) {
      pair.halfOpen = true;
      for (const pump of pair.pumps) pump.end();
      pair.far.resetAndDestroy();
      pair.near.removeAllListeners('data');
      pair.near.on('data', () => {});
      pair.near.resume();
    }
    return pairs.length;
  }

  /** Breaks what is half open, so that it is noticed. */
  mend(): void {
    for (const pair of [...this.pairs]) {
      if (!pair.halfOpen) continue;
      pair.near.resetAndDestroy();
      this.drop(pair);
    }
  }

  /** Ends everything. */
  close(): void {
    this.reset();
    this.server.close();
  }
}
