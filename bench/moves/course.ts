/**
 * The course of the measurement of moves: a cluster of three nodes becomes one of five and one of three again, by what
 * `ringkeep scale` does, while clients go on at half of what the smaller of both sizes can take. The load is measured in windows, one
 * after the other: some on the quiet cluster at each size, then as many as a change of size lasts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { statusAt } from '#src/cli/common-options.ts';
import type { ShownMoves } from '#src/cli/shown-moves.ts';
import { scaleTo } from '#src/cli/up/scale.ts';
import { connect } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { percentileMs } from '../load/histogram.ts';
import { monotonicMs } from '../load/monotonic.ts';
import { mergeRuns } from '../report/document.ts';
import { findKnee, nextRate, type SweepPlan, type SweepPoint } from '../report/knee.ts';
import type { RunResult } from '../report/run-result.ts';
import { type Host, type Pace, Session, type Size } from '../session.ts';

/** Sizes of the cluster: the one that it has, the one that it grows to. */
export const SMALL = 3;
export const LARGE = 5;

/** How everything is measured; `seconds` are those of a window. */
export interface MovesPace extends Pace {
  readonly records: number;
  readonly valueBytes: number;
  readonly partitions: number;
  /** Part of the operations that are puts; the others are gets. */
  readonly putShare: number;
  /** Windows on the quiet cluster, at each size. */
  readonly quietWindows: number;
  /** Operations per second; null: half of the lower of both knees, which are looked for first. */
  readonly rate: number | null;
  readonly quick: boolean;
}

export const PHASES = ['quiet small', 'growing', 'quiet large', 'shrinking'] as const;
export type Phase = (typeof PHASES)[number];

/** The load while a phase lasted, a result per window. */
export interface MeasuredPhase {
  readonly phase: Phase;
  readonly windows: readonly RunResult[];
}

/** What a change of size has moved. */
export interface Change {
  readonly from: number;
  readonly to: number;
  readonly seconds: number;
  readonly moves: number;
  /** Of the replicas that were made anew, by what a row takes; and what nodes have really received. */
  readonly neededBytes: number;
  readonly receivedBytes: number;
}

export interface Knee {
  readonly nodes: number;
  readonly rate: number;
}

export interface MovesResults {
  readonly knees: readonly Knee[];
  readonly rate: number;
  readonly phases: readonly MeasuredPhase[];
  readonly changes: readonly Change[];
}

const ASK_MS = 5_000;
/** A window is about to end when the change does; waited for, so that no window follows. */
const SETTLE_MS = 50;
/** Of an open loop, per process: a bound for memory. */
const OPEN_IN_FLIGHT = 4_096;
const CLOSED_IN_FLIGHT = 64;
/** Windows in which a rate may be kept up with. */
const KNEE_TRIES = 3;
/** Header of a stored value, and what stands before a row's key in a copy (src/node/core/layout.ts). */
const STORED_BYTES = 32 + 1 + 1;

function sizeOf({ records, valueBytes, partitions }: MovesPace): Size {
  return { records, valueBytes, partitions, nodes: SMALL, inFlight: CLOSED_IN_FLIGHT };
}

class Course {
  readonly #host: Host & { readonly pace: MovesPace };
  readonly #session: Session;
  readonly #phases: MeasuredPhase[] = [];
  readonly #changes: Change[] = [];

  constructor(host: Host & { readonly pace: MovesPace }, session: Session) {
    this.#host = host;
    this.#session = session;
  }

  async run(): Promise<MovesResults> {
    const { pace, say } = this.#host;
    await this.#session.load(sizeOf(pace));
    await this.#session.cluster.whole();
    const knees: Knee[] = [];
    if (pace.rate === null) {
      knees.push(await this.#knee(SMALL));
      await this.#scale(LARGE);
      knees.push(await this.#knee(LARGE));
      await this.#scale(SMALL);
      say(`knees: ${knees.map(({ nodes, rate }) => `${rate}/s with ${nodes} nodes`).join(', ')}`);
    }
    const rate = pace.rate ?? Math.round(Math.min(...knees.map((knee) => knee.rate)) / 2);
    await this.#quiet('quiet small', rate);
    await this.#change('growing', LARGE, rate);
    await this.#quiet('quiet large', rate);
    await this.#change('shrinking', SMALL, rate);
    return { knees, rate, phases: this.#phases, changes: this.#changes };
  }

  #window(rate: number, warm: boolean): Promise<RunResult> {
    const { pace } = this.#host;
    const open = { rate, inFlightMax: OPEN_IN_FLIGHT * pace.processes };
    const warmUp = warm ? {} : { warmUpMs: 0 };
    return this.#session.run(sizeOf(pace), pace.putShare, { ...open, ...warmUp }, async () => {});
  }

  async #knee(nodes: number): Promise<Knee> {
    const { pace } = this.#host;
    const plan: SweepPlan = {
      ...{ rates: [], from: pace.quick ? 200 : 1_000, factor: 1.4, refinements: 1 },
      ...{ achievedMin: 0.95, p99MsMax: 100 },
    };
    const points: SweepPoint[] = [];
    for (let next = nextRate(points, plan); next !== null; next = nextRate(points, plan)) {
      const point = await this.#point(nodes, next, plan);
      points.push(point);
      if (pace.quick && points.length >= 2) break;
    }
    const knee = findKnee(points, plan);
    if (knee === null) throw new RingkeepError('NOT_READY', `${nodes} nodes do not keep up with any rate`);
    return { nodes, rate: knee.rate };
  }

  /** One rate. The best of some windows: tables are compacted after the load, and others use the machine as well. */
  async #point(nodes: number, rate: number, { achievedMin, p99MsMax }: SweepPlan): Promise<SweepPoint> {
    for (let tries = 1; ; tries += 1) {
      const { offered, throughput: achieved, all } = mergeRuns([await this.#window(rate, true)]);
      const p99Ms = percentileMs(all, 99);
      this.#host.say(`  ${nodes} nodes, ${rate}/s: ${Math.round(achieved)}/s, p99 ${p99Ms.toFixed(1)} ms`);
      const isMet = achieved >= rate * achievedMin && p99Ms <= p99MsMax;
      if (isMet || tries === KNEE_TRIES) return { rate, offered, achieved, p99Ms };
    }
  }

  async #quiet(phase: Phase, rate: number): Promise<void> {
    const { pace, say } = this.#host;
    say(`${phase}, ${rate}/s`);
    const windows: RunResult[] = [];
    for (let at = 0; at < pace.quietWindows; at += 1) windows.push(await this.#window(rate, at === 0));
    this.#phases.push({ phase, windows });
  }

  async #change(phase: Phase, nodes: number, rate: number): Promise<void> {
    const { say } = this.#host;
    const windows: RunResult[] = [];
    say(`${phase}, ${rate}/s`);
    // The clients are warm and at their rate when it begins.
    await this.#window(rate, true);
    const before = await this.#received();
    const startedAt = monotonicMs();
    let isOver = false;
    const scaling = this.#scale(nodes).finally(() => {
      isOver = true;
    });
    scaling.catch(() => {});
    while (!isOver) {
      windows.push(await this.#window(rate, false));
      await delay(SETTLE_MS);
    }
    const shown = await scaling;
    const seconds = (monotonicMs() - startedAt) / 1_000;
    const after = await this.#received();
    const copies = shown.moves.filter(({ to }) => to !== '').length;
    this.#phases.push({ phase, windows });
    this.#changes.push({
      ...{ from: nodes === LARGE ? SMALL : LARGE, to: nodes, seconds, moves: shown.moves.length },
      neededBytes: Math.round(copies * (await this.#replicaBytes())),
      receivedBytes: [...after].reduce((sum, [id, bytes]) => sum + bytes - (before.get(id) ?? 0), 0),
    });
  }

  #scale(nodes: number): Promise<ShownMoves> {
    return scaleTo(this.#session.cluster.dataDirectory!, nodes);
  }

  /** Bytes that each node that runs has received in snapshots since its start. */
  async #received(): Promise<Map<string, number>> {
    const { nodes } = await this.#session.cluster.status();
    const bytes = new Map<string, number>();
    for (const { id, address, alive } of nodes) {
      if (!alive) continue;
      const { json } = await statusAt(address, ASK_MS);
      const { receivedBytes } = JSON.parse(json) as { receivedBytes: number };
      bytes.set(id, receivedBytes);
    }
    return bytes;
  }

  /** Bytes of a replica, of about: by the rows of a page of one of them. */
  async #replicaBytes(): Promise<number> {
    const { records, partitions } = this.#host.pace;
    const client = connect(this.#session.cluster.url);
    try {
      for await (const { rows } of client.scan({ partition: 0 })) {
        const bytes = rows.reduce(
          (sum, { keyspace, key, value }) =>
            sum + STORED_BYTES + Buffer.byteLength(keyspace) + key.byteLength + value.byteLength,
          0,
        );
        if (rows.length > 0) return ((bytes / rows.length) * records) / partitions;
      }
    } finally {
      await client.close();
    }
    throw new RingkeepError('INTERNAL', 'the first partition has no rows');
  }
}

/** Measures it. Rejects with RingkeepError, or when it is stopped, and leaves nothing. */
export async function measureMoves(host: Host & { readonly pace: MovesPace }): Promise<MovesResults> {
  const session = await Session.open(sizeOf(host.pace), host);
  try {
    return await new Course(host, session).run();
  } finally {
    await session.close();
  }
}
