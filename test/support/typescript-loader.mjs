/**
 * Lets a child process of a test run TypeScript on Node 20: `node --import ./typescript-loader.mjs file.ts`.
 * Types are dropped, not checked (`npm run check` does that). Runs twice: as the `--import`, where it registers itself,
 * and as the registered hooks, in a thread of their own.
 * A deliberate bug (typescript-source.mjs) is put in on the way.
 * INVARIANT: a process with a mutant never ends well unless the mutant was in it: a file that was never loaded makes the
 * exit status 1.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { isMutated, mutant, mutate, transpile } from './typescript-source.mjs';

/** Set to 1 by the hooks' thread once it has met the mutant's file. */
let met = new Int32Array(new SharedArrayBuffer(4));

if (isMainThread) {
  register(import.meta.url, { data: met });
  process.on('exit', () => {
    if (mutant === null || Atomics.load(met, 0) === 1) return;
    process.stderr.write(`RINGKEEP_MUTANT: ${mutant.file} was never loaded\n`);
    process.exitCode = 1;
  });
}

/** Node calls it in the hooks' thread with the `data` of `register`. */
export function initialize(shared) {
  met = shared;
}

/** Node's load hook: transpiles `.ts` files one by one. */
export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const path = fileURLToPath(url);
  const source = await readFile(path, 'utf8');
  if (!isMutated(path)) return { format: 'module', source: await transpile(source), shortCircuit: true };
  Atomics.store(met, 0, 1);
  return { format: 'module', source: await transpile(mutate(source)), shortCircuit: true };
}
