import { beforeEach, describe, expect, it } from 'vitest';
import { StoreView } from './store-view.ts';
import type { StoreEntry } from './types.ts';

function cluster(revision: number, partitions = 4): StoreEntry {
  return { key: 'cluster', revision, value: { clusterId: 'c', partitions, replicationFactor: 3 } };
}

describe('StoreView', () => {
  let view: StoreView;
  beforeEach(() => {
    view = new StoreView();
    view.load([cluster(3)]);
  });

  it('writes from the confirmed revision and believes only what was confirmed', () => {
    view.write([cluster(4, 8)]);
    const [effect] = view.take().cas;
    expect(effect!.changes).toEqual([{ expectedRevision: 3, entry: cluster(4, 8) }]);
    expect(view.cluster()!.partitions).toBe(4);
    expect(view.casResult(effect!.tag, 'ok')).toEqual({ keys: ['cluster'], ours: true });
    expect(view.cluster()!.partitions).toBe(8);
    expect(view.busy('cluster')).toBe(false);
  });

  it.each(['conflict', 'unknown'] as const)(
    'reads back after %s; the key stays busy until then',
    (outcome) => {
      view.write([cluster(4, 8)]);
      expect(view.casResult(view.take().cas[0]!.tag, outcome)).toBeNull();
      const { cas, reads } = view.take();
      expect(cas).toEqual([]);
      expect(reads).toMatchObject([{ keys: ['cluster'] }]);
      expect(view.busy('cluster')).toBe(true);
      expect(view.readResult(reads[0]!.tag, [cluster(9, 16)], 0)).toEqual({ keys: ['cluster'], ours: false });
      expect(view.revisionOf('cluster')).toBe(9);
    },
  );

  it('repeats a failed read later, and forgets what a read did not find', () => {
    view.read(['cluster']);
    expect(view.readResult(view.take().reads[0]!.tag, null, 50)).toBeNull();
    view.tick(49);
    expect(view.take().reads).toEqual([]);
    expect(view.busy('cluster')).toBe(true);
    view.tick(50);
    expect(view.readResult(view.take().reads[0]!.tag, [], 0)).not.toBeNull();
    expect(view.cluster()).toBeNull();
  });

  it('takes news that it is told if they are newer and nothing is in flight', () => {
    expect(view.told(cluster(2, 99))).toBeNull();
    expect(view.told(cluster(5, 16))).toEqual({ keys: ['cluster'], ours: false });
    view.write([cluster(6)]);
    expect(view.told(cluster(7, 99))).toBeNull();
    expect(view.cluster()!.partitions).toBe(16);
  });

  it('reads back what it was told of while its own write was under way, once', () => {
    view.write([cluster(4)]);
    const [write] = view.take().cas;
    // Its own write, and one of another controller on top of it: both are told before the answer comes.
    expect(view.told(cluster(4))).toBeNull();
    expect(view.told(cluster(5, 16))).toBeNull();
    expect(view.casResult(write!.tag, 'ok')).toEqual({ keys: ['cluster'], ours: true });
    const { reads } = view.take();
    expect(reads).toMatchObject([{ keys: ['cluster'] }]);
    expect(view.busy('cluster')).toBe(true);
    expect(view.readResult(reads[0]!.tag, [cluster(5, 16)], 0)).toEqual({ keys: ['cluster'], ours: false });
    expect(view.cluster()!.partitions).toBe(16);
    expect([view.take().reads, view.busy('cluster')]).toEqual([[], false]);
  });

  it('reads again what changed while it was read, and believes a store that has gone back', () => {
    view.read(['cluster']);
    expect(view.told(cluster(5, 16))).toBeNull();
    expect(view.readResult(view.take().reads[0]!.tag, [cluster(4, 8)], 0)).not.toBeNull();
    const [again] = view.take().reads;
    expect(view.readResult(again!.tag, [cluster(4, 8)], 0)).not.toBeNull();
    expect(view.take().reads).toEqual([]);
    expect(view.cluster()!.partitions).toBe(8);
  });

  it('refuses a second request for a key and a revision that does not grow', () => {
    view.write([cluster(4)]);
    expect(() => view.read(['cluster'])).toThrow('one request at a time');
    const other = new StoreView();
    other.load([cluster(3)]);
    expect(() => other.write([cluster(3)])).toThrow('grows');
  });

  it('ignores answers it does not wait for', () => {
    expect(view.casResult(77, 'ok')).toBeNull();
    expect(view.readResult(77, [cluster(9)], 0)).toBeNull();
    expect(view.revisionOf('cluster')).toBe(3);
  });
});
