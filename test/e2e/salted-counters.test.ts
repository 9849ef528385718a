/**
 * A salted counter, as applications have it: both modes add to it while it is salted, unsalted and salted anew, and while a node with one of its
 * sub-counters dies. Each add counts once.
 */
import { expect, it } from 'vitest';
import { connect, type RingkeepClient, RingkeepError } from '../../src/client/index.ts';
import { eventually } from '../support/processes.ts';
import { cleanUpAfterEach, startUp } from '../support/up-cluster.ts';

const KEY = 'visits';
const ADDERS = 8;

cleanUpAfterEach();

/** Adds 1 again and again, by several clients at once, and reads what that has come to. */
class Adders {
  applied = 0;
  unknown = 0;
  called = 0;
  /** Adds by the partition that has taken them. */
  readonly taken = new Map<number, number>();
  private floor = 0;
  private stopped = false;
  private readonly running: Promise<void>[] = [];

  constructor(clients: readonly RingkeepClient[]) {
    for (const db of clients) {
      for (let n = 0; n < ADDERS; n += 1) this.running.push(this.add(db));
      this.running.push(this.read(db));
    }
  }

  private async add(db: RingkeepClient): Promise<void> {
    while (!this.stopped) {
      this.called += 1;
      try {
        const { partition } = await db.add(KEY);
        this.applied += 1;
        this.taken.set(partition, (this.taken.get(partition) ?? 0) + 1);
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        if (error.outcome !== 'not_applied') this.unknown += 1;
      }
    }
  }

  private async read(db: RingkeepClient): Promise<void> {
    while (!this.stopped) {
      const floor = Math.max(this.floor, this.applied);
      const sum = (await db.get<number>(KEY, { timeoutMs: 60_000 })) ?? 0;
      expect(sum).toBeGreaterThanOrEqual(floor);
      expect(sum).toBeLessThanOrEqual(this.called);
      this.floor = Math.max(this.floor, sum);
    }
  }

  async more(count: number): Promise<void> {
    const from = this.applied;
    const done = eventually('adds', (missing) =>
      this.applied - from >= count ? true : missing(`${this.applied - from} adds`),
    );
    await Promise.race([done, Promise.all(this.running)]);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.running);
  }
}

it('counts every add once, in both modes, while it is salted and unsalted and a node dies', async () => {
  const up = await startUp(['--ephemeral', '--partitions', '6']);
  const { url } = up.ready;
  const clients = [connect(url, { mode: 'direct' }), connect(url)];
  const [direct, routed] = clients as [RingkeepClient, RingkeepClient];
  try {
    const adders = new Adders(clients);
    await adders.more(200);
    const salted = await direct.admin.saltCounter(KEY, { copies: 2, timeoutMs: 30_000 });
    expect(salted.copies).toHaveLength(2);
    await eventually('adds in all parts', (missing) =>
      salted.copies.every(({ partition }) => (adders.taken.get(partition) ?? 0) > 50)
        ? true
        : missing(JSON.stringify([...adders.taken])),
    );
    await expect(routed.increment(KEY)).rejects.toMatchObject({
      code: 'COUNTER_SALTED',
      outcome: 'not_applied',
    });
    const refused = await up.run(['incr', KEY]);
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/^error: COUNTER_SALTED .*`add`/),
    ]);
    const added = await up.run(['add', KEY]);
    expect([added.status, added.stdout]).toEqual([0, 'added 1 to visits (on a quorum of disks)\n']);
    adders.called += 1;
    adders.applied += 1;
    await expect(routed.put(KEY, 1)).rejects.toMatchObject({ code: 'COUNTER_SALTED' });
    process.kill(up.node(salted.copies[0]!.node!).pid, 'SIGKILL');
    await adders.more(500);
    await direct.admin.unsalt(KEY, { timeoutMs: 60_000 });
    await adders.more(200);
    await routed.admin.saltCounter(KEY, { copies: 1, timeoutMs: 60_000 });
    await adders.more(300);
    await routed.admin.saltCounter(KEY, { copies: 2, timeoutMs: 60_000 });
    await adders.more(300);
    await adders.stop();
    const sum = (await routed.get<number>(KEY))!;
    expect(sum).toBeGreaterThanOrEqual(adders.applied);
    expect(sum).toBeLessThanOrEqual(adders.applied + adders.unknown);
    await direct.admin.unsalt(KEY, { timeoutMs: 60_000 });
    expect((await direct.increment(KEY)).value).toBe(sum + 1);
  } finally {
    direct.destroy();
    routed.destroy();
  }
});
