import { describe, expect, it } from 'vitest';
import { Checkpoints } from './checkpoints.ts';
import type { StoreEffect } from './effects.ts';

/** A node without replicas: its checkpoints are nothing but a sync and a cut. */
function nodeWithWal(checkpointBytes: number) {
  const cuts: number[] = [];
  let bytes = 0;
  const host = {
    options: { checkpointBytes },
    replicas: { byPartition: new Map() },
    store: (effect: StoreEffect) => {
      if (effect.kind === 'sync') effect.done(null);
    },
    dropWalBelow: () => cuts.push(bytes),
  };
  const checkpoints = new Checkpoints(host as unknown as ConstructorParameters<typeof Checkpoints>[0]);
  return {
    cuts,
    grow(to: number): void {
      bytes = to;
      checkpoints.walSize(bytes);
      // One tick hands the tables over, the next one finds them written.
      checkpoints.tick();
      checkpoints.tick();
    },
  };
}

describe('checkpoints', () => {
  it('come after the stated growth since what the last one left, however much it dropped', () => {
    const node = nodeWithWal(64);
    for (let round = 0; round < 5; round += 1) {
      node.grow(300);
      node.grow(319);
      node.grow(320);
      // The cut takes effect later: the WAL is back at what is kept for followers.
      node.grow(256);
    }
    expect(node.cuts).toEqual([300, 320, 320, 320, 320]);
  });
});
