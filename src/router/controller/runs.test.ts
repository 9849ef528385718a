import { describe, expect, it } from 'vitest';
import type { FormerRun, NodeRecord } from '../../common/topology.ts';
import { FORMER_RUNS_MAX, formerRuns, isAdmitted, isOvertaken, rollbackProblem } from './runs.ts';

function stored(incarnation: string, run: string, former: readonly FormerRun[] = [], boot = 9): NodeRecord {
  const address = { address: 'a:1', clientAddress: 'a:1', zone: '', alive: true, reason: '', pid: 1 };
  return { id: 'n1', incarnation, boot, ...address, run, formerRuns: former };
}

function attached(incarnation: string, runs: readonly string[], admittedBoot = 8) {
  const register = {
    address: 'a:1',
    clientAddress: 'a:1',
    zone: '',
    pid: 1,
    admittedBoot,
    runs,
    durableLsn: 0,
    joins: false,
  };
  return { incarnation, run: runs.at(-1) ?? '', register };
}

describe('a directory', () => {
  it('is new, or goes on from the run that the store names', () => {
    expect(rollbackProblem(null, attached('i', ['r1']))).toBe('');
    expect(rollbackProblem(stored('i', 'r1'), attached('i', ['r1', 'r2']))).toBe('');
    expect(rollbackProblem(stored('i', 'r1'), attached('i', ['r1']))).toBe('');
    expect(rollbackProblem(stored('i', 'r1'), attached('j', ['s1']))).toBe('');
  });

  it('goes on after starts that nobody has heard of, and after one that was named without its knowledge', () => {
    expect(rollbackProblem(stored('i', 'r1'), attached('i', ['r1', 'r2', 'r3']))).toBe('');
    expect(rollbackProblem(stored('i', 'r2'), attached('i', ['r1', 'r2', 'r3']))).toBe('');
  });

  it('is an old copy when it does not know the run that the store names, however often it was started', () => {
    expect(rollbackProblem(stored('i', 'r2'), attached('i', ['r1', 'c1']))).toContain('r2');
    expect(rollbackProblem(stored('i', 'r2'), attached('i', ['r1', 'c1', 'c2', 'c3']))).toContain('r2');
  });

  it('is no old copy where the store is one: that names a run from before those that are remembered', () => {
    expect(rollbackProblem(stored('i', 'r1', [], 3), attached('i', ['r4', 'r5'], 6))).toBe('');
    expect(rollbackProblem(stored('i', 'r7', [], 7), attached('i', ['r4', 'r5'], 6))).toContain('r7');
  });

  it('is an old copy also when another directory has been used since', () => {
    const former = [{ incarnation: 'i', boot: 9, run: 'r2' }];
    expect(rollbackProblem(stored('j', 's1', former), attached('i', ['r1', 'c1']))).toContain('r2');
    expect(rollbackProblem(stored('j', 's1', former), attached('i', ['r1', 'r2', 'r3']))).toBe('');
  });
});

describe('the store', () => {
  it('names a run of another directory after one has attached: that one may be over', () => {
    const node = { incarnation: 'i', storedRun: 'r1' };
    expect(isOvertaken(null, node)).toBe(false);
    expect(isOvertaken(stored('i', 'r2'), node)).toBe(false);
    expect(isOvertaken(stored('j', 'r1'), node)).toBe(false);
    expect(isOvertaken(stored('j', 's1'), node)).toBe(true);
  });

  it('admits the run that it names, and no other', () => {
    expect(isAdmitted(stored('i', 'r2'), attached('i', ['r1', 'r2']))).toBe(true);
    expect(isAdmitted(stored('i', 'r1'), attached('i', ['r1', 'r2']))).toBe(false);
    expect(isAdmitted(stored('j', 'r2'), attached('i', ['r1', 'r2']))).toBe(false);
    expect(isAdmitted(null, attached('i', ['r1']))).toBe(false);
  });

  it('remembers the directories that were used before, the last ones first', () => {
    expect(formerRuns(null, 'i')).toEqual([]);
    const first = { incarnation: 'i', boot: 9, run: 'r2' };
    expect(formerRuns(stored('i', 'r2'), 'j')).toEqual([first]);
    expect(formerRuns(stored('j', 's1', [first]), 'j')).toEqual([first]);
    expect(formerRuns(stored('j', 's1', [first]), 'i')).toEqual([{ incarnation: 'j', boot: 9, run: 's1' }]);
    const many = Array.from({ length: FORMER_RUNS_MAX }, (_, at) => ({
      incarnation: `k${at}`,
      boot: 1,
      run: 'r',
    }));
    expect(formerRuns(stored('j', 's1', many), 'l')).toHaveLength(FORMER_RUNS_MAX);
  });
});
