import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../test/support/scripted-cluster.ts';
import { RingkeepError } from '../common/errors.ts';
import type { MovesReply } from '../common/wire/admin-messages.ts';
import type { MovesCall } from '../common/wire/contract.ts';
import type { Controller } from './controller/controller.ts';
import type { ControllerOptions } from './controller/types.ts';
import { Copies, type CopySizes, Meter, MoveOrders } from './move-orders.ts';

const LIMIT_MS = 60_000;
const NONE = {
  ...{ hello: null, settings: null, replicationFactor: 0, node: '', partition: 0 },
  membership: 'NODE_MEMBER' as const,
};

/** Sizes as a test sets them. */
class Sizes implements CopySizes {
  bytes = 0;
  readonly copied = new Map<string, number>();

  bytesOf(): number {
    return this.bytes;
  }

  copiedOf(partition: number, node: string): number {
    return this.copied.get(`${partition} ${node}`) ?? 0;
  }
}

class Lab {
  readonly cluster: ScriptedCluster;
  readonly controller: Controller;
  readonly sizes = new Sizes();
  readonly orders: MoveOrders;

  constructor(nodes: readonly string[], options: Partial<ControllerOptions> = {}) {
    this.cluster = new ScriptedCluster(nodes, 12);
    this.controller = this.cluster.start(options).controller;
    this.cluster.until('first leaders', () => this.cluster.settled());
    this.orders = new MoveOrders(this.controller, {
      bytesOf: () => this.sizes.bytesOf(),
      copiedOf: (partition, node) => this.sizes.copiedOf(partition, node),
    });
  }

  /** Lets time pass, as the shell does. */
  run(ms: number): void {
    for (const end = this.cluster.now + ms; this.cluster.now < end; ) {
      this.cluster.run(20);
      this.orders.look(this.cluster.now);
    }
  }

  async ask(call: MovesCall): Promise<MovesReply> {
    const reply = this.orders.answer({ ...NONE, ...call }, this.cluster.now, () => {});
    reply.catch(() => {});
    this.run(200);
    return reply;
  }

  async until(what: string, holds: (reply: MovesReply) => boolean): Promise<MovesReply> {
    for (const end = this.cluster.now + LIMIT_MS; ; this.run(20)) {
      const reply = await this.ask({ order: 'MOVES_TELL' });
      if (holds(reply)) return reply;
      expect(this.cluster.now, `${what}: ${JSON.stringify(reply)}`).toBeLessThan(end);
    }
  }
}

describe('an order', () => {
  it('to run or to abort is answered with the plan that it has made, joined or ended, and never with an earlier one', async () => {
    const lab = new Lab(['n1', 'n2', 'n3']);
    await lab.ask({ order: 'MOVES_CONFIGURE', settings: { automatic: false } });
    const nothing = { state: 'none', plan: '', reason: '', moves: [] };
    expect(await lab.ask({ order: 'MOVES_RUN' })).toMatchObject(nothing);
    lab.cluster.join('n4');
    lab.run(1_000);
    const made = await lab.ask({ order: 'MOVES_RUN' });
    expect(made).toMatchObject({ state: 'running', reason: 'asked for' });
    expect(made.plan).not.toBe('');
    expect(made.moves.length).toBeGreaterThan(0);
    expect(await lab.ask({ order: 'MOVES_RUN' })).toMatchObject({ plan: made.plan });
    const ended = await lab.until('the end', ({ state }) => state === 'done');
    expect(ended.plan).toBe(made.plan);
    // A plan of fourteen moves was carried out before: that is not what these have done.
    for (const order of ['MOVES_RUN', 'MOVES_ABORT'] as const)
      expect(await lab.ask({ order })).toMatchObject(nothing);
    await lab.ask({ order: 'MOVES_MEMBERSHIP', node: 'n4', membership: 'NODE_LEAVING' });
    const second = await lab.ask({ order: 'MOVES_RUN' });
    expect(second.plan).not.toBe(made.plan);
    expect(await lab.ask({ order: 'MOVES_ABORT' })).toMatchObject({ plan: second.plan });
  });

  it('to change a setting leaves the others as they are, also when two come at once', async () => {
    const lab = new Lab(['n1', 'n2', 'n3', 'n4']);
    const both = [
      lab.ask({ order: 'MOVES_CONFIGURE', settings: { bytesPerSecond: 2 ** 24 + 1 } }),
      lab.ask({ order: 'MOVES_CONFIGURE', settings: { perNode: 7 }, replicationFactor: 4 }),
    ];
    lab.run(200);
    await Promise.all(both);
    await lab.ask({ order: 'MOVES_CONFIGURE', settings: { automatic: false, lostAfterSeconds: 0 } });
    expect(await lab.ask({ order: 'MOVES_TELL' })).toMatchObject({
      settings: { bytesPerSecond: 2 ** 24 + 1, perNode: 7, automatic: false, lostAfterSeconds: 0 },
      replicationFactor: 4,
    });
  });

  it('to forget a node is refused while it runs or has replicas, and holds until it comes back', async () => {
    const lab = new Lab(['n1', 'n2', 'n3', 'n4']);
    const { cluster, controller } = lab;
    const forget = (): Promise<MovesReply> => lab.ask({ order: 'MOVES_FORGET', node: 'n4' });
    const shown = (): string[] => controller.topology().nodes.map(({ id }) => id);
    await expect(forget()).rejects.toThrow('n4 runs: stop it first');
    cluster.node('n4').up = false;
    lab.run(5_000);
    await expect(forget()).rejects.toThrow(/n4 still has replicas of \d partitions/);
    await lab.ask({ order: 'MOVES_MEMBERSHIP', node: 'n4', membership: 'NODE_LEAVING' });
    await lab.ask({ order: 'MOVES_RUN' });
    await lab.until('the end', ({ state }) => state === 'done');
    expect(shown()).toContain('n4');
    await forget();
    expect(shown()).toEqual(['n1', 'n2', 'n3']);
    expect(controller.status().nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    await expect(forget()).rejects.toThrow('there is no node n4');
    for (const membership of ['NODE_MEMBER', 'NODE_LEAVING'] as const)
      await expect(lab.ask({ order: 'MOVES_MEMBERSHIP', node: 'n4', membership })).rejects.toThrow(
        'there is no node n4',
      );
    await expect(lab.ask({ order: 'MOVES_MEMBERSHIP', node: 'n3', membership: 'NODE_GONE' })).rejects.toThrow(
      RingkeepError,
    );
    // It does not count any more.
    await expect(lab.ask({ order: 'MOVES_CONFIGURE', replicationFactor: 4 })).rejects.toThrow(
      'needs as many nodes, there are 3',
    );
    // Another controller knows it as well.
    cluster.stopControllers();
    const next = cluster.start().controller;
    cluster.run(1_000);
    expect(next.topology().nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    expect(next.status().nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    cluster.node('n4').restart();
    cluster.until('n4 again', () => next.topology().nodes.some(({ id }) => id === 'n4'));
    expect(next.topology().nodes.find(({ id }) => id === 'n4')).toMatchObject({ membership: 'NODE_MEMBER' });
    cluster.until('its share', () => next.moves.status(cluster.now).state === 'running', LIMIT_MS);
  });
});

describe('the explanation of a partition', () => {
  it('names the learner and what becomes of the voter whose place it takes, and what the move waits for', async () => {
    const lab = new Lab(['n1', 'n2', 'n3']);
    lab.cluster.linked = (_, b) => b !== 'n4';
    const n4 = lab.cluster.join('n4');
    const learns = (): number | undefined =>
      lab.cluster.store.records().find(({ learners }) => learners.length > 0)?.partition;
    await lab.until('a learner', () => learns() !== undefined);
    const { moves } = await lab.ask({ order: 'MOVES_TELL' });
    const partition = learns()!;
    const { from } = moves.find((move) => move.partition === partition)!;
    const explained = async () => {
      const { choices } = await lab.ask({ order: 'MOVES_EXPLAIN', partition });
      return new Map(choices.map(({ node, votes, learns, reason }) => [node, { votes, learns, reason }]));
    };
    const active = await explained();
    expect(active.get('n4')).toEqual({
      votes: false,
      learns: true,
      reason: `catches up, to take the place of ${from} (under way)`,
    });
    expect(active.get(from)).toMatchObject({ votes: true, learns: false });
    expect(active.get(from)?.reason).toMatch(/; is replaced by n4 \(under way\)$/);
    n4.diskFull = true;
    lab.run(1_000);
    expect((await explained()).get(from)?.reason).toMatch(
      /; is replaced by n4 \(waits: the disk of n4 is full\)$/,
    );
  });
});

describe('what is told of copies', () => {
  it('is never more than there is, and stays while a learner catches up', async () => {
    const lab = new Lab(['n1', 'n2', 'n3']);
    lab.cluster.linked = (_, b) => b !== 'n4';
    lab.cluster.join('n4');
    const { moves } = await lab.until('a move', (reply) =>
      reply.moves.some(({ state }) => state === 'active'),
    );
    const { partition, to } = moves.find(({ state }) => state === 'active')!;
    const { sizes } = lab;
    sizes.bytes = 1_000;
    const own = async (): Promise<number> => {
      lab.run(1_100);
      const told = await lab.ask({ order: 'MOVES_TELL' });
      return told.moves.find((move) => move.partition === partition && move.to === to)!.copied;
    };
    sizes.copied.set(`${partition} ${to}`, 400);
    expect(await own()).toBe(400);
    // Rows are larger than compressed tables.
    sizes.copied.set(`${partition} ${to}`, 3_000);
    expect(await own()).toBe(1_000);
    // Installed: it catches up with the log.
    sizes.copied.delete(`${partition} ${to}`);
    expect(await own()).toBe(1_000);
    const { bytesPerSecond } = await lab.ask({ order: 'MOVES_TELL' });
    expect(bytesPerSecond).toBeGreaterThan(0);
  });

  it('is of one plan', () => {
    const copies = new Copies();
    const move = { partition: 3, from: 'n1', to: 'n4' };
    copies.look('p1', [move, { partition: 4, from: 'n1', to: null }], () => 70);
    copies.look('p1', [move], () => 0);
    expect([copies.of(move), copies.total]).toEqual([70, 70]);
    copies.look('p2', [move], () => 20);
    expect([copies.of(move), copies.total]).toEqual([20, 20]);
  });
});

describe('the meter of copies', () => {
  it('tells the rate of the last seconds, and asks once a second at most', () => {
    const meter = new Meter();
    let asked = 0;
    const at = (now: number, value: number): void =>
      meter.look(now, 'p1', () => {
        asked += 1;
        return value;
      });
    expect(meter.rate).toBe(0);
    at(0, 0);
    at(10, 1);
    expect(asked).toBe(1);
    expect(meter.rate).toBe(0);
    for (let second = 1; second <= 20; second += 1) at(second * 1_000, second * 500);
    expect(asked).toBe(21);
    expect(meter.rate).toBe(500);
    // It stands still: after ten seconds nothing is left of what was.
    for (let second = 21; second <= 25; second += 1) at(second * 1_000, 10_000);
    expect(meter.rate).toBe(250);
    for (let second = 26; second <= 31; second += 1) at(second * 1_000, 10_000);
    expect(meter.rate).toBe(0);
  });

  it('begins anew with another plan, and where a move is none any more', () => {
    const meter = new Meter();
    for (const [now, plan, value] of [
      [0, 'p1', 1_000],
      [1_000, 'p1', 2_000],
      [2_000, 'p2', 9_000],
      [3_000, 'p2', 9_100],
    ] as const)
      meter.look(now, plan, () => value);
    expect(meter.rate).toBe(100);
    meter.look(4_000, 'p2', () => 50);
    expect(meter.rate).toBe(0);
  });
});
