/**
 * What entries about salted keys do: to rows of sub-counters, and to a counter at its home when it is salted and unsalted. Pure functions of the
 * entry, its place in the log and the present values, so that every replica decides the same.
 * INVARIANT: a set of sub-counters is folded into its home at most once: with that, the home has no such set any more.
 */
import { SUB_KEPT_MS } from '../../common/limits.ts';
import { isInt64 } from '../../common/text.ts';
import type { Command, Entry } from './entry.ts';
import { counterOf, countOf } from './execute.ts';
import type { StoredValue } from './layout.ts';
import type { SaltSet } from './salt-sets.ts';
import { closedRow, openRow, type SaltCommand } from './sub-rows.ts';

/** Whether a key that holds this can be a salted counter. */
export function canBeSalted(stored: StoredValue | null): boolean {
  return stored === null || (stored.kind === 'counter' && stored.expiresAt === 0);
}

/** What such an entry does. */
export interface SaltEffect {
  readonly writes: readonly { readonly key: Uint8Array; readonly stored: StoredValue | null }[];
  /** What the key is salted with from then on; null: as before. */
  readonly set: SaltSet | null;
}

const UNSALTED: SaltSet = { partitions: [], automatic: false, counter: null };
const NOTHING: SaltEffect = { writes: [], set: null };

type Place = Pick<Entry, 'index' | 'epoch' | 'timestamp'>;

/** Decides such a command. `current`: what a key holds; `set`: what the salted key has. */
export function saltEffect(
  command: SaltCommand,
  place: Place,
  current: (key: Uint8Array) => StoredValue | null,
  set: SaltSet | null,
): SaltEffect {
  if (command.kind === 'sub') return subEffect(command, place, current);
  const { salted } = command;
  if (command.kind === 'salt') {
    if (command.set.counter === null) return { writes: [], set: command.set };
    const stored = current(salted);
    if (!canBeSalted(stored)) return NOTHING;
    // Written anew, so that it is there, and so that a quorum that has not decided this finds out by its version: it knows of no sub-counters.
    return { writes: [{ key: salted, stored: counterAt(countOf(stored), place) }], set: command.set };
  }
  if (set?.counter?.id !== command.id) return NOTHING;
  const sum = countOf(current(salted)) + command.sum;
  if (!isInt64(sum)) return NOTHING;
  return { writes: [{ key: salted, stored: counterAt(sum, place) }], set: UNSALTED };
}

function subEffect(
  { action, counter, salted }: Extract<Command, { kind: 'sub' }>,
  place: Place,
  current: (key: Uint8Array) => StoredValue | null,
): SaltEffect {
  const [open, closed] = [openRow(counter, salted), closedRow(counter, salted)];
  const [counting, ended] = [current(open), current(closed)];
  if (action === 'open') {
    if (counting !== null || ended !== null) return NOTHING;
    return { writes: [{ key: open, stored: counterAt(0n, place) }], set: null };
  }
  if (action === 'close') {
    if (counting === null) return NOTHING;
    const last = { key: closed, stored: counterAt(countOf(counting), place) };
    return { writes: [{ key: open, stored: null }, last], set: null };
  }
  if (ended === null || ended.expiresAt > 0) return NOTHING;
  const expiresAt = place.timestamp + SUB_KEPT_MS;
  return { writes: [{ key: closed, stored: { ...counterAt(countOf(ended), place), expiresAt } }], set: null };
}

function counterAt(sum: bigint, { index, epoch }: Place): StoredValue {
  return { ...counterOf(sum), version: index, epoch, expiresAt: 0 };
}
