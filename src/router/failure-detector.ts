/**
 * Tells dead nodes from slow ones, from their heartbeats and control streams. Phi-accrual: how unlikely the present
 * silence is under the intervals seen so far. It decides nothing: the controller fails over, safety never depends on it.
 * INVARIANT: silence shorter than the floor never counts while the stream is up (event-loop stalls look like death); time
 * in which this detector itself was not ticked counts for nobody; every verdict has its reason.
 * Source: Hayashibara et al., The phi Accrual Failure Detector, SRDS 2004; phi with a logistic normal tail as in Akka.
 */
import { assert } from '../common/errors.ts';
import { HEARTBEAT_MS, PHI_THRESHOLD, SUSPECT_FLOOR_MS } from '../common/limits.ts';

/** Numbers of the detector; all times in ms. */
export interface DetectorOptions {
  readonly phiThreshold: number;
  /** Silence below this never counts while the stream is up. */
  readonly floorMs: number;
  /** A closed stream that does not come back for this long is death. */
  readonly disconnectMs: number;
  /** A gap between ticks above this is our own stall. */
  readonly stallMs: number;
  /** A node that was never heard of is given this long. */
  readonly firstContactMs: number;
  /** Intervals remembered per node. */
  readonly window: number;
}

export const DETECTOR_DEFAULTS: DetectorOptions = {
  phiThreshold: PHI_THRESHOLD,
  floorMs: SUSPECT_FLOOR_MS,
  disconnectMs: 200,
  stallMs: 150,
  firstContactMs: 3_000,
  window: 64,
};

/** What is thought of a node. `reason` is empty while alive. */
export interface Verdict {
  readonly alive: boolean;
  readonly reason: string;
  /** Suspicion at the time of the question; 0 right after a heartbeat. */
  readonly phi: number;
}

interface Watched {
  connected: boolean;
  /** Null until the first sign of life. */
  heardAt: number | null;
  since: number;
  disconnectedAt: number;
  /** A stall of ours fell into the present interval: it is no sample. */
  tainted: boolean;
  readonly intervals: number[];
}

/** Deviation is never taken below this share of a heartbeat: a very regular node is not suspected for one late beat. */
const DEVIATION_MIN_MS = HEARTBEAT_MS / 2;

/** Watches nodes. Times are monotonic ms given by the caller. */
export class FailureDetector {
  private readonly options: DetectorOptions;
  private readonly nodes = new Map<string, Watched>();
  private tickedAt: number | null = null;

  constructor(options: Partial<DetectorOptions> = {}) {
    this.options = { ...DETECTOR_DEFAULTS, ...options };
    assert(this.options.window >= 2, 'the detector window holds at least two intervals');
  }

  /** Starts to watch a node that has not been heard of; no effect on a watched one. */
  watch(now: number, node: string): void {
    if (this.nodes.has(node)) return;
    this.nodes.set(node, {
      connected: false,
      heardAt: null,
      since: now,
      disconnectedAt: now,
      tainted: false,
      intervals: [],
    });
  }

  /** The node's control stream is up: a sign of life, and the start of a new rhythm. */
  connected(now: number, node: string): void {
    this.watch(now, node);
    const watched = this.nodes.get(node)!;
    watched.connected = true;
    watched.heardAt = now;
    watched.tainted = true;
  }

  /** The node's control stream is closed. */
  disconnected(now: number, node: string): void {
    const watched = this.nodes.get(node);
    if (watched === undefined || !watched.connected) return;
    watched.connected = false;
    watched.disconnectedAt = now;
  }

  heartbeat(now: number, node: string): void {
    const watched = this.nodes.get(node);
    if (watched === undefined || !watched.connected) return;
    const stalled = this.tickedAt !== null && now - this.tickedAt > this.options.stallMs;
    if (watched.heardAt !== null && !watched.tainted && !stalled) {
      // A long silence is kept at the floor: one stall must not blunt the detector for a whole window.
      watched.intervals.push(Math.min(now - watched.heardAt, this.options.floorMs));
      if (watched.intervals.length > this.options.window) watched.intervals.shift();
    }
    watched.heardAt = now;
    watched.tainted = stalled;
  }

  /** To be called regularly, a few times per heartbeat interval. Forgives everybody the time of our own stall. */
  tick(now: number): void {
    const gap = this.tickedAt === null ? 0 : now - this.tickedAt;
    this.tickedAt = now;
    if (gap <= this.options.stallMs) return;
    for (const watched of this.nodes.values()) {
      watched.since = Math.min(now, watched.since + gap);
      watched.disconnectedAt = Math.min(now, watched.disconnectedAt + gap);
      if (watched.heardAt !== null) watched.heardAt = Math.min(now, watched.heardAt + gap);
      watched.tainted = true;
    }
  }

  forget(node: string): void {
    this.nodes.delete(node);
  }

  /** Returns the verdict on a watched node. */
  verdict(now: number, node: string): Verdict {
    const watched = this.nodes.get(node);
    assert(watched !== undefined, `node ${node} is watched`);
    const { floorMs, disconnectMs, firstContactMs, phiThreshold } = this.options;
    if (watched.heardAt === null) {
      const silence = now - watched.since;
      if (silence < firstContactMs) return { alive: true, reason: '', phi: 0 };
      return { alive: false, reason: `not heard of for ${Math.round(silence)} ms`, phi: phiThreshold };
    }
    const silence = Math.max(0, now - watched.heardAt);
    const phi = this.phi(watched, silence);
    if (!watched.connected) {
      const gone = now - watched.disconnectedAt;
      if (gone < disconnectMs) return { alive: true, reason: '', phi };
      return { alive: false, reason: `control stream closed for ${Math.round(gone)} ms`, phi };
    }
    if (silence < floorMs || phi < phiThreshold) return { alive: true, reason: '', phi };
    return { alive: false, reason: `no heartbeat for ${Math.round(silence)} ms, phi ${phi.toFixed(1)}`, phi };
  }

  private phi(watched: Watched, silence: number): number {
    const samples = watched.intervals;
    const count = samples.length;
    const mean = count === 0 ? HEARTBEAT_MS : samples.reduce((sum, sample) => sum + sample, 0) / count;
    const variance = count === 0 ? 0 : samples.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / count;
    const deviation = Math.max(Math.sqrt(variance), DEVIATION_MIN_MS);
    const y = (silence - mean) / deviation;
    const e = Math.exp(-y * (1.5976 + 0.070566 * y * y));
    const tail = y > 0 ? e / (1 + e) : 1 - 1 / (1 + e);
    // Beyond what a double can hold the suspicion is simply very high.
    return tail < 1e-300 ? 300 : Math.max(0, -Math.log10(tail));
  }
}
