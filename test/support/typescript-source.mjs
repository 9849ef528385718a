/**
 * What a TypeScript file is run as outside of vitest: transpiled, and kept in node_modules/.cache by content; and the
 * deliberate bug of this process: RINGKEEP_MUTANT='[{"file", "from", "to"}]' in the environment, `file` relative to the
 * repository, puts `to` in the place of `from` when that file is loaded. For the loader of child processes, the
 * configuration of vitest, and those who start such children.
 * INVARIANT: each `from` is in its file exactly once, or the load fails.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, 'node_modules/.cache/typescript-loader');
/** Part of a cached file's name: to be raised with a change of the compiler's options below. */
const FORMAT = 1;

/** `{file, from, to}` of each place that is changed; without any, the code is as it is. */
const mutant = process.env.RINGKEEP_MUTANT ? JSON.parse(process.env.RINGKEEP_MUTANT) : [];

/** Absolute paths of the files to be changed. */
export const mutated = [...new Set(mutant.map(({ file }) => join(ROOT, file)))];

/** Returns the changed text of the file at this absolute path, by default as the mutant of this process says. */
export function mutate(source, path, patches = mutant) {
  let text = source;
  for (const { file, from, to } of patches) {
    if (join(ROOT, file) !== path) continue;
    const parts = text.split(from);
    if (parts.length !== 2)
      throw new Error(`a mutant must change one place, not ${parts.length - 1}: in ${file}: ${from}`);
    text = parts.join(to);
  }
  return text;
}

/** Returns JavaScript. The compiler takes longest to load: it is not needed where the result is there already. */
export async function transpile(source) {
  const hash = createHash('sha256').update(`${FORMAT}\n${source}`).digest('hex');
  const cached = join(CACHE, `${hash}.mjs`);
  try {
    return await readFile(cached, 'utf8');
  } catch {
    // Made below.
  }
  const { default: ts } = await import('typescript');
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2023,
      verbatimModuleSyntax: true,
    },
  });
  await mkdir(CACHE, { recursive: true });
  // Several processes may make the same one: each puts a whole file in its place.
  const own = `${cached}.${process.pid}.${threadId}`;
  await writeFile(own, outputText);
  await rename(own, cached);
  return outputText;
}
