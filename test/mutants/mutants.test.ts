/**
 * Replays the seed that kills each mutant of list.ts, each in a child process, and expects the check that is meant for it
 * to catch it; the code as it is passes the same seeds. After a change of the simulation or of the protocol a seed may kill
 * no more: then others are tried, and `npm run mutants -- --record` puts those that kill on record. With `CI` in the
 * environment, many such seeds fail. `RINGKEEP_MUTANTS=2/3` replays the second third of them alone.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MUTANTS } from './list.ts';
import { type Hunted, hunt, patchesOf, ROOT, runTasks, type Task, type Verdict } from './mutant.ts';

const TIMEOUT_MS = 300_000;
/** Child processes at a time. */
const LANES = 2;
/** Seeds of the code as it is in one child process. */
const CLEAN_SEEDS = 12;
/** Tried where the seed on record kills no more; a mutant that survives them has lost its check. */
const OTHER_SEEDS = 300;
/** Seeds on record that may kill no more before they have to be recorded again: each costs a search of some seconds. */
const STALE_MAX = 30;

const [PART = 1, PARTS = 1] = (process.env.RINGKEEP_MUTANTS ?? '1/1').split('/').map(Number);
if (!(PART >= 1 && PART <= PARTS)) throw new Error('RINGKEEP_MUTANTS takes a part like 2/3');
const chosen = MUTANTS.filter((_, at) => at % PARTS === PART - 1);
const simulated = MUTANTS.filter(({ suite }) => suite === undefined);
const queue: (() => Promise<void>)[] = [];

/** Runs in its turn, two at a time; the tests wait for what they need. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => queue.push(() => work().then(resolve, reject)));
}

async function lane(): Promise<void> {
  for (let work = queue.shift(); work !== undefined; work = queue.shift()) await work();
}

function taskOf({ name, seed = 0 }: { name: string; seed?: number }): Task {
  return { name, from: seed, to: seed + 1 };
}

describe('every mutant', () => {
  it('has a name of its own', () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  it('changes exactly one place with each of its patches', () => {
    const counts = MUTANTS.flatMap((mutant) =>
      patchesOf(mutant).map(({ file, from }) => ({
        name: mutant.name,
        places: readFileSync(join(ROOT, file), 'utf8').split(from).length - 1,
      })),
    );
    expect(counts.filter(({ places }) => places !== 1)).toEqual([]);
  });

  it('has a seed that kills it, or a file of unit tests that does', () => {
    expect(simulated.filter(({ seed }) => !seed).map(({ name }) => name)).toEqual([]);
  });
});

describe('a process with a mutant', () => {
  it('fails if it has not loaded the file', { timeout: TIMEOUT_MS }, async () => {
    const mutant = {
      ...simulated[0]!,
      file: 'src/cli/output.ts',
      from: 'export interface ShownError',
      to: 'interface ShownError',
    };
    await expect(runTasks([], mutant)).rejects.toThrow('src/cli/output.ts was never loaded');
  });

  it('fails if the place to be changed is not there exactly once', async () => {
    const mutant = { ...simulated[0]!, from: 'nowhere', to: '' };
    await expect(runTasks([], mutant)).rejects.toThrow('a mutant must change one place, not 0');
  });
});

const hunts = chosen.map((mutant) => {
  const caught = inTurn(() => hunt(mutant, OTHER_SEEDS));
  // Whoever asks for it fails with it.
  caught.catch(() => {});
  return { mutant, caught };
});

/** Those that have ended; the others fail their own tests. */
async function hunted(): Promise<(Hunted & { readonly recorded: number })[]> {
  const ended = await Promise.allSettled(hunts.map(({ caught }) => caught));
  return ended.flatMap((one, at) =>
    one.status === 'rejected' ? [] : [{ ...one.value, recorded: hunts[at]!.mutant.seed ?? 0 }],
  );
}

describe('is caught:', () => {
  for (const { mutant, caught } of hunts) {
    it(mutant.name, { timeout: TIMEOUT_MS }, async () => {
      const { seed, otherwise } = await caught;
      if (seed !== (mutant.seed ?? 0))
        console.warn(`${mutant.name}: seed ${seed}; npm run mutants -- --record`);
      expect(seed, `survives; otherwise: ${JSON.stringify(otherwise)}`).not.toBeNull();
    });
  }
});

describe('the list', () => {
  it('the seeds on record are fresh', { timeout: TIMEOUT_MS }, async () => {
    const stale = (await hunted()).filter(({ seed, recorded }) => seed !== recorded).map(({ name }) => name);
    if (process.env.CI) expect(stale.length, stale.join(', ')).toBeLessThanOrEqual(STALE_MAX / PARTS);
  });
});

describe('the code as it is', () => {
  const tasks = chosen.filter(({ suite }) => suite === undefined).map(taskOf);
  const parts: Promise<Verdict[]>[] = [];
  for (let at = 0; at < tasks.length; at += CLEAN_SEEDS) {
    const part = inTurn(() => runTasks(tasks.slice(at, at + CLEAN_SEEDS), null));
    part.catch(() => {});
    parts.push(part);
  }
  for (let at = 0; at < LANES; at += 1) void lane();

  it('passes the same seeds', { timeout: TIMEOUT_MS }, async () => {
    const verdicts = (await Promise.all(parts)).flat();
    expect(verdicts.filter(({ seed, otherwise }) => seed !== null || otherwise.length > 0)).toEqual([]);
    expect(verdicts).toHaveLength(tasks.length);
  });

  it('passes the seeds that were tried instead', { timeout: TIMEOUT_MS }, async () => {
    expect((await hunted()).flatMap(({ name, unclean }) => unclean.map((one) => ({ name, ...one })))).toEqual(
      [],
    );
  });
});
