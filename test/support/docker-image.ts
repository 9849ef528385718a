/**
 * The image of deploy/Dockerfile, built as a user builds it. Where its base image cannot be pulled, one is made of the Node.js that
 * runs this, npm, a shell, the few tools that the build stage calls, and the libraries of all of them, under the name that the
 * Dockerfile asks for.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { ContainerRuntimeClient } from 'testcontainers';

type Engine = ContainerRuntimeClient['container']['dockerode'];

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DOCKERFILE = 'deploy/Dockerfile';
/** Called by the build stage, by npm's scripts, or by a `#!` line. */
const TOOLS = ['sh', 'env', 'rm', 'mkdir', 'mv', 'ln', 'chmod'];
/** The rest of the C library, which native parts of packages may name. */
const LIBRARIES = /^lib(rt|dl|pthread|resolv|util|anl|m|nss_dns|nss_files)\.so\.\d+$/;
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
const PULL_MS = 60_000;

/** Runs a program; returns what it prints. */
function output(program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

function onPath(program: string): string {
  const found = (process.env.PATH ?? '')
    .split(':')
    .map((folder) => join(folder, program))
    .find(existsSync);
  if (found === undefined) throw new Error(`${program} is not on the PATH`);
  return realpathSync(found);
}

/** Copies what a base image needs into `root`. */
function layOutBase(root: string): void {
  const put = (from: string, to: string): void => {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    cpSync(from, join(root, to), { recursive: true, dereference: true, preserveTimestamps: true });
  };
  put(process.execPath, 'usr/local/bin/node');
  // Npm's own folder is two above the file behind its command.
  put(dirname(dirname(onPath('npm'))), 'usr/local/lib/node_modules/npm');
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
  const programs = TOOLS.map((tool) => ({ tool, path: onPath(tool) }));
  for (const { tool, path } of programs) put(path, `usr/bin/${tool}`);
  symlinkSync('usr/bin', join(root, 'bin'));
  for (const path of [process.execPath, ...programs.map(({ path }) => path)]) {
    for (const [library] of output('ldd', [path]).matchAll(/\/[^\s:]+\.so[^\s:]*/g)) {
      put(realpathSync(library), library);
      if (!library.endsWith('/libc.so.6')) continue;
      for (const name of readdirSync(dirname(library)))
        if (LIBRARIES.test(name)) put(join(dirname(library), name), join(dirname(library), name));
    }
  }
  if (existsSync(CERTIFICATES)) put(CERTIFICATES, CERTIFICATES);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  for (const folder of ['root', 'tmp', 'var/lib']) mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
}

/** Sends a folder as a tar file to `take`. */
async function asTar<T>(folder: string, take: (tar: Readable) => Promise<T>): Promise<T> {
  const tar = spawn('tar', ['--owner=0', '--group=0', '-C', folder, '-c', '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return take(tar.stdout);
}

/** Waits for the end of what an engine does, which it tells as it goes. Rejects with its last words if it fails. */
function finished(engine: Engine, progress: NodeJS.ReadableStream): Promise<void> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    engine.modem.followProgress(
      progress,
      (error) => (error === null ? resolve() : reject(new Error(`${error.message}\n${said.join('')}`))),
      ({ stream = '' }: { stream?: string }) => {
        said.push(stream);
        if (said.length > 60) said.shift();
      },
    );
  });
}

async function pull(engine: Engine, image: string): Promise<void> {
  await finished(engine, await engine.pull(image, { abortSignal: AbortSignal.timeout(PULL_MS) }));
}

/** Sees to the Dockerfile's base image. Returns where it comes from. */
async function ensureBase(engine: Engine, image: string): Promise<'present' | 'pulled' | 'made here'> {
  const known = await engine.listImages({ filters: { reference: [image] } });
  if (known.length > 0) return 'present';
  try {
    await pull(engine, image);
    return 'pulled';
  } catch {
    const root = mkdtempSync(join(tmpdir(), 'ringkeep-base-'));
    try {
      layOutBase(root);
      const [repo, tag] = image.split(':');
      const changes = existsSync(CERTIFICATES) ? `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}` : '';
      await finished(engine, await asTar(root, (tar) => engine.importImage(tar, { repo, tag, changes })));
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    return 'made here';
  }
}

/** Copies what Dockerfile.dockerignore lets through into `folder`. */
function layOutContext(folder: string): void {
  const lines = readFileSync(join(ROOT, `${DOCKERFILE}.dockerignore`), 'utf8').split('\n');
  const tests = lines.includes('**/*.test.ts');
  for (const line of lines) {
    if (!line.startsWith('!')) continue;
    cpSync(join(ROOT, line.slice(1)), join(folder, line.slice(1)), {
      recursive: true,
      filter: (path) => !(tests && path.endsWith('.test.ts')),
    });
  }
}

/** Builds deploy/Dockerfile as `tag`. Rejects with the end of the build's output. */
export async function buildImage(engine: Engine, tag: string): Promise<void> {
  const text = readFileSync(join(ROOT, DOCKERFILE), 'utf8');
  const base = /^ARG BASE=(\S+)$/m.exec(text)?.[1];
  if (base === undefined) throw new Error(`${DOCKERFILE} names no base image`);
  console.log(`base image ${base}: ${await ensureBase(engine, base)}`);
  const context = mkdtempSync(join(tmpdir(), 'ringkeep-context-'));
  try {
    layOutContext(context);
    // The network of this machine: `npm ci` in the build needs what `npm ci` needs here.
    const options = { t: tag, dockerfile: DOCKERFILE, networkmode: 'host', rm: true, forcerm: true };
    await finished(engine, await asTar(context, (tar) => engine.buildImage(tar, options)));
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
