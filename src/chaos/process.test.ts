import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ClusterProcess, type Launch } from './process.ts';

/** Says that it is ready, and which arguments it got, until it is killed. */
const SHOW = `console.log(JSON.stringify({ event: 'ready', http: process.argv.slice(1).join(' ') })); setInterval(() => {}, 1e3)`;

function adding(argument: string): (launch: Launch) => Launch {
  return (launch) => ({ ...launch, args: [...launch.args, argument] });
}

it('what surrounds a process holds for its next lives, beside each other, and ends in any order', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ringkeep-process-test-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const process = new ClusterProcess('n1', '127.0.0.1:1', directory, []);
  onTestFinished(() => void process.kill('SIGKILL'));
  const life = async (): Promise<string | null> => {
    await process.kill('SIGKILL');
    await process.start();
    return process.http;
  };
  process.surround((launch) => ({ ...launch, args: ['-e', SHOW, '--'] }));
  const one = process.surround(adding('one'));
  const two = process.surround(adding('two'));
  expect(await life()).toBe('one two');
  one();
  const three = process.surround(adding('three'));
  expect(await life()).toBe('two three');
  // What has ended once has ended, and takes nothing else with it.
  one();
  two();
  expect(await life()).toBe('three');
  three();
  expect(await life()).toBe('');
  await process.kill('SIGKILL');
});
