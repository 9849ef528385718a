/**
 * Workloads with a rule of their own that a final look at everything shows to hold: inserts into a set, transfers between the
 * accounts of a bank, and writes that are acknowledged at `leader`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import { VERIFY_MS, type Workbench, type Workload } from './workbench.ts';

const LANES = 3;
const PAGE = 200;
const LOOKS_MAX = 4;
const LOOK_AGAIN_MS = 500;

/** Each key is written once: what was acknowledged is there, what was reported `not_applied` is not. */
export class Inserts implements Workload {
  readonly name = 'inserts';
  readonly text = 'what was acknowledged is there at the end, what was not applied is not';
  private count = 0;
  private readonly acknowledged: string[] = [];
  private readonly refused: string[] = [];

  start(bench: Workbench): void {
    for (let lane = 0; lane < LANES; lane += 1) bench.lane(() => this.step(bench, lane));
  }

  private async step(bench: Workbench, lane: number): Promise<void> {
    this.count += 1;
    const key = `insert-${this.count}`;
    try {
      await bench.client(lane).put(key, key, bench.chance(0.1) ? { ack: 'all' } : {});
      this.acknowledged.push(key);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      if (error.outcome === 'applied') this.acknowledged.push(key);
      if (error.outcome === 'not_applied') this.refused.push(key);
    }
  }

  async verify(bench: Workbench): Promise<void> {
    await this.look(bench, this.acknowledged, (key, value) => {
      if (value === key) return;
      if (value === undefined) bench.breach('G1', key, 'was acknowledged and is gone');
      else bench.breach('G8', key, `holds ${JSON.stringify(value)}, which nobody wrote`);
    });
    await this.look(bench, this.refused, (key, value) => {
      if (value !== undefined) bench.breach('G5', key, 'was reported not_applied and is there');
    });
    bench.held('G1', this.acknowledged.length);
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

/** The last write of a key that was acknowledged at `leader`. */
interface Early {
  /** Count of the write, which is its value. */
  count: number;
  readonly values: Set<string>;
}

/** Writes at `leader`, each lane to keys of its own: how many of those that were acknowledged are gone. */
export class EarlyWrites implements Workload {
  readonly name = 'early writes';
  readonly text = 'a write acknowledged at leader is lost in a failover only, and the loss is counted';
  /** Keys whose last acknowledged write is gone, at the end. */
  lost: string[] = [];
  acknowledged = 0;
  private count = 0;
  private readonly keys = new Map<string, Early>();

  start(bench: Workbench): void {
    for (const key of bench.keysOf('early', 1)) this.keys.set(key, { count: 0, values: new Set() });
    const names = [...this.keys.keys()];
    // One write at a time to each key.
    for (let lane = 0; lane < 2; lane += 1) {
      const own = names.filter((_, index) => index % 2 === lane);
      bench.lane(() => this.step(bench, lane, bench.pick(own)));
    }
  }

  private async step(bench: Workbench, lane: number, key: string): Promise<void> {
    this.count += 1;
    const { count } = this;
    const book = this.keys.get(key)!;
    book.values.add(`${count}`);
    await bench.client(lane).put(key, `${count}`, { ack: 'leader' });
    this.acknowledged += 1;
    book.count = count;
  }

  /** Looks at all keys; returns those whose last acknowledged write is gone since the last look. */
  async look(bench: Workbench): Promise<string[]> {
    const gone: string[] = [];
    for (const [key, book] of this.keys) {
      if (!(await this.isGone(bench, key, book))) continue;
      gone.push(key);
      book.count = 0;
    }
    this.lost.push(...gone);
    return gone;
  }

  private async isGone(bench: Workbench, key: string, book: Early): Promise<boolean> {
    for (let looks = 0; looks < LOOKS_MAX; looks += 1) {
      // What is acknowledged while it is read may be missing in the answer.
      const { count } = book;
      const value = await bench.client(0).get<string>(key, { timeoutMs: VERIFY_MS });
      if (value !== undefined && !book.values.has(value))
        bench.breach('G8', key, `holds ${value}, which nobody wrote`);
      if (count === 0 || (value !== undefined && Number(value) >= count)) return false;
      // Reads show what is committed, which a write at `leader` may not be yet when it is acknowledged.
      await delay(LOOK_AGAIN_MS);
    }
    return true;
  }

  async verify(bench: Workbench): Promise<void> {
    await this.look(bench);
    bench.held('G3', this.acknowledged);
  }
}
