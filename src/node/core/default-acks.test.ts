/** Which level a write is acknowledged at that names none: looked up by the leader, in what it was last pushed. */
import { beforeEach, describe, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import type { AckDefaults, AckLevel } from '../../common/topology.ts';
import type { Request } from '../../common/wire/messages.ts';
import { decodeEntry } from './entry.ts';
import { TopologyCache } from './topology-cache.ts';

const HEAD = { clusterId: 'c', revision: 9, partitions: 1, replicationFactor: 3, nodes: [], records: [] };
const ACKS: AckDefaults = {
  cluster: 'ACK_LEADER',
  keyspaces: [
    { keyspace: 'orders', ack: 'ACK_ALL' },
    { keyspace: 'plain', ack: 'ACK_QUORUM' },
  ],
};

let bench: CoreBench;
let sequence = 0;
beforeEach(() => {
  bench = new CoreBench(['a', 'b', 'c']);
  bench.lead('a', 1);
  bench.advance(500);
  sequence = 0;
});

function tell(acks: AckDefaults): void {
  for (const { core } of bench.nodes) core.topologyPushed({ ...HEAD, full: false, acks });
}

function write(fields: Partial<Request>): string {
  sequence += 1;
  const id = bench.put('a', { sequence, ack: 'ACK_DEFAULT', ...fields });
  bench.advance(100);
  return bench.outcome('a', id);
}

const INCREMENT = { operation: 'increment', put: null, increment: { delta: 1, ttlMs: 0 } } as const;
const ABSENT = { condition: { kind: 'CONDITION_ABSENT', version: 0 } } as const;

describe('a write that names no level', () => {
  it('is acknowledged at quorum as long as nobody has set anything', () => {
    expect(write({})).toBe('quorum');
    expect(write({ keyspace: 'orders' })).toBe('quorum');
  });

  it('is acknowledged at the default of its keyspace, else of the cluster, and the log has that level', () => {
    tell(ACKS);
    expect(write({ keyspace: 'orders' })).toBe('all');
    expect(write({ keyspace: 'plain' })).toBe('quorum');
    expect(write({ keyspace: 'other' })).toBe('leader');
    expect(write({})).toBe('leader');
    const levels = bench.node('a').wal.map(({ payload }) => decodeEntry(payload).ack);
    expect(levels.slice(-4)).toEqual(['all', 'quorum', 'leader', 'leader']);
  });

  it('is acknowledged at quorum if it depends on what is there and the default is leader', () => {
    tell(ACKS);
    expect(write(INCREMENT)).toBe('quorum');
    expect(write(ABSENT)).toBe('quorum');
    expect(write({ ...ABSENT, keyspace: 'orders' })).toBe('all');
    expect(write({ idempotencyKey: Buffer.from('once') })).toBe('quorum');
    const item = { key: Buffer.from('k'), operation: 'increment', increment: INCREMENT.increment } as const;
    const batch = { operation: 'batch', key: item.key, put: null } as const;
    expect(write({ ...batch, batch: { items: [item] } })).toBe('quorum');
    expect(write({ ...INCREMENT, ack: 'ACK_LEADER' })).toBe('CONDITION_UNSUPPORTED');
    expect(write({ ...ABSENT, ack: 'ACK_LEADER' })).toBe('CONDITION_UNSUPPORTED');
  });

  it('may name one that counts instead', () => {
    tell(ACKS);
    expect(write({ keyspace: 'orders', ack: 'ACK_QUORUM' })).toBe('quorum');
    expect(write({ keyspace: 'orders', ack: 'ACK_LEADER' })).toBe('leader');
    expect(write({ ack: 'ACK_ALL' })).toBe('all');
  });
});

describe('the levels that a node knows', () => {
  const of = (cache: TopologyCache): AckLevel[] => ['orders', ''].map((name) => cache.defaultAck(name));

  it('stay as they are with a change that has none, and are those of a full topology', () => {
    const cache = new TopologyCache();
    expect(of(cache)).toEqual(['ACK_QUORUM', 'ACK_QUORUM']);
    cache.merge({ ...HEAD, full: false, acks: ACKS });
    cache.merge({ ...HEAD, full: false, acks: null });
    expect(of(cache)).toEqual(['ACK_ALL', 'ACK_LEADER']);
    expect(cache.snapshot()!.acks).toEqual(ACKS);
    const restarted = new TopologyCache();
    restarted.merge(cache.snapshot()!);
    expect(of(restarted)).toEqual(['ACK_ALL', 'ACK_LEADER']);
    cache.merge({ ...HEAD, full: true });
    expect(of(cache)).toEqual(['ACK_QUORUM', 'ACK_QUORUM']);
  });

  it('are told on as a change of their own', () => {
    tell(ACKS);
    const { core } = bench.node('a');
    expect(core.take().topologyChanged).toMatchObject({ full: false, acks: ACKS, records: [] });
  });
});
