import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RingkeepError } from './errors.ts';
import { LOCK_NAME, lockDirectory, makeDataDirectory, makeDirectories, NodeDisk } from './node-disk.ts';

let root = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkeep-lock-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(root, { recursive: true });
});

/** Takes the lock in another process, the way `lockDirectory` does, and waits until it has it. */
async function lockElsewhere(): Promise<ChildProcess> {
  const script = `
    import { Level } from 'level';
    const level = new Level(${JSON.stringify(join(root, LOCK_NAME))});
    await level.open();
    console.log('locked');
    setInterval(() => {}, 1000);`;
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit'];
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio });
  children.push(child);
  await once(child.stdout, 'data');
  return child;
}

async function refusal(): Promise<string> {
  const error: unknown = await lockDirectory(root).then(
    () => null,
    (reason: unknown) => reason,
  );
  return error instanceof RingkeepError ? error.code : `no refusal: ${error}`;
}

describe('lockDirectory', () => {
  test('admits one holder in a process, and another after the release', async () => {
    const lock = await lockDirectory(root);
    expect(await refusal()).toBe('DIRECTORY_IN_USE');
    await lock.release();
    await (await lockDirectory(root)).release();
  });

  test('keeps other processes out and goes with its process, however that dies', async () => {
    const holder = await lockElsewhere();
    expect(await refusal()).toBe('DIRECTORY_IN_USE');
    const gone = once(holder, 'exit');
    holder.kill('SIGKILL');
    await gone;
    await (await lockDirectory(root)).release();
  });

  test('makes an absent directory', async () => {
    rmSync(root, { recursive: true });
    const lock = await lockDirectory(root);
    await lock.release();
    expect(new NodeDisk(root).listSync('')).toEqual([LOCK_NAME]);
  });
});

describe('makeDirectories', () => {
  test('makes what is missing, with the mode, and takes what is there, links included', () => {
    makeDirectories(join(root, 'a/b/c'), 0o700);
    expect(statSync(join(root, 'a/b')).mode & 0o777).toBe(0o700);
    makeDirectories(join(root, 'a/b/c'));
    symlinkSync(join(root, 'a'), join(root, 'link'));
    makeDirectories(join(root, 'link/d/../e/'));
    expect(existsSync(join(root, 'a/e'))).toBe(true);
    makeDirectories(join(root, 'link'));
  });

  test('refuses a file in the place of the directory or of a parent, and a dangling link', () => {
    writeFileSync(join(root, 'file'), '');
    symlinkSync(join(root, 'nowhere'), join(root, 'dangling'));
    expect(() => makeDirectories(join(root, 'file'))).toThrow(/^EEXIST/);
    expect(() => makeDirectories(join(root, 'file/below'))).toThrow(/^ENOTDIR/);
    expect(() => makeDirectories(join(root, 'dangling'))).toThrow(/^ENOENT/);
    expect(() => makeDirectories(join(root, 'dangling/below'))).toThrow(/^ENOENT/);
  });

  // Node's own recursive mkdir never returns from here.
  test.skipIf(!existsSync('/proc/self'))('ends where mkdir says ENOENT though the parent is there', () => {
    expect(() => makeDirectories('/proc/ringkeep')).toThrow(/^ENOENT/);
    expect(() => new NodeDisk('/proc').makeDirectorySync('ringkeep/below')).toThrow(/ENOENT/);
    expect(() => makeDataDirectory('/proc/ringkeep')).toThrow(/INVALID_ARGUMENT.*\/proc\/ringkeep.*ENOENT/);
  });
});

describe('NodeDisk', () => {
  test('keeps paths inside its root', () => {
    expect(() => new NodeDisk(root).readSync('../x')).toThrow(/assertion failed/);
  });
});
