/** Every example in the client's docstrings and in the README runs, as written, against a real cluster. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { startCluster } from '../support/processes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLIENT = join(ROOT, 'src/client');
/** What an example may use without saying where it comes from. */
const PRELUDE = `import { connect } from 'ringkeep';
const ada = { name: 'Ada' };
const alan = { name: 'Alan' };
`;

interface Example {
  readonly name: string;
  readonly code: string;
}

/** Code behind `@example` in the docstrings of a file, up to the next tag or the end of the comment. */
function examplesOf(file: string): Example[] {
  const text = readFileSync(join(CLIENT, file), 'utf8');
  return [...text.matchAll(/@example\n((?:[ \t]*\*(?! @|\/).*\n)+)/g)].map((match) => {
    const line = text.slice(0, match.index).split('\n').length;
    const code = match[1]!.replaceAll(/^[ \t]*\* ?/gm, '');
    return { name: `${file}:${line}`, code };
  });
}

function readmeExamples(): Example[] {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  return [...text.matchAll(/```(?:js|ts)\n([\s\S]*?)```/g)].map((match, at) => ({
    name: `README.md, example ${at + 1}`,
    code: match[1]!,
  }));
}

/** Makes a program of an example: opens and closes the client where the example does not, points it at `url`. */
function programOf({ code }: Example, url: string): string {
  const opens = /\bconnect\(/.test(code);
  const closes = /\bdb\.close\(/.test(code);
  const source = [
    code.includes("from 'ringkeep'") ? '' : PRELUDE,
    opens ? '' : `const db = connect('${url}');`,
    // A block of its own, so that an example may use the prelude's names for its results. Imports stand outside.
    code.includes('import ') ? '' : '{',
    code.replaceAll('ringkeep://127.0.0.1:7400', url).replaceAll(/\['10\.0\.0\.1:7400'.*?\]/g, `['${url}']`),
    opens && !closes ? 'await db.close();' : '',
    code.includes('import ') ? '' : '}',
    opens || closes ? '' : 'await db.close();',
  ].join('\n');
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  });
  return outputText;
}

const examples = [
  ...readdirSync(CLIENT)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .flatMap(examplesOf),
  ...readmeExamples(),
];

/** Runs a program; returns what it wrote to standard error, or why it could not run. Empty: all went well. */
async function complaintOf(path: string): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, [path], { timeout: 60_000 })).stderr;
  } catch (error) {
    return String(error);
  }
}

it('the examples of docstrings and README run as written', async () => {
  expect(examples.length).toBeGreaterThan(8);
  const cluster = await startCluster({ partitions: 4 });
  // Inside the package, so that the package's own name resolves to what was built.
  const directory = mkdtempSync(join(ROOT, 'dist', 'examples-'));
  try {
    for (const [at, example] of examples.entries()) {
      const path = join(directory, `example-${at}.mjs`);
      writeFileSync(path, programOf(example, cluster.url));
      expect(await complaintOf(path), example.name).toBe('');
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
