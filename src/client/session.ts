/**
 * What a session has seen of each partition: the other half of reads at `session` (src/node/core/local-reads.ts). A session reads its
 * own writes and never goes back: a replica answers when it has decided what the session has seen there.
 * INVARIANT: `index` and the marks only grow, until a loss was told; a mark goes only when a state that holds it was seen.
 */
import { pack, unpack } from 'msgpackr';
import { RingkeepError } from '../common/errors.ts';
import { PARTITIONS_MAX, SESSION_MARKS_MAX } from '../common/limits.ts';
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

const TOKEN_VERSION = 1;

type TokenRow = [
  partition: number,
  index: number,
  early: [index: number, epoch: number][],
  overflowed: boolean,
];

/** What a session has seen. Its token says the same to another process. */
export class Session {
  private readonly seen = new Map<number, Seen>();

  /**
   * Returns the session that a token speaks of.
   * @throws RingkeepError INVALID_ARGUMENT
   */
  static from(token: string): Session {
    const session = new Session();
    for (const [partition, index, early, overflowed] of readToken(token)) {
      session.seen.set(partition, {
        index,
        early: early.map(([at, epoch]) => ({ index: at, epoch })),
        overflowed,
      });
    }
    return session;
  }

  /** All that was seen, as text of letters, digits, `-` and `_`; some 10 characters for each partition that it has used. */
  get token(): string {
    const rows = [...this.seen].map(([partition, { index, early, overflowed }]): TokenRow => {
      return [partition, index, early.map((mark) => [mark.index, mark.epoch]), overflowed];
    });
    return Buffer.from(pack([TOKEN_VERSION, rows])).toString('base64url');
  }

  /** Takes note of a write's receipt. */
  wrote({ partition, index, epoch, durability, conditionFailed }: Receipt): void {
    if (index === 0) return;
    const seen = this.of(partition);
    if (durability === 'leader') return this.mark(seen, { index, epoch });
    seen.index = Math.max(seen.index, index);
    // An entry that is committed has all before it of its epoch committed. A refusal's epoch is not that of its entry.
    if (!conditionFailed)
      seen.early = seen.early.filter((mark) => mark.epoch !== epoch || mark.index > index);
  }

  /** Takes note of a write that is committed, though not acknowledged as it was asked for. */
  applied(partition: number, index: number): void {
    const seen = this.of(partition);
    seen.index = Math.max(seen.index, index);
  }

  private mark(seen: Seen, mark: SessionMark): void {
    const known = seen.early.find(({ epoch }) => epoch === mark.epoch);
    if (known !== undefined) known.index = Math.max(known.index, mark.index);
    else if (seen.early.length < SESSION_MARKS_MAX) seen.early.push(mark);
    else seen.overflowed = true;
  }

  /** Takes note of what a read has shown. `asked`: what it had to hold, if it was at `session`. */
  read({ partition, seenIndex }: Value, asked: GetOperation | null): void {
    const seen = this.of(partition);
    seen.index = Math.max(seen.index, seenIndex);
    if (asked === null || seen.early.length === 0) return;
    const held = (mark: SessionMark) =>
      asked.early.some(({ epoch, index }) => epoch === mark.epoch && index >= mark.index);
    seen.early = seen.early.filter((mark) => !held(mark));
  }

  /** Whether writes were acknowledged to it early that it cannot ask for any more. */
  hasForgotten(partition: number): boolean {
    return this.of(partition).overflowed;
  }

  /**
   * The caller has been told that a write of `epoch` among those that were `asked` for is lost: it is not asked for again. Without
   * `asked`, that some of too many may be: then none of them is.
   */
  lost(partition: number, epoch: number, asked: GetOperation | null): void {
    const seen = this.of(partition);
    // Not a write that was told early: what it has seen as committed is not there any more.
    if (asked !== null && epoch === 0) seen.index = 0;
    const told = asked?.early.find((mark) => mark.epoch === epoch)?.index ?? 0;
    if (asked === null) {
      seen.early = [];
      seen.overflowed = false;
    } else seen.early = seen.early.filter((mark) => mark.epoch !== epoch || mark.index > told);
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

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isRow(row: unknown): row is TokenRow {
  if (!Array.isArray(row) || row.length !== 4) return false;
  const [partition, index, early, overflowed] = row;
  if (typeof overflowed !== 'boolean') return false;
  if (!isCount(partition) || partition >= PARTITIONS_MAX || !isCount(index)) return false;
  if (!Array.isArray(early) || early.length > SESSION_MARKS_MAX) return false;
  return early.every((mark) => Array.isArray(mark) && mark.length === 2 && mark.every(isCount));
}

function readToken(token: string): TokenRow[] {
  let parts: unknown;
  try {
    parts = unpack(Buffer.from(token, 'base64url'));
  } catch {
    parts = null;
  }
  if (Array.isArray(parts) && parts[0] === TOKEN_VERSION && Array.isArray(parts[1])) {
    const rows: unknown[] = parts[1];
    if (rows.length <= PARTITIONS_MAX && rows.every(isRow)) return rows;
  }
  throw new RingkeepError('INVALID_ARGUMENT', 'this is not the token of a session');
}
