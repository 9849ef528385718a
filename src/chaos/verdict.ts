/**
 * What a run has shown, guarantee by guarantee: *held*, *broken*, or *not exercised*, which is said of everything that nothing
 * in the run could have broken, and of what could not be decided. Never a pass by silence.
 * INVARIANT: `broken` exactly if there is a breach of that guarantee.
 */
import type { CheckReport } from '../check/check.ts';
import type { Breach, Guarantee } from './workload/workbench.ts';

/** What is known of one injected fault. */
export interface FaultFacts {
  readonly kind: string;
  readonly family: string;
  readonly planned: boolean;
  readonly destroys: boolean;
  /** It has shown that it took effect. */
  readonly confirmed: boolean;
  /** It has damaged bytes, and a node or the scrub has found that out. */
  readonly damaged: boolean;
}

/** All that a verdict rests on. */
export interface Evidence {
  readonly faults: readonly FaultFacts[];
  readonly breaches: readonly Breach[];
  /** What workloads have held against guarantees. */
  readonly exercised: ReadonlyMap<Guarantee, number>;
  readonly check: Pick<CheckReport, 'result' | 'operations' | 'keys'>;
  /** Writes that ended with an error, by outcome. */
  readonly failedWrites: number;
  /** Increments that were acknowledged. */
  readonly increments: number;
  /** Answers to clients in mode direct while there was no router. */
  readonly answersWithoutRouter: number;
  /** Acknowledged writes at `leader` that are gone, and such losses as the nodes have counted; null: nobody can read their logs. */
  readonly earlyLost: number;
  readonly earlyCounted: number | null;
  /** Questions to nodes that were cut off. */
  readonly lonelyQuestions: number;
  /** Requests of clients without regard, and those of them that were refused with OVERLOADED. */
  readonly floodRequests: number;
  readonly floodRefused: number;
  /** Partitions whose replicas could not be compared at the end. */
  readonly uncompared: number;
  /** The most resident memory of a node, null: it cannot be seen; and its bound, bytes. */
  readonly residentMax: number | null;
  readonly residentBound: number;
}

/** What is said of one guarantee. */
export interface Ruling {
  readonly guarantee: Guarantee;
  readonly title: string;
  readonly result: 'held' | 'broken' | 'not exercised';
  /** What it rests on, or why it is not exercised. */
  readonly reason: string;
  readonly breaches: readonly Breach[];
}

const TITLES: Readonly<Record<Guarantee, string>> = {
  G1: 'Durability',
  G2: 'Linearizability',
  G3: 'Leader acknowledgements',
  G4: 'At most once',
  G5: 'Outcomes',
  G6: 'Splits',
  G7: 'Planned changes',
  G8: 'Damage',
  G9: 'Bounded memory',
  G10: 'No router on the data path',
  session: 'Sessions',
  stale: 'Bounds of staleness',
  recovery: 'Recovery',
};

/** What an evidence shows of one guarantee: what it was held against, or why nothing was. */
type Exercise = { readonly by: string } | { readonly not: string };

const of = (count: number, what: string): string => `${count.toLocaleString('en')} ${what}`;

function ifAny(count: number, by: string, not: string): Exercise {
  return count > 0 ? { by } : { not };
}

function check({ check: { result, operations, keys }, faults }: Evidence): Exercise {
  if (operations === 0 || faults.length === 0) return { not: 'no operation beside a fault' };
  const undecided = keys.filter((key) => key.result === 'unknown').length;
  if (result !== 'illegal' && undecided > 0)
    return { not: `the checker could not decide ${of(undecided, 'keys')}` };
  return { by: `${of(operations, 'operations')} on ${of(keys.length, 'keys')} are checked` };
}

const EXERCISES: Readonly<Record<Guarantee, (evidence: Evidence) => Exercise>> = {
  G1: ({ exercised, faults }) => {
    const hits = faults.filter(({ family }) => family !== 'clients' && family !== 'clock');
    if (hits.length === 0) return { not: 'no fault that could unseat a leader or end a process' };
    const count = exercised.get('G1') ?? 0;
    return ifAny(
      count,
      `${of(count, 'acknowledged writes')} are there after ${of(hits.length, 'faults')}`,
      'no write',
    );
  },
  G2: check,
  G3: ({ exercised, faults, earlyLost, earlyCounted }) => {
    if (!faults.some(({ planned }) => !planned)) return { not: 'no unplanned fault' };
    const count = exercised.get('G3') ?? 0;
    if (earlyCounted === null && earlyLost > 0)
      return { not: `${of(earlyLost, 'of them')} are lost; only logs tell whether nodes have counted that` };
    const counted = earlyCounted === null ? '' : `, ${of(earlyCounted, 'losses')} counted by nodes`;
    const lost = `${of(earlyLost, 'of them')} lost${counted}`;
    return ifAny(count, `${of(count, 'writes at leader')}; ${lost}`, 'no write at leader');
  },
  G4: ({ increments, faults }) => {
    if (faults.length === 0) return { not: 'no fault' };
    return ifAny(increments, `${of(increments, 'increments')} each count once`, 'no increment');
  },
  G5: ({ failedWrites, exercised }) => {
    const refused = exercised.get('G5') ?? 0;
    return ifAny(
      refused,
      `${of(refused, 'writes')} of ${of(failedWrites, 'that failed')} were told as not applied, and are not there`,
      'no write was told as not applied',
    );
  },
  G6: ({ lonelyQuestions }) =>
    ifAny(
      lonelyQuestions,
      `${of(lonelyQuestions, 'questions')} to nodes that were cut off, none answered`,
      'no node was cut off from a quorum',
    ),
  G7: ({ exercised, faults, earlyCounted }) => {
    if (earlyCounted === null && faults.some(({ planned }) => planned))
      return { not: 'only logs tell whether planned changes have stayed ones' };
    const count = exercised.get('G7') ?? 0;
    return ifAny(
      count,
      `nothing lost at any level in ${of(count, 'rounds')} of planned changes`,
      'no planned change alone',
    );
  },
  G8: ({ faults }) => {
    const damage = faults.filter(({ damaged }) => damaged).length;
    return ifAny(
      damage,
      `${of(damage, 'damages')} were found; no value was read that nobody wrote`,
      'nothing was damaged that anybody has met',
    );
  },
  G9: ({ faults, floodRequests, floodRefused, residentMax, residentBound }) => {
    if (!faults.some(({ family }) => family === 'clients'))
      return { not: 'no client without regard has shown an effect' };
    const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
    const memory =
      residentMax === null ? '' : `; at most ${mib(residentMax)} of ${mib(residentBound)} in a process`;
    const refused = `${of(floodRefused, 'of them refused')}`;
    return ifAny(
      floodRequests,
      `${of(floodRequests, 'requests without regard')}, ${refused}${memory}`,
      'no flood',
    );
  },
  G10: ({ answersWithoutRouter, faults }) => {
    if (!faults.some(({ kind }) => kind === 'kill-router'))
      return { not: 'the router was never killed alone' };
    return ifAny(
      answersWithoutRouter,
      `${of(answersWithoutRouter, 'answers')} while there was no router`,
      'no question',
    );
  },
  session: ({ exercised }) => {
    const count = exercised.get('session') ?? 0;
    return ifAny(count, of(count, 'session reads, with tokens passed on'), 'no session read');
  },
  stale: ({ exercised }) => {
    const count = exercised.get('stale') ?? 0;
    return ifAny(count, of(count, 'stale reads are within their bounds'), 'no stale read');
  },
  recovery: ({ faults, exercised, uncompared }) => {
    const whole = `${of(exercised.get('recovery') ?? 0, 'times')} every replica was whole again`;
    const equal =
      uncompared === 0
        ? ', and all replicas are equal at the end'
        : `; the replicas of ${of(uncompared, 'partitions')} could not be compared at the end`;
    return ifAny(faults.length, whole + equal, 'no fault');
  },
};

/** Returns the ruling on every guarantee, in their order. A fault that has not shown its effect counts for nothing. */
export function ruleOn(all: Evidence): Ruling[] {
  const evidence = { ...all, faults: all.faults.filter(({ confirmed }) => confirmed) };
  const none = evidence.faults.length === 0 ? { not: 'no fault has shown that it took effect' } : null;
  return (Object.keys(TITLES) as Guarantee[]).map((guarantee) => {
    const breaches = evidence.breaches.filter((breach) => breach.guarantee === guarantee);
    const exercise = none ?? EXERCISES[guarantee](evidence);
    const title = TITLES[guarantee];
    if (breaches.length > 0) {
      const [first] = breaches as [Breach];
      const where = first.key === null ? '' : `${first.key}: `;
      return { guarantee, title, result: 'broken' as const, reason: `${where}${first.text}`, breaches };
    }
    if ('not' in exercise)
      return { guarantee, title, result: 'not exercised' as const, reason: exercise.not, breaches };
    return { guarantee, title, result: 'held' as const, reason: exercise.by, breaches };
  });
}
