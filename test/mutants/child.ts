/**
 * The child process of a mutant: `node --import typescript-loader.mjs child.ts TASKS`, with the mutant in the environment,
 * or none. Simulates the seeds of every task (JSON, `Task[]`) until one fails as it should; prints a line of JSON
 * (`Verdict`) for each. Whatever is thrown besides a failure of the simulation ends the process: that is no catch.
 */
import { simulate } from '../sim/run.ts';
import { SimulationFailure } from '../sim/world.ts';
import { MUTANTS } from './list.ts';
import type { Mutant, Task, Verdict } from './mutant.ts';

/** Other failures that are told. */
const OTHERWISE_MAX = 3;

function reasonOf(seed: number, mutant: Mutant): string | null {
  try {
    simulate(seed, mutant.options ?? {});
    return null;
  } catch (error) {
    if (error instanceof SimulationFailure) return error.reason;
    throw error;
  }
}

function carryOut({ name, from, to }: Task): Verdict {
  const mutant = MUTANTS.find((one) => one.name === name);
  if (mutant === undefined) throw new Error(`there is no mutant "${name}"`);
  const start = performance.now();
  const otherwise: { seed: number; reason: string }[] = [];
  for (let seed = from; seed < to; seed += 1) {
    const reason = reasonOf(seed, mutant);
    if (reason === null) continue;
    const [first = ''] = reason.split('\n');
    if (mutant.caught.test(reason)) {
      return { name, seed, reason: first, otherwise, seeds: seed - from + 1, ms: performance.now() - start };
    }
    if (otherwise.length < OTHERWISE_MAX) otherwise.push({ seed, reason: first });
  }
  return { name, seed: null, reason: '', otherwise, seeds: to - from, ms: performance.now() - start };
}

const tasks: readonly Task[] = JSON.parse(process.argv[2] ?? '[]');
for (const task of tasks) process.stdout.write(`${JSON.stringify(carryOut(task))}\n`);
