/**
 * The coalescing sender: what is pushed while one callback of the event loop runs, its promises included, leaves as one
 * message, without waiting for another turn of the loop. It owns the queue, its
 * bounds and the byte count; how a message is composed and written is the caller's. One message set-up costs as much
 * as many operations, so this is where the throughput of streams comes from.
 * INVARIANT: at most `inTransportMax` messages are with the transport; everything else waits here, counted.
 * INVARIANT: `bytes` counts what was pushed and not yet taken by the transport; `push` refuses beyond `bytesMax`.
 * Items leave in the order pushed.
 */
import { RingkeepError } from '../errors.ts';
import { ITEM_BYTES_MAX, MESSAGE_BYTES_TARGET, MESSAGE_ITEMS_TARGET } from '../limits.ts';

export interface OutboxOptions<T> {
  /** Upper estimate of an item's encoded bytes. */
  sizeOf(item: T): number;
  /** Hands one message to the transport, which calls `taken` once it has passed it on (its flow control applies). */
  write(items: T[], taken: () => void): void;
  /** Called after each message that the transport took, with `bytes` already lower. */
  onTaken?(): void;
  /** Unsent bytes before `push` refuses. A single item is always taken into an empty outbox. */
  readonly bytesMax: number;
  /** A message is closed at about these. */
  readonly messageBytes?: number;
  readonly messageItems?: number;
  /** Start with everything held until `release()`. */
  readonly held?: boolean;
}

/** Two: the transport has the next message when it finishes one, and the rest can still grow here. */
const IN_TRANSPORT_MAX = 2;

/** Queues items and writes them as few messages; see the head of the file for its bounds. */
export class Outbox<T> {
  readonly #options: OutboxOptions<T>;
  readonly #messageBytes: number;
  readonly #messageItems: number;
  #items: T[] = [];
  #sizes: number[] = [];
  #bytes = 0;
  #inTransport = 0;
  #held: boolean;
  #scheduled = false;
  #flushing = false;
  #closed = false;

  constructor(options: OutboxOptions<T>) {
    this.#options = options;
    this.#messageBytes = options.messageBytes ?? MESSAGE_BYTES_TARGET;
    this.#messageItems = options.messageItems ?? MESSAGE_ITEMS_TARGET;
    this.#held = options.held ?? false;
  }

  /** Bytes pushed and not yet taken by the transport. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Nothing waits and nothing is with the transport. */
  get empty(): boolean {
    return this.#items.length === 0 && this.#inTransport === 0;
  }

  /**
   * Queues an item for the message that leaves when the present callback is done.
   * @returns false when the bound is reached or the outbox is closed: the item was not taken
   * @throws RingkeepError MESSAGE_TOO_LARGE when the item alone is longer than a message may be
   */
  push(item: T): boolean {
    if (this.#closed) return false;
    const size = this.#options.sizeOf(item);
    if (size > ITEM_BYTES_MAX) {
      throw new RingkeepError('MESSAGE_TOO_LARGE', `${size} bytes do not fit into a message`);
    }
    if (this.#bytes > 0 && this.#bytes + size > this.#options.bytesMax) return false;
    this.#append(item, size);
    return true;
  }

  /** Queues an item beyond the bound; for the few that end something (failures, end marks), whose number is bounded. */
  pushUnbounded(item: T): void {
    if (!this.#closed) this.#append(item, this.#options.sizeOf(item));
  }

  /** Lets a held outbox send. */
  release(): void {
    this.#held = false;
    this.#schedule();
  }

  /** Hands everything to the transport now, whatever is with it already; before the stream is ended in good order. */
  flushAll(): void {
    this.#held = false;
    while (!this.#closed && this.#items.length > 0) this.#sendOne();
  }

  /** Drops everything; later pushes are refused. */
  close(): void {
    this.#closed = true;
    this.#items = [];
    this.#sizes = [];
    this.#bytes = 0;
  }

  #append(item: T, size: number): void {
    this.#items.push(item);
    this.#sizes.push(size);
    this.#bytes += size;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#held || this.#inTransport >= IN_TRANSPORT_MAX) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    // A transport may call `taken` from inside `write`.
    if (this.#flushing) return;
    this.#flushing = true;
    while (!this.#closed && !this.#held && this.#items.length > 0 && this.#inTransport < IN_TRANSPORT_MAX) {
      this.#sendOne();
    }
    this.#flushing = false;
  }

  #sendOne(): void {
    let count = 0;
    let bytes = 0;
    while (count < this.#items.length && count < this.#messageItems) {
      const size = this.#sizes[count] ?? 0;
      if (count > 0 && bytes + size > this.#messageBytes) break;
      bytes += size;
      count += 1;
    }
    let items: T[];
    if (count === this.#items.length) {
      items = this.#items;
      this.#items = [];
      this.#sizes = [];
    } else {
      items = this.#items.splice(0, count);
      this.#sizes.splice(0, count);
    }
    this.#inTransport += 1;
    let done = false;
    this.#options.write(items, () => {
      if (done) return;
      done = true;
      this.#inTransport -= 1;
      if (this.#closed) return;
      this.#bytes -= bytes;
      this.#flush();
      this.#options.onTaken?.();
    });
  }
}
