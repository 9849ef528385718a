/**
 * Sketches against the truth: what share of the ten hottest keys they find, how far off they are, and what an operation costs, for several
 * distributions. Keys arrive as bytes, as they do in a node.
 */
import { NO_BYTES } from '#src/common/bytes.ts';
import { HOT_KEYS_MAX } from '#src/common/limits.ts';
import { createRandom } from '#src/common/random.ts';
import { LINEARIZABLE_GET } from '#src/common/reads.ts';
import type { Request } from '#src/common/wire/messages.ts';
import { HotKeys } from '#src/node/core/hot-keys.ts';
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
  add(key: string, bytes: Uint8Array): void;
  top(limit: number): { readonly key: string; readonly count: number }[];
}

const TOP = 10;
/** Of a slot: counts, heap, a short key with its entry in the map. */
const SLOT_BYTES = 4 * 8 + 4 + 100;
const SEED = 7;
/** Of a busy node. */
const OPERATIONS_PER_MS = 30;

function topKeys(capacity: number): Sketch {
  const sketch = new TopKeys(capacity);
  return {
    name: `Space-Saving, ${capacity} keys`,
    bytes: capacity * SLOT_BYTES,
    add: (key) => sketch.add(key, 1, 0),
    top: (limit) => sketch.top(limit).map(({ key, reads }) => ({ key, count: reads })),
  };
}

/** What runs in a node: sampled, and forgetting, at `OPERATIONS_PER_MS`; what it tells is a share of what there was lately. */
function inNode(): Sketch {
  const hot = new HotKeys(SEED);
  const fields = {
    id: 1,
    timeLeftMs: 0,
    keyspace: '',
    clientId: NO_BYTES,
    sequence: 0,
    lowWater: 0,
    sessionTime: 0,
  };
  const request: Request = {
    ...{ ...fields, key: NO_BYTES, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
    ...{ operation: 'get', get: LINEARIZABLE_GET },
  };
  let operations = 0;
  hot.tick(1);
  return {
    name: 'in a node: one of sixteen, half forgotten after 10 s',
    bytes: HOT_KEYS_MAX * SLOT_BYTES,
    add: (_text, key) => {
      operations += 1;
      request.key = key;
      hot.note(0, request);
      if (operations % (OPERATIONS_PER_MS * 20) === 0) hot.tick(1 + operations / OPERATIONS_PER_MS);
    },
    top: (limit) => {
      const report = hot.report(limit);
      return report.keys.map(({ key, reads }) => ({
        key: Buffer.from(key).toString('latin1'),
        count: (operations * reads) / report.reads,
      }));
    },
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
  const timed = (each: (key: string, bytes: Uint8Array) => void): number => {
    const start = performance.now();
    draw(wanted, (item) => each(names[item]!.toString('latin1'), names[item]!));
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
  return [inNode(), topKeys(256), topKeys(1_024), heavyKeeper(2_048, 2, 64), heavyKeeper(8_192, 2, 64)].map(
    (sketch) => {
      const ms = timed((key, bytes) => sketch.add(key, bytes)) - empty;
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
