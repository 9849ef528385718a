/** Which source a run was of: a seed repeats itself on the same commit only. Asked of git when a run has failed. */
import { execFileSync } from 'node:child_process';

function git(...args: string[]): string {
  return execFileSync('git', args, {
    cwd: import.meta.dirname,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

/** Returns the commit, and whether files have been changed since; says so where there is no git. */
export function describeCommit(): string {
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes';
    return `${git('rev-parse', '--short=12', 'HEAD').trim()}${changed}`;
  } catch {
    return 'unknown';
  }
}
