/**
 * Runs the command line as a user does: a child process, its output, its exit status. Clusters are started with
 * processes.ts, not here.
 * INVARIANT: a child that does not end in time is killed, and that fails the test with what it wrote.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
const TIMEOUT_MS = 60_000;

/** How a command ended. */
export interface CommandResult {
  /** Null if a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** Runs any program to its end. Rejects if it cannot be started or does not end in time. */
export function runProgram(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { input, cwd, env = process.env, timeoutMs = TIMEOUT_MS } = options;
  const child = spawn(program, args, { stdio: 'pipe', env, ...(cwd === undefined ? {} : { cwd }) });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // It may end without reading its input.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      const result = {
        status,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      };
      if (!late) return resolve(result);
      const what = [program, ...args].join(' ');
      reject(new Error(`not ended within ${timeoutMs} ms: ${what}\n${result.stdout}\n${result.stderr}`));
    });
  });
}

/** Runs `ringkeep ARGS` to its end. */
export function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runProgram(process.execPath, [PROGRAM, ...args], options);
}
