/**
 * That a chaos run catches what it is there for: a copy of the build with a deliberate bug in it (mutant-list.ts) is run by its own
 * `ringkeep chaos`, which has to call the guarantee broken that the bug breaks, and to name a key that the bug hits.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { checkHistory } from '../../src/check/check.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { runProgram } from '../support/command.ts';
import { mutate } from '../support/typescript-source.mjs';
import { CHAOS_MUTANTS, type ChaosMutant, type Patch } from './mutant-list.ts';

const ROOT = join(import.meta.dirname, '../..');
const TIMEOUT_MS = 180_000;
const SEED = '1';
const GUARANTEES = [
  'G1',
  'G2',
  'G3',
  'G4',
  'G5',
  'G6',
  'G7',
  'G8',
  'G9',
  'G10',
  'session',
  'stale',
  'recovery',
];
/** Operations of an illegal history that was made small. */
const SMALL = 20;

function patchesOf({ file, from, to, also = [] }: ChaosMutant): Patch[] {
  return [{ file, from, to }, ...also];
}

/** A file that a mutant changes, as it is and as it becomes. */
interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

async function changesOf(mutant: ChaosMutant): Promise<Change[]> {
  const patches = patchesOf(mutant);
  const files = new Set(patches.map(({ file }) => file));
  return Promise.all(
    [...files].map(async (file) => {
      const path = join(ROOT, file);
      const from = await readFile(path, 'utf8');
      return { file, from, to: mutate(from, path, patches) };
    }),
  );
}

/** As the build has it. One file by itself does not say that it is an ES module. */
function compile(source: string, fileName: string): string {
  const path = join(ROOT, 'tsconfig.build.json');
  const { config } = ts.readConfigFile(path, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const modules = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
  const compilerOptions = { ...options, ...modules };
  return ts.transpileModule(source, { fileName, compilerOptions }).outputText;
}

/** Makes a copy of the build in a folder of its own; returns its program. */
async function buildOf(mutant: ChaosMutant | null): Promise<{ program: string; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'ringkeep-mutant-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const part of ['bin', 'dist', 'proto', 'package.json'])
    await cp(join(ROOT, part), join(folder, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  for (const { file, from, to } of mutant === null ? [] : await changesOf(mutant)) {
    const built = join(folder, file.replace(/^src/, 'dist').replace(/\.ts$/, '.js'));
    // Nothing but the mutant is changed.
    expect(compile(from, file), `${file} is not built`).toBe(await readFile(built, 'utf8'));
    await writeFile(built, compile(to, file));
  }
  return { program: join(folder, 'bin/ringkeep.js'), folder };
}

/** Runs the chaos of a build. */
async function chaos(
  mutant: ChaosMutant | null,
  faults: string,
  rounds: number,
): Promise<{ status: number | null; summary: ChaosSummary; page: string; stderr: string }> {
  const { program, folder } = await buildOf(mutant);
  const html = join(folder, 'chaos.html');
  const limits = ['--rounds', `${rounds}`, '--seconds', '120', '--seed', SEED];
  const args = [program, 'chaos', '--json', '--faults', faults, ...limits, '--html', html];
  const { status, stdout, stderr } = await runProgram(process.execPath, args, {
    timeoutMs: TIMEOUT_MS,
    // Logs of what was broken are kept.
    env: { ...process.env, TMPDIR: folder },
  });
  expect(stdout, stderr).not.toBe('');
  return { status, summary: JSON.parse(stdout) as ChaosSummary, page: await readFile(html, 'utf8'), stderr };
}

describe('every mutant', () => {
  it('breaks another promise, and none is without one', () => {
    expect(CHAOS_MUTANTS.map(({ guarantee }) => guarantee)).toEqual(GUARANTEES);
  });

  it('changes one place of what is tested with each of its patches, and nothing of what tests it', async () => {
    for (const mutant of CHAOS_MUTANTS) {
      await changesOf(mutant);
      for (const { file } of patchesOf(mutant))
        expect(file).toMatch(
          /^src\/(node|router|client|common\/wire\/(server-session|session-requests)\.ts$)/,
        );
    }
  });
});

describe('a chaos run finds', () => {
  for (const mutant of CHAOS_MUTANTS) {
    it(`${mutant.guarantee}: ${mutant.name}`, { timeout: TIMEOUT_MS }, async () => {
      const { status, summary, page, stderr } = await chaos(mutant, mutant.faults, mutant.rounds);
      const broken = summary.rulings.filter(({ result }) => result === 'broken');
      const told = `${broken.map(({ guarantee, reason }) => `${guarantee}: ${reason}`).join('\n')}\n${stderr}`;
      expect(summary.verdict, told).toBe('broken');
      expect(status, told).toBe(1);
      const ruling = broken.find(({ guarantee }) => guarantee === mutant.guarantee);
      expect(ruling, told).toBeDefined();
      const breach = ruling!.breaches.find(({ key }) => key !== null && mutant.key.test(key));
      expect(breach, `${JSON.stringify(ruling!.breaches.slice(0, 20))}\n${told}`).toBeDefined();
      expect(page).toContain(ruling!.breaches[0]!.key ?? ruling!.breaches[0]!.text);
      if (mutant.guarantee === 'G10')
        expect(breach!.text).toContain(
          `on partition ${partitionOf(Buffer.from(breach!.key!), summary.partitions)} `,
        );
      if (mutant.guarantee !== 'G2') return;
      const shown = summary.illegal.find(({ key }) => mutant.key.test(key))!;
      expect(shown, told).toBeDefined();
      expect(shown.events.length).toBeLessThanOrEqual(SMALL);
      expect(shown.events.every(({ key }) => key === shown.key)).toBe(true);
      expect((await checkHistory(shown.events)).result).toBe('illegal');
      expect(page).toContain('Illegal histories');
    });
  }
});

it('finds nothing in the build as it is, under the same faults', { timeout: 2 * TIMEOUT_MS }, async () => {
  const kinds = [...new Set(CHAOS_MUTANTS.map(({ faults }) => faults))];
  const { status, summary, stderr } = await chaos(null, kinds.join(','), kinds.length);
  const broken = summary.rulings.filter(({ result }) => result === 'broken');
  expect(broken, stderr).toEqual([]);
  expect(status).toBe(0);
  expect(summary.kinds.map(({ kind }) => kind)).toEqual(kinds.sort());
  for (const { guarantee, result, reason } of summary.rulings)
    expect(result, `${guarantee}: ${reason}`).toBe('held');
});
