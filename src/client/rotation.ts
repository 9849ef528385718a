/**
 * Which address to try next, and when: goes round a list, pauses with growing, random delays once every
 * address has failed in a row. Pure; time and randomness are passed in. It knows nothing of what is done with
 * an address.
 */

/** Bounds of the pause after a whole round has failed, in ms. */
export interface RotationOptions {
  readonly backoffMs: number;
  readonly backoffMsMax: number;
}

/** Pauses for connections: short, since a router restarts within a second or two. */
export const ROTATION_DEFAULTS: RotationOptions = { backoffMs: 50, backoffMsMax: 1_000 };

/** A list of addresses that is gone round. */
export class Rotation {
  readonly #options: RotationOptions;
  #addresses: readonly string[];
  #index: number;
  #failures = 0;
  #notBefore = 0;

  /** Starts at the address numbered `start`, taken modulo their number, which is at least 1. */
  constructor(addresses: readonly string[], start = 0, options: RotationOptions = ROTATION_DEFAULTS) {
    this.#addresses = addresses;
    this.#index = start % addresses.length;
    this.#options = options;
  }

  /** Returns the address to try at time `now` (ms), or null during a pause. */
  candidate(now: number): string | null {
    return now < this.#notBefore ? null : this.#addresses[this.#index]!;
  }

  /**
   * Notes that the current address failed at `now`: the next one is up, after a pause if all have failed in a
   * row.
   */
  failed(now: number, random: number): void {
    this.#failures += 1;
    this.advance();
    if (this.#failures % this.#addresses.length !== 0) return;
    const rounds = this.#failures / this.#addresses.length;
    const bound = Math.min(
      this.#options.backoffMsMax,
      this.#options.backoffMs * 2 ** Math.min(30, rounds - 1),
    );
    // Half fixed, half random: never a busy loop, never all clients at once.
    this.#notBefore = now + bound / 2 + (random * bound) / 2;
  }

  /** Notes that the current address works. */
  succeeded(): void {
    this.#failures = 0;
    this.#notBefore = 0;
  }

  /** Moves on to the next address without blaming this one. */
  advance(): void {
    this.#index = (this.#index + 1) % this.#addresses.length;
  }

  /** Replaces the list, keeping the current address if it is still in it. */
  replace(addresses: readonly string[]): void {
    const index = addresses.indexOf(this.#addresses[this.#index]!);
    this.#addresses = addresses;
    this.#index = Math.max(0, index);
  }
}
