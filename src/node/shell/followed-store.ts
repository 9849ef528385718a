/**
 * Which router a node obeys, when it is told to attach to several: the one whose topology store it follows. Two routers
 * with stores of their own would each take the other's epochs for proof that its own store is out of date, and depose each
 * other's leaders without end. Pure; times are monotonic ms.
 * INVARIANT: while a stream of the followed store's router is up, and for FOLLOW_MS after, no other store is obeyed.
 */

/** A router that is started again must be back by then; one with an empty directory waits as long. */
const FOLLOW_MS = 3_000;

/** The store that a node follows. */
export class FollowedStore {
  #storeId = '';
  #streams = 0;
  #leftAt = Number.NEGATIVE_INFINITY;

  /** The store that is followed at present; empty: none. */
  current(now: number): string {
    return this.#streams > 0 || now - this.#leftAt < FOLLOW_MS ? this.#storeId : '';
  }

  /** Whether a router with this store may be obeyed now. */
  allows(storeId: string, now: number): boolean {
    const current = this.current(now);
    return current === '' || current === storeId;
  }

  /** A stream of a router that has told a topology of this store is up. */
  joined(storeId: string): void {
    if (this.#storeId !== storeId) this.#streams = 0;
    this.#storeId = storeId;
    this.#streams += 1;
  }

  /** Such a stream has ended. */
  left(storeId: string, now: number): void {
    if (this.#storeId !== storeId || this.#streams === 0) return;
    this.#streams -= 1;
    this.#leftAt = now;
  }
}
