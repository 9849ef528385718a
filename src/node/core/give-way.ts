/**
 * How much of the rate of moves a node uses: copies give way to clients. Their rows cost a processor more than bytes tell, so a bound in bytes
 * alone does not keep clients from waiting. What they would wait for is seen as timers that run late: then copies get slower, at once and by
 * a part, and faster again, by steps, while they use what they have and nothing is late. A first copy begins slowly.
 * INVARIANT: the limit is between the least (or the rate, where that is less) and the rate: copies get slower, but never stand still.
 */

/** What is looked at at a time, ms. */
const WINDOW_MS = 250;
/** Timers that are later than this, ms, in the mean of a window, tell that clients wait. */
export const LATE_MS = 5;
/** By a window: of what was used, where something is late; of what there was, where nothing is. */
const LESS = 0.7;
const MORE = 1.25;
/** Where copies begin, and begin again. */
const FIRST = 1 / 8;
/** The least, however large the rate is. */
const LEAST = 1 / 32;
/** A limit that is used less than that holds nobody up. */
const USED = 0.5;

/** The limit of one node. Times in ms, rates in bytes per second. */
export class GiveWay {
  private readonly least: number;
  private rate = 0;
  private share = FIRST;
  private since = 0;
  private movedAt = 0;
  private late = 0;
  private ticks = 0;

  /** `least` is meant for small rates; see LEAST. */
  constructor(least: number) {
    this.least = least;
  }

  /** Bytes per second that may be copied in each direction. */
  get limit(): number {
    return Math.max(this.share * this.rate, Math.min(this.rate, this.least));
  }

  /** A timer has run, so much later than it was to; `moved`: bytes that were copied so far, of the direction with more of them. */
  tick(now: number, lateMs: number, rate: number, moved: number): void {
    this.rate = rate;
    this.late += lateMs;
    this.ticks += 1;
    const elapsed = now - this.since;
    if (elapsed < WINDOW_MS) return;
    const used = ((moved - this.movedAt) * 1_000) / elapsed;
    const isLate = this.late / this.ticks > LATE_MS;
    this.since = now;
    this.movedAt = moved;
    this.late = 0;
    this.ticks = 0;
    if (isLate) this.share = Math.min(this.share, used / rate) * LESS;
    else if (used === 0) this.share = Math.min(this.share, FIRST);
    else if (used >= USED * this.limit) this.share = (this.limit / rate) * MORE;
    this.share = Math.min(1, Math.max(LEAST, this.share));
  }
}
