/**
 * A chaos run from its beginning to its verdict: workloads on a cluster, its own or somebody else's (target.ts), round after round of
 * faults, each of which has to show that it took effect, has to be undone, and has to be recovered from; then a last look at everything.
 * INVARIANT: whatever happens, all faults are undone and nothing of the run is left in the cluster when `runChaos` has ended.
 * Not here: what is concluded (verdict.ts), and how it is shown (page.ts, src/cli/chaos.ts).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type CheckReport, checkHistory } from '../check/check.ts';
import { RingkeepError } from '../common/errors.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { type ActiveFault, type FaultContext, type FaultDriver, type PossibleFault, UNMET } from './fault.ts';
import { gapsOf, longestIn, underAnyClock, type Window } from './figures.ts';
import { type Paces, planRounds, type Round } from './plan.ts';
import { LONG_KEY } from './rude-client.ts';
import type { ChaosCluster, ClusterSize, Target } from './target.ts';
import { Watch, type WatchFacts } from './watch.ts';
import { HotKeys } from './workload/hot.ts';
import { Bank, EarlyWrites, Inserts } from './workload/inserts.ts';
import { LonelyQuestions } from './workload/lonely.ts';
import { Observers, PROBE_READS, PROBE_WRITES, Probes } from './workload/observers.ts';
import { Counters, Registers } from './workload/registers.ts';
import { Repeats } from './workload/repeats.ts';
import { SaltedCounters } from './workload/salted-counters.ts';
import { nowUs, Workbench, type Workload } from './workload/workbench.ts';

/** What a run is made of. */
export interface ChaosOptions<C extends ChaosCluster> {
  readonly seed: number;
  /** Time for rounds; a round that has begun is ended. */
  readonly seconds: number;
  /** At most so many rounds; default: as many as there is time for. */
  readonly rounds?: number;
  readonly drivers: readonly PossibleFault<C>[];
  /** Part of the rounds with several faults at once. */
  readonly mixed: number;
  /** Faults at once at most, two at least; default: TOGETHER_MAX. */
  readonly together?: number;
  readonly clients: number;
  readonly paceMs: number;
  readonly paces?: Paces;
  /** Ends the run early, in good order. */
  readonly signal?: AbortSignal;
  /** Told about what happens, as it does. */
  readonly on?: (event: ChaosEvent) => void;
}

/** Something that happened in a run. */
export type ChaosEvent =
  | {
      readonly event: 'started';
      readonly url: string;
      /** Of data and logs; empty: they are somebody else's. */
      readonly directory: string;
      /** Where the run writes; empty: in the default keyspace. */
      readonly keyspace: string;
    }
  | { readonly event: 'fault'; readonly round: number; readonly kind: string; readonly target: string }
  | { readonly event: 'skipped'; readonly round: number; readonly kind: string; readonly reason: string }
  | { readonly event: 'over'; readonly round: number; readonly fault: FaultRecord }
  /** Something of the run is left: in a cluster that is not its own, or the logs of one in which something was broken. */
  | { readonly event: 'left'; readonly text: string }
  | { readonly event: 'checking'; readonly operations: number };

/** One fault of a run. */
export interface FaultRecord {
  readonly round: number;
  readonly kind: string;
  readonly family: string;
  readonly planned: boolean;
  readonly destroys: boolean;
  /** It has damaged bytes, and a node or the scrub has found that out. */
  readonly damaged: boolean;
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
  readonly options: Pick<ChaosOptions<never>, 'seed' | 'seconds' | 'mixed' | 'clients' | 'paceMs'> &
    ClusterSize;
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
  /** Partitions whose replicas could not be compared at the end. */
  readonly uncompared: number;
  /** Faults that could not be injected, by kind. */
  readonly skipped: Readonly<Record<string, number>>;
}

/** A round is given up as not recovered from after this, ms. */
const RECOVER_MS = 60_000;
/** What has not shown its effect so long after its time has none, ms: what it waits for may be held by another fault. */
const PROOF_MS = 75_000;
const GAP_MS = 50;
/** For the check of all histories, ms: of a run of half an hour these are millions of operations. */
const CHECK_MS = 900_000;
/** Time of one operation: long enough for a failover, so that probes show it as one gap. */
const OPERATION_MS = 10_000;

/** What a driver is known by when its fault is on. */
type Kind = Pick<FaultDriver, 'kind' | 'family' | 'planned' | 'destroys' | 'damages'>;

/** A fault of the present round. */
interface Injected {
  readonly driver: Kind;
  readonly active: ActiveFault;
  readonly from: number;
  questions: LonelyQuestions | null;
}

/** What a scrub after a fault has found. */
interface Scrubbed {
  readonly bad: number;
  readonly text: string;
}

const NOT_SCRUBBED: Scrubbed = { bad: 0, text: '' };

/** Resolves with what shows that a fault took effect, or why nothing does. */
async function proofOf({ confirmed }: ActiveFault): Promise<{ proof: string; problem: string }> {
  const known = confirmed.then(
    (proof) => ({ proof, problem: '' }),
    (error: unknown) => ({ proof: '', problem: String(error) }),
  );
  const late = new AbortController();
  const nothing = { proof: '', problem: `nothing is known after ${PROOF_MS} ms` };
  const open = delay(PROOF_MS, nothing, { signal: late.signal }).catch(() => nothing);
  try {
    return await Promise.race([known, open]);
  } finally {
    late.abort();
  }
}

class Run<C extends ChaosCluster> {
  readonly options: ChaosOptions<C>;
  readonly target: Target<C>;
  readonly bench: Workbench;
  readonly watch: Watch;
  readonly early = new EarlyWrites();
  readonly workloads: readonly Workload[];
  readonly faults: FaultRecord[] = [];
  lonelyQuestions = 0;
  plannedRounds = 0;
  floodRequests = 0;
  floodRefused = 0;
  uncompared = 0;
  readonly skipped: Record<string, number> = {};
  /** Of floods: nobody may have written them. */
  private readonly refusedKeys: string[] = [];
  private injected: Injected[] = [];

  constructor(options: ChaosOptions<C>, target: Target<C>) {
    this.options = options;
    this.target = target;
    const { cluster, keyspace, size } = target;
    this.watch = new Watch(cluster);
    const { clients, paceMs, seed } = options;
    this.bench = new Workbench({
      url: cluster.url,
      nodes: cluster.nodeAddresses,
      partitions: size.partitions,
      keyspace,
      clients,
      paceMs,
      timeoutMs: OPERATION_MS,
      random: createRandom(seed),
    });
    this.workloads = [
      new Registers(),
      new Counters(),
      new HotKeys(),
      new SaltedCounters(),
      new Inserts(),
      new Bank(),
      new Observers(),
      new Probes(),
      new Repeats(),
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
    const { seed, seconds, drivers, mixed, rounds = Number.POSITIVE_INFINITY } = this.options;
    const until = performance.now() + seconds * 1_000;
    let number = 0;
    for (const round of planRounds(seed, drivers, mixed, this.options)) {
      if (number >= rounds || performance.now() >= until || this.aborted) return;
      number += 1;
      await delay(round.calmMs, undefined, this.options.signal ? { signal: this.options.signal } : {}).catch(
        () => {},
      );
      if (this.aborted) return;
      // Also what ended by itself since the last round: one fault begins where all is well.
      if ((await this.recover('the calm')) === null) return;
      if (!(await this.round(number, round))) return;
    }
  }

  /** Returns whether the cluster is whole again. */
  private async round(number: number, { kinds, holdMs, seed }: Round): Promise<boolean> {
    const { cluster, size, keyspace } = this.target;
    const random = createRandom(seed);
    const context = { cluster, random, holdMs, partitions: size.partitions, keyspace };
    const drivers = kinds.map((kind) => this.options.drivers.find((driver) => driver.kind === kind)!);
    try {
      for (const driver of drivers) {
        if (this.injected.length > 0) await delay(random.next() * holdMs * 0.5);
        await this.inject(number, driver, context);
      }
      await delay(holdMs);
    } catch (error) {
      await this.abandon();
      throw error;
    }
    return this.undo(number);
  }

  private async inject(number: number, driver: PossibleFault<C>, context: FaultContext<C>): Promise<void> {
    const from = nowUs();
    let active: ActiveFault;
    try {
      active = await driver.inject(context);
    } catch (error) {
      // Beside another fault it may not be possible: the node that it would hit is down.
      if (!(error instanceof RingkeepError)) throw error;
      // It may have hit its node already. Nothing is damaged yet: nobody may be emptied.
      const { nodes } = this.target.cluster;
      this.target.recovery.begins(nodes.map(({ name }) => name).join(' '), { family: driver.family });
      this.skipped[driver.kind] = (this.skipped[driver.kind] ?? 0) + 1;
      this.say({ event: 'skipped', round: number, kind: driver.kind, reason: error.message });
      return;
    }
    this.say({ event: 'fault', round: number, kind: driver.kind, target: active.target });
    const injected: Injected = { driver, active, from, questions: null };
    this.injected.push(injected);
    this.target.recovery.begins(active.target, driver);
    const lonely = this.target.cluster.nodes.filter(({ name }) => active.cutOff.includes(name));
    if (lonely.length === 0) return;
    // Once the cut is known to be there: what was under way before may still arrive.
    const isCut = await active.confirmed.then(
      () => true,
      () => false,
    );
    if (isCut) injected.questions = new LonelyQuestions(this.bench, lonely);
  }

  /** Ends all faults of the round, and waits until the cluster is whole, and no damage is left in it. Returns whether it is. */
  private async undo(number: number): Promise<boolean> {
    const injected = this.injected.splice(0);
    if (injected.length === 0) return true;
    for (const { questions } of injected) {
      await questions?.stop();
      this.lonelyQuestions += questions?.asked ?? 0;
    }
    const proofs = await Promise.all(injected.map(({ active }) => proofOf(active)));
    await Promise.all(injected.map((fault) => this.end(fault)));
    for (const { active } of injected) await this.judgeRude(active);
    this.target.heal();
    const to = nowUs();
    const after = injected.map(({ driver }) => driver.kind).join(', ');
    const wholeMs = await this.recover(after);
    const scrubbed = wholeMs === null ? NOT_SCRUBBED : await this.scrub(injected, after);
    if (wholeMs !== null) await this.guarded('early writes', () => this.lookAtEarlyWrites(injected));
    for (const [at, { driver, active, from }] of injected.entries()) {
      const { proof, problem } = proofs[at]!;
      const fault: FaultRecord = {
        round: number,
        kind: driver.kind,
        family: driver.family,
        planned: driver.planned === true,
        destroys: driver.destroys === true,
        target: active.target,
        window: { from, to },
        damaged: driver.damages === true && proof !== '' && (!proof.endsWith(UNMET) || scrubbed.bad > 0),
        proof: proof !== '' && driver.destroys === true ? proof + scrubbed.text : proof,
        problem,
        wholeMs: wholeMs ?? RECOVER_MS,
        writeGapMs: 0,
        readGapMs: 0,
      };
      this.faults.push(fault);
      this.say({ event: 'over', round: number, fault });
    }
    return wholeMs !== null;
  }

  /** Waits until every replica is whole. Returns how long that took, ms; null: it is not, which is a breach. */
  private async recover(after: string): Promise<number | null> {
    try {
      const ms = await this.target.recovery.whole(RECOVER_MS);
      for (const finding of this.target.recovery.unexplained()) this.bench.breach('recovery', null, finding);
      this.bench.held('recovery');
      return ms;
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      const text = `not whole ${RECOVER_MS / 1_000} s after ${after}: ${error.message}`;
      this.bench.breach('recovery', null, text);
      return null;
    }
  }

  /** Undoes a fault. A process that does not start again is for the recovery, which reports it. */
  private async end({ active }: Injected): Promise<void> {
    try {
      await active.undo();
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
    }
  }

  /** Looks for damage that nobody has met, where a fault has done some. Returns what it found, to be added to a proof. */
  private async scrub(injected: readonly Injected[], after: string): Promise<Scrubbed> {
    if (!injected.some(({ driver }) => driver.destroys === true)) return NOT_SCRUBBED;
    let found = NOT_SCRUBBED;
    await this.guarded(`scrub after ${after}`, async () => {
      const bad = await this.target.recovery.scrub();
      const text = bad === 0 ? 'nothing more' : `${bad} bad replicas, which are replaced`;
      found = { bad, text: `; the scrub finds ${text}` };
    });
    return found;
  }

  /** What does not come to an answer is a breach, and no reason to end without a verdict. */
  private async guarded(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      this.bench.breach('recovery', null, `${what}: ${error.code}: ${error.message}`);
    }
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
    if ((await this.watch.unplannedSinceLast()) !== false) return;
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
    for (const workload of this.workloads)
      await this.guarded(workload.name, () => workload.verify(this.bench));
    await this.guarded('what floods were refused', () => this.verifyRefused());
    const keys = this.bench.history.map(({ key }) => key);
    await this.guarded('the comparison of all replicas', async () => {
      const { problems, open } = await this.target.compare(keys);
      for (const { key, text } of problems) this.bench.breach('recovery', key, text);
      this.uncompared = open;
    });
  }
}

/** The value that a slow reader asks for. */
const LONG_BYTES = 256 * 1024;

/** Gives each fault its gaps, which only the whole history tells. */
function withGaps(
  faults: readonly FaultRecord[],
  history: readonly HistoryEvent[],
  whole: Window,
  standstills: readonly Window[],
): FaultRecord[] {
  const writes = gapsOf(history, PROBE_WRITES, whole, GAP_MS);
  const reads = gapsOf(history, PROBE_READS, whole, GAP_MS);
  return faults.map((fault) => ({
    ...fault,
    writeGapMs: longestIn(writes, fault.window, standstills),
    readGapMs: longestIn(reads, fault.window, standstills),
  }));
}

/** Works on a cluster until the run is over. Resolves with when that was, and with what processes tell of themselves. */
async function work<C extends ChaosCluster>(run: Run<C>): Promise<{ whole: Window; watch: WatchFacts }> {
  const { options, target } = run;
  const { url } = target.cluster;
  await target.begin();
  options.on?.({ event: 'started', url, directory: target.directory, keyspace: target.keyspace });
  await run.bench.open();
  await run.watch.start();
  const from = nowUs();
  await run.prepare();
  for (const workload of run.workloads) workload.start(run.bench);
  await run.rounds();
  const whole = { from, to: nowUs() };
  await run.verify();
  return { whole, watch: await run.watch.stop() };
}

/**
 * Runs chaos on a cluster, and ends with it as its target says. Resolves with what it has shown, also when something was broken.
 * Rejects with RingkeepError if the run cannot begin at all.
 */
export async function runChaos<C extends ChaosCluster>(
  options: ChaosOptions<C>,
  target: Target<C>,
): Promise<ChaosRun> {
  const run = new Run(options, target);
  let shown: Awaited<ReturnType<typeof work>>;
  let history: readonly HistoryEvent[];
  let check: CheckReport | null = null;
  try {
    shown = await work(run);
    history = underAnyClock(run.bench.history, run.faults, target.cluster.oneMachine);
    options.on?.({ event: 'checking', operations: history.length });
    check = await checkHistory(history, { timeoutMs: CHECK_MS });
  } finally {
    await run.abandon();
    run.watch.cease();
    await run.bench.close();
    const left = await target.end(check?.result !== 'ok' || run.bench.breaches.length > 0);
    if (left !== '') options.on?.({ event: 'left', text: left });
  }
  const { whole, watch } = shown;
  return {
    options: { ...options, ...target.size },
    whole,
    faults: withGaps(run.faults, history, whole, watch.standstills),
    history,
    check,
    bench: run.bench,
    watch,
    early: run.early,
    lonelyQuestions: run.lonelyQuestions,
    plannedRounds: run.plannedRounds,
    floodRequests: run.floodRequests,
    floodRefused: run.floodRefused,
    uncompared: run.uncompared,
    skipped: run.skipped,
  };
}
