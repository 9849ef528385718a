/**
 * System calls of a running process that fail or take their time, by strace, which is attached to it and all of its threads. While
 * it is attached every system call costs more, also those that are left alone.
 * INVARIANT: nothing stays when strace ends, however it does: the kernel lets go of what was traced.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import { findProgram } from './tools.ts';

const ATTACH_MS = 10_000;
const DETACH_MS = 5_000;

/** What is done to which calls. */
export interface Tampering {
  /** Names of system calls. */
  readonly calls: readonly string[];
  /** As strace has it: `error=EIO`, `delay_enter=300000` (µs). */
  readonly how: string;
}

/** An attached strace. */
export class TamperedCalls {
  /** Calls that were tampered with. */
  count = 0;
  /** The first of them, as strace shows it. */
  example = '';
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.child = child;
  }

  /** Attaches to a process. Rejects with RingkeepError NOT_READY if that is not possible. */
  static async attach(pid: number, { calls, how }: Tampering): Promise<TamperedCalls> {
    const names = calls.join(',');
    const args = [
      '-f',
      '-s',
      '0',
      '-e',
      `trace=${names}`,
      '-e',
      'signal=none',
      '-e',
      `inject=${names}:${how}`,
    ];
    const child = spawn(findProgram('strace') ?? 'strace', [...args, '-p', `${pid}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const tampered = new TamperedCalls(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const fail = (text: string): void =>
        reject(new RingkeepError('NOT_READY', `strace of ${pid}: ${text}`));
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        fail(`not attached within ${ATTACH_MS} ms`);
      }, ATTACH_MS);
      child.on('error', (error) => fail(error.message));
      child.on('exit', () => {
        clearTimeout(timer);
        fail(said.trim());
      });
      child.stderr?.on('data', (chunk: Buffer) => {
        said = tampered.read(said + chunk.toString());
        if (!tampered.attached) return;
        clearTimeout(timer);
        resolve();
      });
    });
    return tampered;
  }

  private attached = false;

  /** Takes whole lines; returns what is left. */
  private read(text: string): string {
    const lines = text.split('\n');
    const rest = lines.pop() ?? '';
    for (const line of lines) {
      if (/strace: Process \d+ attached/.test(line)) this.attached = true;
      if (!/\((INJECTED|DELAYED|INJECTED: .*)\)/.test(line)) continue;
      this.count += 1;
      if (this.count === 1) this.example = line.replace(/^\[pid +\d+\] /, '').trim();
    }
    // What strace says when it cannot attach has no further lines.
    return this.attached ? rest : text.slice(-1_000);
  }

  /** Lets the process go. Idempotent. */
  async detach(): Promise<void> {
    const { child } = this;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await Promise.race([gone, delay(DETACH_MS, undefined, { ref: false })]);
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await gone;
  }
}
