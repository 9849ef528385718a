/**
 * Requests whose partition has no known leader, or none that is reached, by partition. Whoever holds them bounds and ends them.
 * INVARIANT: `count` is that of the requests in the state `held` that were added here; those that are done stay until the next `compact`.
 */
import { detach, type Forward } from './forward.ts';

/** The requests that wait for leaders. */
export class HeldRequests {
  private readonly lists = new Map<number, Forward[]>();
  private held = 0;

  get count(): number {
    return this.held;
  }

  /** Keeps a request, and no message that it came in. */
  add(forward: Forward): void {
    detach(forward);
    forward.state = 'held';
    this.held += 1;
    const list = this.lists.get(forward.partition);
    if (list === undefined) this.lists.set(forward.partition, [forward]);
    else list.push(forward);
  }

  /** Tells that one that was held is done. */
  dropped(): void {
    this.held -= 1;
  }

  /** Takes out those of the partitions that are led. */
  release(isLed: (partition: number) => boolean): Forward[] {
    const released: Forward[] = [];
    for (const [partition, list] of this.lists) {
      if (!isLed(partition)) continue;
      this.lists.delete(partition);
      released.push(...list.filter(({ state }) => state === 'held'));
    }
    this.held -= released.length;
    return released;
  }

  /** Frees the places of those that are done. */
  compact(): void {
    for (const [partition, list] of this.lists) {
      const waiting = list.filter(({ state }) => state === 'held');
      if (waiting.length === 0) this.lists.delete(partition);
      else if (waiting.length < list.length) this.lists.set(partition, waiting);
    }
  }
}
