/**
 * A chaos run from its beginning to its verdict: a cluster of its own, workloads on it, round after round of faults, each of which
 * has to show that it took effect, has to be undone, and has to be recovered from; then a last look at everything.
 * INVARIANT: whatever happens, all faults are undone and all processes are gone when `runChaos` has ended.
 * Not here: what is concluded (verdict.ts), and how it is shown (page.ts, src/cli/chaos.ts).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type CheckReport, checkHistory } from '../check/check.ts';
import { RingkeepError } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { type ProcessCluster, prepareProcesses } from './cluster.ts';
import { equalReplicas } from './equal.ts';
import type { ActiveFault, FaultDriver } from './fault.ts';
import { STALL_HOOK } from './faults/processes.ts';
import { gapsOf, longestIn, type Window } from './figures.ts';
import { type Paces, planRounds, type Round } from './plan.ts';
import { LONG_KEY } from './rude-client.ts';
import { Watch, type WatchFacts } from './watch.ts';
import { Bank, EarlyWrites, Inserts } from './workload/inserts.ts';
import { LonelyQuestions } from './workload/lonely.ts';
import { Observers, PROBE_READS, PROBE_WRITES, Probes } from './workload/observers.ts';
import { Counters, Registers } from './workload/registers.ts';
import { Workbench, type Workload } from './workload/workbench.ts';

/** What a run is made of. */
export interface ChaosOptions {
  readonly seed: number;
  /** Time for rounds; a round that has begun is ended. */
  readonly seconds: number;
  /** At most so many rounds; default: as many as there is time for. */
  readonly rounds?: number;
  readonly drivers: readonly FaultDriver[];
  /** Part of the rounds with several faults at once. */
  readonly mixed: number;
  readonly nodes: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly clients: number;
  readonly paceMs: number;
  readonly paces?: Paces;
  /** Keeps the data and the logs. */
  readonly keep: boolean;
  /** Ends the run early, in good order. */
  readonly signal?: AbortSignal;
  /** Told about what happens, as it does. */
  readonly on?: (event: ChaosEvent) => void;
}

/** Something that happened in a run. */
export type ChaosEvent =
  | { readonly event: 'started'; readonly url: string; readonly directory: string }
  | { readonly event: 'fault'; readonly round: number; readonly kind: string; readonly target: string }
  | { readonly event: 'over'; readonly round: number; readonly fault: FaultRecord }
  | { readonly event: 'checking'; readonly operations: number };

/** One fault of a run. */
export interface FaultRecord {
  readonly round: number;
  readonly kind: string;
  readonly family: string;
  readonly planned: boolean;
  readonly destroys: boolean;
  readonly target: string;
  /** From the injection to the end of its undoing, µs of the history's clock. */
  readonly window: Window;
  /** What showed that it took effect; empty: nothing did. */
  readonly proof: string;
  /** Why nothing did. */
  readonly problem: string;
  /** From its end until every replica was whole again, ms. */
  readonly wholeMs: number;
  /** The longest time that a partition acknowledged no write, and answered no quorum read of a key that nobody writes, ms. */
  readonly writeGapMs: number;
  readonly readGapMs: number;
}

/** All that a run has shown. */
export interface ChaosRun {
  readonly options: Pick<
    ChaosOptions,
    'seed' | 'seconds' | 'mixed' | 'nodes' | 'partitions' | 'replicationFactor' | 'clients' | 'paceMs'
  >;
  readonly directory: string;
  /** µs of the history's clock. */
  readonly whole: Window;
  readonly faults: readonly FaultRecord[];
  readonly history: readonly HistoryEvent[];
  readonly check: CheckReport;
  readonly bench: Workbench;
  readonly watch: WatchFacts;
  readonly early: EarlyWrites;
  readonly lonelyQuestions: number;
  /** Rounds of planned changes alone in which nothing was lost. */
  readonly plannedRounds: number;
  /** Requests of clients without regard, and those of them that were refused with OVERLOADED. */
  readonly floodRequests: number;
  readonly floodRefused: number;
}

/** A round is given up as not recovered from after this, ms. */
const RECOVER_MS = 60_000;
/** All replicas have to be equal within this after the load has ended, ms. */
const EQUAL_MS = 10_000;
const GAP_MS = 50;
/** Time of one operation: long enough for a failover, so that probes show it as one gap. */
const OPERATION_MS = 10_000;

/** Microseconds of the clock that histories have. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** A fault of the present round. */
interface Injected {
  readonly driver: FaultDriver;
  readonly active: ActiveFault;
  readonly from: number;
  questions: LonelyQuestions | null;
}

class Run {
  readonly options: ChaosOptions;
  readonly cluster: ProcessCluster;
  readonly bench: Workbench;
  readonly watch: Watch;
  readonly early = new EarlyWrites();
  readonly workloads: readonly Workload[];
  readonly faults: FaultRecord[] = [];
  lonelyQuestions = 0;
  plannedRounds = 0;
  floodRequests = 0;
  floodRefused = 0;
  /** Of floods: nobody may have written them. */
  private readonly refusedKeys: string[] = [];
  private injected: Injected[] = [];

  constructor(options: ChaosOptions, cluster: ProcessCluster) {
    this.options = options;
    this.cluster = cluster;
    this.watch = new Watch(cluster);
    const { partitions, clients, paceMs, seed } = options;
    this.bench = new Workbench({
      url: cluster.url,
      nodes: cluster.nodeAddresses,
      partitions,
      clients,
      paceMs,
      timeoutMs: OPERATION_MS,
      random: createRandom(seed),
    });
    this.workloads = [
      new Registers(),
      new Counters(),
      new Inserts(),
      new Bank(),
      new Observers(),
      new Probes(),
      this.early,
    ];
  }

  private get aborted(): boolean {
    return this.options.signal?.aborted === true;
  }

  private say(event: ChaosEvent): void {
    this.options.on?.(event);
  }

  async rounds(): Promise<void> {
    const { seed, seconds, drivers, mixed, paces, rounds = Number.POSITIVE_INFINITY } = this.options;
    const until = performance.now() + seconds * 1_000;
    let number = 0;
    for (const round of planRounds(seed, drivers, mixed, paces)) {
      if (number >= rounds || performance.now() >= until || this.aborted) return;
      number += 1;
      await delay(round.calmMs, undefined, this.options.signal ? { signal: this.options.signal } : {}).catch(
        () => {},
      );
      if (this.aborted) return;
      await this.round(number, round);
    }
  }

  private async round(number: number, { kinds, holdMs, seed }: Round): Promise<void> {
    const { cluster } = this;
    const { partitions } = this.options;
    const random = createRandom(seed);
    const drivers = kinds.map((kind) => this.options.drivers.find((driver) => driver.kind === kind)!);
    try {
      for (const driver of drivers) {
        if (this.injected.length > 0) await delay(random.next() * holdMs * 0.5);
        await this.inject(number, driver, { cluster, links: cluster.links!, random, holdMs, partitions });
      }
      await delay(holdMs);
    } finally {
      await this.undo(number);
    }
  }

  private async inject(
    number: number,
    driver: FaultDriver,
    context: Parameters<FaultDriver['inject']>[0],
  ): Promise<void> {
    const from = nowUs();
    let active: ActiveFault;
    try {
      active = await driver.inject(context);
    } catch (error) {
      // Beside another fault it may not be possible: the node that it would hit is down.
      if (!(error instanceof RingkeepError)) throw error;
      return;
    }
    this.say({ event: 'fault', round: number, kind: driver.kind, target: active.target });
    const injected: Injected = { driver, active, from, questions: null };
    this.injected.push(injected);
    const lonely = this.cluster.nodes.filter(({ name }) => active.cutOff.includes(name));
    if (lonely.length === 0) return;
    // Once the cut is known to be there: what was under way before may still arrive.
    const isCut = await active.confirmed.then(
      () => true,
      () => false,
    );
    if (isCut) injected.questions = new LonelyQuestions(this.bench, lonely);
  }

  /** Ends all faults of the round, and waits until the cluster is whole. */
  private async undo(number: number): Promise<void> {
    const injected = this.injected.splice(0);
    if (injected.length === 0) return;
    for (const { questions } of injected) {
      await questions?.stop();
      this.lonelyQuestions += questions?.asked ?? 0;
    }
    const proofs = await Promise.all(
      injected.map(({ active }) =>
        active.confirmed.then(
          (proof) => ({ proof, problem: '' }),
          (error: unknown) => ({ proof: '', problem: String(error) }),
        ),
      ),
    );
    await Promise.all(injected.map(({ active }) => active.undo()));
    for (const { active } of injected) await this.judgeRude(active);
    this.cluster.links!.heal();
    const to = nowUs();
    const wholeMs = await this.recover(injected.map(({ driver }) => driver.kind).join(', '));
    await this.lookAtEarlyWrites(injected);
    for (const [at, { driver, active, from }] of injected.entries()) {
      const fault: FaultRecord = {
        round: number,
        kind: driver.kind,
        family: driver.family,
        planned: driver.planned === true,
        destroys: driver.destroys === true,
        target: active.target,
        window: { from, to },
        ...proofs[at]!,
        wholeMs,
        writeGapMs: 0,
        readGapMs: 0,
      };
      this.faults.push(fault);
      this.say({ event: 'over', round: number, fault });
    }
  }

  /** Starts what has ended and waits until every replica is whole. Returns how long that took, ms. */
  private async recover(after: string): Promise<number> {
    const start = performance.now();
    const until = start + RECOVER_MS;
    let problem = '';
    while (performance.now() < until) {
      try {
        // A node may end by itself more than once: on a disk that failed, under another incarnation.
        await this.cluster.start();
        await this.cluster.whenHealthy(2_000);
        this.bench.held('recovery');
        return performance.now() - start;
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        problem = error.message;
      }
    }
    this.bench.breach('recovery', null, `not whole ${RECOVER_MS / 1_000} s after ${after}: ${problem}`);
    return RECOVER_MS;
  }

  /** What was refused must be so truthfully. */
  private async judgeRude(active: ActiveFault): Promise<void> {
    const facts = await active.rude?.();
    if (facts === undefined) return;
    this.floodRequests += facts.sent;
    this.floodRefused += facts.refused;
    this.refusedKeys.push(...facts.refusedKeys);
    if (facts.wrong > 0)
      this.bench.breach('G9', null, `${facts.wrong} refusals are not OVERLOADED, not applied, retry after`);
  }

  /** What planned changes alone may not lose; anything else may, at `leader`. */
  private async lookAtEarlyWrites(injected: readonly Injected[]): Promise<void> {
    const gone = await this.early.look(this.bench);
    if (!injected.every(({ driver }) => driver.planned === true)) return;
    // Reported as what it became: the old leader did not answer.
    if (await this.watch.unplannedSinceLast()) return;
    this.plannedRounds += 1;
    this.bench.held('G7');
    for (const key of gone)
      this.bench.breach('G7', key, 'a write acknowledged at leader is gone after planned changes alone');
  }

  /** Undoes what may be on. */
  async abandon(): Promise<void> {
    for (const { active, questions } of this.injected.splice(0)) {
      await questions?.stop();
      await active.undo().catch(() => {});
    }
  }

  /** Reads what floods were refused. */
  private async verifyRefused(): Promise<void> {
    const values = await this.bench.client(0).getMany(this.refusedKeys, { timeoutMs: 60_000 });
    for (const [at, key] of this.refusedKeys.entries())
      if (values[at] !== undefined) this.bench.breach('G9', key, 'was refused with OVERLOADED and is there');
  }

  /** Writes what slow readers ask for. */
  async prepare(): Promise<void> {
    await this.bench.client(0).put(LONG_KEY, Buffer.alloc(LONG_BYTES, 'x').toString());
  }

  async verify(): Promise<void> {
    await this.bench.stop();
    for (const workload of this.workloads) await workload.verify(this.bench);
    await this.verifyRefused();
    const different = await equalReplicas(this.cluster, this.options.partitions, EQUAL_MS);
    for (const text of different) this.bench.breach('recovery', null, text);
  }
}

/** The value that a slow reader asks for. */
const LONG_BYTES = 256 * 1024;

/** Gives each fault its gaps, which only the whole history tells. */
function withGaps(
  faults: readonly FaultRecord[],
  history: readonly HistoryEvent[],
  whole: Window,
): FaultRecord[] {
  const writes = gapsOf(history, PROBE_WRITES, whole, GAP_MS);
  const reads = gapsOf(history, PROBE_READS, whole, GAP_MS);
  return faults.map((fault) => ({
    ...fault,
    writeGapMs: longestIn(writes, fault.window),
    readGapMs: longestIn(reads, fault.window),
  }));
}

/**
 * Runs chaos on a cluster of its own. Resolves with what it has shown, also when something was broken. Rejects with RingkeepError if
 * the cluster cannot be started at all.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosRun> {
  const { seed, nodes, partitions, replicationFactor } = options;
  const cluster = await prepareProcesses({ nodes, partitions, replicationFactor, links: true, seed });
  for (const process of cluster.processes)
    process.launcher = ({ file, args, env }) => ({ file, args: ['--import', STALL_HOOK, ...args], env });
  const run = new Run(options, cluster);
  try {
    await cluster.start();
    await cluster.whenHealthy();
    options.on?.({ event: 'started', url: cluster.url, directory: cluster.directory });
    await run.bench.open();
    await run.watch.start();
    const from = nowUs();
    await run.prepare();
    for (const workload of run.workloads) workload.start(run.bench);
    await run.rounds();
    const whole = { from, to: nowUs() };
    await run.verify();
    const watch = await run.watch.stop();
    await run.bench.close();
    const { history } = run.bench;
    options.on?.({ event: 'checking', operations: history.length });
    const check = await checkHistory(history);
    return {
      options,
      directory: cluster.directory,
      whole,
      faults: withGaps(run.faults, history, whole),
      history,
      check,
      bench: run.bench,
      watch,
      early: run.early,
      lonelyQuestions: run.lonelyQuestions,
      plannedRounds: run.plannedRounds,
      floodRequests: run.floodRequests,
      floodRefused: run.floodRefused,
    };
  } finally {
    await run.abandon();
    await run.bench.close();
    await cluster.stop({ keep: options.keep });
  }
}
