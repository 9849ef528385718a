/**
 * What a session has seen of each partition: the other half of reads at `session` (src/node/core/local-reads.ts). A session reads its
 * own writes and never goes back: a replica answers when it has decided what the session has seen there.
 * INVARIANT: `index` and the marks only grow, until a loss was told; a mark goes only when a state that holds it was seen.
 */
import { SESSION_MARKS_MAX } from '../common/limits.ts';
import type { GetOperation, Receipt, SessionMark, Value } from '../common/wire/messages.ts';

/** Of one partition. */
interface Seen {
  /** Everything up to this entry was seen, and is committed. */
  index: number;
  /** Writes that were acknowledged before they were committed: of each epoch the newest one. */
  early: SessionMark[];
  /** There were more of them than can be told: some may be lost without a trace. */
  overflowed: boolean;
}

/** The positions of one session. */
export class Session {
  private readonly seen = new Map<number, Seen>();

  /** Takes note of a write's receipt. */
  wrote({ partition, index, epoch, durability }: Receipt): void {
    if (index === 0) return;
    const seen = this.of(partition);
    if (durability === 'leader') this.mark(seen, { index, epoch });
    else seen.index = Math.max(seen.index, index);
  }

  private mark(seen: Seen, mark: SessionMark): void {
    const known = seen.early.find(({ epoch }) => epoch === mark.epoch);
    if (known !== undefined) known.index = Math.max(known.index, mark.index);
    else if (seen.early.length < SESSION_MARKS_MAX) seen.early.push(mark);
    else seen.overflowed = true;
  }

  /** Takes note of what a read has shown. `asked`: what it had to hold, if it was at `session`. */
  read({ partition, seenIndex }: Value, asked?: GetOperation): void {
    const seen = this.of(partition);
    seen.index = Math.max(seen.index, seenIndex);
    if (asked === undefined) return;
    const held = (mark: SessionMark) =>
      asked.early.some(({ epoch, index }) => epoch === mark.epoch && index >= mark.index);
    seen.early = seen.early.filter((mark) => !held(mark));
  }

  /** A write that was seen is lost, as the caller has been told: what is left is what is committed. */
  lost(partition: number): void {
    const seen = this.of(partition);
    seen.early = [];
    seen.overflowed = false;
  }

  /** Returns the get that asks for a state with all that was seen. */
  get(partition: number): GetOperation {
    const { index, early } = this.of(partition);
    const marks = early.map((mark) => ({ ...mark }));
    return { level: 'READ_SESSION', sessionIndex: index, early: marks, maxStalenessMs: 0 };
  }

  private of(partition: number): Seen {
    let seen = this.seen.get(partition);
    if (seen === undefined) {
      seen = { index: 0, early: [], overflowed: false };
      this.seen.set(partition, seen);
    }
    return seen;
  }
}
