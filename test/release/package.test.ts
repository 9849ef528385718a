/**
 * The package as users get it: packed, installed from the tarball into an empty project, run and imported from there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runProgram } from '../support/command.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** For the slowest of shared machines. */
const INSTALL_MS = 300_000;
const STOP_MS = 20_000;

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

let directory: string;
let program: string;
let packed: Packed;

/** Runs a program in the user's project to its end, which must be status 0. Resolves with its output. */
async function run(command: string, args: readonly string[], cwd = directory): Promise<string> {
  const { status, stdout, stderr } = await runProgram(command, args, { cwd, timeoutMs: INSTALL_MS });
  expect(status, `${command} ${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ringkeep-package-'));
  program = join(directory, 'node_modules/.bin/ringkeep');
  const output = await run('npm', ['pack', '--json', '--silent', '--pack-destination', directory], ROOT);
  [packed] = JSON.parse(output.slice(output.indexOf('[\n'))) as [Packed];
  writeFileSync(join(directory, 'package.json'), '{ "name": "user", "private": true, "type": "module" }\n');
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--omit=dev'];
  await run('npm', ['install', ...flags, join(directory, packed.filename)]);
}, 2 * INSTALL_MS);

afterAll(() => rmSync(directory, { recursive: true, force: true }), INSTALL_MS);

describe('the packed package', () => {
  it('holds program, types, schema, documents and deployment files, and neither tests nor sources', () => {
    const paths = packed.files.map(({ path }) => path);
    const needed = [
      ...['LICENSE', 'README.md', 'CHANGELOG.md', 'bin/ringkeep.js', 'bin/package.json'],
      ...['dist/cli/main.js', 'dist/client/index.js', 'dist/client/index.d.ts', 'proto/ringkeep.proto'],
      ...['dist/bench/main.js', 'dist/bench/load/client-process.js', 'docs/BENCHMARKS.md'],
      ...['docs/GUARANTEES.md', 'docs/ERRORS.md', 'deploy/Dockerfile', 'deploy/healthcheck.mjs'],
    ];
    expect(paths).toEqual(expect.arrayContaining(needed));
    const folders = ['bin', 'deploy', 'dist', 'docs', 'proto'];
    const files = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
    expect(new Set(paths.map((path) => path.split('/')[0]))).toEqual(new Set([...folders, ...files]));
    expect(paths.filter((path) => /\.test\.|\.tsbuildinfo$/.test(path))).toEqual([]);
  });

  it('runs as `npx ringkeep` where it is installed', { timeout: 120_000 }, async () => {
    expect(await run('npx', ['--no-install', '--', 'ringkeep', '--help'])).toContain('ringkeep up');
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(await run(program, ['--version'])).toBe(`${version}\n`);
  });

  it('has types that a strict project can use without flags', { timeout: 120_000 }, async () => {
    const source = [
      "import { connect, type Receipt, RingkeepError } from 'ringkeep';",
      "const db = connect('ringkeep://127.0.0.1:7400');",
      "export const receipt: Promise<Receipt> = db.put('a', 1, { ack: 'all' });",
      "export const typed: Promise<string | undefined> = db.keyspace<string>('k').get('a');",
      "db.on('disconnect', ({ address }) => console.log(address.toUpperCase()));",
      'export const disposable: AsyncDisposable = db;',
      "export const outcome = (error: RingkeepError): 'applied' | 'not_applied' | 'unknown' => error.outcome;",
      '// @ts-expect-error there is no such level',
      "void db.put('a', 1, { ack: 'some' });",
    ];
    writeFileSync(join(directory, 'typed.ts'), `${source.join('\n')}\n`);
    const compiler = join(ROOT, 'node_modules/.bin/tsc');
    // As a user has it: neither flags nor type roots that bring Node's types, and libraries checked too.
    const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target'];
    await run(compiler, [...strict, 'es2022', 'typed.ts']);
    await run(compiler, [...strict, 'es2023', '--exactOptionalPropertyTypes', 'typed.ts']);
  });
});

describe('a cluster of the installed package', () => {
  let up: ChildProcess;
  let url: string;

  beforeAll(async () => {
    const flags = ['--ephemeral', '--json', '--port', '0', '--log-level', 'warn'];
    up = spawn(program, ['up', ...flags], { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface({ input: up.stdout! }), 'line')) as [string];
    const ready = JSON.parse(line) as { event: string; url: string };
    expect(ready.event).toBe('ready');
    url = ready.url;
  }, 180_000);

  afterAll(async () => {
    const ended = once(up, 'exit');
    up.kill('SIGINT');
    const late = setTimeout(() => up.kill('SIGKILL'), STOP_MS);
    expect(await ended).toEqual([0, null]);
    clearTimeout(late);
  }, 60_000);

  it('keeps what the command line writes', { timeout: 60_000 }, async () => {
    await run(program, ['put', 'user:1', '{"name":"Ada"}', '--url', url]);
    expect(await run(program, ['get', 'user:1', '--url', url])).toBe('{"name":"Ada"}\n');
  });

  it('measures itself', { timeout: 60_000 }, async () => {
    const flags = [
      '--url',
      url,
      '--recordcount',
      '100',
      '--warmup',
      '0',
      '--maxexecutiontime',
      '2',
      '--json',
    ];
    const measured = JSON.parse(await run(program, ['bench', ...flags])) as {
      commit: unknown;
      steps: { merged: { counts: { succeeded: number } } }[];
    };
    expect(measured.commit).toBeNull();
    expect(measured.steps[0]!.merged.counts.succeeded).toBeGreaterThan(0);
  });

  it('serves the SDK imported by its name', { timeout: 60_000 }, async () => {
    const source = [
      "import { connect, RingkeepError } from 'ringkeep';",
      'const db = connect(process.argv[2]);',
      "const { version, durability } = await db.put('user:2', { name: 'Alan' });",
      "const value = await db.get('user:2');",
      "const refused = await db.put('', 1).catch((error) => error instanceof RingkeepError && error.code);",
      "await db.delete('user:2');",
      "const absent = (await db.get('user:2')) === undefined;",
      'await db.close();',
      'console.log(JSON.stringify({ version, durability, value, refused, absent }));',
    ];
    writeFileSync(join(directory, 'use.mjs'), `${source.join('\n')}\n`);
    expect(JSON.parse(await run(process.execPath, ['use.mjs', url]))).toEqual({
      version: expect.any(Number),
      durability: 'quorum',
      value: { name: 'Alan' },
      refused: 'KEY_TOO_LARGE',
      absent: true,
    });
  });
});
