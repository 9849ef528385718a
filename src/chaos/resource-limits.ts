/**
 * Resource limits of running processes, by prlimit: only the soft ones, which a process's owner may raise again up to the hard
 * ones. They go with the process, so one that was started again has none of them.
 */
import { RingkeepError } from '../common/errors.ts';
import { runProgram } from './tools.ts';

/** What is limited, as prlimit names it: the length of a file, descriptors. */
export type Limited = 'fsize' | 'nofile';

/** Returns a limit, `unlimited` or a number. Rejects with RingkeepError NOT_READY if there is no such process. */
export async function limitOf(pid: number, what: Limited): Promise<string> {
  const text = await runProgram('prlimit', [
    '--pid',
    `${pid}`,
    `--${what}`,
    '--raw',
    '--noheadings',
    '-o',
    'SOFT',
  ]);
  const limit = text.trim();
  if (limit === '') throw new RingkeepError('NOT_READY', `prlimit told no ${what} of ${pid}`);
  return limit;
}

/** Sets a limit. A process that is gone has none: that is no error. */
export async function setLimit(pid: number, what: Limited, limit: string): Promise<void> {
  try {
    await runProgram('prlimit', ['--pid', `${pid}`, `--${what}=${limit}:`]);
  } catch (error) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    throw error;
  }
}
