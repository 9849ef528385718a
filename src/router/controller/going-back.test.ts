/**
 * The way back to the version before moves (docs/UPGRADES.md): its router has to start on a store that this one has written, and
 * this one has to go on with what that one leaves. The rules here are frozen copies of that version's; they are not to follow ours.
 */
import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';
import type { NodeRecord } from '../../common/topology.ts';
import type { ClusterRecord, StoreEntry } from './types.ts';

type Row = { readonly key: string; readonly revision: number; readonly value: object };

/** `isEntry` of src/router/topology-store.ts as it was: a router does not start on a store with an entry that this refuses. */
function formerIsEntry(entry: Row): boolean {
  if (entry.key === 'cluster') return 'clusterId' in entry.value;
  if ('partition' in entry.value) {
    const { partition, revision } = entry.value as { partition: number; revision: number };
    return entry.key === `partition/${partition}` && revision === entry.revision;
  }
  return (
    'incarnation' in entry.value && entry.key === `node/${(entry.value as unknown as { id: string }).id}`
  );
}

/** How that version writes over what it finds: default levels of the cluster's record, whole records of nodes that attach. */
function formerRewritten(entry: StoreEntry): StoreEntry {
  const revision = entry.revision + 1;
  if (entry.key === 'cluster') {
    const acks = { cluster: 'ACK_ALL' as const, keyspaces: [] };
    return { ...entry, revision, value: { ...(entry.value as ClusterRecord), acks } };
  }
  if (!entry.key.startsWith('node/')) return entry;
  const { membership: _, ...value } = entry.value as NodeRecord;
  return { ...entry, key: `node/${value.id}`, revision, value };
}

function grown(): ScriptedCluster {
  const cluster = new ScriptedCluster(['n1', 'n2', 'n3', 'n4'], 12);
  cluster.start();
  cluster.until('first leaders', () => cluster.settled());
  return cluster;
}

describe('the version before moves', () => {
  it('starts on whatever is stored of moves, of members and of settings', () => {
    const cluster = grown();
    const cas = cluster.store.cas.bind(cluster.store);
    const written = new Set<string>();
    cluster.store.cas = (effect) => {
      for (const { entry } of effect.changes) {
        expect(formerIsEntry(entry), entry.key).toBe(true);
        written.add(entry.key);
      }
      return cas(effect);
    };
    const { moves } = cluster.runs[0]!.controller;
    moves.configure({ perNode: 3, automatic: true });
    moves.setMembership(cluster.now, 'n4', 'NODE_LEAVING');
    cluster.join('n5');
    cluster.until('a plan', () => moves.status(cluster.now).state === 'running', 60_000);
    cluster.until('its end', () => moves.status(cluster.now).state === 'done', 60_000);
    expect([...written]).toEqual(expect.arrayContaining(['cluster', 'node/n4', 'node/n5', 'partition/0']));
  });

  it('leaves a plan that it finds to the one that comes after it, which goes on; who was leaving is a member again', () => {
    const cluster = grown();
    const { moves } = cluster.runs[0]!.controller;
    moves.setMembership(cluster.now, 'n4', 'NODE_LEAVING');
    cluster.until(
      'a plan',
      () => moves.status(cluster.now).moves.some(({ state }) => state === 'done'),
      60_000,
    );
    cluster.stopControllers();
    cluster.store.restore(cluster.store.all().map(formerRewritten));
    const next = cluster.start({}, 2).controller;
    expect(next.moves.status(cluster.now).state).toBe('running');
    expect(next.acks?.cluster).toBe('ACK_ALL');
    expect(next.topology().nodes.every(({ membership }) => membership !== 'NODE_LEAVING')).toBe(true);
    cluster.until('the end of the plan', () => next.moves.status(cluster.now).state === 'done', 60_000);
    const votes = cluster.store.records().filter(({ voters }) => voters.some(({ node }) => node === 'n4'));
    expect(votes.length).toBeGreaterThan(0);
  });
});
