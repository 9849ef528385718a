/**
 * Times without a success, per partition: what a failover costs. Each process notes its own gaps; a partition was without any
 * success where the gaps of all processes overlap.
 * INVARIANT: the overlap of all gaps is exact: it does not depend on how operations were spread over the processes.
 */

/** From the end of one success, or the beginning, to the next one, or the end, in ms. */
export interface Gap {
  readonly partition: number;
  readonly from: number;
  readonly to: number;
}

/** Shorter gaps are noise, and there are many of them. */
export const GAP_MS_MIN = 50;

/** Notes the gaps of one process. */
export class GapRecorder {
  readonly #last: Float64Array;
  readonly #gaps: Gap[] = [];

  /** `from` is the beginning, in ms. */
  constructor(partitions: number, from: number) {
    this.#last = new Float64Array(partitions).fill(from);
  }

  success(partition: number, now: number): void {
    this.#note(partition, now);
    this.#last[partition] = now;
  }

  /** Returns all gaps up to the end. */
  end(now: number): readonly Gap[] {
    for (let partition = 0; partition < this.#last.length; partition += 1) this.#note(partition, now);
    return this.#gaps;
  }

  #note(partition: number, to: number): void {
    const from = this.#last[partition]!;
    if (to - from >= GAP_MS_MIN) this.#gaps.push({ partition, from, to });
  }
}

function overlap(left: readonly Gap[], right: readonly Gap[]): Gap[] {
  const result: Gap[] = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) {
    const a = left[l]!;
    const b = right[r]!;
    const from = Math.max(a.from, b.from);
    const to = Math.min(a.to, b.to);
    if (to - from >= GAP_MS_MIN) result.push({ partition: a.partition, from, to });
    if (a.to < b.to) l += 1;
    else r += 1;
  }
  return result;
}

function byPartition(gaps: readonly Gap[]): Map<number, Gap[]> {
  const sorted = new Map<number, Gap[]>();
  for (const gap of gaps) {
    const list = sorted.get(gap.partition);
    if (list === undefined) sorted.set(gap.partition, [gap]);
    else list.push(gap);
  }
  for (const list of sorted.values()) list.sort((a, b) => a.from - b.from);
  return sorted;
}

/** Returns the gaps that all processes have in common, by partition, in order. */
export function commonGaps(processes: readonly (readonly Gap[])[]): Map<number, Gap[]> {
  const [first = [], ...others] = processes.map(byPartition);
  const result = new Map<number, Gap[]>(first);
  for (const other of others) {
    for (const [partition, gaps] of result) result.set(partition, overlap(gaps, other.get(partition) ?? []));
  }
  return result;
}

/** Returns the longest part of any gap that is in `[from, to)`, in ms; 0 if none of the gaps reaches into it. */
export function longestGapMs(
  gaps: ReadonlyMap<number, readonly Gap[]>,
  run: { readonly from: number; readonly to: number },
): number {
  const parts = [...gaps.values()].flatMap((list) =>
    list.map(({ from, to }) => Math.min(to, run.to) - Math.max(from, run.from)),
  );
  return Math.max(0, ...parts);
}

/** What a kill did to the partitions that the killed node led. Times as in the gaps. */
export interface Outage {
  /** Partitions of the killed node that were in use. */
  readonly partitions: number;
  /** The first success on one of them after it had been without; null if there was none. */
  readonly firstSuccess: number | null;
  /** When the last of them had a success again; null if one of them never had. */
  readonly allServed: number | null;
  /** The longest gap of one of them, in ms; 0 if none was longer than GAP_MS_MIN. */
  readonly longestGapMs: number;
  readonly longestGapPartition: number | null;
}

/**
 * Returns what happened to `partitions` after `killedAt`. The gap of a partition is the longest that ends after the kill; gaps
 * from `from` to `to`, the whole run, are of partitions that nobody used.
 */
export function outageOf(
  gaps: ReadonlyMap<number, readonly Gap[]>,
  partitions: readonly number[],
  killedAt: number,
  run: { readonly from: number; readonly to: number },
): Outage {
  const ends: number[] = [];
  let used = 0;
  let longest: Gap | null = null;
  for (const partition of partitions) {
    const after = (gaps.get(partition) ?? []).filter(({ to }) => to > killedAt);
    if (after.some(({ from, to }) => from <= run.from && to >= run.to)) continue;
    used += 1;
    const [worst] = [...after].sort((a, b) => b.to - b.from - (a.to - a.from));
    if (worst === undefined) continue;
    ends.push(worst.to >= run.to ? Number.POSITIVE_INFINITY : worst.to);
    if (longest === null || worst.to - worst.from > longest.to - longest.from) longest = worst;
  }
  const finite = (time: number) => (Number.isFinite(time) ? time : null);
  return {
    partitions: used,
    firstSuccess: finite(Math.min(...ends)),
    allServed: ends.length === 0 ? null : finite(Math.max(...ends)),
    longestGapMs: longest === null ? 0 : longest.to - longest.from,
    longestGapPartition: longest?.partition ?? null,
  };
}
