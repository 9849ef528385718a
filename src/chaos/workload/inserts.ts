/**
 * Workloads with a rule of their own that a final look at everything shows to hold: inserts into a set, transfers between the
 * accounts of a bank, and writes that are acknowledged at `leader`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { PutOptions } from '../../client/index.ts';
import { RingkeepError } from '../../common/errors.ts';
import { HASTY } from '../figures.ts';
import { describeHeld, heldBy } from './one-node.ts';
import { VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

const LANES = 3;
/** Lanes whose operations have little time, ms: many of them end without an answer. */
const HASTY_LANES = 2;
const HASTY_MS = [5, 200] as const;
/** Of so many, the newest ones, every node is asked what it holds. */
const EVERYWHERE_MAX = 10_000;
const EARLY_LANES = 4;
const PAGE = 200;
const LOOKS_MAX = 4;
const LOOK_AGAIN_MS = 500;

/** Each key is written once: what was acknowledged is there, what was reported `not_applied` is not. */
export class Inserts implements Workload {
  readonly name = 'inserts';
  readonly text = 'what was acknowledged is there at the end, what was not applied is not';
  private count = 0;
  /** With the version that was told, 0: none was. */
  private readonly acknowledged = new Map<string, number>();
  private readonly refused: string[] = [];

  start(bench: Workbench): void {
    for (let lane = 0; lane < LANES; lane += 1) bench.lane(() => this.step(bench, lane));
    for (let lane = 0; lane < HASTY_LANES; lane += 1) bench.lane(() => this.hastyStep(bench, lane));
  }

  private step(bench: Workbench, lane: number): Promise<void> {
    this.count += 1;
    return this.insert(bench, lane, `insert-${this.count}`, bench.chance(0.1) ? { ack: 'all' } : {});
  }

  private hastyStep(bench: Workbench, lane: number): Promise<void> {
    this.count += 1;
    const [least, most] = HASTY_MS;
    const timeoutMs = least + bench.options.random.integer(most - least);
    return this.insert(bench, lane, `${HASTY}${this.count}`, { timeoutMs });
  }

  private async insert(bench: Workbench, lane: number, key: string, options: PutOptions): Promise<void> {
    try {
      const { version } = await bench.client(lane).put(key, key, options);
      this.acknowledged.set(key, version);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      if (error.outcome === 'applied') this.acknowledged.set(key, 0);
      if (error.outcome === 'not_applied') this.refused.push(key);
    }
  }

  async verify(bench: Workbench): Promise<void> {
    await this.look(bench, [...this.acknowledged.keys()], (key, value) => {
      if (value === key) return;
      if (value === undefined) bench.breach('G1', key, 'was acknowledged and is gone');
      else bench.breach('G8', key, `holds ${JSON.stringify(value)}, which nobody wrote`);
    });
    await this.look(bench, this.refused, (key, value) => {
      if (value !== undefined) bench.breach('G5', key, 'was reported not_applied and is there');
    });
    await this.lookEverywhere(bench);
    bench.held('G1', this.acknowledged.size);
    bench.held('G5', this.refused.length);
  }

  private async look(
    bench: Workbench,
    keys: readonly string[],
    judge: (key: string, value: unknown) => void,
  ): Promise<void> {
    for (let at = 0; at < keys.length; at += PAGE) {
      const page = keys.slice(at, at + PAGE);
      const values = await bench.client(0).getMany(page, { timeoutMs: VERIFY_MS });
      for (const [index, key] of page.entries()) judge(key, values[index]);
    }
  }

  /** A linearizable read shows what the leader holds: here every replica shows its own bytes. */
  private async lookEverywhere(bench: Workbench): Promise<void> {
    const entries = [...this.acknowledged].slice(-EVERYWHERE_MAX);
    const { nodes, keyspace } = bench.options;
    const answers = await heldBy(
      nodes,
      keyspace,
      entries.map(([key]) => key),
    );
    for (const [node, held] of answers.entries()) {
      for (const [at, [key, version]] of entries.entries()) {
        const found = held[at] ?? null;
        if (found === null || found.version === 0) continue;
        if (found.value === key && (version === 0 || found.version === version)) continue;
        bench.breach('G8', key, `${nodes[node]} holds ${describeHeld(found)}, which nobody wrote`);
      }
    }
  }
}

const ACCOUNTS = ['{bank}a', '{bank}b', '{bank}c', '{bank}d'];

/** Amounts are moved between accounts of one hash tag by batches: they always add up to nothing. */
export class Bank implements Workload {
  readonly name = 'bank';
  readonly text = 'transfers inside one hash tag are never seen half: the accounts always add up';

  start(bench: Workbench): void {
    for (let lane = 0; lane < 2; lane += 1) bench.lane(() => this.transfer(bench, lane));
    bench.lane(() => this.addUp(bench, 1), bench.options.paceMs * 4);
  }

  private async transfer(bench: Workbench, lane: number): Promise<void> {
    const from = bench.pick(ACCOUNTS);
    const to = bench.pick(ACCOUNTS.filter((name) => name !== from));
    const amount = 1 + bench.options.random.integer(9);
    await bench.client(lane).batch([
      { type: 'increment', key: from, delta: -amount },
      { type: 'increment', key: to, delta: amount },
    ]);
  }

  /** Reads all accounts at one moment. */
  private async addUp(bench: Workbench, lane: number, timeoutMs?: number): Promise<void> {
    const look = ACCOUNTS.map((key) => ({ type: 'increment' as const, key, delta: 0 }));
    const options = timeoutMs === undefined ? {} : { timeoutMs };
    const { results } = await bench.client(lane).batch(look, options);
    const sum = results.reduce((total, { value }) => total + (value ?? Number.NaN), 0);
    bench.held('G2');
    if (sum !== 0) bench.breach('G2', ACCOUNTS[0]!, `the accounts add up to ${sum}`);
  }

  verify(bench: Workbench): Promise<void> {
    return this.addUp(bench, 0, VERIFY_MS);
  }
}

/** Writes at `leader`, each of a key of its own: how many of those that were acknowledged are gone. */
export class EarlyWrites implements Workload {
  readonly name = 'early writes';
  readonly text = 'a write acknowledged at leader is lost in a failover only, and the loss is counted';
  /** Keys that were acknowledged and are gone. */
  readonly lost: string[] = [];
  private acknowledged = 0;
  private count = 0;
  /** Acknowledged, and not looked at yet. */
  private readonly open: string[] = [];
  private readonly seen: string[] = [];

  start(bench: Workbench): void {
    for (let lane = 0; lane < EARLY_LANES; lane += 1) bench.lane(() => this.step(bench, lane));
  }

  private async step(bench: Workbench, lane: number): Promise<void> {
    this.count += 1;
    // A key that is written again would hide that the write before it is lost.
    const key = `early-${this.count}`;
    await bench.client(lane).put(key, key, { ack: 'leader' });
    this.acknowledged += 1;
    this.open.push(key);
  }

  /** Looks at what was acknowledged since the last look; returns the keys that are gone. */
  async look(bench: Workbench): Promise<string[]> {
    const keys = [...this.open];
    let gone = keys;
    for (let looks = 0; looks < LOOKS_MAX && gone.length > 0; looks += 1) {
      // Reads show what is committed, which a write at `leader` may not be yet when it is acknowledged.
      if (looks > 0) await delay(LOOK_AGAIN_MS);
      gone = await this.absent(bench, gone);
    }
    this.open.splice(0, keys.length);
    const lost = new Set(gone);
    this.seen.push(...keys.filter((key) => !lost.has(key)));
    this.lost.push(...gone);
    return gone;
  }

  private async absent(bench: Workbench, keys: readonly string[]): Promise<string[]> {
    const absent: string[] = [];
    for (let at = 0; at < keys.length; at += PAGE) {
      const page = keys.slice(at, at + PAGE);
      const values = await bench.client(0).getMany<string>(page, { timeoutMs: VERIFY_MS });
      for (const [index, key] of page.entries()) {
        const value = values[index];
        if (value === undefined) absent.push(key);
        else if (value !== key) bench.breach('G8', key, `holds ${JSON.stringify(value)}, which nobody wrote`);
      }
    }
    return absent;
  }

  async verify(bench: Workbench): Promise<void> {
    await this.look(bench);
    // What was read once is committed, and must be read for ever: the checker of histories sees to that.
    await this.absent(bench, this.seen);
    bench.held('G3', this.acknowledged);
  }
}
