/**
 * Lets a child process of a test run TypeScript on Node 20: `node --import ./typescript-loader.mjs file.ts`.
 * Types are dropped, not checked (`npm run check` does that). Runs twice: as the `--import`, where it registers itself,
 * and as the registered hooks, in a thread of their own.
 * A deliberate bug (typescript-source.mjs) is put in on the way.
 * INVARIANT: a process with a mutant never ends well unless all of the mutant was in it: a file that was never loaded makes
 * the exit status 1.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { mutate, mutated, transpile } from './typescript-source.mjs';

/** Each set to 1 by the hooks' thread once it has met that file of the mutant. */
let met = new Int32Array(new SharedArrayBuffer(4 * mutated.length));

if (isMainThread) {
  register(import.meta.url, { data: met });
  process.on('exit', () => {
    for (const [at, file] of mutated.entries()) {
      if (Atomics.load(met, at) === 1) continue;
      process.stderr.write(`RINGKEEP_MUTANT: ${file} was never loaded\n`);
      process.exitCode = 1;
    }
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
  const at = mutated.indexOf(path);
  if (at >= 0) Atomics.store(met, at, 1);
  return { format: 'module', source: await transpile(mutate(source, path)), shortCircuit: true };
}
