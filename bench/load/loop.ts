/**
 * The load generator of one process. A closed loop keeps a number of operations in flight: the next one starts when one ends.
 * An open loop starts operations at given times, whatever has become of earlier ones; its latencies count from the time at
 * which an operation was meant to start, so that a stall shows in all operations that should have started in it
 * (no coordinated omission).
 * INVARIANT: an open loop leaves no arrival out: beyond the bound of operations in flight they wait, with the times that they
 * had; what has not started by the end of the drain is counted as abandoned.
 * INVARIANT: started = succeeded + failed + abandoned, of the operations that are measured.
 */
import type { Kind, Planned } from '../workload/workload.ts';
import type { Arrivals } from './arrivals.ts';
import { createHistogram, type Histogram, recordMs } from './histogram.ts';
import type { Failure, Recorder } from './recorder.ts';

/** An operation in flight. Used again for later ones: no closures are made per operation. */
export interface Slot {
  readonly planned: Planned;
  /** Partition of its key, where it is told; -1 otherwise. */
  partition: number;
  readonly succeed: () => void;
  /** As `succeed`, for a value that was read. */
  readonly read: (value: unknown) => void;
  readonly fail: (error: unknown) => void;
}

export interface LoopOptions {
  /** Null: a closed loop. */
  readonly arrivals: Arrivals | null;
  readonly inFlightMax: number;
  /** Operations that are meant to start before this are not measured, in ms. */
  readonly measureFrom: number;
  /** None is meant to start from here on; infinite if the number of operations ends the run. */
  readonly endAt: number;
  /** Those that are waiting may start until then. */
  readonly drainUntil: number;
  /** Measured operations; infinite if time ends the run. */
  readonly operationsMax: number;
}

/** What the loop needs of the world. */
export interface LoopHost {
  now(): number;
  /** Fills in the next operation. */
  plan(planned: Planned): void;
  /** Starts an operation; one function of the slot is called later, once. */
  issue(slot: Slot): void;
  /** Returns what is known of an error; throws it if it is a bug. */
  describe(error: unknown): Failure;
  /** Told of every success, also of those that are not measured. */
  succeeded?(slot: Slot, now: number): void;
  /** Calls `pump` every ms or more often, until the function that it returns is called. */
  eachTick(pump: () => void): () => void;
}

/** Sums over the measured operations. */
export interface LoopTotals {
  readonly started: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly abandoned: number;
  /** Waiting at the end of the run: they had been due, and had not started. */
  readonly backlog: number;
  /** Of the successes, those after the end of the run. */
  readonly late: number;
  /** Time of the last end, in ms; `measureFrom` if there was none. */
  readonly lastEnd: number;
}

export class Loop {
  readonly #options: LoopOptions;
  readonly #host: LoopHost;
  readonly #recorder: Recorder;
  readonly #free: Slot[] = [];
  /** How much later than meant operations were started, in an open loop. */
  readonly startDelay: Histogram = createHistogram();
  #inFlight = 0;
  #started = 0;
  #succeeded = 0;
  #failed = 0;
  #abandoned = 0;
  #backlog = 0;
  #late = 0;
  #lastEnd: number;
  #pumping = false;
  #stopTimer: () => void = () => {};
  #finish: () => void = () => {};
  #throw: (error: unknown) => void = () => {};

  constructor(options: LoopOptions, host: LoopHost, recorder: Recorder) {
    this.#options = options;
    this.#host = host;
    this.#recorder = recorder;
    this.#lastEnd = options.measureFrom;
  }

  get totals(): LoopTotals {
    return {
      started: this.#started,
      succeeded: this.#succeeded,
      failed: this.#failed,
      abandoned: this.#abandoned,
      backlog: this.#backlog,
      late: this.#late,
      lastEnd: this.#lastEnd,
    };
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Operations that are due and have not started, about. */
  get waiting(): number {
    const { arrivals, endAt } = this.#options;
    if (arrivals === null) return 0;
    return Math.max(0, ((Math.min(this.#host.now(), endAt) - arrivals.next) / 1_000) * arrivals.rate);
  }

  /** Runs to the end; resolves when nothing is in flight any more. Rejects with a bug. */
  run(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#finish = resolve;
      this.#throw = reject;
    });
    this.#stopTimer = this.#host.eachTick(() => {
      this.#recorder.tick(this.#host.now());
      this.#pump();
    });
    this.#pump();
    return done.finally(() => this.#stopTimer());
  }

  /** Starts what is due. */
  #pump(): void {
    // A target that answers at once would call this again from within.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      if (this.#options.arrivals === null) this.#pumpClosed();
      else this.#pumpOpen(this.#options.arrivals);
    } catch (error) {
      this.#throw(error);
    }
    this.#pumping = false;
  }

  #pumpClosed(): void {
    const { inFlightMax, endAt, operationsMax } = this.#options;
    while (this.#inFlight < inFlightMax && this.#started < operationsMax) {
      const now = this.#host.now();
      if (now >= endAt) break;
      this.#start(now);
    }
    if (this.#inFlight > 0) return;
    if (this.#started >= operationsMax || this.#host.now() >= endAt) this.#finish();
  }

  #pumpOpen(arrivals: Arrivals): void {
    const { inFlightMax, endAt, drainUntil, operationsMax } = this.#options;
    const now = this.#host.now();
    while (
      this.#inFlight < inFlightMax &&
      this.#isMore(arrivals) &&
      arrivals.next <= now &&
      now < drainUntil
    ) {
      const intended = arrivals.take();
      if (now >= endAt) this.#backlog += 1;
      if (intended >= this.#options.measureFrom) recordMs(this.startDelay, now - intended);
      this.#start(intended);
    }
    if (now >= drainUntil) {
      while (this.#isMore(arrivals)) {
        if (arrivals.take() < this.#options.measureFrom) continue;
        this.#started += 1;
        this.#abandoned += 1;
        this.#backlog += 1;
      }
    }
    const over = !this.#isMore(arrivals) && (now >= endAt || this.#started >= operationsMax);
    if (over && this.#inFlight === 0) this.#finish();
  }

  #isMore(arrivals: Arrivals): boolean {
    return arrivals.next < this.#options.endAt && this.#started < this.#options.operationsMax;
  }

  #start(intended: number): void {
    const slot = (this.#free.pop() as LoopSlot | undefined) ?? this.#createSlot();
    slot.intended = intended;
    slot.measured = intended >= this.#options.measureFrom;
    if (slot.measured) this.#started += 1;
    this.#inFlight += 1;
    this.#host.plan(slot.planned);
    this.#host.issue(slot);
  }

  #createSlot(): LoopSlot {
    return new LoopSlot(this.#ended);
  }

  /** Called by a slot. `error` is undefined after a success. */
  readonly #ended = (slot: LoopSlot, error: unknown, absent: boolean): void => {
    const now = this.#host.now();
    this.#inFlight -= 1;
    try {
      if (error === undefined) this.#host.succeeded?.(slot, now);
      if (slot.measured) this.#record(slot, error, absent, now);
    } catch (bug) {
      this.#throw(bug);
    }
    this.#free.push(slot);
    this.#pump();
  };

  #record({ planned, intended }: LoopSlot, error: unknown, absent: boolean, now: number): void {
    const kind: Kind = planned.kind;
    if (error === undefined) {
      this.#recorder.succeeded(kind, now - intended, now, absent);
      this.#succeeded += 1;
      if (now > this.#options.endAt) this.#late += 1;
    } else {
      this.#recorder.failed(kind, this.#host.describe(error), now - intended, now);
      this.#failed += 1;
    }
    this.#lastEnd = now;
  }
}

class LoopSlot implements Slot {
  readonly planned: Planned = { kind: 'READ', record: 0, scanLength: 0 };
  partition = -1;
  intended = 0;
  measured = false;
  readonly succeed: () => void;
  readonly read: (value: unknown) => void;
  readonly fail: (error: unknown) => void;

  constructor(ended: (slot: LoopSlot, error: unknown, absent: boolean) => void) {
    this.succeed = () => ended(this, undefined, false);
    this.read = (value) => ended(this, undefined, value === undefined);
    this.fail = (error) => ended(this, error ?? new Error('failed without an error'), false);
  }
}
