/**
 * How many reads of one stream may be on their way, so that the answers fit into what may wait for a client that does not
 * read them: how long an answer is shows only when it has been made, so the ones before it are the guess. Pure.
 * A guess that is too low costs work, not memory: what does not fit then is refused after all (server-session.ts).
 * INVARIANT: a stream whose answers are all read may start a read: nobody starves, however long its values are.
 */
import { assert } from '../errors.ts';

/** Before the first answer: few enough that a stream that begins with long values makes no heap of them. */
const FIRST_GUESS_BYTES = 256 * 1024;
/** The guess follows the last eight answers or so. */
const WEIGHT = 1 / 8;

/** The room for answers of one stream. */
export class ReplyRoom {
  readonly #bytesMax: number;
  #guess = FIRST_GUESS_BYTES;
  #expected = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether one more read may start while `unread` bytes of answers wait for the client. */
  mayStart(unread: number): boolean {
    if (this.#expected === 0) return unread < this.#bytesMax;
    return unread + (this.#expected + 1) * this.#guess <= this.#bytesMax;
  }

  /** A read has been started. */
  expect(): void {
    this.#expected += 1;
  }

  /** Its last answer has been made, with so many bytes; null if that says nothing of other answers. */
  answered(bytes: number | null): void {
    this.#expected -= 1;
    assert(this.#expected >= 0, 'a read is answered once');
    if (bytes !== null) this.#guess += (bytes - this.#guess) * WEIGHT;
  }

  /** Nothing is expected any more. */
  clear(): void {
    this.#expected = 0;
  }
}
