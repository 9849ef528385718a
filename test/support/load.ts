/**
 * Load on a real cluster with its own book of what it was told, to be held against what the cluster shows. Lanes write
 * counted values, one write at a time per lane, to keys of their own in one partition each; shared keys are written by
 * several lanes at once. Readers read all of them all the time, at every level in turn.
 * What is checked, continuously and by `verify`:
 *  - a read at linearizable or quorum shows no version below one that was acknowledged, or read, before it began;
 *  - one at session none below what its client has read; one at stale none below what was acknowledged before its bound;
 *  - an own key shows its lane's last acknowledged value or one of a later, unknown write;
 *  - no value of a write that was reported not_applied is ever seen, nor one that nobody wrote;
 *  - equal versions are equal values.
 * Every operation is also recorded, and the linearizability checker judges the whole history at the end.
 * Versions are indexes of one partition's log, so they order the writes of a key. Writes acknowledged at `leader` count
 * for none of this before they are committed, so they are only asked for at the end, and only where none may be lost.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { checkHistory } from '../../src/check/check.ts';
import {
  type Ack,
  connect,
  type Entry,
  type ReadLevel,
  type Receipt,
  type RingkeepClient,
} from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { partitionOf } from '../../src/common/hash.ts';
import type { HistoryEvent } from '../../src/common/history.ts';
import { REQUEST_TIMEOUT_MS } from '../../src/common/limits.ts';

export interface LoadOptions {
  readonly url: string;
  /** Addresses of nodes: every second client goes to the leaders directly, not through the router. */
  readonly direct?: readonly string[];
  readonly partitions: number;
  /** Clients; the partitions' lanes are dealt out to them. */
  readonly writers?: number;
  readonly readers?: number;
  readonly keysPerLane?: number;
  readonly sharedKeys?: number;
  /** Pause of a lane between two operations. */
  readonly paceMs?: number;
  /** Levels that the lanes write at, in turn. */
  readonly acks?: readonly Ack[];
  readonly valueBytes?: number;
  /** Longer than the default where a busy machine may start a process more slowly than that. */
  readonly requestTimeoutMs?: number;
}

/** One acknowledged write, told to `onAck`. */
export interface Acknowledged {
  readonly receipt: Receipt;
  /** performance.now() at the acknowledgement. */
  readonly at: number;
}

/** What is known of one key. */
interface KeyBook {
  readonly key: string;
  readonly shared: boolean;
  /** Highest version known to be in effect: acknowledged at quorum or above, or read. */
  floor: number;
  /** When that rose, by performance.now(), the last ones. */
  readonly rises: { readonly at: number; readonly floor: number }[];
  /** Value by version, where known. */
  readonly values: Map<number, string>;
  /** Count of the last acknowledged write; own keys. */
  acknowledged: number;
  /** The same two with the writes acknowledged at `leader`. */
  leaderFloor: number;
  leaderAcknowledged: number;
  /** Values that may have been written: everything sent and not reported not_applied. */
  readonly possible: Set<string>;
  readonly refused: Set<string>;
}

/** What a read must show at least. */
type Known = Pick<KeyBook, 'floor' | 'acknowledged'>;

/** How operations failed: `CODE outcome` → times. */
export type Failures = Map<string, number>;

const VALUES_KEPT = 64;
const RISES_KEPT = 1_000;

const READ_LEVELS: readonly ReadLevel[] = ['linearizable', 'quorum', 'quorum', 'session', 'stale'];

/** Runs the load from `start` to `stop`, and keeps the book. */
export class Load {
  readonly options: Required<LoadOptions>;
  readonly failures: Failures = new Map();
  readonly readFailures: Failures = new Map();
  /** Breaches of the rules above; empty is what a test expects. */
  readonly breaches: string[] = [];
  writes = 0;
  reads = 0;
  onAck: (write: Acknowledged) => void = () => {};
  readonly #books = new Map<string, KeyBook>();
  readonly #history: HistoryEvent[] = [];
  readonly #recorder = (event: HistoryEvent): void => {
    this.#history.push(event);
  };
  readonly #clients: RingkeepClient[] = [];
  readonly #lanes: Promise<void>[] = [];
  #running = false;
  #count = 0;

  constructor(options: LoadOptions) {
    this.options = {
      writers: 16,
      readers: 2,
      keysPerLane: 3,
      sharedKeys: 8,
      paceMs: 20,
      acks: ['quorum'],
      valueBytes: 0,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      direct: [],
      ...options,
    };
  }

  /** Starts the lanes; resolves once all clients are connected. */
  async start(): Promise<void> {
    const { partitions, writers, readers, keysPerLane, sharedKeys, acks } = this.options;
    this.#running = true;
    const shared = Array.from({ length: sharedKeys }, (_, index) => this.#book(`shared-${index}`, true));
    for (let index = 0; index < writers + readers; index += 1) this.#clients.push(this.#connect(index));
    await Promise.all(this.#clients.map((client) => client.ready({ timeoutMs: 30_000 })));
    for (let partition = 0; partition < partitions; partition += 1) {
      const own = keysOf(partition, partitions, keysPerLane).map((key) => this.#book(key, false));
      const client = this.#clients[partition % writers]!;
      this.#lanes.push(this.#writeLane(client, own, acks[partition % acks.length]!));
    }
    for (let writer = 0; sharedKeys > 0 && writer < writers; writer += 1) {
      this.#lanes.push(this.#writeLane(this.#clients[writer]!, shared, acks[writer % acks.length]!));
    }
    for (let reader = 0; reader < readers; reader += 1) {
      this.#lanes.push(this.#readLane(this.#clients[writers + reader]!));
    }
  }

  /** Lets the open operations end, then ends the clients. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes.splice(0));
    await Promise.all(this.#clients.splice(0).map((client) => client.close()));
  }

  /**
   * Reads every key linearizably with a client of its own and holds it against the book; with `leaderWrites`, also
   * against what was acknowledged at `leader`. Once the load has stopped, it then checks the whole history, these reads
   * included: before that, writes that are under way are not in it. Rejects if a read fails.
   */
  async verify({ leaderWrites = false } = {}): Promise<void> {
    const client = connect(this.options.url, { requestTimeoutMs: 30_000, recorder: this.#recorder });
    try {
      const books = [...this.#books.values()];
      const entries = await Promise.all(
        books.map(async (book) => {
          const known = leaderWrites
            ? { floor: book.leaderFloor, acknowledged: book.leaderAcknowledged }
            : knownOf(book);
          return { book, known, entry: await client.getEntry<string>(book.key) };
        }),
      );
      for (const { book, known, entry } of entries) this.#checkRead(book, entry, known);
    } finally {
      client.destroy();
    }
    if (!this.#running) await this.#judge();
  }

  async #judge(): Promise<void> {
    const { result, operations, elapsedMs, keys } = await checkHistory(this.#history);
    for (const { key, result: found, illegal, unknown } of keys) {
      if (found !== 'ok')
        this.breaches.push(`${key}: the history is ${found}: ${illegal?.reason ?? unknown}`);
    }
    if (operations === 0) this.breaches.push('nothing was recorded');
    console.log(
      `history: ${operations} operations on ${keys.length} keys are ${result}, ${elapsedMs.toFixed(0)} ms`,
    );
  }

  /** For a test's output. */
  summary(): string {
    const list = (failures: Failures) =>
      [...failures].map(([failure, times]) => `${failure} ×${times}`).join(', ') || 'none';
    return (
      `${this.writes} writes acknowledged, ${this.reads} reads; failed writes: ${list(this.failures)}; ` +
      `failed reads: ${list(this.readFailures)}`
    );
  }

  #connect(index: number): RingkeepClient {
    const { url, direct, requestTimeoutMs } = this.options;
    return index % 2 === 1 && direct.length > 0
      ? connect({ endpoints: direct, mode: 'direct', requestTimeoutMs, recorder: this.#recorder })
      : connect(url, { requestTimeoutMs, recorder: this.#recorder });
  }

  #book(key: string, shared: boolean): KeyBook {
    const book: KeyBook = {
      key,
      shared,
      floor: 0,
      rises: [],
      values: new Map(),
      acknowledged: 0,
      leaderFloor: 0,
      leaderAcknowledged: 0,
      possible: new Set(),
      refused: new Set(),
    };
    this.#books.set(key, book);
    return book;
  }

  async #writeLane(client: RingkeepClient, books: readonly KeyBook[], ack: Ack): Promise<void> {
    for (let turn = 0; this.#running; turn += 1) {
      await this.#write(client, books[turn % books.length]!, ack);
      await delay(this.options.paceMs * (0.5 + Math.random()));
    }
  }

  async #write(client: RingkeepClient, book: KeyBook, ack: Ack): Promise<void> {
    this.#count += 1;
    const count = this.#count;
    const value = `${book.key}#${count}#${'x'.repeat(this.options.valueBytes)}`;
    book.possible.add(value);
    try {
      const receipt = await client.put(book.key, value, { ack });
      this.writes += 1;
      this.#acknowledged(book, receipt, count, value);
      this.onAck({ receipt, at: performance.now() });
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      note(this.failures, error);
      if (error.outcome !== 'not_applied') return;
      book.possible.delete(value);
      book.refused.add(value);
    }
  }

  #acknowledged(book: KeyBook, receipt: Receipt, count: number, value: string): void {
    const { version, durability } = receipt;
    const known = book.values.get(version);
    if (durability !== 'leader') {
      if (known !== undefined && known !== value)
        this.#breach(book, `version ${version} is acknowledged for ${value} and was ${known}`);
      this.#remember(book, version, value);
      raise(book, version);
      if (!book.shared) book.acknowledged = Math.max(book.acknowledged, count);
    }
    // An own key has one write at a time: one below what was known before it began has gone back in time.
    if (!book.shared && version <= book.leaderFloor && known !== value)
      this.#breach(book, `write ${count} is acknowledged at version ${version}, below ${book.leaderFloor}`);
    book.leaderFloor = Math.max(book.leaderFloor, version);
    if (!book.shared) book.leaderAcknowledged = Math.max(book.leaderAcknowledged, count);
  }

  async #readLane(client: RingkeepClient): Promise<void> {
    const books = [...this.#books.values()];
    /** What this client has been shown, by key. */
    const seen = new Map<KeyBook, number>();
    for (let turn = 0; this.#running; turn += 1) {
      const book = books[Math.floor(Math.random() * books.length)]!;
      const read = READ_LEVELS[turn % READ_LEVELS.length]!;
      const known = knownOf(book);
      const shown = seen.get(book) ?? 0;
      const calledAt = performance.now();
      try {
        const entry = await client.getEntry<string>(book.key, { read });
        this.reads += 1;
        if (read === 'session') this.#checkRead(book, entry, { floor: shown, acknowledged: 0 });
        else if (read !== 'stale') this.#checkRead(book, entry, known);
        else this.#checkRead(book, entry, { floor: floorBefore(book, calledAt, entry), acknowledged: 0 });
        seen.set(book, Math.max(shown, entry?.version ?? 0));
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        note(this.readFailures, error);
      }
      await delay(this.options.paceMs / 4);
    }
  }

  /** Holds a read against what was known when it began. */
  #checkRead(book: KeyBook, entry: Entry<string> | undefined, { floor, acknowledged }: Known): void {
    if (entry === undefined) {
      if (floor > 0) this.#breach(book, `is absent; version ${floor} was acknowledged`);
      return;
    }
    const { version, value } = entry;
    if (version < floor) this.#breach(book, `version ${version} is read; ${floor} was acknowledged`);
    if (book.refused.has(value)) this.#breach(book, `${value} is read; it was reported not_applied`);
    else if (!book.possible.has(value)) this.#breach(book, `${value} is read; nobody wrote it`);
    const known = book.values.get(version);
    if (known !== undefined && known !== value)
      this.#breach(book, `version ${version} was ${known}, now ${value}`);
    if (!book.shared && countOf(value) < acknowledged)
      this.#breach(book, `${value} is read; write ${acknowledged} was acknowledged after it`);
    this.#remember(book, version, value);
    raise(book, version);
    book.leaderFloor = Math.max(book.leaderFloor, version);
  }

  #remember(book: KeyBook, version: number, value: string): void {
    book.values.set(version, value);
    if (book.values.size > VALUES_KEPT) book.values.delete(book.values.keys().next().value!);
  }

  #breach(book: KeyBook, text: string): void {
    this.breaches.push(`${book.key}: ${text}`);
  }
}

function raise(book: KeyBook, version: number): void {
  if (version <= book.floor) return;
  book.floor = version;
  book.rises.push({ at: performance.now(), floor: version });
  if (book.rises.length > RISES_KEPT) book.rises.shift();
}

/** What was known longer before a stale read's call than the bound that it was told. Of nothing, no bound is told. */
function floorBefore({ rises }: KeyBook, calledAt: number, entry: Entry<string> | undefined): number {
  const since = calledAt - (entry?.stalenessMs ?? Number.POSITIVE_INFINITY);
  return rises.findLast(({ at }) => at < since)?.floor ?? 0;
}

function note(failures: Failures, error: RingkeepError): void {
  const name = `${error.code} ${error.outcome}`;
  failures.set(name, (failures.get(name) ?? 0) + 1);
}

function knownOf({ floor, acknowledged }: KeyBook): Known {
  return { floor, acknowledged };
}

function countOf(value: string): number {
  return Number(value.split('#')[1]);
}

/** Returns `count` keys of one partition. */
export function keysOf(partition: number, partitions: number, count: number, prefix = 'own'): string[] {
  const keys: string[] = [];
  for (let number = 0; keys.length < count; number += 1) {
    const key = `${prefix}-${partition}-${number}`;
    if (partitionOf(Buffer.from(key), partitions) === partition) keys.push(key);
  }
  return keys;
}
