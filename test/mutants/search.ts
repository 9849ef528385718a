/**
 * Searches for a seed that kills each mutant: `npm run mutants [-- --only NAME] [--seeds 500] [--jobs 2] [--record]`.
 * `--only` takes a part of a name. Prints a table; exits 1 if a mutant survives, or the code as it is fails a seed that was
 * found. The seed that is on record is tried first; `--record` writes those that were found into the lists.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LISTS, MUTANTS } from './list.ts';
import { type Hunted, hunt, type Mutant } from './mutant.ts';

function print(mutant: Mutant, verdict: Hunted): void {
  const { seed, seeds, ms, reason, otherwise, unclean } = verdict;
  const found = seed === null ? 'SURVIVES' : mutant.suite === undefined ? `seed ${seed}` : 'test';
  const rate = `${(seeds / (ms / 1_000)).toFixed(1)}/s`;
  process.stdout.write(`${found.padEnd(9)} ${rate.padStart(7)}  ${mutant.name}\n`);
  if (reason !== '') process.stdout.write(`${' '.repeat(19)}${reason.slice(0, 160)}\n`);
  for (const other of otherwise)
    process.stdout.write(`${' '.repeat(19)}otherwise: seed ${other.seed}: ${other.reason.slice(0, 160)}\n`);
  for (const other of unclean)
    process.stdout.write(`WITHOUT THE MUTANT: seed ${other.seed}: ${other.reason.slice(0, 160)}\n`);
}

/** Puts the seeds into the texts of the lists, behind the names. */
function record(verdicts: readonly Hunted[]): void {
  for (const list of LISTS) {
    const path = join(import.meta.dirname, list);
    let text = readFileSync(path, 'utf8');
    for (const { name, seed } of verdicts) {
      const line = `name: '${name}',\n`;
      const at = text.indexOf(line);
      if (at < 0 || seed === null || seed === 0) continue;
      const behind = at + line.length;
      text = `${text.slice(0, behind)}    seed: ${seed},\n${text.slice(behind).replace(/^ *seed: \d+,\n/, '')}`;
    }
    writeFileSync(path, text);
  }
}

/** One that takes too long, or breaks its child, must not lose what was found of the others. */
async function tried(mutant: Mutant, seeds: number): Promise<Hunted> {
  try {
    return await hunt(mutant, seeds);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { name: mutant.name, seed: null, reason, otherwise: [], unclean: [], seeds: 0, ms: 1 };
  }
}

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '500' },
    jobs: { type: 'string', default: '2' },
    record: { type: 'boolean', default: false },
  },
});
const waiting = MUTANTS.filter(({ name }) => name.includes(values.only));
const verdicts: Hunted[] = [];
const worker = async (): Promise<void> => {
  for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
    const verdict = await tried(mutant, Number(values.seeds));
    print(mutant, verdict);
    verdicts.push(verdict);
  }
};
await Promise.all(Array.from({ length: Number(values.jobs) }, worker));
if (values.record) record(verdicts);
const survivors = verdicts.filter(({ seed }) => seed === null);
process.stdout.write(`${verdicts.length} mutants, ${survivors.length} survive\n`);
const unclean = verdicts.filter((verdict) => verdict.unclean.length > 0);
process.exitCode = verdicts.length === 0 || survivors.length > 0 || unclean.length > 0 ? 1 : 0;
