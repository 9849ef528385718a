/**
 * How old the state of a replica may be, without synchronised clocks. A follower puts its own clock on what it answers to its
 * leader; the leader echoes the newest of these that it got before it last asked a quorum that has confirmed it since, with its
 * commit index. When the follower has decided that far, its state has everything that was acknowledged before its clock showed
 * that time: before the question nobody else can have been established as leader. Only this replica's clock is compared, with itself.
 * INVARIANT: `at` of a run of a process never comes from a clock of another run (`boot` comes along).
 */

/** Times that wait for their index to be decided. */
const WAITING_MAX = 64;

/** The freshness of one replica's decided state. */
export class Freshness {
  private at = Number.NEGATIVE_INFINITY;
  private readonly waiting: { index: number; at: number }[] = [];

  /** A state with all up to `index` has what was acknowledged before `at`, ms of the own clock. */
  told(index: number, at: number): void {
    const last = this.waiting.at(-1);
    if (at <= (last?.at ?? this.at)) return;
    // Replaced rather than dropped: what is decided at the later index is as fresh as the later time.
    if (this.waiting.length >= WAITING_MAX) this.waiting.pop();
    this.waiting.push({ index: Math.max(index, last?.index ?? 0), at });
  }

  /** Returns how long ago everything was acknowledged that the state at `decidedIndex` may lack, ms; Infinity: not known. */
  ageMs(decidedIndex: number, now: number): number {
    let first = this.waiting[0];
    while (first !== undefined && first.index <= decidedIndex) {
      this.at = first.at;
      this.waiting.shift();
      first = this.waiting[0];
    }
    return now - this.at;
  }
}

/** Clocks that wait for a quorum to be asked; while it is lost, the newer ones do not matter. */
const HEARD_MAX = 64;
/** Clocks that come closer to each other than this are not kept apart, ms. */
const GRAIN_MS = 5;

/** What a leader knows of the clock of one follower. */
export class FollowerClock {
  private readonly heard: { readonly at: number; readonly clock: number }[] = [];
  private echo = 0;
  private boot = 0;

  /** An answer has come at `now`, ms of the leader's clock. */
  answered(now: number, clock: number, boot: number): void {
    if (boot !== this.boot) {
      this.boot = boot;
      this.echo = 0;
      this.heard.length = 0;
    }
    const last = this.heard.at(-1);
    if (this.heard.length >= HEARD_MAX) return;
    if (last === undefined || now - last.at >= GRAIN_MS) this.heard.push({ at: now, clock });
  }

  /** Returns the newest clock that was heard before `contactAt`: when a quorum was asked that has confirmed the leader since. */
  echoFor(contactAt: number): { echo: number; echoBoot: number } {
    let first = this.heard[0];
    while (first !== undefined && first.at < contactAt) {
      this.echo = first.clock;
      this.heard.shift();
      first = this.heard[0];
    }
    return { echo: this.echo, echoBoot: this.boot };
  }
}
