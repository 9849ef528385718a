/**
 * A hot key with copies on other nodes, as people have it: `salt` and `unsalt`, what the SDK reads meanwhile in both modes while the key is
 * written and a node dies, and how it is shown. How much faster anything is is not looked at.
 */
import { expect, it } from 'vitest';
import type { ShownSalt } from '../../src/cli/shown-salts.ts';
import type { SaltedKey } from '../../src/client/index.ts';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import type { CommandResult } from '../support/command.ts';
import { eventually } from '../support/processes.ts';
import { cleanUpAfterEach, startUp, type UpCluster, type UpProcess } from '../support/up-cluster.ts';

const KEY = 'front-page';
const READERS = 4;

cleanUpAfterEach();

async function ok(running: Promise<CommandResult>): Promise<string> {
  const { status, stdout, stderr } = await running;
  expect(status, stderr + stdout).toBe(0);
  return stdout;
}

async function metric(process: UpProcess, name: string): Promise<number> {
  const { http } = process as UpProcess & { readonly http: string };
  const text = await (await fetch(`http://${http}/metrics`)).text();
  return Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1]);
}

const saltedReads = (up: UpCluster): Promise<number> =>
  metric(up.ready.routers[0]!, 'ringkeep_router_salted_reads_total');

async function saltsOf(up: UpCluster): Promise<readonly ShownSalt[]> {
  return (JSON.parse(await ok(up.run(['status', '--json']))) as { salts: ShownSalt[] }).salts;
}

/** Who writes a number, one greater each time, and who reads it; all of them until they are stopped. */
class Traffic {
  reads = 0;
  writes = 0;
  /** What a read that begins now may not fall behind. */
  private floor: number;
  private stopped = false;
  private readonly running: Promise<void>[] = [];

  /** `last`: the number that was written last. */
  constructor(last: number, writer: RingkeepClient, readers: readonly RingkeepClient[]) {
    this.floor = last;
    this.running.push(this.write(writer));
    for (const reader of readers) for (let n = 0; n < READERS; n += 1) this.running.push(this.read(reader));
  }

  private async write(db: RingkeepClient): Promise<void> {
    for (let next = this.floor + 1; !this.stopped; next += 1) {
      await db.put(KEY, next);
      this.writes += 1;
      this.floor = Math.max(this.floor, next);
      // Long enough for copies to be there again between some of the writes.
      await new Promise((resolve) => setTimeout(resolve, next % 4 === 0 ? 150 : 5));
    }
  }

  private async read(db: RingkeepClient): Promise<void> {
    while (!this.stopped) {
      const { floor } = this;
      const value = (await db.get<number>(KEY)) ?? 0;
      expect(value).toBeGreaterThanOrEqual(floor);
      this.floor = Math.max(this.floor, value);
      this.reads += 1;
    }
  }

  /** Waits for so many more reads and writes. */
  async more(reads: number, writes: number): Promise<void> {
    const [from, since] = [this.reads, this.writes];
    const done = eventually('reads and writes', (missing) =>
      this.reads - from >= reads && this.writes - since >= writes
        ? true
        : missing(`${this.reads - from} reads, ${this.writes - since} writes`),
    );
    await Promise.race([done, Promise.all(this.running)]);
  }

  /** Resolves with the number that was written last. */
  async stop(): Promise<number> {
    this.stopped = true;
    await Promise.all(this.running);
    return this.floor;
  }
}

async function allHeld(up: UpCluster): Promise<ShownSalt> {
  return eventually('copies that answer', async (missing) => {
    const [salted] = await saltsOf(up);
    const isHeld = salted?.copies.every(({ held }) => held);
    return isHeld === true ? salted! : missing(JSON.stringify(salted));
  });
}

it('is read linearizably at copies of a hot key too, in both modes, while it is written and a node dies', async () => {
  const up = await startUp(['--ephemeral', '--partitions', '6']);
  const { url, nodes } = up.ready;
  const [direct, routed] = [connect(url, { mode: 'direct' }), connect(url)];
  try {
    await routed.put(KEY, 0);
    const told = await ok(up.run(['salt', KEY, '--copies', '3']));
    expect(told).toMatch(
      /^salted front-page \(partition \d\): 2 copies, at n\d \(partition \d\), n\d \(partition \d\)\n/,
    );
    expect(told).toContain('2 copies, not 3: there are only 2 other nodes that can hold one\n');
    const again = JSON.parse(await ok(up.run(['salt', KEY, '--json']))) as SaltedKey;
    expect(again).toMatchObject({ key: KEY, asked: 2 });
    const salted = await allHeld(up);
    expect(salted).toMatchObject({ keyspace: '', key: KEY, partition: again.partition, waitingWrites: 0 });
    expect(salted.copies.map(({ partition, node }) => ({ partition, node }))).toEqual(again.copies);
    expect([salted.node, ...salted.copies.map(({ node }) => node)].sort()).toEqual(['n1', 'n2', 'n3']);
    const shown = await ok(up.run(['status']));
    expect(shown).toMatch(/^SALTED KEY +KEYSPACE +HOME +COPIES +WRITES WAITING +BY$/m);
    expect(shown).toMatch(
      /^"front-page" +- +n\d \(partition \d\) +n\d \(partition \d\); n\d \(partition \d\) +0 +hand$/m,
    );
    const counted = await Promise.all(nodes.map((node) => metric(node, 'ringkeep_node_key_copies')));
    expect(counted.reduce((sum, count) => sum + count)).toBe(2);

    const atNodes = new Traffic(0, routed, [direct]);
    await atNodes.more(300, 10);
    await eventually('gets at the copies', async (missing) => {
      const { partitions } = await direct.admin.hot();
      const read = new Set(partitions.filter(({ reads }) => reads > 0).map(({ partition }) => partition));
      const all = salted.copies.every(({ partition }) => read.has(partition));
      return all ? true : missing(JSON.stringify(partitions));
    });
    const last = await atNodes.stop();
    const before = await saltedReads(up);

    const both = new Traffic(last, direct, [direct, routed]);
    await both.more(600, 20);
    expect(await saltedReads(up)).toBeGreaterThan(before + 20);
    // One that holds a copy; `up` starts it again.
    process.kill(up.node(salted.copies[0]!.node).pid, 'SIGKILL');
    await both.more(300, 10);
    await eventually(
      'the node again',
      (missing) => up.events.some(({ event }) => event === 'restarted') || missing(''),
    );
    await both.more(300, 10);
    await both.stop();
    expect(JSON.parse(await ok(up.run(['hot', '--json']))).salts).toMatchObject([{ key: KEY }]);

    expect(await ok(up.run(['unsalt', KEY]))).toMatch(
      /^unsalted front-page \(partition \d\): it is one like any other\n$/,
    );
    expect(await saltsOf(up)).toEqual([]);
    expect(await ok(up.run(['status']))).not.toContain('SALTED KEY');
    await eventually('reads at home alone', async (missing) => {
      const from = await saltedReads(up);
      for (let n = 0; n < 20; n += 1) await routed.get(KEY);
      const to = await saltedReads(up);
      return to === from ? true : missing(`${to - from} gets went to copies`);
    });
  } finally {
    direct.destroy();
    routed.destroy();
  }
});

it('says what is wrong with a command', async () => {
  const up = await startUp(['--ephemeral', '--nodes', '1', '--partitions', '4']);
  const wrong = [
    ['salt'],
    ['salt', 'k', '--copies', '0'],
    ['salt', 'k', '--copies', '9'],
    ['unsalt', 'k', '--copies', '1'],
  ];
  for (const args of wrong) expect((await up.run(args)).status, args.join(' ')).toBe(2);
  const failed = async (args: string[]): Promise<string> => {
    const { status, stderr } = await up.run(args);
    expect(status, args.join(' ')).toBe(1);
    return stderr;
  };
  expect(await failed(['salt', ''])).toContain('the key has 0 bytes');
  expect(await failed(['salt', 'k', '--keyspace', 'x'.repeat(65)])).toContain('keyspace');
  expect(await failed(['salt', 'k', '--timeout', '500'])).toContain('no other node leads a partition');
  expect(await failed(['salt', 'k', '--url', 'ringkeep://127.0.0.1:1'])).toContain('no cluster answers');
  // Nothing is wrong with a key that has no copies.
  expect(await ok(up.run(['unsalt', 'k', '--keyspace', 'named']))).toContain('it is one like any other');
  expect((await ok(up.run(['salt', '--help']))).replace(/\s+/g, ' ')).toContain(
    'ringkeep salt front-page --copies 2',
  );
});
