/**
 * What the workloads of a chaos run share: clients, one record of every operation, lanes that run until they are stopped, and
 * the list of what was found to be wrong. Half of the clients go through the router, the others to the leaders directly.
 * INVARIANT: every operation is in `history`, with what its caller was told.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type RingkeepClient } from '../../client/index.ts';
import { RingkeepError } from '../../common/errors.ts';
import { partitionOf } from '../../common/hash.ts';
import type { HistoryEvent } from '../../common/history.ts';
import type { Random } from '../../common/random.ts';
import { inKeyspace, type SpaceClient } from './space.ts';

/** Promises of docs/GUARANTEES.md, the levels of reads of docs/CONSISTENCY.md that promise less, and that faults pass. */
export type Guarantee =
  | 'G1'
  | 'G2'
  | 'G3'
  | 'G4'
  | 'G5'
  | 'G6'
  | 'G7'
  | 'G8'
  | 'G9'
  | 'G10'
  | 'session'
  | 'stale'
  | 'recovery';

/** Something that a guarantee rules out. */
export interface Breach {
  readonly guarantee: Guarantee;
  /** Of what; null: of the whole. */
  readonly key: string | null;
  readonly text: string;
}

/** A workload: lanes that work on keys of their own, and what must hold of these at the end. */
export interface Workload {
  readonly name: string;
  /** What it shows, in one sentence. */
  readonly text: string;
  /** Starts its lanes on the bench. */
  start(bench: Workbench): void;
  /** The faults are over, the lanes have ended and every replica is whole: what is wrong goes to `bench.breach`. */
  verify(bench: Workbench): Promise<void>;
}

const READY_MS = 60_000;
/** Partitions that are worked on; every one has lanes of its own. */
const PARTITIONS_WORKED_MAX = 64;
/** Of a final read. */
export const VERIFY_MS = 60_000;

/** Where a cluster is reached, and how hard it is worked. */
export interface WorkbenchOptions {
  readonly url: string;
  /** HOST:PORT of the nodes. */
  readonly nodes: readonly string[];
  readonly partitions: number;
  /** Where all keys are; empty: the default keyspace. */
  readonly keyspace: string;
  /** Clients; at least two. */
  readonly clients: number;
  /** Mean pause of a lane between two operations, ms. */
  readonly paceMs: number;
  /** Time of one operation, ms. */
  readonly timeoutMs: number;
  readonly random: Random;
}

/** Clients and records of one run. */
export class Workbench {
  readonly options: WorkbenchOptions;
  readonly history: HistoryEvent[] = [];
  readonly breaches: Breach[] = [];
  /** Acknowledgements by guarantee that they were held against, so that it is known what was exercised. */
  readonly exercised = new Map<Guarantee, number>();
  private readonly connected: RingkeepClient[] = [];
  private clients: SpaceClient[] = [];
  /** As histories name them: the clients that go to leaders directly. */
  readonly direct = new Set<string>();
  private readonly lanes: Promise<void>[] = [];
  private readonly recorder = (event: HistoryEvent): void => void this.history.push(event);
  private running = true;
  private values = 0;

  constructor(options: WorkbenchOptions) {
    this.options = options;
  }

  /** Connects the clients. Rejects with RingkeepError UNAVAILABLE. */
  async open(): Promise<void> {
    const { clients } = this.options;
    for (let at = 0; at < clients; at += 1) this.connected.push(this.connect(at % 2 === 1));
    this.clients = this.connected.map((client) => inKeyspace(client, this.options.keyspace));
    await Promise.all(this.connected.map((client) => client.ready({ timeoutMs: READY_MS })));
  }

  /** Returns one more client, recorded like the others; its caller closes it. */
  connect(direct: boolean): RingkeepClient {
    const { url, nodes, timeoutMs } = this.options;
    const requestTimeoutMs = timeoutMs;
    if (!direct || nodes.length === 0) return connect(url, { recorder: this.recorder, requestTimeoutMs });
    const recorder = (event: HistoryEvent): void => {
      this.direct.add(event.client);
      this.recorder(event);
    };
    return connect({ endpoints: nodes, mode: 'direct', recorder, requestTimeoutMs });
  }

  /** Client of a lane. */
  client(lane: number): SpaceClient {
    return this.clients[lane % this.clients.length]!;
  }

  /** Where the keys are, as the options of an order say it. */
  get space(): { readonly keyspace?: string } {
    const { keyspace } = this.options;
    return keyspace === '' ? {} : { keyspace };
  }

  /** What a lane may order of the cluster. */
  admin(lane: number): RingkeepClient['admin'] {
    return this.connected[lane % this.connected.length]!.admin;
  }

  /**
   * Repeats `step` until the lanes are stopped, with pauses. An operation that fails is in the history and no trouble of the
   * lane's, except that another error than RingkeepError ends the run.
   */
  lane(step: () => Promise<unknown>, paceMs = this.options.paceMs): void {
    this.lanes.push(this.repeat(step, paceMs));
  }

  private async repeat(step: () => Promise<unknown>, paceMs: number): Promise<void> {
    const { random } = this.options;
    while (this.running) {
      try {
        await step();
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
      }
      await delay(paceMs * (0.5 + random.next()));
    }
  }

  /** Lets what is open end, and the lanes. */
  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.lanes.splice(0));
  }

  async close(): Promise<void> {
    this.running = false;
    for (const client of this.connected.splice(0)) client.destroy();
    await Promise.allSettled(this.lanes.splice(0));
  }

  /** Returns a value that nobody else writes. */
  value(): string {
    this.values += 1;
    return `v${this.values}`;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.options.random.integer(list.length)]!;
  }

  chance(part: number): boolean {
    return this.options.random.next() < part;
  }

  /** Keys with this prefix, `each` of every partition, or of as many, evenly spread, where there are very many. */
  keysOf(prefix: string, each: number): string[] {
    const { partitions } = this.options;
    const worked = Math.min(partitions, PARTITIONS_WORKED_MAX);
    return Array.from({ length: worked }, (_, at) =>
      keysIn(Math.floor((at * partitions) / worked), partitions, each, prefix),
    ).flat();
  }

  breach(guarantee: Guarantee, key: string | null, text: string): void {
    this.breaches.push({ guarantee, key, text });
  }

  /** Something was held against a guarantee. */
  held(guarantee: Guarantee, times = 1): void {
    this.exercised.set(guarantee, (this.exercised.get(guarantee) ?? 0) + times);
  }
}

/** Returns microseconds of the clock that histories have. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** Returns `count` keys of one partition. */
export function keysIn(partition: number, partitions: number, count: number, prefix: string): string[] {
  const keys: string[] = [];
  for (let number = 0; keys.length < count; number += 1) {
    const key = `${prefix}-${partition}-${number}`;
    if (partitionOf(Buffer.from(key), partitions) === partition) keys.push(key);
  }
  return keys;
}
