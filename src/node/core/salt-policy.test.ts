/** Which keys a node salts and unsalts by itself, and how long it makes sure first. */
import { describe, expect, it } from 'vitest';
import { partitionOf } from '../../common/hash.ts';
import { LINEARIZABLE_GET } from '../../common/reads.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { ReadLevelName, Request } from '../../common/wire/messages.ts';
import { HotKeys } from './hot-keys.ts';
import { userKey } from './layout.ts';
import type { Leadership } from './leadership.ts';
import { type PolicyHost, SaltPolicy } from './salt-policy.ts';

const PARTITIONS = 4;
const KEY = Buffer.from('front-page');
const NAME = userKey('', KEY);
const HOME = partitionOf(KEY, PARTITIONS);
const BOUND = 1_000;

interface Salted {
  partitions: number[];
  automatic: boolean;
}

/** Operations per second. */
interface Load {
  readonly reads?: number;
  readonly writes?: number;
  readonly others?: number;
  /** Gets that each read brings with it. */
  readonly shared?: number;
  readonly level?: ReadLevelName;
}

/** A node that leads everything, under a load that a test says per second. */
class Lab {
  now = 1;
  salted: Salted | null = null;
  /** Reads of copies, per second. */
  copyReads = 0;
  /** Nodes that lead the partitions. */
  leaders = ['n1', 'n2', 'n3', 'n4'];
  leads = true;
  readonly adapted: number[] = [];
  private readonly hot = new HotKeys(1);
  private readonly policy: SaltPolicy;

  constructor(saltReadsPerSecond = BOUND) {
    const salts = {
      setOf: () => this.salted,
      adapt: (key: Uint8Array, copies: number) => {
        expect(Buffer.from(key)).toEqual(Buffer.from(NAME));
        this.adapted.push(copies);
      },
      takeReads: () =>
        this.salted === null ? [] : [{ ...this.salted, key: NAME, copyReads: this.copyReads }],
    };
    const leadership = { salts } as unknown as Leadership;
    const host: PolicyHost = {
      options: { nodeId: 'n1', saltReadsPerSecond },
      hot: this.hot,
      partitionCount: PARTITIONS,
      leadershipOf: () => (this.leads ? leadership : null),
      leaderships: () => (this.leads ? [leadership] : []),
      recordOf: (partition) => ({ leader: { node: this.leaders[partition] } }) as unknown as PartitionRecord,
    };
    this.policy = new SaltPolicy(host);
    this.hot.tick(this.now);
  }

  /** Lets seconds pass with so many operations in each: on the key, and on others. */
  run(seconds: number, load: Load): void {
    const { reads = 0, writes = 0, others = 0, shared = 0, level = 'READ_LINEARIZABLE' } = load;
    const base = { id: 1, timeLeftMs: 1, keyspace: '', key: KEY, clientId: KEY, sequence: 1, lowWater: 0 };
    const request: Request = {
      ...{ ...base, sessionTime: 0, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
      ...{ operation: 'get', get: { ...LINEARIZABLE_GET, level }, sharedReads: shared },
    };
    for (let second = 0; second < seconds; second += 1) {
      for (let at = 0; at < reads; at += 1) this.hot.note(HOME, request);
      for (let at = 0; at < writes; at += 1)
        this.hot.note(HOME, { ...request, operation: 'delete', get: null });
      for (let at = 0; at < others; at += 1)
        this.hot.note(0, { ...request, key: Buffer.from(`other-${at}`), sharedReads: 0 });
      this.now += 1_000;
      this.hot.tick(this.now);
      this.policy.tick(this.now);
    }
  }
}

describe('a key is salted by itself', () => {
  it('once it has been hot for some seconds, with copies for what is read', () => {
    const lab = new Lab();
    lab.run(3, { reads: 2_500 });
    expect(lab.adapted).toEqual([]);
    lab.run(2, { reads: 2_500 });
    expect(lab.adapted[0]).toBe(3);
  });

  it('not below the bound, not as a small part of all, not if it is written much, not for other levels', () => {
    for (const load of [
      { reads: BOUND * 0.7 },
      { reads: 1_500, others: 9_000 },
      { reads: 2_000, writes: 300 },
      { reads: 10_000, writes: 8 },
      { reads: 3_000, level: 'READ_STALE' as const },
    ]) {
      const lab = new Lab();
      lab.run(8, load);
      expect(lab.adapted).toEqual([]);
    }
  });

  it('not if routers make few requests of many gets', () => {
    const lab = new Lab();
    lab.run(8, { reads: 200, shared: 30 });
    expect(lab.adapted).toEqual([]);
  });

  it('not where another node leads it, and not if that is switched off', () => {
    const other = new Lab();
    other.leads = false;
    const off = new Lab(0);
    for (const lab of [other, off]) {
      lab.run(8, { reads: 3_000 });
      expect(lab.adapted).toEqual([]);
    }
  });
});

describe('a key that was salted by itself', () => {
  function salted(automatic = true): Lab {
    const lab = new Lab();
    lab.salted = { partitions: [1, 2], automatic };
    return lab;
  }

  it('is unsalted when it has been cool for half a minute', () => {
    const lab = salted();
    lab.run(29, { reads: 10 });
    expect(lab.adapted).toEqual([]);
    lab.run(3, { reads: 10 });
    expect(lab.adapted).toEqual([0]);
  });

  it('stays while its copies are read, or while it is between the bounds', () => {
    const read = salted();
    read.copyReads = 2_000;
    read.run(40, { reads: 10 });
    const between = salted();
    between.run(40, { reads: BOUND / 2 });
    expect([...read.adapted, ...between.adapted]).toEqual([]);
  });

  it('is unsalted when it is written too often', () => {
    const lab = salted();
    lab.copyReads = 1_000;
    lab.run(35, { reads: 500, writes: 15 });
    expect(lab.adapted).toEqual([0]);
  });

  it('is not touched if somebody has salted it', () => {
    const lab = salted(false);
    lab.run(40, {});
    expect(lab.adapted).toEqual([]);
  });

  it('is spread anew when leaders have come together on one node', () => {
    const lab = salted(false);
    lab.leaders = ['n1', 'n1', 'n3', 'n4'];
    lab.run(32, { reads: 10 });
    expect(lab.adapted).toEqual([2]);
  });
});
