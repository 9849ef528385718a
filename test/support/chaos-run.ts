/** `ringkeep chaos` in the background, for tests that interrupt it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { eventually } from './processes.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));

/** A run that is under way. */
export interface BackgroundRun {
  readonly child: ChildProcess;
  /** What it has written so far. */
  readonly output: { stdout: string; stderr: string };
  /** Sends a signal; resolves with the exit status, null if the signal has ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts a run with `--json`; resolves once its first fault is on. It is killed after the test. */
export async function startChaos(...args: string[]): Promise<BackgroundRun> {
  const child = spawn(process.execPath, [PROGRAM, 'chaos', ...args, '--json'], { stdio: 'pipe' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString();
  });
  await eventually('a fault', (missing) =>
    output.stderr.includes('"event":"fault"') ? true : missing(output.stderr),
  );
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    const ended = once(child, 'exit');
    child.kill(signal);
    const [status] = (await ended) as [number | null];
    return status;
  };
  return { child, output, end };
}
