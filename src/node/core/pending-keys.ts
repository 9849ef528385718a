/**
 * Which keys the undecided end of a log touches. Built only where somebody asks, and from then on kept up by what was
 * appended since the last question.
 * INVARIANT: every entry above the decided index is looked at before an answer; what was truncated is forgotten.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { type Command, touchedKeys } from './entry.ts';
import { entryOf, type ReplicaLog } from './log.ts';

/** So many keys may be remembered before those that are decided are looked for and forgotten. */
const REMEMBERED_MIN = 4_096;

/** The keys of one log's undecided entries. */
export class PendingKeys {
  private readonly log: ReplicaLog;
  /** Newest entry by user key (latin1); those at or below the decided index mean nothing. */
  private readonly newest = new Map<string, number>();
  private upTo = 0;
  private truncations = 0;
  private rememberedMax = REMEMBERED_MIN;

  constructor(log: ReplicaLog) {
    this.log = log;
  }

  /** Returns the index of the newest entry above `decidedIndex` that touches the user key; 0: there is none. */
  newestOf(key: Uint8Array, decidedIndex: number): number {
    this.keepUp(decidedIndex);
    const index = this.newest.get(toLatin1(key)) ?? 0;
    return index > decidedIndex ? index : 0;
  }

  private keepUp(decidedIndex: number): void {
    const { log } = this;
    const isPast = this.upTo <= decidedIndex;
    const isFull = this.newest.size > this.rememberedMax;
    if (this.truncations !== log.truncations || isPast || isFull) {
      this.newest.clear();
      this.upTo = decidedIndex;
      this.truncations = log.truncations;
    }
    for (let index = this.upTo + 1; index <= log.lastIndex; index++) this.note(index);
    this.upTo = Math.max(this.upTo, log.lastIndex);
    // Twice as many before the next time: then that is as much work as noting them was.
    if (isFull || isPast) this.rememberedMax = Math.max(REMEMBERED_MIN, 2 * this.newest.size);
  }

  private note(index: number): void {
    const command: Command = entryOf(this.log.at(index)!).command;
    for (const key of touchedKeys(command)) this.newest.set(toLatin1(key), index);
  }
}
