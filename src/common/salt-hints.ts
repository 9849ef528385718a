/**
 * Where hot keys can be read as well, as the answers of their homes have told, and which way a read takes: what routers and direct clients go
 * by (docs/HOT-KEYS.md). A hint may be wrong at any time: whoever holds no copy says so, and the read goes home.
 * INVARIANT: at most SALT_HINTS_MAX keys, and none whose home has not named its copies for SALT_HINT_MS.
 */
import type { ErrorCode } from './errors.ts';
import { SALT_HINT_MS, SALT_HINTS_MAX } from './limits.ts';
import { lessLoaded } from './replica-choice.ts';

interface Hint {
  partitions: readonly number[];
  readonly until: number;
}

const NOWHERE: readonly number[] = [];

/** What a copy says that cannot answer just now, though the key's home may: the read goes there. Nothing of it has any effect. */
const HOMEWARD: ReadonlySet<string> = new Set<ErrorCode>([
  'NOT_LEADER',
  'NOT_READY',
  'NO_QUORUM',
  'SHUTTING_DOWN',
  'UNAVAILABLE',
]);

/** Whether a read that a copy refused with this code is sent home at once. */
export function isHomeward(code: string): boolean {
  return HOMEWARD.has(code);
}

/** The copies of hot keys, by a name of the key. Times are monotonic ms. */
export class SaltHints {
  /** The one that was confirmed longest ago first. */
  private readonly hints = new Map<string, Hint>();

  get size(): number {
    return this.hints.size;
  }

  /** Takes the word of a key's home: where it has copies; nowhere: it is a key like any other. */
  note(name: string, partitions: readonly number[], now: number): void {
    this.hints.delete(name);
    if (partitions.length === 0) return;
    this.hints.set(name, { partitions, until: now + SALT_HINT_MS });
    if (this.hints.size <= SALT_HINTS_MAX) return;
    const [oldest] = this.hints.keys();
    this.hints.delete(oldest!);
  }

  /** Returns the partitions with copies, as far as is known. */
  of(name: string, now: number): readonly number[] {
    const hint = this.hints.get(name);
    if (hint === undefined) return NOWHERE;
    if (now < hint.until) return hint.partitions;
    this.hints.delete(name);
    return NOWHERE;
  }

  /** The key has no copy there, after all. */
  strike(name: string, partition: number): void {
    const hint = this.hints.get(name);
    if (hint === undefined) return;
    hint.partitions = hint.partitions.filter((each) => each !== partition);
    if (hint.partitions.length === 0) this.hints.delete(name);
  }
}

/** One way to a salted key. */
export interface SaltedWay<L> {
  /** As in `Request.saltIn`: 1 more than the partition whose copy is read; 0: home. */
  readonly saltIn: number;
  readonly link: L;
}

/**
 * Returns the less loaded of two random ways, of those that are open; undefined if none is. `linkOf` gives the way to a partition's leader, or null.
 * Who leads several of them is one way, home before copies.
 */
export function saltedWay<L>(
  home: number,
  copies: readonly number[],
  linkOf: (partition: number) => L | null,
  loadOf: (link: L) => number,
  random: () => number,
): SaltedWay<L> | undefined {
  const ways: SaltedWay<L>[] = [];
  for (const partition of [home, ...copies]) {
    const link = linkOf(partition);
    if (link === null || ways.some((way) => way.link === link)) continue;
    ways.push({ saltIn: partition === home ? 0 : partition + 1, link });
  }
  return lessLoaded(ways, ({ link }) => loadOf(link), random);
}
