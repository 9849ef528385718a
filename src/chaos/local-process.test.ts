/** Which processes are those that a cluster tells of, and that no others are ever signalled. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { expect, it, onTestFinished } from 'vitest';
import { PauseGuard } from './guardian.ts';
import {
  findProcess,
  isHere,
  isRingkeep,
  isStill,
  listenersIn,
  processOf,
  signalStill,
  startTicksIn,
  stateOf,
} from './local-process.ts';
import { eventually } from './process.ts';

const LINUX = process.platform === 'linux';

/** A process that listens, with a command line of ours to choose. Resolves with its port. */
async function listener(...args: string[]): Promise<{ child: ChildProcess; pid: number; port: number }> {
  const program = `const server = require('node:net').createServer().listen(0, '127.0.0.1', () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ['-e', program, '--', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [chunk] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, pid: child.pid!, port: Number(chunk.toString()) };
}

it.each([
  [['node', '/opt/bin/ringkeep.js', 'node', '--id', 'n1', '--data', 'd'], 'node', 'n1', true],
  [['node', '--heap', '/opt/.bin/ringkeep', 'node', '--data', 'd', '--id=n1'], 'node', 'n1', true],
  [['node', '/opt/bin/ringkeep.js', 'node', '--id', 'n10'], 'node', 'n1', false],
  [['node', '/opt/bin/ringkeep.js', 'node', '--id', 'n1', '--id', 'n2'], 'node', 'n1', false],
  [['node', '/opt/bin/ringkeep.js', 'node'], 'node', 'n1', false],
  [['node', '/opt/bin/ringkeep.js', 'router', '--id', 'n1'], 'node', 'n1', false],
  [['node', '/opt/bin/ringkeep.js', 'up', 'node', '--id', 'n1'], 'node', 'n1', false],
  [['vim', '/opt/bin/ringkeep.js.bak', 'node', '--id', 'n1'], 'node', 'n1', false],
  [['node', '/opt/bin/ringkeep.js', 'router', '--data', 'd'], 'router', 'r-7f', true],
  [['node', '/opt/bin/ringkeep.js', 'router', '--id', 'r2'], 'router', 'r1', false],
  [['sleep', '100'], 'router', 'r1', false],
  [[], 'node', 'n1', false],
] as const)('%j as %s %s: %s', (args, kind, id, expected) => {
  expect(isRingkeep(args, kind, id)).toBe(expected);
});

it('reads when a process began, whatever its name is', () => {
  const after = Array.from({ length: 30 }, (_, at) => (at === 19 ? '8393891' : 'S')).join(' ');
  expect(startTicksIn(`7 (node) ${after}`)).toBe(8_393_891);
  expect(startTicksIn(`7 (a) R 1 (b)) ${after}`)).toBe(8_393_891);
  expect(startTicksIn('')).toBeNull();
});

it('finds the sockets that listen on a port, and no others', () => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0',
    '   1: 0100007F:1CE8 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0',
    '   2: 0100007F:1CE9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0',
  ].join('\n');
  expect(listenersIn(table, 7_400)).toEqual(['4711']);
});

it('knows the addresses of this machine', async () => {
  expect(await isHere('127.0.0.1:1')).toBe(true);
  expect(await isHere('[::1]:1')).toBe(true);
  // Of a range for documents.
  expect(await isHere('192.0.2.1:1')).toBe(false);
  expect(await isHere('no-such-host.invalid:1')).toBe(false);
  for (const own of Object.values(networkInterfaces()).flatMap((each) => each ?? []))
    if (own.family === 'IPv4') expect(await isHere(`${own.address}:1`), hostname()).toBe(true);
});

it.runIf(LINUX)('takes a process for the one that is told only if everything fits', async () => {
  const { pid, port } = await listener('/opt/bin/ringkeep.js', 'node', '--id', 'n1');
  const told = { kind: 'node', id: 'n1', pid, addresses: [`127.0.0.1:${port}`] } as const;
  expect(await findProcess(told)).toEqual({ process: processOf(pid) });

  const missing = async (more: Partial<Parameters<typeof findProcess>[0]>): Promise<string> => {
    const found = await findProcess({ ...told, ...more });
    return 'missing' in found ? found.missing : 'found';
  };
  expect(await missing({ addresses: [`192.0.2.1:${port}`] })).toBe('n1 is on another machine');
  expect(await missing({ id: 'n2' })).toContain('no `ringkeep node` of that id');
  expect(await missing({ kind: 'router' })).toContain('no `ringkeep router`');
  expect(await missing({ pid: process.pid })).toContain('no `ringkeep node`');
  expect(await missing({ pid: 0 })).toContain('no `ringkeep node`');
  // The port of somebody else.
  const other = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void other.close());
  await once(other, 'listening');
  const { port: foreign } = other.address() as { port: number };
  expect(await missing({ addresses: [`127.0.0.1:${foreign}`] })).toContain('does not listen');
});

it.runIf(LINUX)('signals a process only while it is the same one', async () => {
  const { child, pid } = await listener('/opt/bin/ringkeep.js', 'node', '--id', 'n1');
  const found = processOf(pid)!;
  // As if the pid had been given to another process since.
  for (const other of [
    { ...found, startTicks: found.startTicks + 1 },
    { ...found, commandLine: 'node\0/opt/bin/ringkeep.js\0node\0--id\0n2\0' },
  ]) {
    expect(isStill(other)).toBe(false);
    expect(signalStill(other, 'SIGSTOP')).toBe(false);
    expect(stateOf(other)).toBe('');
  }
  expect(stateOf(found)).not.toBe('T');
  expect(signalStill(found, 'SIGSTOP')).toBe(true);
  await eventually('a stopped process', (say) => (stateOf(found) === 'T' ? true : say(stateOf(found))));
  expect(signalStill(found, 'SIGCONT')).toBe(true);
  const gone = once(child, 'exit');
  expect(signalStill(found, 'SIGKILL')).toBe(true);
  await gone;
  expect(isStill(found)).toBe(false);
  expect(signalStill(found, 'SIGKILL')).toBe(false);
});

it.runIf(LINUX)(
  'a guard continues what is stopped when it is let go, and leaves a pid of others alone',
  async () => {
    const stopped = processOf((await listener('first')).pid)!;
    const reused = processOf((await listener('second')).pid)!;
    const guard = new PauseGuard();
    await guard.watch(stopped);
    // The process that was meant had this pid before.
    await guard.watch({ ...reused, startTicks: reused.startTicks - 1 });
    for (const each of [stopped, reused]) {
      expect(signalStill(each, 'SIGSTOP')).toBe(true);
      await eventually('a stopped process', (say) => (stateOf(each) === 'T' ? true : say(stateOf(each))));
    }
    guard.release();
    await eventually('a continued process', (say) => (stateOf(stopped) === 'T' ? say('T') : true));
    expect(stateOf(stopped)).not.toBe('');
    expect(stateOf(reused)).toBe('T');
  },
);

it.runIf(LINUX)('a guard that has ended lets nothing be stopped any more', async () => {
  const found = processOf((await listener('first')).pid)!;
  const guard = new PauseGuard();
  await guard.watch(found);
  guard.release();
  await expect(guard.watch(found)).rejects.toThrow('nobody would continue');
});
