/**
 * The Docker engine of the container tests: one that is there (DOCKER_HOST, or the usual socket), else one of our own by
 * scripts/docker-engine.mjs, for root where Debian's `docker.io` is installed. Without one the tests are skipped and say why; in CI
 * as root that is a failure.
 * INVARIANT: an engine that was started here ends with this process, whatever happens to it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

/** What the tests are told: an engine, or why there is none. */
export interface EngineFound {
  /** As in DOCKER_HOST. */
  readonly host: string;
  /** Empty with an engine. */
  readonly missing: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    readonly engine: EngineFound;
  }
}

const SOCKET = '/var/run/docker.sock';
const SCRIPT = fileURLToPath(new URL('../../scripts/docker-engine.mjs', import.meta.url));
const PING_MS = 3_000;
const STOP_MS = 30_000;

/** Tells whether an engine answers at an address like those of DOCKER_HOST; of remote ones it is believed. */
function answers(host: string): Promise<boolean> {
  if (!host.startsWith('unix://')) return Promise.resolve(true);
  return new Promise((resolve) => {
    const asked = request({ socketPath: host.slice('unix://'.length), path: '/_ping', timeout: PING_MS });
    asked.on('response', (response) => resolve(response.resume().statusCode === 200));
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(false));
    asked.on('close', () => resolve(false));
    asked.end();
  });
}

/** Why no engine can be started here; empty if one can. */
function obstacle(): string {
  if (process.getuid?.() !== 0) return 'only root can start one';
  const installed = spawnSync('dockerd', ['--version'], { stdio: 'ignore' }).status === 0;
  return installed ? '' : "dockerd is not installed (Debian's package is docker.io)";
}

async function startOwn(): Promise<{ readonly script: ChildProcess; readonly found: EngineFound }> {
  const script = spawn(process.execPath, [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  script.stderr.on('data', (part: Buffer) => {
    said += part.toString();
  });
  const ended = once(script, 'exit').then(() => null);
  const line = await Promise.race([once(createInterface({ input: script.stdout }), 'line'), ended]);
  if (line === null) return { script, found: { host: '', missing: said.trim() } };
  const { host } = JSON.parse(line[0] as string) as { host: string };
  return { script, found: { host, missing: '' } };
}

async function stopOwn(script: ChildProcess): Promise<void> {
  if (script.exitCode !== null) return;
  const ended = once(script, 'exit');
  const late = setTimeout(() => script.kill('SIGKILL'), STOP_MS);
  script.stdin?.end();
  await ended;
  clearTimeout(late);
}

function told(missing: string): EngineFound {
  if (process.env.CI !== undefined && process.getuid?.() === 0)
    throw new Error(`the container tests need a Docker engine: ${missing}`);
  console.warn(`The container tests are skipped: ${missing}`);
  return { host: '', missing };
}

/** The global set-up of the vitest project `docker`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { DOCKER_HOST } = process.env;
  const host = DOCKER_HOST ?? `unix://${SOCKET}`;
  const nothing = async (): Promise<void> => {};
  if ((DOCKER_HOST !== undefined || existsSync(SOCKET)) && (await answers(host))) {
    project.provide('engine', { host, missing: '' });
    return nothing;
  }
  const cannot = obstacle();
  if (cannot !== '') {
    project.provide('engine', told(`no Docker engine answers at ${host}, and ${cannot}`));
    return nothing;
  }
  const { script, found } = await startOwn();
  project.provide('engine', found.missing === '' ? found : told(found.missing));
  return () => stopOwn(script);
}
