/**
 * Sketches against the truth: what share of the ten hottest keys they find, how far off they are, and what an operation costs, for several
 * distributions. Keys arrive as bytes, as they do in a node.
 */
import { createRandom } from '#src/common/random.ts';
import { TopKeys } from '#src/node/core/top-keys.ts';
import { Zipfian } from '../workload/zipfian.ts';
import { HeavyKeeper } from './heavy-keeper.ts';

/** A distribution over `keys` keys: uniform when the constant is 0. */
export interface Draw {
  readonly constant: number;
  readonly keys: number;
  readonly operations: number;
}

export interface SketchFigures {
  readonly draw: Draw;
  readonly sketch: string;
  readonly bytes: number;
  readonly nsPerOperation: number;
  /** How many of the ten hottest keys are among the sketch's ten. */
  readonly found: number;
  /** Largest and mean relative difference between what is told of the ten hottest and the truth; of those that are found. */
  readonly errorMax: number;
  readonly errorMean: number;
}

interface Sketch {
  readonly name: string;
  readonly bytes: number;
  add(key: string): void;
  top(limit: number): { readonly key: string; readonly count: number }[];
}

const TOP = 10;
/** Of a slot: counts, heap, a short key with its entry in the map. */
const SLOT_BYTES = 4 * 8 + 4 + 100;
const SEED = 7;

function topKeys(capacity: number): Sketch {
  const sketch = new TopKeys(capacity);
  return {
    name: `Space-Saving, ${capacity} keys`,
    bytes: capacity * SLOT_BYTES,
    add: (key) => sketch.add(key, 1, 0),
    top: (limit) => sketch.top(limit).map(({ key, reads }) => ({ key, count: reads })),
  };
}

function heavyKeeper(width: number, depth: number, keep: number): Sketch {
  const sketch = new HeavyKeeper(width, depth, keep, createRandom(SEED));
  return {
    name: `HeavyKeeper, ${depth} x ${width} buckets, ${keep} keys`,
    bytes: width * depth * 12 + keep * 100,
    add: (key) => sketch.add(key),
    top: (limit) => sketch.top(limit),
  };
}

/** Draws the same keys at every call. */
function draw({ constant, keys, operations }: Draw, take: (item: number) => void): void {
  const random = createRandom(SEED);
  if (constant === 0) for (let at = 0; at < operations; at += 1) take(random.integer(keys));
  else {
    const zipfian = new Zipfian(keys, constant);
    for (let at = 0; at < operations; at += 1) take(zipfian.next(random));
  }
}

/** Measures all sketches on one distribution. */
export function measureSketches(wanted: Draw): SketchFigures[] {
  const names = Array.from({ length: wanted.keys }, (_, item) => Buffer.from(`user${item * 7_919}`));
  const truth = new Float64Array(wanted.keys);
  draw(wanted, (item) => {
    truth[item]! += 1;
  });
  const order = [...truth.keys()].sort((a, b) => truth[b]! - truth[a]!).slice(0, TOP);
  const hottest = new Map(order.map((item) => [names[item]!.toString('latin1'), truth[item]!]));
  let sink = 0;
  const timed = (each: (key: string) => void): number => {
    const start = performance.now();
    draw(wanted, (item) => each(names[item]!.toString('latin1')));
    return performance.now() - start;
  };
  const bare = (): number => {
    const start = performance.now();
    draw(wanted, (item) => {
      sink += names[item]!.length;
    });
    return performance.now() - start;
  };
  const empty = Math.min(bare(), bare());
  return [topKeys(256), topKeys(1_024), heavyKeeper(2_048, 2, 64), heavyKeeper(8_192, 2, 64)].map(
    (sketch) => {
      const ms = timed((key) => sketch.add(key)) - empty;
      const found = sketch.top(TOP).filter(({ key }) => hottest.has(key));
      const errors = found.map(({ key, count }) => Math.abs(count - hottest.get(key)!) / hottest.get(key)!);
      return {
        ...{ draw: wanted, sketch: sketch.name, bytes: sketch.bytes, found: found.length },
        nsPerOperation: Math.round((ms * 1e6) / wanted.operations) + 0 * Math.min(sink, 0),
        errorMax: Math.max(0, ...errors),
        errorMean: errors.length === 0 ? 0 : errors.reduce((sum, error) => sum + error, 0) / errors.length,
      };
    },
  );
}
