/**
 * The simulation's clock and event queue: virtual milliseconds, one seeded generator, a stable order of events, and a
 * trace. Everything that happens in a simulated cluster happens inside one event of this queue.
 * It knows nothing of nodes, messages or faults.
 * INVARIANT: events of equal time run in the order in which they were scheduled, so the same seed gives the same trace.
 * INVARIANT: no real time, promise or ambient randomness is on the path.
 */
import { createRandom, type Random } from '../../src/common/random.ts';
import { describeCommit } from './commit.ts';

/** Trace lines kept for a failure message. */
const TRACE_LINES_KEPT = 70;

/** A broken invariant, or production code that threw; the message tells how to repeat it. */
export class SimulationFailure extends Error {
  readonly seed: number;
  /** The failure alone, without seed and trace. */
  readonly reason: string;
  /** What the run was made of: planned faults and clients. */
  faults = 0;
  clients = 0;
  constructor(seed: number, reason: string, lines: readonly string[], flags = '', cause?: unknown) {
    super(
      [
        `seed ${seed}: ${reason}`,
        `commit: ${describeCommit()}`,
        `repeat with: npm run sim -- --seed ${seed} --steps${flags}`,
        'last events:',
        ...lines.map((line) => `  ${line}`),
      ].join('\n'),
      cause === undefined ? undefined : { cause },
    );
    this.name = 'SimulationFailure';
    this.seed = seed;
    this.reason = reason;
  }
}

interface ScheduledEvent {
  readonly time: number;
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time, randomness and trace of one simulation. */
export class World {
  readonly seed: number;
  readonly random: Random;
  /** Virtual ms since the start. */
  now = 0;
  /** Events run so far. */
  events = 0;
  /** How often each path was taken, by name: shows that a run exercised what it should. */
  readonly counts = new Map<string, number>();
  private readonly heap: ScheduledEvent[] = [];
  private order = 0;
  private lines: string[] = [];
  private hashLow = 0x811c9dc5;
  private hashHigh = 0x01000193;
  private readonly print: ((line: string) => void) | null;
  private readonly flags: string;

  /**
   * Creates an empty world. `print`, when given, sees every trace line as it happens; `flags` are those of `npm run sim`
   * that repeat the run, beside the seed.
   */
  constructor(seed: number, print: ((line: string) => void) | null = null, flags = '') {
    this.seed = seed;
    this.flags = flags;
    this.random = createRandom(seed);
    this.print = print;
  }

  /** Runs `run` after `delayMs` of virtual time; equal times keep the order of the calls. */
  schedule(delayMs: number, run: () => void): void {
    const event = { time: this.now + Math.max(0, delayMs), order: this.order, run };
    this.order += 1;
    let at = this.heap.length;
    this.heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!earlier(event, this.heap[parent]!)) break;
      this.heap[at] = this.heap[parent]!;
      at = parent;
    }
    this.heap[at] = event;
  }

  /** Runs events until `until` holds (checked after each one) or `limitMs` of virtual time is reached. */
  run(limitMs: number, until: () => boolean = () => false): void {
    for (;;) {
      const next = this.heap[0];
      if (next === undefined || next.time > limitMs) {
        this.now = Math.max(this.now, limitMs);
        return;
      }
      this.pop();
      this.now = next.time;
      this.events += 1;
      next.run();
      if (until()) return;
    }
  }

  /** Adds a line to the trace and to its hash. */
  trace(line: string): void {
    const full = `${this.now.toFixed(2).padStart(9)} ${line}`;
    for (let at = 0; at < full.length; at += 1) {
      this.hashLow = Math.imul(this.hashLow ^ full.charCodeAt(at), 0x01000193);
      this.hashHigh = (Math.imul(this.hashHigh, 31) + this.hashLow) | 0;
    }
    this.lines.push(full);
    if (this.lines.length > TRACE_LINES_KEPT * 4) this.lines = this.lines.slice(-TRACE_LINES_KEPT);
    if (this.print !== null) this.print(full);
  }

  /** Counts one more passage of a path. */
  count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  /** Returns the hash of all trace lines so far, in hexadecimal. */
  traceHash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return hex(this.hashHigh) + hex(this.hashLow);
  }

  /** Returns the failure to throw for a broken invariant. */
  failure(reason: string, cause?: unknown): SimulationFailure {
    return new SimulationFailure(this.seed, reason, this.lines.slice(-TRACE_LINES_KEPT), this.flags, cause);
  }

  /** Fails the simulation unless `condition` holds. `reason` is called only then. */
  check(condition: boolean, reason: () => string): asserts condition {
    if (!condition) throw this.failure(reason());
  }

  /** Returns true with this probability. */
  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  /** Returns a number in [from, to). */
  between(from: number, to: number): number {
    return from + this.random.next() * (to - from);
  }

  /** Returns one of `items`, which is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.random.integer(items.length)]!;
  }

  private pop(): void {
    const last = this.heap.pop()!;
    const size = this.heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && earlier(this.heap[child + 1]!, this.heap[child]!)) child += 1;
      if (!earlier(this.heap[child]!, last)) break;
      this.heap[at] = this.heap[child]!;
      at = child;
    }
    this.heap[at] = last;
  }
}

function earlier(left: ScheduledEvent, right: ScheduledEvent): boolean {
  return left.time !== right.time ? left.time < right.time : left.order < right.order;
}
