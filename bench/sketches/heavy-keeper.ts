/**
 * HeavyKeeper (Gong and others, "HeavyKeeper: An accurate algorithm for finding top-k elephant flows", USENIX ATC 2018), for comparison with
 * what the nodes use: rows of buckets, each with a fingerprint and a count; another key's operation makes the count less with a probability
 * that falls exponentially with it. The k best keys are kept beside.
 */
import { xxh64 } from '@node-rs/xxhash';
import type { Random } from '#src/common/random.ts';

const BASE = 1.08;

/** The sketch. */
export class HeavyKeeper {
  private readonly width: number;
  private readonly depth: number;
  private readonly prints: Uint32Array;
  private readonly counts: Float64Array;
  private readonly best = new Map<string, number>();
  private readonly keep: number;
  private readonly random: Random;
  private least = 0;

  /** `width` buckets in each of `depth` rows; `keep` keys. */
  constructor(width: number, depth: number, keep: number, random: Random) {
    this.width = width;
    this.depth = depth;
    this.keep = keep;
    this.random = random;
    this.prints = new Uint32Array(width * depth);
    this.counts = new Float64Array(width * depth);
  }

  /** Counts one operation. */
  add(key: string): void {
    const hash = xxh64(key);
    const print = Number(hash & 0xffffffffn) || 1;
    let place = Number(hash >> 32n);
    let estimate = 0;
    for (let row = 0; row < this.depth; row += 1) {
      const at = row * this.width + (place % this.width);
      place = Math.imul(place, 0x9e3779b1) >>> 0;
      const count = this.counts[at]!;
      if (count === 0 || this.prints[at] === print) {
        this.prints[at] = print;
        this.counts[at] = count + 1;
        estimate = Math.max(estimate, count + 1);
      } else if (this.random.next() < BASE ** -count) {
        this.counts[at] = count - 1;
        if (count === 1) {
          this.prints[at] = print;
          this.counts[at] = 1;
          estimate = Math.max(estimate, 1);
        }
      }
    }
    this.note(key, estimate);
  }

  private note(key: string, estimate: number): void {
    const { best } = this;
    if (estimate > 0 && (best.has(key) || best.size < this.keep)) best.set(key, estimate);
    else if (estimate > this.least) {
      let worst = '';
      let least = Number.POSITIVE_INFINITY;
      for (const [other, count] of best) {
        if (count >= least) continue;
        least = count;
        worst = other;
      }
      this.least = least;
      if (estimate <= least) return;
      best.delete(worst);
      best.set(key, estimate);
    }
  }

  /** Returns the keys with the largest estimates. */
  top(limit: number): { readonly key: string; readonly count: number }[] {
    const all = [...this.best].map(([key, count]) => ({ key, count }));
    return all.sort((a, b) => b.count - a.count).slice(0, limit);
  }
}
