/**
 * What a measurement was made with: the machine, the version and commit, and the file system under the data. A figure without
 * these cannot be compared with another one.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
}

/** The checkout that the program runs from. */
export interface Commit {
  readonly hash: string;
  /** Files differ from it. */
  readonly changed: boolean;
}

/** Returns what this machine is. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    node: process.version,
  };
}

/** Returns the folder of the package: the nearest one above with a package.json. */
export function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

/** Returns the version of the package. */
export function readVersion(): string {
  return (JSON.parse(readFileSync(join(findRoot(), 'package.json'), 'utf8')) as { version: string }).version;
}

/** Returns the commit of the checkout; null for an installed package, or without git. */
export function readCommit(): Commit | null {
  const root = findRoot();
  if (!existsSync(join(root, '.git'))) return null;
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return { hash: git('rev-parse', 'HEAD'), changed: git('status', '--porcelain') !== '' };
  } catch {
    return null;
  }
}

/** File systems by their number in statfs(2). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
  2435016766: 'btrfs',
  1481003842: 'xfs',
  801189825: 'zfs',
  26985: 'nfs',
};

/** Returns the name of the file system of a folder, or its number. */
export function fileSystemOf(folder: string): string {
  const { type: number } = statfsSync(folder);
  return FILE_SYSTEMS[number] ?? `0x${number.toString(16)}`;
}
