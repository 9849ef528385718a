/**
 * Holds the documents to the repository: links resolve, files and tests that are named exist, command lines use commands
 * and flags that there are, numbers beside the name of a limit are that limit, and no text names a path of somebody's
 * machine. Reads sources only, so that it needs no build. Prints every breach; exits 1.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const problems = [];
const say = (file, line, text) => problems.push(`${file}:${line}: ${text}`);
const read = (file) => readFileSync(join(ROOT, file), 'utf8');

/** Files of the repository, new ones included, ignored ones not. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
  cwd: ROOT,
})
  .toString()
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)));
const documents = files.filter((file) => file.endsWith('.md'));

/** Calls `each(text, line)` for every line outside of fenced code. */
function eachProseLine(text, each) {
  let fenced = false;
  for (const [index, line] of text.split('\n').entries()) {
    if (/^\s*```/.test(line)) fenced = !fenced;
    else if (!fenced) each(line, index + 1);
  }
}

/** The anchors of a document's headings, as GitHub makes them. */
function anchors(file) {
  const found = new Set();
  eachProseLine(read(file), (line) => {
    const heading = /^#{1,6} (.*)$/.exec(line)?.[1];
    if (heading === undefined) return;
    const plain = heading.replace(/`|\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    found.add(plain.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));
  });
  return found;
}

function checkLinks(file, text) {
  eachProseLine(text, (line, number) => {
    for (const [, target] of line.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split('#');
      const linked = path === '' ? file : normalize(join(dirname(file), path));
      if (!existsSync(join(ROOT, linked))) say(file, number, `${target} does not exist`);
      else if (anchor && !anchors(linked).has(anchor))
        say(file, number, `${linked} has no heading #${anchor}`);
    }
  });
}

const IN_REPOSITORY = /^(?:src|test|docs|deploy|scripts|proto|bin|bench|\.ci)\/[\w./-]*$/;

/** Paths in backticks exist; a title in quotes behind the path of a test, or of a list of mutants, is one of its titles. */
function checkNamedFiles(file, text) {
  eachProseLine(text, (line, number) => {
    for (const [, path] of line.matchAll(/`([^`\s]+)`/g)) {
      if (IN_REPOSITORY.test(path) && !existsSync(join(ROOT, path)))
        say(file, number, `${path} does not exist`);
    }
    for (const [, path, title] of line.matchAll(
      /`([^`\s]+\.test\.ts|test\/mutants\/[^`\s]+)`,? "([^"]+)"/g,
    )) {
      if (existsSync(join(ROOT, path)) && !read(path).includes(title)) {
        say(file, number, `${path} has no test "${title}"`);
      }
    }
  });
}

const cliSources = files
  .filter((file) => /^(?:src\/cli|bench)\/.*(?<!\.test)\.ts$/.test(file))
  .map(read)
  .join('\n');
const flags = new Set(['--help', '--version']);
for (const [, flag] of cliSources.matchAll(/(?:ption\(\s*|')'?(--[a-z][a-z-]*)/g)) flags.add(flag);
const commands = new Set(['help']);
for (const [, name] of cliSources.matchAll(/\.(?:command|alias)\('([a-z-]+)'\)/g)) commands.add(name);

function checkCommandLine(file, number, command, rest) {
  if (command !== undefined && !commands.has(command))
    say(file, number, `there is no command "ringkeep ${command}"`);
  for (const [, flag] of rest.matchAll(/(?:^|\s)(--[a-z][a-z-]*)/g)) {
    if (!flags.has(flag)) say(file, number, `there is no flag ${flag}`);
  }
}

/** Command lines in documents' code and in deploy/. */
function checkCommandLines(file, text) {
  const lines = text.replaceAll('\\\n', '  ').split('\n');
  let fenced = false;
  for (const [index, line] of lines.entries()) {
    if (/^\s*```/.test(line)) fenced = !fenced;
    const code =
      fenced || !file.endsWith('.md') ? [line] : [...line.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
    for (const piece of code) {
      const found = /(?:^|\s|\|)(?:npx )?ringkeep (?:(?!-)([a-z][a-z-]*)\b)?([^#|]*)/.exec(
        piece.replace(/^\s*#/, ''),
      );
      if (found !== null && !/install|-t ringkeep|useradd/.test(piece)) {
        checkCommandLine(file, index + 1, found[1], ` ${found[2]}`);
      } else if (/^\s+- --|_ARGS=/.test(piece)) {
        checkCommandLine(file, index + 1, undefined, piece.replace('_ARGS=', ' '));
      }
    }
  }
}

const UNITS = { ms: 1, s: 1_000, minutes: 60_000, days: 86_400_000, B: 1, KiB: 1024, MiB: 1024 ** 2 };
const limits = read('src/common/limits.ts');

function limitOf(name) {
  const expression = new RegExp(`^export const ${name} = ([\\d_* ]+);`, 'm').exec(limits)?.[1];
  return expression?.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1);
}

/** `150 ms (LIMIT_NAME)` or a count, the name in backticks: the limit exists and has that value. */
function checkLimits(file, text) {
  eachProseLine(text, (line, number) => {
    for (const [, amount, unit, name] of line.matchAll(
      /([\d,.]+)(?: (ms|s|minutes|days|B|KiB|MiB))? \(`([A-Z][A-Z_]+)`\)/g,
    )) {
      const value = limitOf(name);
      if (value === undefined) say(file, number, `limits.ts has no ${name}`);
      else if (value !== Number(amount.replaceAll(',', '')) * (UNITS[unit] ?? 1)) {
        say(file, number, `${name} is ${value}, not ${amount} ${unit ?? ''}`);
      }
    }
  });
}

/** The retried column of docs/ERRORS.md is what the retry policy says. The codes themselves are held by a unit test. */
function checkRetried() {
  const policy = read('src/client/retry-policy.ts');
  const retried = new Set(
    [...policy.matchAll(/\['([A-Z_]+)', '(?:redirect|backoff)'\]/g)].map((match) => match[1]),
  );
  for (const [index, line] of read('docs/ERRORS.md').split('\n').entries()) {
    const row = /^\| `([A-Z_]+)` \|.*\| (yes)? *\|$/.exec(line);
    if (row !== null && retried.has(row[1]) !== (row[2] === 'yes')) {
      say(
        'docs/ERRORS.md',
        index + 1,
        `${row[1]} is ${retried.has(row[1]) ? '' : 'not '}retried by the client`,
      );
    }
  }
}

/** Metrics named in full, and those in the tables of ARCHITECTURE.md, are registered somewhere. */
function checkMetrics(file, text) {
  const sources = ['src/node/shell/node-metrics.ts', 'src/router/router-metrics.ts'].map(read).join('\n');
  const known = (name) => sources.includes(`'${name}'`) || sources.includes(`'ringkeep_node_${name}'`);
  for (const [index, line] of text.split('\n').entries()) {
    for (const [, name] of line.matchAll(/ringkeep_(?:node|router)_([a-z\d_]+[a-z])/g)) {
      if (!known(name)) say(file, index + 1, `there is no metric ${name}`);
    }
  }
}

const OF_A_MACHINE = /(?<![\w.~}/-])\/(?:home|Users|root|work|workspace)\/[\w.-]+|[A-Z]:\\Users\\/;

function checkMachinePaths(file) {
  if (/\.(?:png|ico|tgz|bin|gz)$/.test(file)) return;
  for (const [index, line] of read(file).split('\n').entries()) {
    const found = OF_A_MACHINE.exec(line)?.[0];
    if (found !== undefined) say(file, index + 1, `${found} is a path of somebody's machine`);
  }
}

for (const file of documents) {
  const text = read(file);
  checkLinks(file, text);
  checkNamedFiles(file, text);
  checkCommandLines(file, text);
  checkLimits(file, text);
  checkMetrics(file, text);
}
for (const file of files.filter((name) => /^deploy\/.*(?:yaml|service|Dockerfile)$/.test(name))) {
  checkCommandLines(file, read(file));
}
checkRetried();
for (const file of files) if (file !== 'package-lock.json') checkMachinePaths(file);

for (const problem of problems) console.error(problem);
console.error(
  problems.length === 0
    ? `docs: ${documents.length} documents, no breach`
    : `docs: ${problems.length} breaches`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
