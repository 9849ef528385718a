/**
 * The course of the measurement of salts: clusters of three and of five nodes under gets of one key, and under gets that are zipfian with
 * exponent 1.2, each with and without copies of the hottest keys, in turns, so that what ails the machine ails both. Besides, what a write of a
 * key costs that has copies. Nodes salt nothing by themselves here.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type RingkeepClient } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { createHistogram, type Histogram, recordMs } from '../load/histogram.ts';
import { monotonicMs } from '../load/monotonic.ts';
import type { RunResult } from '../report/run-result.ts';
import { type Host, type Pace, Session, type Size } from '../session.ts';
import { hottestRecord } from '../workload/choosers.ts';
import { readParameters } from '../workload/parameters.ts';
import { keyName } from '../workload/records.ts';

/** Sizes of the clusters. */
export const SIZES = [3, 5] as const;

/** Loads: all gets of one key, and gets of keys that are zipfian with this exponent. */
export const LOADS = ['single key', 'zipfian 1.2'] as const;
export type Load = (typeof LOADS)[number];
const EXPONENT = 1.2;
/** Of the zipfian load, so many keys are salted. */
const HOT_KEYS = 4;

/** How everything is measured; `seconds` are those of a window. */
export interface SaltsPace extends Pace {
  readonly records: number;
  readonly valueBytes: number;
  readonly partitions: number;
  readonly inFlight: number;
  /** Windows of each load, with and without copies each. */
  readonly windows: number;
  /** Writes of which the cost is told. */
  readonly writes: number;
  readonly mode: 'routed' | 'direct';
  readonly quick: boolean;
}

/** One window: the load, what nodes have answered meanwhile, and the time of the processor that they have used. */
export interface Window {
  readonly run: RunResult;
  readonly byNode: readonly NodeShare[];
}

/** What one node did in a window. */
export interface NodeShare {
  readonly node: string;
  readonly gets: number;
  readonly cpuMs: number;
}

/** One load on one cluster, with copies of its hottest keys or without. */
export interface MeasuredLoad {
  readonly nodes: number;
  readonly load: Load;
  readonly salted: boolean;
  readonly windows: readonly Window[];
}

/** Writes of a key, one after the other, with pauses in which its copies come back. */
export interface MeasuredWrites {
  readonly nodes: number;
  readonly salted: boolean;
  readonly latency: Histogram;
}

export interface SaltsResults {
  readonly loads: readonly MeasuredLoad[];
  readonly writes: readonly MeasuredWrites[];
}

/** Where the records are. */
const TABLE = { keyspace: 'usertable' };
const ASK_MS = 5_000;
const POLL_MS = 50;
const HELD_MS = 20_000;
/** Longer than a key has to be quiet until its copies are back. */
const WRITE_PAUSE_MS = 60;

class Course {
  readonly #host: Host & { readonly pace: SaltsPace };
  readonly #session: Session;
  readonly #size: Size;
  readonly #client: RingkeepClient;
  readonly #loads: MeasuredLoad[] = [];
  readonly #writes: MeasuredWrites[] = [];

  constructor(host: Host & { readonly pace: SaltsPace }, session: Session, size: Size) {
    this.#host = host;
    this.#session = session;
    this.#size = size;
    this.#client = connect(session.cluster.url);
  }

  async run(): Promise<SaltsResults> {
    try {
      await this.#session.load(this.#size);
      await this.#session.cluster.whole();
      for (const load of LOADS) await this.#load(load);
      for (const salted of [false, true]) await this.#write(salted);
      return { loads: this.#loads, writes: this.#writes };
    } finally {
      await this.#client.close();
    }
  }

  /** Windows with and without copies, in turns. */
  async #load(load: Load): Promise<void> {
    const { pace, say } = this.#host;
    const { nodes } = this.#size;
    const windows: Record<'with' | 'without', Window[]> = { with: [], without: [] };
    for (let at = 0; at < pace.windows; at += 1) {
      for (const turn of ['without', 'with'] as const) {
        await this.#salt(load, turn === 'with' ? nodes - 1 : 0);
        const window = await this.#window(load);
        windows[turn].push(window);
        say(`  ${nodes} nodes, ${load}, ${turn} copies: ${Math.round(window.run.throughput)}/s`);
      }
    }
    for (const turn of ['without', 'with'] as const)
      this.#loads.push({ nodes, load, salted: turn === 'with', windows: windows[turn] });
  }

  /** The hottest keys of a load. */
  #keys(load: Load): string[] {
    const { records } = this.#size;
    const ranks = load === 'single key' ? [0] : Array.from({ length: HOT_KEYS }, (_, rank) => rank);
    const ordered = ranks.map((rank) => (load === 'single key' ? 0 : hottestRecord(rank, records)));
    return ordered.map((record) => keyName(record, 'hashed', 1));
  }

  /** Gives the hottest keys of a load so many copies, and waits until these answer. */
  async #salt(load: Load, copies: number): Promise<void> {
    const { admin } = this.#client;
    const keys = this.#keys(load);
    for (const key of keys)
      await (copies === 0 ? admin.unsalt(key, TABLE) : admin.salt(key, { ...TABLE, copies }));
    const until = monotonicMs() + HELD_MS;
    while (copies > 0) {
      const { salts } = await admin.hot();
      const held = salts.flatMap((salt) => salt.copies).filter((copy) => copy.held);
      if (held.length >= keys.length * copies) return;
      if (monotonicMs() > until) throw new RingkeepError('NOT_READY', 'copies are not installed');
      await delay(POLL_MS);
    }
  }

  async #window(load: Load): Promise<Window> {
    const { pace } = this.#host;
    const { workload } = readParameters({
      recordcount: `${this.#size.records}`,
      ...{ readproportion: '1', updateproportion: '0', fieldcount: '1', fieldlength: `${pace.valueBytes}` },
      ...(load === 'single key'
        ? { requestdistribution: 'hotkey' }
        : { requestdistribution: 'zipfian', zipfianconstant: `${EXPONENT}` }),
    });
    let before: ReadonlyMap<string, number> = new Map();
    const run = await this.#session.run(this.#size, 0, { workload, mode: pace.mode }, async () => {
      before = await this.#gets();
    });
    const after = await this.#gets();
    const byNode = [...after].map(([node, gets]) => {
      const samples = run.servers.filter(({ server }) => server === node);
      const percent =
        samples.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0) / Math.max(1, samples.length);
      return { node, gets: gets - (before.get(node) ?? 0), cpuMs: (percent / 100) * run.elapsedMs };
    });
    return { run, byNode };
  }

  /** Gets that each node has answered since its start. */
  async #gets(): Promise<Map<string, number>> {
    const gets = new Map<string, number>();
    for (const { name, metricsUrl } of this.#session.cluster.servers()) {
      if (metricsUrl === null || name.startsWith('router')) continue;
      const text = await (await fetch(metricsUrl, { signal: AbortSignal.timeout(ASK_MS) })).text();
      const [, count = '0'] =
        /^ringkeep_node_replies_total\{[^}]*result="value"[^}]*\} (\S+)$/m.exec(text) ?? [];
      gets.set(name, Number(count));
    }
    return gets;
  }

  /** Writes of the one key, each with all copies in place, or with none. */
  async #write(salted: boolean): Promise<void> {
    const { pace, say } = this.#host;
    const { nodes } = this.#size;
    await this.#salt('single key', salted ? nodes - 1 : 0);
    const [key = ''] = this.#keys('single key');
    const latency = createHistogram();
    const table = this.#client.keyspace(TABLE.keyspace);
    for (let at = 0; at < pace.writes; at += 1) {
      await delay(WRITE_PAUSE_MS);
      const from = monotonicMs();
      await table.put(key, `${at}`);
      recordMs(latency, monotonicMs() - from);
    }
    say(`  ${nodes} nodes: ${pace.writes} writes ${salted ? 'with' : 'without'} copies`);
    this.#writes.push({ nodes, salted, latency });
  }
}

/** Measures it. Rejects with RingkeepError, or when it is stopped, and leaves nothing. */
export async function measureSalts(host: Host & { readonly pace: SaltsPace }): Promise<SaltsResults> {
  const results: SaltsResults[] = [];
  for (const nodes of SIZES) {
    const { records, valueBytes, partitions, inFlight } = host.pace;
    const nodeArgs = ['--salt-reads-per-second', '0'];
    const size = { records, valueBytes, partitions, inFlight, nodes, nodeArgs };
    const session = await Session.open(size, host);
    try {
      results.push(await new Course(host, session, size).run());
    } finally {
      await session.close();
    }
  }
  return {
    loads: results.flatMap(({ loads }) => loads),
    writes: results.flatMap(({ writes }) => writes),
  };
}
