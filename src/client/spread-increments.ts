/**
 * What a client knows of salted counters, and which of its increments go to a sub-counter: those whose caller does not want the counter, at their
 * first attempt. There they stay: a retry goes where the first attempt may have counted. A sub-counter that is closed takes no increments, but
 * for ever says which ones it has taken: what it has not, starts over at home. So does what cannot be sent to its sub-counter the first time.
 * INVARIANT: an operation starts over only before its first attempt, or after the sub-counter has said that it has not counted there and never
 * will.
 */
import { toLatin1 } from '../common/bytes.ts';
import { SALT_HINT_MS, SALT_HINTS_MAX } from '../common/limits.ts';
import type { Receipt, Salts } from '../common/wire/messages.ts';
import type { Operation } from './operation.ts';

interface Hint {
  readonly partitions: readonly number[];
  readonly set: number;
  /** What each increment adds; 0: anything. */
  readonly delta: bigint;
  /** The set was in effect at this entry of its home. */
  readonly index: number;
  readonly until: number;
}

/** The salted counters of one client. Times are monotonic ms. */
export class SpreadIncrements {
  /** By name of the key, the one that was confirmed longest ago first. */
  private readonly hints = new Map<string, Hint>();
  /** Sets that are known to be closed, and until when an answer of their home may still name them; the oldest first. */
  private readonly closed = new Map<number, number>();

  /** Chooses for an increment that was never sent among its home and the sub-counters; `operation.partition` is its home. */
  aim(operation: Operation, now: number, random: () => number): void {
    if (this.hints.size === 0 || !mayBeSpread(operation)) return;
    const name = nameOf(operation);
    const hint = this.hints.get(name);
    if (hint === undefined) return;
    if (now >= hint.until) {
      this.hints.delete(name);
      return;
    }
    if (hint.delta !== 0n && hint.delta !== BigInt(operation.spec.delta)) return;
    const at = Math.floor(random() * (hint.partitions.length + 1));
    const partition = hint.partitions[at];
    if (partition !== undefined) operation.goToSub(partition, hint.set, hint.index);
  }

  /** Takes note of a receipt. */
  note(operation: Operation, receipt: Receipt, now: number): void {
    if (operation.saltSet > 0 || !mayBeSpread(operation)) return;
    if (receipt.salts?.set) this.learn(nameOf(operation), receipt.salts, now);
    else this.hints.delete(nameOf(operation));
  }

  private learn(name: string, { partitions, set = 0, delta = 0, index = 0 }: Salts, now: number): void {
    this.hints.delete(name);
    if (now < (this.closed.get(set) ?? 0)) return;
    this.hints.set(name, { partitions, set, delta: BigInt(delta), index, until: now + SALT_HINT_MS });
    dropOldest(this.hints);
  }

  /** Whether the answer is that of a sub-counter which is closed, and has not taken the increment before. */
  isClosed(operation: Operation, receipt: Receipt | null | undefined, now: number): boolean {
    const { saltSet } = operation;
    if (saltSet === 0 || receipt?.conditionFailed !== true) return false;
    const name = nameOf(operation);
    if (this.hints.get(name)?.set === saltSet) this.hints.delete(name);
    this.closed.delete(saltSet);
    this.closed.set(saltSet, now + SALT_HINT_MS);
    dropOldest(this.closed);
    return true;
  }
}

function dropOldest(map: Map<unknown, unknown>): void {
  if (map.size <= SALT_HINTS_MAX) return;
  const [oldest] = map.keys();
  map.delete(oldest);
}

function mayBeSpread({ spec }: Operation): boolean {
  return spec.unread && spec.ttlMs === 0 && spec.idempotencyKey.length === 0;
}

function nameOf({ spec: { keyspace, key } }: Operation): string {
  return `${keyspace}\0${toLatin1(key)}`;
}
