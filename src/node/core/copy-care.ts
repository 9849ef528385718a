/**
 * What a leader does so that those who are being filled from here get level, whatever clients write: the WAL behind their snapshots is
 * kept, and writers are slowed down where nothing else helps. Says when that begins and ends.
 * INVARIANT: a replica that makes no progress for `STALLED_MS` has no part in it before it makes some again.
 */
import type { Host } from './host.ts';
import type { Leadership } from './leadership.ts';
import { type Follows, NEAR_ENTRIES, STALLED_MS } from './pace.ts';
import { LEVEL_HEARD_MS, type Progress } from './progress.ts';
import type { Hold } from './wal-holds.ts';

/** A copy that nobody has gone on with for so long, ms, has ended: nothing is kept for it any more. */
const HOLD_IDLE_MS = 60_000;

/** Looks after those who follow one leadership. */
export class CopyCare {
  private readonly leadership: Leadership;
  private readonly host: Host;
  private slowed = false;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    this.host = leadership.host;
  }

  tick(): void {
    const { pace, progress, replica } = this.leadership;
    const { now } = this.host;
    const { lastIndex } = replica.log;
    for (const follower of progress.values()) this.endHold(follower);
    pace.look(now, lastIndex, this.following());
    pace.lookAtHold(now, lastIndex, this.largestHold());
    this.tell(pace.isSlowed);
  }

  /** Learners that take entries: they have a state to put them on, room for more, and are heard of. */
  private following(): Follows[] {
    const found: Follows[] = [];
    for (const follower of this.leadership.progress.values()) {
      const { votes, state, match, copyUntil, lastHeardAt, replica, full } = follower;
      // What is copied at the rate of moves is no reason to slow anybody down.
      if (votes || full || state === 'snapshot' || match === 0 || match < copyUntil) continue;
      if (this.host.now - lastHeardAt <= LEVEL_HEARD_MS) found.push({ id: replica.id, match });
    }
    return found;
  }

  /** It has what it was held for, or nobody goes on with it. */
  private endHold(follower: Progress): void {
    const { id } = follower.replica;
    if (!this.host.holds.has(id)) return;
    const isNear = this.leadership.replica.log.lastIndex - follower.match <= NEAR_ENTRIES;
    const follows = follower.state !== 'snapshot' && follower.match > 0 && isNear;
    if (follows || this.host.now - follower.lastNewsAt > HOLD_IDLE_MS) this.host.endHold(id);
  }

  /** The hold that is nearest to its bound; null: none, or nothing is kept now. */
  private largestHold(): Hold | null {
    const { host } = this;
    if (host.diskFull || host.room.tight) return null;
    let largest: Hold | null = null;
    for (const { replica, lastNewsAt } of this.leadership.progress.values()) {
      const hold = host.holds.of(replica.id);
      if (hold === null || host.now - lastNewsAt > STALLED_MS) continue;
      if (largest === null || hold.grown > largest.grown) largest = hold;
    }
    return largest;
  }

  private tell(slowed: boolean): void {
    if (slowed === this.slowed) return;
    this.slowed = slowed;
    const { partition } = this.leadership.replica;
    const perSecond = Math.round(this.leadership.pace.limit);
    this.host.event(
      slowed
        ? { level: 'warn', event: 'writers_slowed', partition, perSecond }
        : { level: 'info', event: 'writers_not_slowed', partition },
    );
  }

  /** Ends with its leadership. */
  end(): void {
    for (const { replica } of this.leadership.progress.values()) this.host.endHold(replica.id);
    this.tell(false);
  }
}
