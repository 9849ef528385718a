/** From a key to its partition, and from a partition to its nodes. */
import type { Bench } from 'tinybench';
import { partitionOf } from '#src/common/hash.ts';
import { partitionToken, Ring } from '#src/router/ring.ts';
import { BATCH, batchOf, keyOf } from './samples.ts';

/** Adds the lookups. */
export function addHashing(bench: Bench): void {
  const keys = batchOf(keyOf);
  bench.add(`partition of a key x${BATCH}`, () => {
    for (const key of keys) partitionOf(key, 48);
  });
  const nodes = Array.from({ length: 9 }, (_, at) => ({ id: `n${at}`, zone: '' }));
  const ring = new Ring(nodes);
  let partition = 0;
  bench.add('walk of a ring of 9 nodes', () => {
    partition = (partition + 1) % 4_096;
    ring.walk(partitionToken(partition));
  });
}
