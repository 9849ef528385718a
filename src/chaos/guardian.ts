/**
 * What has to be put right when the process that started a chaos run is gone without having done so: each guard is a small process
 * of its own, which waits for the end of its input.
 * INVARIANT: only what works in the own cluster's directory is killed, and of other clusters nothing ever is: a process of theirs that
 * a run has stopped is continued.
 * INVARIANT: a pid may have been given to somebody else meanwhile: who has it is looked at right before the signal.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { RingkeepError } from '../common/errors.ts';
import type { LocalProcess } from './local-process.ts';

/** Not in the group that a Ctrl-C is sent to; what is sent to it alone is not heard. */
const DEAF = `process.on('SIGINT', () => {}).on('SIGTERM', () => {}).on('SIGHUP', () => {});`;

/** Runs as `node -e`; its arguments are the directory and whether that is to be kept, its input is one pid per line. */
const ENDS_PROCESSES = `
const { readFileSync, rmSync } = require('node:fs');
const directory = process.argv[1];
let text = '';
${DEAF}
process.stdin.on('data', (chunk) => { text += chunk; });
process.stdin.on('end', () => {
  const lines = text.split('\\n');
  if (lines.includes('done')) return;
  for (const pid of lines.map(Number).filter((pid) => pid > 1)) {
    try {
      if (!readFileSync('/proc/' + pid + '/cmdline', 'utf8').includes(directory)) continue;
      process.kill(pid, 'SIGKILL');
    } catch {}
  }
  if (process.argv[2] === 'keep') return;
  setTimeout(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }), 200);
});
`;

/**
 * Its input is a line `PID TICKS NUMBER` for every process that is about to be stopped, which it says again once it has read it. A signal to
 * continue does nothing to a process that is not stopped.
 */
const CONTINUES_PROCESSES = `
const { readFileSync } = require('node:fs');
let text = '';
${DEAF}
process.stdout.on('error', () => {});
process.stdin.on('data', (chunk) => { text += chunk; process.stdout.write(chunk); });
process.stdin.on('end', () => {
  for (const line of text.split('\\n')) {
    const [pid, ticks] = line.split(' ');
    if (!(Number(pid) > 1)) continue;
    try {
      const stat = readFileSync('/proc/' + pid + '/stat', 'utf8');
      if (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] !== ticks) continue;
      process.kill(Number(pid), 'SIGCONT');
    } catch {}
  }
});
`;

const ANSWER_MS = 5_000;

function guard(program: string, args: readonly string[], output: 'pipe' | 'ignore'): ChildProcess {
  const child = spawn(process.execPath, ['-e', program, ...args], {
    stdio: ['pipe', output, 'ignore'],
    detached: true,
  });
  child.stdin!.on('error', () => {});
  child.unref();
  return child;
}

/** Watches over the processes of one directory: ends them. */
export class Guardian {
  private readonly child: ChildProcess;

  constructor(directory: string, keep: boolean) {
    this.child = guard(ENDS_PROCESSES, [directory, keep ? 'keep' : 'remove'], 'ignore');
  }

  /** One more process. */
  watch(pid: number): void {
    this.child.stdin!.write(`${pid}\n`);
  }

  /** Everything was ended in good order. */
  release(): void {
    this.child.stdin!.end('done\n');
  }
}

/** Watches over processes of somebody else's that a run stops: continues them. */
export class PauseGuard {
  private readonly child: ChildProcess;
  private heard = '';
  private times = 0;

  constructor() {
    this.child = guard(CONTINUES_PROCESSES, [], 'pipe');
    this.child.on('error', () => {});
    this.child.stdout!.on('data', (chunk: Buffer) => {
      this.heard += chunk.toString();
    });
  }

  /**
   * Resolves once a process will be continued whatever happens: before that it may not be stopped. Rejects with RingkeepError NOT_READY
   * if nobody answers.
   */
  async watch({ pid, startTicks }: LocalProcess): Promise<void> {
    // It has to answer each time: it may have been ended since.
    this.times += 1;
    const line = `${pid} ${startTicks} ${this.times}\n`;
    this.child.stdin!.write(line);
    const until = performance.now() + ANSWER_MS;
    while (!`\n${this.heard}`.includes(`\n${line}`)) {
      if (performance.now() > until || this.child.exitCode !== null || this.child.signalCode !== null)
        throw new RingkeepError('NOT_READY', `nobody would continue ${pid} if this run were killed`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** The run is over. What is still stopped is continued. */
  release(): void {
    this.child.stdin!.end();
  }
}
