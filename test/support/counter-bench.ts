/** A salted counter between three node cores that are driven by hand (core-bench.ts). */
import { expect } from 'vitest';
import { partitionOf } from '../../src/common/hash.ts';
import { createRandom } from '../../src/common/random.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import type { GetOperation, IncrementOperation, Reply, Request } from '../../src/common/wire/messages.ts';
import { CoreBench } from './core-bench.ts';

/** Keys of partition 0 of three. */
export const [HITS, OTHER] = Array.from({ length: 40 }, (_, at) => `n${at}`).filter(
  (key) => partitionOf(Buffer.from(key), 3) === 0,
) as [string, string];

/** Of a session without a token. */
export const SESSION_GET: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_SESSION' };

/** Three nodes: `a` leads partition 0, the home of the counters, `b` and `c` lead 1 and 2, which get sub-counters. */
export class CounterBench extends CoreBench {
  private sequences = [0, 0, 0];

  constructor(protocols: Readonly<Record<string, number>> = {}) {
    super(['a', 'b', 'c'], { partitions: 3, protocols, random: createRandom(1).next });
    this.lead('a', 1);
    this.lead('b', 1, this.nodes, 1);
    this.lead('c', 1, this.nodes, 2);
    this.advance(500);
  }

  ask(node: string, fields: Partial<Request>, key = HITS): number {
    return this.put(node, { sequence: 1, key: Buffer.from(key), put: null, ...fields });
  }

  reply(node: string, id: number): Reply | undefined {
    return this.node(node).replies.find((reply) => reply.id === id);
  }

  /** What a write has come to: the level that was reached, `closed`, or an error. */
  told(node: string, id: number): string {
    const { receipt, failure, value } = this.reply(node, id) ?? {};
    if (value) return value.found ? Buffer.from(value.value).toString() : 'absent';
    if (receipt) return receipt.conditionFailed ? 'closed' : receipt.durability;
    return failure ? `${failure.code} ${failure.outcome}` : 'none';
  }

  salt(copies = 2, delta: number | bigint = 1, node = 'a', ms = 200): string {
    const id = this.ask(node, { operation: 'salt', salt: { copies, counter: true, delta } });
    this.advance(ms);
    const { receipt } = this.reply(node, id) ?? {};
    return receipt?.salts?.partitions.join(' ') ?? this.told(node, id);
  }

  /** The set that is in effect on `a`, or on another node. */
  set(node = 'a'): number {
    const sets = [...this.node(node).replica.machine.salts.all()];
    return sets[0]?.[1].counter?.id ?? 0;
  }

  /** An increment without a result, of the home's part or of the sub-counter in a partition. */
  add(node: string, partition = 0, saltSet = 0, increment: Partial<IncrementOperation> = {}): number {
    this.sequences[partition]!++;
    return this.again(node, partition, saltSet, this.sequences[partition]!, increment);
  }

  /** The same under a sequence that was used before. */
  again(
    node: string,
    partition: number,
    saltSet: number,
    sequence: number,
    increment: Partial<IncrementOperation> = {},
  ): number {
    const asked = { delta: 1, ttlMs: 0, unread: true, ...increment };
    const saltIn = saltSet > 0 ? partition + 1 : 0;
    return this.ask(node, { operation: 'increment', increment: asked, saltIn, saltSet, sequence });
  }

  read(node = 'a', get: GetOperation = LINEARIZABLE_GET, ms = 100): string {
    const id = this.ask(node, { operation: 'get', get });
    this.advance(ms);
    return this.told(node, id);
  }

  /** Rows of sub-counters in a partition, at its leader: values by `open` and `closed`. */
  subs(node: string, partition: number): string[] {
    this.advance(100);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(partition);
    return [...this.node(node).rows.entries()].flatMap(([name, value]) => {
      const key = Buffer.from(name, 'latin1');
      const isSub = key.subarray(0, 4).equals(head) && key[8] === 1 && key[9] === 0xff && key[10] === 0xff;
      if (!isSub) return [];
      const count = Buffer.from(value).readBigInt64LE(value.byteLength - 8);
      return [`${key[27] === 0 ? 'open' : 'closed'} ${count}`];
    });
  }
}

/** A counter that has come to 5, and has two sub-counters. */
export function saltedCounter(delta = 1): CounterBench {
  const bench = new CounterBench();
  const id = bench.add('a', 0, 0, { delta: 5 });
  bench.advance(100);
  expect(bench.told('a', id)).toBe('quorum');
  expect(bench.salt(2, delta)).toBe('1 2');
  return bench;
}
