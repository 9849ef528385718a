/**
 * Load of every kind of write on few keys: conditions, counters, times to live, batches with and without conditions, idempotency
 * keys, and reads at linearizable and quorum between them. What it holds true at every moment:
 *  - the accounts of one hash tag always add up to nothing: amounts are moved between them by batches, and read by a batch;
 *  - an order is taken exactly once, however often its idempotency key is used.
 * Every operation is recorded, and the linearizability checker judges the history at the end.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { checkHistory } from '../../src/check/check.ts';
import { type BatchOperation, connect, type RingkeepClient } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import type { HistoryEvent } from '../../src/common/history.ts';

const ACCOUNTS = ['{bank}a', '{bank}b', '{bank}c', '{bank}d'];
const KEYS = ['{shelf}a', '{shelf}b', 'free-1', 'free-2', 'free-3'];
const TTL_MS = 400;
const PACE_MS = 8;

/** What was ordered under one idempotency key. */
interface Order {
  readonly name: string;
  readonly versions: Set<number>;
}

function pick<T>(list: readonly T[]): T {
  return list[Math.floor(Math.random() * list.length)]!;
}

/** Two different ones. */
function pickTwo<T>(list: readonly T[]): [T, T] {
  const first = pick(list);
  return [first, pick(list.filter((one) => one !== first))];
}

/** Runs the load from `start` to `stop`. */
export class MixedLoad {
  /** Breaches of the rules above; empty is what a test expects. */
  readonly breaches: string[] = [];
  /** Operations that succeeded, by kind. */
  readonly counts = new Map<string, number>();
  readonly #url: string;
  readonly #history: HistoryEvent[] = [];
  readonly #clients: RingkeepClient[] = [];
  readonly #lanes: Promise<void>[] = [];
  readonly #orders: Order[] = [];
  #running = false;
  #count = 0;

  constructor(url: string) {
    this.#url = url;
  }

  /** Starts the lanes; resolves once all clients are connected. */
  async start(clients = 6): Promise<void> {
    this.#running = true;
    const recorder = (event: HistoryEvent): void => void this.#history.push(event);
    for (let at = 0; at < clients; at++) this.#clients.push(connect(this.#url, { recorder }));
    await Promise.all(this.#clients.map((client) => client.ready({ timeoutMs: 30_000 })));
    for (const client of this.#clients) this.#lanes.push(this.#lane(client));
  }

  /** Lets the open operations end, and judges what there was. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes.splice(0));
    const [client] = this.#clients;
    await this.#addUp(client!);
    for (const order of this.#orders) await this.#order(client!, order);
    await Promise.all(this.#clients.splice(0).map((one) => one.close()));
    const { result, operations, keys } = await checkHistory(this.#history);
    for (const { key, result: found, illegal, unknown } of keys) {
      if (found !== 'ok')
        this.breaches.push(`${key}: the history is ${found}: ${illegal?.reason ?? unknown}`);
    }
    const counts = [...this.counts].map(([kind, count]) => `${count} ${kind}`).join(', ');
    console.log(`mixed: ${counts}; ${operations} recorded, ${result}`);
  }

  async #lane(client: RingkeepClient): Promise<void> {
    const kinds: Readonly<Record<string, () => Promise<unknown>>> = {
      transfers: () => this.#transfer(client),
      sums: () => this.#addUp(client),
      orders: () => this.#order(client, this.#nextOrder()),
      conditions: () => this.#conditional(client),
      'times to live': () => this.#living(client),
      batches: () => this.#batch(client),
      counters: () => client.increment('{shelf}n'),
      'linearizable reads': () => client.get(pick(KEYS)),
      'quorum reads': () => client.get(pick([...KEYS, '{shelf}n']), { read: 'quorum' }),
    };
    const names = Object.keys(kinds);
    while (this.#running) {
      const name = pick(names);
      try {
        await kinds[name]!();
        this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
      } catch (error) {
        // What a failed operation may have done the checker knows from the history.
        if (!(error instanceof RingkeepError)) throw error;
      }
      await delay(PACE_MS * (0.5 + Math.random()));
    }
  }

  #value(): string {
    this.#count += 1;
    return `v${this.#count}`;
  }

  async #transfer(client: RingkeepClient): Promise<void> {
    const [from, to] = pickTwo(ACCOUNTS);
    const amount = 1 + Math.floor(Math.random() * 9);
    await client.batch([
      { type: 'increment', key: from, delta: -amount },
      { type: 'increment', key: to, delta: amount },
    ]);
  }

  /** Reads all accounts at one moment. */
  async #addUp(client: RingkeepClient): Promise<void> {
    const { results } = await client.batch(ACCOUNTS.map((key) => ({ type: 'increment', key, delta: 0 })));
    const sum = results.reduce((total, { value }) => total + (value ?? Number.NaN), 0);
    if (sum !== 0) this.breaches.push(`the accounts add up to ${sum}: ${results.map(({ value }) => value)}`);
  }

  #nextOrder(): Order {
    const known = pick([...this.#orders.slice(-8), undefined]);
    if (known !== undefined) return known;
    const order = { name: this.#value(), versions: new Set<number>() };
    this.#orders.push(order);
    return order;
  }

  async #order(client: RingkeepClient, { name, versions }: Order): Promise<void> {
    const { version } = await client.put(`order-${name}`, name, { idempotencyKey: name });
    versions.add(version);
    if (versions.size > 1) this.breaches.push(`order ${name} was taken at ${[...versions].join(' and ')}`);
  }

  async #conditional(client: RingkeepClient): Promise<void> {
    const key = pick(KEYS);
    const entry = await client.getEntry(key, { read: 'quorum' });
    const condition = entry === undefined ? { ifAbsent: true } : { ifVersion: entry.version };
    if (Math.random() < 0.2) await client.delete(key, { ifExists: true });
    else await client.put(key, this.#value(), condition);
  }

  async #living(client: RingkeepClient): Promise<void> {
    const key = pick(KEYS);
    if (Math.random() < 0.7) await client.put(key, this.#value(), { ttlMs: TTL_MS });
    else if (Math.random() < 0.5) await client.expire(key, TTL_MS);
    else await client.persist(key);
  }

  async #batch(client: RingkeepClient): Promise<void> {
    const [first, second] = pickTwo(['{shelf}a', '{shelf}b']);
    const entry = await client.getEntry(second);
    const check: BatchOperation =
      entry === undefined
        ? { type: 'check', key: second, ifAbsent: true }
        : { type: 'check', key: second, ifVersion: entry.version };
    const change: BatchOperation =
      Math.random() < 0.3
        ? { type: 'delete', key: first }
        : { type: 'put', key: first, value: this.#value() };
    await client.batch([
      change,
      Math.random() < 0.5 ? check : { type: 'put', key: second, value: this.#value() },
    ]);
  }
}
