/**
 * What a mutant is, and how one is tried: in a child process of its own, where the loader (test/support/typescript-source.mjs)
 * changes one place of one file, or a few. The checks run there as well, so a mutant must not be in a file that they rely on for
 * what it breaks. Decides nothing about which mutants there are: list.ts does.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { SimulationOptions } from '../sim/run.ts';
import { mutate, transpile } from '../support/typescript-source.mjs';

/** The root of the repository. */
export const ROOT = join(import.meta.dirname, '../..');
const LOADER = pathToFileURL(join(ROOT, 'test/support/typescript-loader.mjs')).href;
const CHILD = join(import.meta.dirname, 'child.ts');
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');
/** A mutant that makes no progress, not even of virtual time, is ended after this. */
const CHILD_MS = 240_000;
/** Seeds per child process, so that one that makes no progress is found. */
const SEEDS_PER_CHILD = 100;

/** A change of one place: `from` is in the file (relative to the repository) exactly once. */
export interface Patch {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** All places that a mutant changes. */
export function patchesOf({ file, from, to, also = [] }: Mutant): Patch[] {
  return [{ file, from, to }, ...also];
}

/** The texts of the files that a mutant changes. */
async function changedTexts(mutant: Mutant): Promise<string[]> {
  const patches = patchesOf(mutant);
  const paths = new Set(patches.map(({ file }) => join(ROOT, file)));
  return Promise.all([...paths].map(async (path) => mutate(await readFile(path, 'utf8'), path, patches)));
}

/** A deliberate bug and the check that catches it. */
export interface Mutant {
  readonly name: string;
  /** The invariant of DESIGN section 5 that it breaks, or the promise of docs/GUARANTEES.md. */
  readonly breaks: string;
  /** Relative to the repository. */
  readonly file: string;
  /** Is in the file exactly once. */
  readonly from: string;
  readonly to: string;
  /** Further places, where a second rule would make up for the one that is broken. */
  readonly also?: readonly Patch[];
  /** Says that the right check has caught it: matches the reason of the failure, or the title of a failed test. */
  readonly caught: RegExp;
  /** A seed with which it is caught; 0: none is known. */
  readonly seed?: number;
  /** Where the plain nemesis does not bring it out soon. */
  readonly options?: SimulationOptions;
  /** What the simulation does not run is caught by this file of unit tests instead. */
  readonly suite?: string;
}

/** Seeds that a child runs: `from <= seed < to`, until the mutant of this name is caught. */
export interface Task {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** How a task ended. */
export interface Verdict {
  readonly name: string;
  /** The seed that failed as it should; null: none. */
  readonly seed: number | null;
  readonly reason: string;
  /** Failures by another check than the one that is meant, by their first line. */
  readonly otherwise: readonly { readonly seed: number; readonly reason: string }[];
  readonly seeds: number;
  readonly ms: number;
}

/** How the search for a seed ended. */
export interface Hunted extends Verdict {
  /** Seeds that would have killed the mutant, but that the code as it is fails as well: with these reasons. */
  readonly unclean: readonly { readonly seed: number; readonly reason: string }[];
}

function run(args: readonly string[], mutant: Mutant | null): Promise<{ status: number; output: string }> {
  // Nothing of the vitest that this may run in.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
  if (mutant !== null) {
    env.RINGKEEP_MUTANT = JSON.stringify(patchesOf(mutant));
  }
  const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), CHILD_MS);
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      if (signal === null) resolve({ status: status ?? 1, output: `${output}${status === 0 ? '' : errors}` });
      else reject(new Error(`${mutant?.name ?? 'without a mutant'}: ended by ${signal}\n${errors}`));
    });
  });
}

/** Runs tasks one after the other in one child process, all with the same mutant, or with none. */
export async function runTasks(tasks: readonly Task[], mutant: Mutant | null): Promise<Verdict[]> {
  // Made here, where the compiler is loaded once for all children.
  if (mutant !== null) for (const text of await changedTexts(mutant)) await transpile(text);
  const { status, output } = await run(['--import', LOADER, CHILD, JSON.stringify(tasks)], mutant);
  if (status === 0)
    return output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  throw new Error(`${mutant?.name ?? 'without a mutant'}: the child ended with ${status}\n${output}`);
}

/** Runs a mutant's unit tests. Returns the titles of those that failed. */
export async function runSuite(mutant: Mutant): Promise<string[]> {
  const args = [
    VITEST,
    'run',
    '--project',
    'unit',
    mutant.suite!,
    '-t',
    mutant.caught.source,
    '--reporter=json',
  ];
  const { output } = await run(args, mutant);
  const report = JSON.parse(output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1)) as {
    testResults: { message: string; assertionResults: { status: string; fullName: string }[] }[];
  };
  const [file] = report.testResults;
  if (file === undefined || file.assertionResults.length === 0) throw new Error(`${mutant.name}: ${output}`);
  return file.assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName);
}

/** How the code as it is fails a seed with the options of a mutant; null: it passes. */
async function cleanFailure({ name }: Mutant, seed: number): Promise<string | null> {
  const [verdict] = await runTasks([{ name, from: seed, to: seed + 1 }], null);
  return verdict!.seed === null ? (verdict!.otherwise[0]?.reason ?? null) : verdict!.reason;
}

/**
 * Tries a mutant: its file of unit tests, or the seed on record and then the seeds from 1 up to `seeds`, until one kills it.
 * Another seed than the one on record counts only if the code as it is passes it.
 */
export async function hunt(mutant: Mutant, seeds: number): Promise<Hunted> {
  const { name, seed: known = 0 } = mutant;
  if (mutant.suite !== undefined) {
    const start = performance.now();
    const failed = await runSuite(mutant);
    const right = failed.find((title) => mutant.caught.test(title));
    const otherwise = right === undefined ? failed.map((reason) => ({ seed: 0, reason })) : [];
    const ms = performance.now() - start;
    const seed = right === undefined ? null : 0;
    return { name, seed, reason: right ?? '', otherwise, unclean: [], seeds: 1, ms };
  }
  let total: Hunted = { name, seed: null, reason: '', otherwise: [], unclean: [], seeds: 0, ms: 0 };
  const carryOut = async (from: number, to: number): Promise<void> => {
    const [part] = await runTasks([{ name, from, to }], mutant);
    const { seed, reason } = part!;
    const otherwise = [...total.otherwise, ...part!.otherwise].slice(0, 3);
    const [seedsTried, ms] = [total.seeds + part!.seeds, total.ms + part!.ms];
    total = { ...total, seed, reason, otherwise, seeds: seedsTried, ms };
    if (seed === null || seed === known) return;
    const failure = await cleanFailure(mutant, seed);
    if (failure === null) return;
    const unclean = [...total.unclean, { seed, reason: failure }];
    total = { ...total, seed: null, reason: '', unclean };
    if (seed + 1 < to) await carryOut(seed + 1, to);
  };
  if (known > 0) await carryOut(known, known + 1);
  for (let from = 1; from <= seeds && total.seed === null; from += SEEDS_PER_CHILD)
    await carryOut(from, Math.min(seeds + 1, from + SEEDS_PER_CHILD));
  return total;
}

/** Simulations that bring out faster what the plain nemesis brings out rarely. */
/** Nodes neither come nor go. */
export const NO_MEMBERS = { join: 0, leave: 0, factor: 0, rebalance: 0 };
export const RESTLESS: SimulationOptions = { faultEveryMs: 60, shape: { nodes: 3 } };
export const SPLITS: SimulationOptions = {
  faultEveryMs: 80,
  shape: { nodes: 3, partitions: 1, clients: 3, datagrams: false },
  faults: { split: 20, crash: 4, pause: 4, wipe: 0, damage: 0, store: 0, drain: 0, move: 0 },
};
export const ISOLATION: SimulationOptions = {
  ...SPLITS,
  faultEveryMs: 300,
  faultMs: 6_000,
  faults: { ...SPLITS.faults, isolate: 20, split: 0 },
};
export const ROUTED: SimulationOptions = {
  faultEveryMs: 80,
  shape: { nodes: 3, clients: 3, routedClients: 3 },
  faults: { router: 10, split: 10, loss: 6, pause: 6 },
};
export const REPAIRS: SimulationOptions = {
  faultEveryMs: 120,
  shape: { nodes: 4 },
  faults: { wipe: 20, damage: 4, move: 10 },
};
export const LOSSY: SimulationOptions = {
  faultEveryMs: 150,
  faultMs: 6_000,
  shape: { nodes: 3, partitions: 1, clients: 3, datagrams: true },
  faults: { split: 8, isolate: 10, loss: 20, crash: 4, wipe: 0, damage: 0, store: 0, drain: 0, move: 0 },
};
/** Changes of voters that the controllers take back although the new voters had a leader that has committed. */
export const STRANDED: SimulationOptions = {
  faultEveryMs: 250,
  faultMs: 6_000,
  shape: { nodes: 4, replicationFactor: 3, partitions: 1 },
  faults: { strand: 40, wipe: 0, damage: 0, diskFull: 0, drain: 0 },
};
/** Changes of voters that the topology store forgets, and controllers that start again and again. */
export const RESTORED: SimulationOptions = {
  faultEveryMs: 120,
  faultMs: 6_000,
  shape: { nodes: 5, replicationFactor: 3, partitions: 2, controllers: 2 },
  faults: {
    restored: 14,
    controller: 20,
    move: 20,
    strand: 20,
    split: 10,
    isolate: 6,
    damage: 0,
    diskFull: 0,
  },
};
export const COPIES: SimulationOptions = {
  faultEveryMs: 120,
  shape: { nodes: 3 },
  faults: { oldCopy: 20, crash: 8, controller: 8, wipe: 0, damage: 0 },
};
