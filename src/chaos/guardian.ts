/**
 * Ends the processes of a cluster when the process that started them is gone without having done so: a process that is stopped
 * (SIGSTOP) notices nothing by itself. A small process of its own, which waits for the end of its input.
 * INVARIANT: only what works in the cluster's directory is killed: a pid may have been given to somebody else meanwhile.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** Runs as `node -e`; the directory is its argument, its input is one pid per line. */
const PROGRAM = `
const { readFileSync, rmSync } = require('node:fs');
const directory = process.argv[1];
let text = '';
process.on('SIGINT', () => {}).on('SIGTERM', () => {}).on('SIGHUP', () => {});
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
  setTimeout(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }), 200);
});
`;

/** Watches over the processes of one directory. */
export class Guardian {
  private readonly child: ChildProcess;

  constructor(directory: string) {
    this.child = spawn(process.execPath, ['-e', PROGRAM, directory], {
      stdio: ['pipe', 'ignore', 'ignore'],
      // Not in the group that a Ctrl-C is sent to.
      detached: true,
    });
    this.child.stdin!.on('error', () => {});
    this.child.unref();
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
