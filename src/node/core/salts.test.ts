/** Copies of a hot key in another partition: who answers, what waits for them, and who may not install any. */
import { describe, expect, it } from 'vitest';
import { type BenchNode, CoreBench } from '../../../test/support/core-bench.ts';
import { partitionOf } from '../../common/hash.ts';
import { createRandom } from '../../common/random.ts';
import { LINEARIZABLE_GET } from '../../common/reads.ts';
import type { Reply, Request } from '../../common/wire/messages.ts';
import { userKey } from './layout.ts';

/** A key of partition 0, of two partitions and of three, and another one. */
const [HOT, OTHER] = Array.from({ length: 60 }, (_, at) => `key${at}`).filter((key) =>
  [2, 3].every((partitions) => partitionOf(Buffer.from(key), partitions) === 0),
) as [string, string];

/** A value of which 600 are more than a leader remembers. */
const FILL = Buffer.alloc(8 * 1024);

/** Three nodes: `a` leads partition 0, the home of the keys, `b` leads partition 1, which holds the copies. */
class Bench extends CoreBench {
  private sequence = 0;

  constructor(protocols: Readonly<Record<string, number>> = {}, partitions = 2) {
    super(['a', 'b', 'c'], { partitions, protocols, random: createRandom(1).next });
    this.lead('a', 1);
    this.lead('b', 1, this.nodes, 1);
    this.advance(500);
  }

  ask(node: string, key: string, fields: Partial<Request>): number {
    return this.put(node, { sequence: 1, key: Buffer.from(key), put: null, ...fields });
  }

  write(node: string, key: string, value: string, timeLeftMs = 60_000): number {
    this.sequence += 1;
    const put = { value: Buffer.from(value), codec: 1, ttlMs: 0 };
    return this.put(node, { sequence: this.sequence, key: Buffer.from(key), put, timeLeftMs });
  }

  reply(node: string, id: number): Reply | undefined {
    return this.node(node).replies.find((reply) => reply.id === id);
  }

  salt(copies: number, node = 'a'): string {
    const id = this.ask(node, HOT, { operation: 'salt', salt: { copies } });
    this.advance(200);
    const reply = this.reply(node, id);
    return reply?.failure?.code ?? reply?.receipt?.salts?.partitions.join(' ') ?? 'none';
  }

  /** What a linearizable get is told, at the home or, with `saltIn`, at a copy. */
  read(node: string, saltIn = 0): string {
    const id = this.ask(node, HOT, { operation: 'get', get: LINEARIZABLE_GET, saltIn });
    this.advance(20);
    return this.told(node, id);
  }

  told(node: string, id: number): string {
    const reply = this.reply(node, id);
    if (reply?.value?.found === true) return Buffer.from(reply.value.value).toString();
    return reply?.failure?.code ?? reply?.receipt?.durability ?? (reply === undefined ? 'none' : 'absent');
  }
}

/** Seals the partition of the copies. */
function seal(bench: Bench, nodes: readonly BenchNode[], epoch: number): void {
  const voters = bench.nodes.map((node) => node.nameOf(1));
  const sets = { configuration: 1, voters, previousVoters: [] };
  for (const { core, id } of nodes) {
    const replica = voters.find(({ node }) => node === id)!.id;
    core.seal({ partition: 1, replica, epoch, reservationId: `e${epoch}`, ...sets });
  }
  bench.pump();
}

/** The same with a third partition, which `c` leads. */
class Wide extends Bench {
  constructor() {
    super({}, 3);
    this.lead('c', 1, this.nodes, 2);
    this.advance(500);
  }
}

function salted(): Bench {
  const bench = new Bench();
  bench.write('a', HOT, 'one');
  bench.advance(100);
  expect(bench.salt(1)).toBe('1');
  return bench;
}

describe('a copy', () => {
  it('answers linearizable gets at the leader of its partition, and the home names it', () => {
    const bench = salted();
    expect(bench.read('b', 2)).toBe('one');
    const id = bench.ask('a', HOT, { operation: 'get', get: LINEARIZABLE_GET });
    bench.advance(20);
    expect(bench.reply('a', id)?.value?.salts).toEqual({ partitions: [1] });
  });

  it('of what is absent says so', () => {
    const bench = new Bench();
    expect(bench.salt(1)).toBe('1');
    expect(bench.read('b', 2)).toBe('absent');
  });

  it('is gone while its key is written, and comes back with the new value', () => {
    const bench = salted();
    const id = bench.write('a', HOT, 'two');
    bench.pump();
    expect(bench.told('a', id)).toBe('quorum');
    expect(bench.read('b', 2)).toBe('NOT_LEADER');
    bench.advance(200);
    expect(bench.read('b', 2)).toBe('two');
  });

  it('is gone with the leadership that held it, and installed with the next one', () => {
    const bench = salted();
    bench.lead('c', 2, bench.nodes, 1);
    expect(bench.read('c', 2)).toBe('NOT_LEADER');
    expect(bench.read('b', 2)).toBe('NOT_LEADER');
    bench.advance(300);
    expect(bench.read('c', 2)).toBe('one');
  });

  it('is not installed by an order that was overtaken, or comes again', () => {
    const bench = salted();
    const install = bench.copyOrders.findLast(({ copyOrder }) => copyOrder?.kind === 'COPY_INSTALL')!;
    bench.write('a', HOT, 'two');
    bench.pump();
    bench.node('b').core.peerMessages('a', [install]);
    expect(bench.read('b', 2)).toBe('NOT_LEADER');
  });

  it('takes no orders of a home that has another leader by now', () => {
    const bench = salted();
    bench.lead('c', 2, [bench.node('b'), bench.node('c')]);
    bench.write('c', HOT, 'two');
    bench.advance(300);
    expect(bench.read('b', 2)).toBe('two');
    const drop = bench.copyOrders.find(
      ({ epoch, copyOrder }) => epoch === 1 && copyOrder?.kind === 'COPY_DROP',
    )!;
    bench.node('b').core.peerMessages('a', [drop]);
    expect(bench.read('b', 2)).toBe('two');
  });

  it('is not installed by a home that does not know that it is deposed', () => {
    const bench = salted();
    const [a, b, c] = bench.trio;
    bench.cutLinks.add('a c');
    bench.lead('c', 2, [b, c]);
    const id = bench.write('c', HOT, 'two');
    bench.advance(200);
    expect(bench.told('c', id)).toBe('quorum');
    // The next leader there has heard of nobody's copies.
    bench.lead('a', 2, [a, b], 1);
    bench.advance(2_000);
    expect(bench.node('a').replica.leadership?.epoch).toBe(1);
    expect(bench.read('a', 2)).toBe('NOT_LEADER');
  });

  it('is not installed where the key is not salted any more, though that was prepared', () => {
    const bench = new Wide();
    bench.write('a', HOT, 'one');
    bench.advance(100);
    bench.node('a').storeReads = false;
    expect(bench.salt(2)).toBe('1 2');
    expect(bench.salt(1)).toMatch(/^[12]$/);
    bench.node('a').letReads();
    bench.advance(200);
    const id = bench.write('a', HOT, 'two');
    bench.advance(200);
    expect(bench.told('a', id)).toBe('quorum');
    expect([bench.read('b', 2), bench.read('c', 3)]).not.toContain('one');
  });

  it('tells how often it was read, also when it is dropped before it is asked', () => {
    const bench = salted();
    let answered = 0;
    for (let turn = 0; turn < 10; turn += 1) {
      bench.write('a', HOT, `v${turn}`);
      bench.advance(100);
      for (let read = 0; read < 5; read += 1) if (bench.read('b', 2).startsWith('v')) answered += 1;
    }
    bench.write('a', HOT, 'last');
    bench.advance(20);
    expect(answered).toBeGreaterThan(20);
    expect(bench.copyReads).toBe(answered);
  });

  it('is not there for a node that does not lead its partition, nor for another key', () => {
    const bench = salted();
    expect(bench.read('c', 2)).toBe('NOT_LEADER');
    const id = bench.ask('b', OTHER, { operation: 'get', get: LINEARIZABLE_GET, saltIn: 2 });
    bench.advance(20);
    expect(bench.told('b', id)).toBe('NOT_LEADER');
  });

  it('is dropped for good when the key is unsalted', () => {
    const bench = salted();
    expect(bench.salt(0)).toBe('');
    bench.advance(500);
    expect(bench.read('b', 2)).toBe('NOT_LEADER');
    expect(bench.node('a').replica.machine.salts.size).toBe(0);
  });

  it('is read at no other level, and nothing else is asked of it', () => {
    const bench = salted();
    for (const fields of [
      { operation: 'get', get: { ...LINEARIZABLE_GET, level: 'READ_STALE' } },
      { operation: 'delete', delete: {} },
    ] as const) {
      const id = bench.ask('b', HOT, { ...fields, saltIn: 2 });
      bench.advance(20);
      expect(bench.told('b', id)).toBe('INVALID_ARGUMENT');
    }
  });
});

describe('a write of a salted key', () => {
  it('waits for a holder that is cut off, while others go on, until another one is established there', () => {
    const bench = salted();
    bench.cut.add('b');
    const id = bench.write('a', HOT, 'two');
    const other = bench.write('a', OTHER, 'x');
    bench.advance(1_000);
    expect(bench.told('a', id)).toBe('none');
    expect(bench.told('a', other)).toBe('quorum');
    bench.lead('c', 2, [bench.node('a'), bench.node('c')], 1);
    bench.advance(100);
    expect(bench.told('a', id)).toBe('quorum');
    expect(bench.read('a')).toBe('two');
    // The old holder still has it, and nobody who confirms it.
    expect(bench.read('b', 2)).not.toBe('one');
  });

  it('does not wait for ever for holders that are far away, and their copies come back', () => {
    const bench = salted();
    bench.latencyMs = 70;
    const id = bench.write('a', HOT, 'two');
    bench.advance(1_000);
    expect(bench.told('a', id)).toBe('quorum');
    bench.advance(1_500);
    bench.latencyMs = 0;
    expect(bench.read('b', 2)).toBe('two');
  });

  it('has had no effect if its time runs out meanwhile', () => {
    const bench = salted();
    bench.cut.add('b');
    const id = bench.write('a', HOT, 'two', 1_000);
    bench.advance(1_200);
    const reply = bench.reply('a', id);
    expect(reply?.failure).toMatchObject({ code: 'DEADLINE_EXCEEDED', outcome: 'not_applied' });
    expect(reply?.failure?.message).toContain('partitions 1');
    expect(bench.read('a')).toBe('one');
  });

  it('does not wait for a copy that nobody has ever installed', () => {
    const bench = new Bench();
    bench.write('a', HOT, 'one');
    bench.advance(100);
    bench.cutLinks.add('a b');
    expect(bench.salt(1)).toBe('1');
    const id = bench.write('a', HOT, 'two');
    bench.advance(100);
    expect(bench.told('a', id)).toBe('quorum');
  });

  it('is not appended once another leader is to come', () => {
    const bench = salted();
    bench.write('a', HOT, 'two');
    const { log } = bench.node('a').replica;
    const { lastIndex } = log;
    bench.node('a').core.prepare({ partition: 0, epoch: 1, target: bench.node('b').replicaName.id });
    bench.pump();
    expect(log.lastIndex).toBe(lastIndex);
    bench.advance(40);
    expect(bench.node('a').replies.at(-1)?.failure?.code).toBe('NOT_LEADER');
  });

  it('is sent away when too many wait, and when it has waited for longer than a failover takes', () => {
    const bench = salted();
    bench.cut.add('b');
    const ids = Array.from({ length: 300 }, () => bench.write('a', HOT, 'x'));
    bench.advance(100);
    const codes = (code: string): number => ids.filter((id) => bench.told('a', id) === code).length;
    expect([codes('none'), codes('OVERLOADED')]).toEqual([256, 44]);
    bench.advance(5_000);
    expect([codes('none'), codes('UNAVAILABLE')]).toEqual([0, 256]);
    expect(bench.node('a').replica.leadership?.salts.waitingCount).toBe(0);
  });

  it('is one with its retries, though both have waited', () => {
    const bench = salted();
    bench.cut.add('b');
    const put = { value: Buffer.from('two'), codec: 1, ttlMs: 0 };
    const ask = (): number => bench.put('a', { sequence: 77, key: Buffer.from(HOT), put });
    const ids = [ask(), ask()];
    bench.advance(300);
    bench.cut.delete('b');
    bench.advance(300);
    const [one, other] = ids.map((id) => bench.reply('a', id)?.receipt?.version);
    expect(one).toBeGreaterThan(0);
    expect(other).toBe(one);
  });

  it('waits for copies that an earlier leader has installed', () => {
    const bench = salted();
    bench.cut.add('b');
    bench.lead('c', 2, [bench.node('a'), bench.node('c')]);
    const id = bench.write('c', HOT, 'two');
    bench.advance(1_000);
    expect(bench.told('c', id)).toBe('none');
    bench.cut.delete('b');
    bench.advance(200);
    expect(bench.told('c', id)).toBe('quorum');
    bench.advance(300);
    expect(bench.read('b', 2)).toBe('two');
  });

  it('is not let go by who has led the partition of a copy before, and does not know that another one does', () => {
    const bench = salted();
    bench.relays = false;
    const [a, , c] = bench.trio;
    bench.cutLinks.add('b c');
    bench.lead('c', 2, [a, c], 1);
    bench.advance(300);
    expect(bench.read('c', 2)).toBe('one');
    bench.lead('b', 2, [a, bench.node('b')]);
    const id = bench.write('b', HOT, 'two');
    bench.advance(1_000);
    expect(bench.told('b', id)).toBe('none');
    expect(bench.read('c', 2)).toBe('one');
    bench.cutLinks.clear();
    bench.advance(500);
    bench.lead('c', 3, bench.nodes, 1);
    bench.advance(500);
    expect(bench.told('b', id)).toBe('quorum');
    expect(bench.read('c', 2)).toBe('two');
  });

  it('reaches a holder by another voter where the way between the two nodes is cut', () => {
    const bench = salted();
    bench.cutLinks.add('a b');
    for (const value of ['two', 'three']) {
      const id = bench.write('a', HOT, value);
      bench.advance(600);
      expect(bench.told('a', id)).toBe('quorum');
      expect(bench.read('b', 2)).toBe('NOT_LEADER');
    }
    bench.cutLinks.clear();
    bench.advance(1_500);
    expect(bench.read('b', 2)).toBe('three');
    bench.cutLinks.add('a b');
    bench.salt(0);
    bench.advance(400);
    expect(bench.node('a').replica.machine.salts.size).toBe(0);
  });

  it('waits for a holder that may still lead, although another epoch is reserved', () => {
    const bench = salted();
    bench.relays = false;
    bench.cutLinks.add('a b');
    bench.push({ partition: 1, epoch: 2, reservationId: 'e2', led: true }, [bench.node('a')]);
    const id = bench.write('a', HOT, 'two');
    bench.advance(1_000);
    expect(bench.told('a', id)).toBe('none');
    expect(bench.read('b', 2)).toBe('one');
  });

  it('is not let go by a leader between the one that was known and the one that has the copy', () => {
    const bench = salted();
    bench.relays = false;
    const [a, b, c] = bench.trio;
    bench.lead('c', 2, [b, c], 1);
    bench.cutLinks.add('a c').add('b c');
    const leader = { replica: b.nameOf(1).id, node: 'b', boot: 1 };
    const third = { partition: 1, epoch: 3, reservationId: 'e3', leader, led: true, established: true };
    seal(bench, [a, b], 3);
    bench.push(third, [b]);
    bench.advance(3_000);
    expect(bench.read('b', 2)).toBe('one');
    // It hears of the second epoch now, whose leader knows of no third one.
    bench.cutLinks.delete('a c');
    const second = { replica: c.nameOf(1).id, node: 'c', boot: 1 };
    bench.push({ ...third, epoch: 2, reservationId: 'e2', leader: second }, [a]);
    const id = bench.write('a', HOT, 'two');
    bench.advance(100);
    expect(bench.told('a', id)).toBe('none');
    expect(bench.read('b', 2)).toBe('one');
    // In the end every voter is asked, and one of them is the holder.
    bench.advance(500);
    expect(bench.told('a', id)).toBe('quorum');
  });

  it('does not wait for long for the end of its value', () => {
    const bench = salted();
    const put = { value: Buffer.from('brief'), codec: 1, ttlMs: 400 };
    bench.put('a', { sequence: 88, key: Buffer.from(HOT), put });
    bench.advance(200);
    expect(bench.read('b', 2)).toBe('brief');
    bench.advance(1_500);
    expect(bench.read('a')).toBe('absent');
    bench.advance(2_000);
    expect(bench.read('b', 2)).toBe('absent');
  });
});

describe('a key', () => {
  it('is not salted while a replica of its home speaks an earlier protocol', () => {
    const bench = new Bench({ c: 2 });
    expect(bench.salt(1)).toBe('UNAVAILABLE');
  });

  it('has no copy where the leader speaks an earlier protocol', () => {
    const bench = new Bench({ b: 2 });
    expect(bench.salt(1)).toBe('UNAVAILABLE');
  });

  it('stays salted over restarts and changes of leaders', () => {
    const bench = salted();
    bench.node('a').restart();
    bench.lead('c', 2, [bench.node('b'), bench.node('c')]);
    bench.advance(600);
    expect(bench.read('b', 2)).toBe('one');
    expect(bench.node('c').replica.leadership?.salts.report()).toMatchObject([
      { partition: 0, automatic: false, copies: [{ partition: 1, held: true }], waitingWrites: 0 },
    ]);
  });

  it('is salted for a replica that was filled by a snapshot as well', () => {
    const bench = salted();
    const [a, , c] = bench.trio;
    bench.cut.add('c');
    bench.salt(0);
    bench.salt(1);
    for (let n = 0; n < 600; n++) bench.put('a', { sequence: 1_000 + n, lowWater: 1_000 + n }, FILL);
    bench.advance(1_000);
    a.wal.length = 0;
    bench.cut.delete('c');
    bench.advance(3_000);
    expect(c.eventNames).toContain('snapshot_installed');
    expect(c.replica.machine.salts.size).toBe(1);
  });

  it('keeps its copies when nobody waits for another set any more', () => {
    const bench = salted();
    bench.cut.add('b');
    const id = bench.ask('a', HOT, { operation: 'salt', salt: { copies: 0 }, timeLeftMs: 500 });
    bench.advance(1_000);
    const { failure } = bench.reply('a', id)!;
    expect(failure).toMatchObject({ code: 'DEADLINE_EXCEEDED', outcome: 'not_applied' });
    bench.cut.delete('b');
    bench.advance(10_000);
    expect(bench.node('a').replica.machine.salts.size).toBe(1);
    expect(bench.read('b', 2)).toBe('one');
  });

  it('is ordered by the last one who orders', () => {
    const bench = salted();
    bench.cut.add('b');
    const salt = { copies: 0 };
    const [first, second] = [0, 1].map(() => bench.ask('a', HOT, { operation: 'salt', salt }));
    bench.advance(100);
    expect(bench.told('a', first!)).toBe('CANCELLED');
    bench.cut.delete('b');
    bench.advance(300);
    expect(bench.reply('a', second!)?.receipt?.salts?.partitions).toEqual([]);
  });

  it('keeps what it has when it is salted again, and is told of it', () => {
    const bench = salted();
    const { lastIndex } = bench.node('a').replica.log;
    expect(bench.salt(1)).toBe('1');
    expect(bench.node('a').replica.log.lastIndex).toBe(lastIndex);
  });

  it('gets no copies by itself for ten minutes after somebody did not want any', () => {
    const bench = salted();
    expect(bench.salt(0)).toBe('');
    const { salts } = bench.node('a').replica.leadership!;
    const name = userKey('', Buffer.from(HOT));
    salts.adapt(name, 1);
    bench.advance(200);
    expect(salts.setOf(name)).toBe(null);
    bench.advance(600_000);
    salts.adapt(name, 1);
    bench.advance(200);
    expect(salts.setOf(name)).toEqual({ partitions: [1], automatic: true, counter: null });
  });

  it('is salted by who leads it only', () => {
    const bench = new Bench();
    expect(bench.salt(1, 'c')).toBe('NOT_LEADER');
  });
});
