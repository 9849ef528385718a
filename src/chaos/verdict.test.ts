/** What is concluded from evidence: nothing is held that nothing could have broken. */
import { describe, expect, it } from 'vitest';
import type { KeyReport } from '../check/key-check.ts';
import { type Evidence, type FaultFacts, type Ruling, ruleOn } from './verdict.ts';

const KEY: KeyReport = { keyspace: '', key: 'k', result: 'ok', operations: 100, steps: 1, elapsedMs: 1 };

const NOTHING: Evidence = {
  faults: [],
  breaches: [],
  exercised: new Map(),
  check: { result: 'ok', operations: 0, keys: [] },
  failedWrites: 0,
  increments: 0,
  answersWithoutRouter: 0,
  earlyLost: 0,
  earlyCounted: 0,
  lonelyQuestions: 0,
  floodRequests: 0,
  floodRefused: 0,
  uncompared: 0,
  residentMax: 0,
  residentBound: 1,
};

function fault(kind: string, family: string, more: Partial<FaultFacts> = {}): FaultFacts {
  return { kind, family, planned: false, destroys: false, confirmed: true, damaged: false, ...more };
}

/** A run in which everything was exercised. */
const EVERYTHING: Evidence = {
  ...NOTHING,
  faults: [
    fault('kill', 'process'),
    fault('kill-router', 'process'),
    fault('split-one', 'links'),
    fault('flip-wal', 'disk', { destroys: true, damaged: true }),
    fault('terminate', 'process', { planned: true }),
    fault('flood', 'clients'),
  ],
  exercised: new Map([
    ['G1', 10],
    ['G3', 10],
    ['G5', 2],
    ['G7', 1],
    ['session', 5],
    ['stale', 5],
    ['recovery', 5],
  ]),
  check: { result: 'ok', operations: 100, keys: [KEY] },
  failedWrites: 3,
  increments: 7,
  answersWithoutRouter: 4,
  lonelyQuestions: 9,
  floodRequests: 1_000,
  floodRefused: 900,
};

function resultOf(rulings: readonly Ruling[], guarantee: string): string {
  return rulings.find((ruling) => ruling.guarantee === guarantee)!.result;
}

describe('a verdict', () => {
  it('holds nothing of a run in which nothing happened', () => {
    for (const { guarantee, result } of ruleOn(NOTHING)) expect(result, guarantee).toBe('not exercised');
  });

  it('holds everything that was exercised', () => {
    for (const { guarantee, result, reason } of ruleOn(EVERYTHING))
      expect(result, `${guarantee}: ${reason}`).toBe('held');
  });

  it('holds nothing of faults that have not shown that they took effect', () => {
    const faults = EVERYTHING.faults.map((each) => ({ ...each, confirmed: false }));
    for (const { guarantee, result } of ruleOn({ ...EVERYTHING, faults }))
      expect(result, guarantee).toBe('not exercised');
  });

  it('is broken by one breach, which it names with its key, exercised or not', () => {
    for (const { guarantee } of ruleOn(NOTHING)) {
      const breaches = [{ guarantee, key: 'k1', text: 'is gone' }];
      for (const evidence of [NOTHING, EVERYTHING]) {
        const rulings = ruleOn({ ...evidence, breaches });
        const ruling = rulings.find((one) => one.guarantee === guarantee)!;
        expect(ruling).toMatchObject({ result: 'broken', reason: 'k1: is gone', breaches });
        expect(rulings.filter(({ result }) => result === 'broken')).toHaveLength(1);
      }
    }
  });

  it('does not take an undecided history for a linearizable one', () => {
    const keys: KeyReport[] = [KEY, { ...KEY, key: 'l', result: 'unknown', unknown: 'time' }];
    const rulings = ruleOn({ ...EVERYTHING, check: { result: 'unknown', operations: 100, keys } });
    expect(resultOf(rulings, 'G2')).toBe('not exercised');
  });

  it.each([
    ['G1', { faults: [fault('flood', 'clients'), fault('clock-skew', 'clock')] }],
    ['G2', { faults: [] }],
    ['G3', { faults: [fault('terminate', 'process', { planned: true })] }],
    ['G4', { increments: 0 }],
    ['G5', { exercised: new Map(), failedWrites: 7 }],
    ['G6', { lonelyQuestions: 0 }],
    ['G7', { exercised: new Map() }],
    ['G8', { faults: [fault('flip-wal', 'disk', { destroys: true })] }],
    ['G9', { floodRequests: 0 }],
    ['G9', { faults: [fault('flood', 'clients', { confirmed: false })] }],
    ['G10', { faults: [fault('kill', 'process')] }],
    ['G10', { answersWithoutRouter: 0 }],
  ] as const)('does not hold %s without what could have broken it', (guarantee, without) => {
    expect(resultOf(ruleOn({ ...EVERYTHING, ...without } as Evidence), guarantee)).toBe('not exercised');
  });

  it('claims nothing that only logs tell where nobody can read them', () => {
    const evidence = { ...EVERYTHING, earlyCounted: null };
    const rulings = ruleOn(evidence);
    const of = (guarantee: string): Ruling => rulings.find((ruling) => ruling.guarantee === guarantee)!;
    expect(of('G7')).toMatchObject({ result: 'not exercised', reason: expect.stringContaining('logs') });
    expect(of('G3').result).toBe('held');
    expect(of('G3').reason).not.toContain('counted');
    // Whether a loss was counted cannot be said then.
    const lost = ruleOn({ ...evidence, earlyLost: 2 }).find(({ guarantee }) => guarantee === 'G3')!;
    expect(lost).toMatchObject({ result: 'not exercised', reason: expect.stringContaining('2 of them') });
  });

  it('leaves out memory that cannot be seen, and replicas that could not be compared', () => {
    const reasonOf = (evidence: Evidence, guarantee: string): string =>
      ruleOn(evidence).find((ruling) => ruling.guarantee === guarantee)!.reason;
    expect(reasonOf(EVERYTHING, 'G9')).toContain('MiB');
    expect(reasonOf({ ...EVERYTHING, residentMax: null }, 'G9')).not.toContain('MiB');
    expect(reasonOf(EVERYTHING, 'recovery')).toContain('all replicas are equal');
    const open = reasonOf({ ...EVERYTHING, uncompared: 3 }, 'recovery');
    expect(open).toContain('3 partitions could not be compared');
    expect(open).not.toContain('equal');
  });
});
