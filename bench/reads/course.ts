/**
 * The course of the measurement of reads: in every round each level in each condition, then quorum reads of keys with a pending
 * write, all on one cluster of three nodes with one partition. What fails is noted, and the next one starts on a new cluster.
 * INVARIANT: one cluster runs at a time.
 */
import type { ReadLevel } from '#src/client/index.ts';
import type { During } from '../experiment.ts';
import { messageOf } from '../program.ts';
import type { RunResult } from '../report/run-result.ts';
import { type Host, Session } from '../session.ts';
import type { Settings } from '../settings.ts';
import { CONDITIONS, type Condition, orderOf, type ReadPace, SLOW, sizeOf } from './conditions.ts';
import { pauseLeader, slowFollower } from './disturbances.ts';
import { type Measured, type PendingReads, readFiguresOf } from './figures.ts';
import { PendingKeys } from './pending.ts';

/** What could not be measured. */
export interface Failure {
  readonly round: number;
  readonly level: ReadLevel;
  readonly condition: Condition | 'pending';
  readonly message: string;
}

export interface ReadResults {
  readonly measured: readonly Measured[];
  readonly pending: readonly PendingReads[];
  readonly failures: readonly Failure[];
}

/** What the course is told with: a row for everything that was measured. */
export interface ReadHost extends Host {
  readonly pace: ReadPace;
  measured(one: Measured | PendingReads): void;
}

/** Of an open loop, per process: a bound for memory, above all reads of a pause. */
const OPEN_IN_FLIGHT = 16_384;

class Course {
  readonly #host: ReadHost;
  readonly #measured: Measured[] = [];
  readonly #pending: PendingReads[] = [];
  readonly #failures: Failure[] = [];
  #session: Session | null = null;

  constructor(host: ReadHost) {
    this.#host = host;
  }

  async run(): Promise<ReadResults> {
    const { rounds, levels } = this.#host.pace;
    try {
      for (let round = 1; round <= rounds; round += 1) {
        this.#host.say(`round ${round} of ${rounds}`);
        for (const condition of CONDITIONS) {
          for (const level of orderOf(levels, round)) {
            await this.#step({ round, level, condition }, async (session) => {
              const one = await this.#measure(session, round, level, condition);
              this.#measured.push(one);
              this.#host.measured(one);
            });
          }
        }
        if (!levels.includes('quorum')) continue;
        await this.#step({ round, level: 'quorum', condition: 'pending' }, async (session) => {
          const one = await this.#measurePending(session, round);
          this.#pending.push(one);
          this.#host.measured(one);
        });
      }
      return { measured: this.#measured, pending: this.#pending, failures: this.#failures };
    } finally {
      await this.#end();
    }
  }

  /** Does something on a cluster that is whole. What fails is noted; rejects only when stopped. */
  async #step(what: Omit<Failure, 'message'>, work: (session: Session) => Promise<void>): Promise<void> {
    const { pace, stopped, say } = this.#host;
    stopped.throwIfAborted();
    try {
      this.#session ??= await Session.open(sizeOf(pace), this.#host);
      await this.#session.load(sizeOf(pace));
      await this.#session.cluster.whole();
      await work(this.#session);
    } catch (error) {
      stopped.throwIfAborted();
      await this.#end();
      this.#failures.push({ ...what, message: messageOf(error) });
      say(`${what.level} ${what.condition} failed: ${messageOf(error)}`);
    }
  }

  async #measure(session: Session, round: number, level: ReadLevel, condition: Condition): Promise<Measured> {
    const { cluster } = session;
    const { stopped } = this.#host;
    let leaderBackMs: number | null = null;
    let stoppedShare: number | null = null;
    const disturb: During = async (run) => {
      if (condition === 'paused') leaderBackMs = await pauseLeader(cluster, run, stopped);
      if (condition === 'slow') stoppedShare = await slowFollower(cluster, run, stopped, SLOW);
    };
    const { result, figures } = await this.#read(session, level, condition === 'full', disturb);
    return { round, level, condition, figures, latencies: result.all, leaderBackMs, stoppedShare };
  }

  async #measurePending(session: Session, round: number): Promise<PendingReads> {
    const { cluster } = session;
    const { pace, stopped } = this.#host;
    const keys = new PendingKeys(cluster.url, pace.mode);
    let leaderBackMs: number | null = null;
    try {
      const { figures: others } = await this.#read(session, 'quorum', false, async (run) => {
        leaderBackMs = await pauseLeader(cluster, run, stopped, () => keys.paused());
      });
      return { round, ...(await keys.end()), leaderBackMs, others };
    } finally {
      await keys.close();
    }
  }

  async #read(session: Session, level: ReadLevel, full: boolean, disturb: During) {
    const { pace } = this.#host;
    const { mode, rate, processes } = pace;
    const open: Partial<Settings> = full ? {} : { rate, inFlightMax: OPEN_IN_FLIGHT * processes };
    let run = { from: 0, to: 0 };
    const during: During = async (times) => {
      run = { from: times.measureFrom, to: times.endAt };
      await disturb(times);
    };
    const changes = { read: level, mode, ...open };
    const result: RunResult = await session.run(sizeOf(pace), 0, changes, during);
    return { result, figures: readFiguresOf(result, run) };
  }

  async #end(): Promise<void> {
    const ending = this.#session;
    this.#session = null;
    await ending?.close();
  }
}

/** Measures all rounds. Rejects only when stopped. */
export function measureReads(host: ReadHost): Promise<ReadResults> {
  return new Course(host).run();
}
