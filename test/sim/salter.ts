/**
 * Salts and unsalts keys of the workload all the time, as an operator would who cannot make up his mind, at whatever node leads their
 * partition as far as that node knows. In a third of the seeds, with randomness of its own, so that the others go as they would without it.
 */
import { NO_BYTES } from '../../src/common/bytes.ts';
import { createRandom, type Random } from '../../src/common/random.ts';
import type { Request, SaltOperation } from '../../src/common/wire/messages.ts';
import type { SimNode } from './sim-node.ts';
import { MIXED_PREFIX } from './spread-checks.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** Whether the keys of a seed are salted: of one in three. */
export function isSalted({ seed }: World): boolean {
  return seed % 3 === 0;
}

/** Time between two orders, ms. */
const EVERY_MS = 60;
/** Most copies that are asked for. */
const COPIES_MAX = 3;

/** Orders salts of one simulation. */
export class Salter {
  private readonly world: World;
  private readonly nodes: readonly SimNode[];
  private readonly workload: Workload;
  private readonly random: Random;
  private requests = 0;
  private stopped = false;

  constructor(world: World, nodes: readonly SimNode[], workload: Workload) {
    this.world = world;
    this.nodes = nodes;
    this.workload = workload;
    this.random = createRandom(world.seed * 7_919);
    if (isSalted(world)) this.later();
  }

  /** Orders nothing more. What is salted stays. */
  stop(): void {
    this.stopped = true;
  }

  private later(): void {
    this.world.schedule(2 * EVERY_MS * this.random.next(), () => {
      if (this.stopped) return;
      this.order();
      this.later();
    });
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random.next() * list.length)]!;
  }

  private order(): void {
    if (this.random.next() < 0.5) return this.orderCounter();
    const { keys, counters } = this.workload;
    const [hot] = this.random.next() < 0.7 ? keys : counters;
    const key = this.random.next() < 0.5 ? hot! : this.pick([...keys, ...counters]);
    // Mostly they stay for a while.
    const copies = this.random.next() < 0.1 ? 0 : 1 + Math.floor(this.random.next() * COPIES_MAX);
    this.send(key, { copies });
  }

  /** Counters that increments add anything to are sometimes salted for one delta: then all others are refused. */
  private orderCounter(): void {
    const key = this.pick(this.workload.spread);
    const copies = this.random.next() < 0.35 ? 0 : 1 + Math.floor(this.random.next() * COPIES_MAX);
    const isMixed = this.random.next() < (key.startsWith(MIXED_PREFIX) ? 0.7 : 0.1);
    this.send(key, { copies, counter: true, delta: isMixed ? 0 : 1 });
  }

  private send(key: string, salt: SaltOperation): void {
    this.world.trace(`salter: ${key} ${salt.copies} ${salt.delta ?? ''}`);
    for (const node of this.nodes) {
      const connection = node.paused ? null : node.accept(NO_BYTES, () => node.closed(connection!));
      if (connection !== null) node.request(connection, this.request(key, salt));
    }
  }

  private request(key: string, salt: SaltOperation): Request {
    this.requests += 1;
    return {
      ...{ id: this.requests, timeLeftMs: 1_000, keyspace: '', key: Buffer.from(key), clientId: NO_BYTES },
      ...{ sequence: 0, lowWater: 0, sessionTime: 0, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
      ...{ operation: 'salt', salt },
    };
  }
}
