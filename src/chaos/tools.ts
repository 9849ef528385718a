/**
 * Programs of the system that faults are made with: strace, prlimit, ip, nft, mount. Each fault that needs one says so where it is
 * not installed (`missing`). Programs run to their end here, except for those that something is attached by (system-calls.ts).
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { RingkeepError } from '../common/errors.ts';

/** Where administrators' programs are, which the path of an ordinary user lacks. */
const FOLDERS = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];
const TEXT_BYTES_MAX = 64 * 1024;
const RUN_MS = 30_000;

/** Returns the path of an installed program, or null. */
export function findProgram(name: string): string | null {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), ...FOLDERS]) {
    const path = join(folder === '' ? '.' : folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  return null;
}

/** Returns why something that needs these programs is not possible here; null: they are all there. */
export function missingPrograms(...names: readonly string[]): string | null {
  if (process.platform !== 'linux') return 'it needs Linux';
  const absent = names.filter((name) => findProgram(name) === null);
  return absent.length === 0 ? null : `${absent.join(' and ')} not installed`;
}

/** Returns why something that only root may do is not possible here; null: it is. */
export function missingRoot(): string | null {
  return process.getuid?.() === 0 ? null : 'it needs root';
}

/** Returns why this process may not trace those that it has started; null: it may. */
export function missingTracing(): string | null {
  const absent = missingPrograms('strace');
  if (absent !== null) return absent;
  // A module of the kernel that lets only ancestors trace (1), only root (2), or nobody (3). strace is no ancestor.
  const path = '/proc/sys/kernel/yama/ptrace_scope';
  const scope = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
  if (scope === 3 || (scope > 0 && missingRoot() !== null)) return `ptrace_scope is ${scope}: no tracing`;
  return null;
}

/**
 * Runs a program to its end, `input` as its standard input. Resolves with its standard output. Rejects with RingkeepError
 * NOT_READY and what it said if it ends with another status than 0, or not within 30 s.
 */
export function runProgram(name: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const what = [name, ...args].join(' ');
    const child = spawn(findProgram(name) ?? name, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: RUN_MS,
    });
    let output = '';
    let trouble = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      trouble = (trouble + chunk.toString()).slice(-TEXT_BYTES_MAX);
    });
    child.stdin.on('error', () => {});
    child.on('error', (cause) => reject(new RingkeepError('NOT_READY', what, 'not_applied', { cause })));
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new RingkeepError('NOT_READY', `${what}: ${code ?? signal}: ${trouble.trim()}`));
    });
    child.stdin.end(input);
  });
}
