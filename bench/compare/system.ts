/**
 * What the comparison knows of a system: what has to be installed for it, how it is started from a clean directory, and
 * how one thing about it is measured. One file per system keeps the rest to itself.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '#src/common/errors.ts';
import { monotonicMs } from '../load/monotonic.ts';
import type { SkippedSystem } from './document.ts';
import type { Figures, Measurement, Pace, SystemName } from './measurements.ts';
import type { Processes } from './processes.ts';

/** What a system is given for one round. */
export interface Host {
  /** Its own, and empty. */
  readonly directory: string;
  readonly processes: Processes;
  readonly pace: Pace;
  /** Seed of all random choices of the round. */
  readonly seed: number;
  /** Aborted when the comparison is to end; everything that waits rejects then. */
  readonly stopped: AbortSignal;
  say(text: string): void;
}

/** A system that is loaded with its records and takes operations. */
export interface RunningSystem {
  /** Measures once; rejects if it could not. */
  measure(measurement: Measurement): Promise<Figures>;
  /** Ends its processes. Never rejects, and may be called again. */
  stop(): Promise<void>;
}

export interface SystemUnderTest {
  readonly name: SystemName;
  /** Programs that it needs. */
  readonly programs: readonly string[];
  /** How to install them. */
  readonly install: string;
  /** How it is set up, for people. */
  readonly setting: string;
  /** Versions by the name of the program. */
  versions(): Readonly<Record<string, string>>;
  /** Rejects with what prevents it; what has been started by then belongs to `host.processes`. */
  start(host: Host): Promise<RunningSystem>;
}

/** Returns the programs that are not on the path. */
export function missingPrograms(
  programs: readonly string[],
  path: string = process.env.PATH ?? '',
): string[] {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  const isThere = (program: string) =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  return programs.filter((program) => !isThere(program));
}

/** Returns the systems that can run here, and those that lack a program. */
export function sortSystems(
  wanted: readonly SystemUnderTest[],
  path?: string,
): { readonly systems: readonly SystemUnderTest[]; readonly skipped: readonly SkippedSystem[] } {
  const skipped = wanted.flatMap(({ name: system, programs, install }) => {
    const missing = missingPrograms(programs, path);
    return missing.length === 0 ? [] : [{ system, missing, install }];
  });
  return { systems: wanted.filter(({ name }) => !skipped.some(({ system }) => system === name)), skipped };
}

/** Returns the version that a program tells of itself, by the first group of `pattern`. */
export function versionOf(program: string, pattern: RegExp): string {
  const told = execFileSync(program, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return pattern.exec(told)?.[1] ?? told.trim().split('\n')[0] ?? 'unknown';
}

const WAIT_MS = 60_000;
const POLL_MS = 50;

/** Resolves with what `look` finds, when it finds something. Rejects with NOT_READY in time, or when stopped. */
export async function waitFor<T>(
  what: string,
  { processes, stopped }: Pick<Host, 'processes' | 'stopped'>,
  look: () => Promise<T | null>,
): Promise<T> {
  const until = monotonicMs() + WAIT_MS;
  for (;;) {
    stopped.throwIfAborted();
    processes.checkServers();
    // Not yet listening, most likely; if not, time will tell.
    const found = await look().catch(() => null);
    if (found !== null) return found;
    if (monotonicMs() > until) throw new RingkeepError('NOT_READY', `${what} did not come about`);
    await delay(POLL_MS);
  }
}
