import { describe, expect, it } from 'vitest';
import { formatBytes } from '../common/report/format.ts';
import type { StatusReply } from '../common/wire/admin-messages.ts';
import type { ReplicaReport } from '../common/wire/messages.ts';
import { storageFigures } from '../node/storage-figures.ts';
import { protocolText, showStatus, storageCells, storageIn } from './status.ts';

function report(partition: number, replica: string, commitIndex: number): ReplicaReport {
  return {
    ...{ partition, replica, state: 'leader', promiseEpoch: 2, reservationId: 'r', configuration: 1 },
    ...{ voters: [], previousVoters: [], lastEpoch: 2, lastIndex: commitIndex + 3, commitIndex },
    ...{ appliedIndex: commitIndex, ledEpoch: 2, established: true, paused: false },
    ...{ levelTarget: '', levelLearners: [], durableEpoch: 0 },
  };
}

const STORAGE = storageFigures(2_000_000, 3_000_000, {
  ...{ level0Files: 3, tableBytes: 1_250, deepestBytes: 1_000, tableBytesWritten: 5_000_000 },
  ...{ batches: 9, batchBytes: 1_100, slowBatches: 2, slowBatchMs: 1_234, longestBatchMs: 1_100 },
});

const REPLY: StatusReply = {
  topology: {
    ...{ clusterId: 'c1', revision: 9, partitions: 2, replicationFactor: 2, full: true },
    nodes: ['n10', 'n2'].map((id, index) => ({
      ...{ id, incarnation: id, boot: 3, address: `${id}:1`, clientAddress: `${id}:2`, zone: 'a' },
      ...{ alive: index === 1, reason: index === 1 ? '' : 'silent for 900 ms', pid: 100 + index },
      ...{ run: `run of ${id}`, formerRuns: [] },
    })),
    records: [1, 0].map((partition) => ({
      ...{ partition, revision: 1, epoch: 2, reservationId: 'r', configuration: 1 },
      voters: ['n2', 'n10'].map((node) => ({ id: `${node}.${partition}`, node })),
      ...{ previousVoters: [], learners: [], led: true, established: partition === 0 },
      leader: partition === 0 ? { replica: 'n2.0', node: 'n2', boot: 3 } : null,
    })),
  },
  nodes: [{ id: 'n2', diskBytes: 2_048, diskFull: false, draining: false }],
  replicas: [report(0, 'n2.0', 41), report(0, 'n10.0', 7)],
  json: JSON.stringify({
    waitingFor: '',
    unavailable: [{ partition: 1, phase: 'sealing', reason: 'fenced: waiting for n10' }],
  }),
};

describe('showStatus', () => {
  it('names nodes by id, in order, with what they lead and why they are thought dead', () => {
    const { nodes } = showStatus(REPLY);
    expect(nodes.map(({ id, alive, leads, votes }) => ({ id, alive, leads, votes }))).toEqual([
      { id: 'n2', alive: true, leads: 1, votes: 2 },
      { id: 'n10', alive: false, leads: 0, votes: 2 },
    ]);
    expect(nodes[0]).toMatchObject({ address: 'n2:1', pid: 101, reason: '', diskBytes: 2_048 });
    expect(nodes[1]).toMatchObject({ reason: 'silent for 900 ms', diskBytes: 0 });
  });

  it('gives each partition its leader and the commit index that this leader told', () => {
    expect(showStatus(REPLY).partitions).toEqual([
      {
        ...{ partition: 0, epoch: 2, leader: 'n2', established: true, voters: ['n2', 'n10'] },
        ...{ previousVoters: [], learners: [], commitIndex: 41, reason: '' },
      },
      {
        ...{ partition: 1, epoch: 2, leader: null, established: false, voters: ['n2', 'n10'] },
        ...{ previousVoters: [], learners: [], commitIndex: 0, reason: 'fenced: waiting for n10' },
      },
    ]);
  });

  it('adds what a node says of its own storage, and nothing where it was not told', () => {
    const own: StatusReply = { topology: null, nodes: [], replicas: [], json: '{}' };
    const json = JSON.stringify({ replicas: 1, storage: STORAGE });
    expect(storageIn({ ...own, json })).toEqual(STORAGE);
    expect([storageIn(own), storageIn({ ...own, json: '' }), storageIn(REPLY)]).toEqual([null, null, null]);
    const { nodes } = showStatus(REPLY, new Map([['n10', STORAGE]]));
    expect(nodes.map(({ id, storage }) => [id, storage])).toEqual([
      ['n2', null],
      ['n10', STORAGE],
    ]);
  });

  it('tells the default levels, quorum where a topology has none', () => {
    expect(showStatus(REPLY).acks).toEqual({ cluster: 'quorum', keyspaces: [] });
    const keyspaces = [{ keyspace: 'orders', ack: 'ACK_ALL' as const }];
    const topology = { ...REPLY.topology!, acks: { cluster: 'ACK_LEADER' as const, keyspaces } };
    expect(showStatus({ ...REPLY, topology }).acks).toEqual({
      cluster: 'leader',
      keyspaces: [{ keyspace: 'orders', ack: 'all' }],
    });
  });

  it('shows an empty cluster before there is one', () => {
    const empty = showStatus({ topology: null, nodes: [], replicas: [], json: '' });
    const acks = { cluster: 'quorum', keyspaces: [] };
    const nothing = {
      clusterId: '',
      replicationFactor: 0,
      protocol: null,
      waitingFor: '',
      nodes: [],
      partitions: [],
    };
    expect(empty).toEqual({ ...nothing, acks, addressTroubles: [] });
  });
});

describe('wrong addresses', () => {
  it('are shown as the router tells them, and none of a router that knows of no such thing', () => {
    const addressTroubles = [{ node: 'n2', address: 'n2:1', trouble: 'this is node "n3"' }];
    const json = JSON.stringify({ waitingFor: '', unavailable: [], addressTroubles });
    expect(showStatus({ ...REPLY, json }).addressTroubles).toEqual(addressTroubles);
    expect(showStatus(REPLY).addressTroubles).toEqual([]);
  });
});

describe('protocols', () => {
  const told = (protocol: number, protocols: readonly { node: string; protocol: number }[]) =>
    showStatus({ ...REPLY, json: JSON.stringify({ waitingFor: '', protocol, protocols }) });

  it('are shown of every process that has said its own', () => {
    const status = told(2, [{ node: 'n2', protocol: 1 }]);
    expect(status.protocol).toBe(2);
    expect(status.nodes.map(({ id, protocol }) => [id, protocol])).toEqual([
      ['n2', 1],
      ['n10', null],
    ]);
    expect(protocolText(status)).toBe('They speak protocols up to: router 2, n2 1, n10 not known.');
  });

  it('are one sentence once an upgrade is through, and not known of a router that says nothing', () => {
    const both = ['n2', 'n10'].map((node) => ({ node, protocol: 2 }));
    expect(protocolText(told(2, both))).toBe('All processes speak protocol 2.');
    expect(protocolText(told(1, both))).toBe('They speak protocols up to: router 1, n2 2, n10 2.');
    expect(showStatus(REPLY)).toMatchObject({
      protocol: null,
      nodes: [{ protocol: null }, { protocol: null }],
    });
  });
});

describe('storageCells', () => {
  it('shows ratios, files and waiting times, and a dash for what is not known', () => {
    expect(storageCells(STORAGE)).toEqual(['4.0x', '1.3x', '3', '2 in 1.2 s']);
    const fresh = { ...STORAGE, writeAmplification: null, spaceAmplification: null, slowBatches: 0 };
    expect(storageCells(fresh)).toEqual(['-', '-', '3', '0']);
    expect(storageCells(null)).toEqual(['-', '-', '-', '-']);
  });
});

describe('formatBytes', () => {
  it('uses binary units', () => {
    expect([0, 1_023, 1_024, 1_572_864, 5 * 1024 ** 4].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 MiB',
      '5.0 TiB',
    ]);
  });
});
