/**
 * Runs a Docker engine of its own, for tests: `node scripts/docker-engine.mjs` prints `{"host":"unix://…"}` once it answers, and
 * runs until its standard input ends, or a signal comes. Needs root and Debian's package `docker.io`. If no engine comes up it says
 * why on stderr and exits with 1.
 * INVARIANT: what the engine makes is in a temporary directory, and in process and mount namespaces of its own, which the kernel
 * ends with this process, however that ends. Bridges and control groups are outside; they are removed before the end.
 * INVARIANT: no packet filter rule and no kernel setting of this machine is changed: published ports are relayed by a process,
 * on loopback only; containers on a network reach each other through its bridge, and nothing else.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const START_MS = 30_000;
const STOP_MS = 4_000;
const CALL_MS = 5_000;
const POLL_MS = 50;
const LOG_LINES = 15;
const CGROUPS = '/sys/fs/cgroup';

/** Asks the engine behind a socket; resolves with the decoded answer, null if there is none. */
function call(socketPath, method, path) {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, timeout: CALL_MS }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        if (response.statusCode >= 400)
          reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        else resolve(response.headers['content-type'] === 'application/json' ? JSON.parse(text) : null);
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`${method} ${path}: no answer`)));
    asked.on('error', reject);
    asked.end();
  });
}

/** Starts the engine in `directory`: the process that the kernel ends with this one, and everything below it. */
function launch(directory, log) {
  const inside = (name) => join(directory, name);
  writeFileSync(inside('daemon.json'), '{}\n');
  const namespaces = ['unshare', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'];
  const engine = [
    ...['dockerd', '--config-file', inside('daemon.json'), '--host', `unix://${inside('docker.sock')}`],
    ...['--data-root', inside('data'), '--exec-root', inside('exec'), '--pidfile', inside('pid')],
    ...['--bridge', 'none', '--ip', '127.0.0.1', '--ip-forward=false', '--ip-masq=false'],
    ...['--iptables=false', '--ip6tables=false', `--cgroup-parent=/${cgroupOf(directory)}`],
  ];
  // In a session of its own: a signal from the terminal is for this process, which then stops the engine in order.
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...namespaces, ...engine], {
    stdio: ['ignore', log, log],
    detached: true,
  });
}

function cgroupOf(directory) {
  return directory.split('/').at(-1);
}

/** Waits until the engine answers. Rejects with the end of its log. */
async function whenReady(directory, engine) {
  const until = performance.now() + START_MS;
  while (engine.exitCode === null && engine.signalCode === null && performance.now() < until) {
    try {
      await call(join(directory, 'docker.sock'), 'GET', '/_ping');
      return;
    } catch {
      await delay(POLL_MS);
    }
  }
  throw new Error(`the engine does not answer within ${START_MS} ms:\n${logEnd(directory)}`);
}

function logEnd(directory) {
  return readFileSync(join(directory, 'log'), 'utf8').trim().split('\n').slice(-LOG_LINES).join('\n');
}

/** Removes containers and networks. Returns the names of bridges, which an engine that hangs leaves behind. */
async function empty(socketPath) {
  const bridges = [];
  try {
    const networks = await call(socketPath, 'GET', '/networks');
    const own = networks.filter(({ Driver }) => Driver === 'bridge');
    bridges.push(...own.map(({ Id }) => `br-${Id.slice(0, 12)}`));
    const containers = await call(socketPath, 'GET', '/containers/json?all=1');
    await Promise.all(
      containers.map(({ Id }) => call(socketPath, 'DELETE', `/containers/${Id}?force=1&v=1`)),
    );
    for (const { Id } of own) await call(socketPath, 'DELETE', `/networks/${Id}`);
  } catch (error) {
    process.stderr.write(`docker engine: ${error.message}\n`);
  }
  return bridges;
}

/** The engine itself, of which `launched` is the parent's parent: the one process that can end in order. */
function dockerdOf(launched) {
  try {
    const children = readFileSync(`/proc/${launched.pid}/task/${launched.pid}/children`, 'utf8').trim();
    return children === '' ? null : Number(children.split(' ')[0]);
  } catch {
    return null;
  }
}

async function stop(directory, engine, ended) {
  const bridges = await empty(join(directory, 'docker.sock'));
  const dockerd = dockerdOf(engine);
  if (dockerd !== null) process.kill(dockerd, 'SIGTERM');
  await Promise.race([ended, delay(STOP_MS, undefined, { ref: false })]);
  engine.kill('SIGKILL');
  await ended;
  for (const bridge of bridges) spawnSync('ip', ['link', 'delete', bridge], { stdio: 'ignore' });
  removeCgroups(cgroupOf(directory));
  // Layers are many small files: a program of its own is ten times as fast as Node.js.
  spawnSync('rm', ['-rf', directory], { stdio: 'inherit' });
}

/** Removes the control groups that are empty now, in version 1 one of each controller. */
function removeCgroups(name) {
  const remove = (path) => {
    try {
      for (const entry of readdirSync(path, { withFileTypes: true }))
        if (entry.isDirectory()) remove(join(path, entry.name));
      rmdirSync(path);
    } catch {
      // It is not there, or the kernel has not let go of it yet: it holds nothing.
    }
  };
  remove(join(CGROUPS, name));
  for (const entry of readdirSync(CGROUPS, { withFileTypes: true }))
    if (entry.isDirectory()) remove(join(CGROUPS, entry.name, name));
}

async function main() {
  if (process.getuid() !== 0) throw new Error('only root can run an engine');
  const directory = mkdtempSync(join(tmpdir(), 'ringkeep-docker-'));
  const log = openSync(join(directory, 'log'), 'w');
  const engine = launch(directory, log);
  closeSync(log);
  const ended = new Promise((resolve) => {
    engine.once('error', resolve);
    engine.once('exit', resolve);
  });
  const told = Promise.race([
    ...['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => once(process, signal)),
    once(process.stdin.resume(), 'end'),
    ended,
  ]);
  try {
    await Promise.race([whenReady(directory, engine), told]);
    process.stdout.write(`${JSON.stringify({ host: `unix://${join(directory, 'docker.sock')}` })}\n`);
    await told;
    if (engine.exitCode !== null || engine.signalCode !== null)
      process.stderr.write(`docker engine: it has ended by itself\n${logEnd(directory)}\n`);
  } finally {
    await stop(directory, engine, ended);
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  process.stderr.write(`no docker engine: ${error.message}\n`);
  process.exit(1);
}
