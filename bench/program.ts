/**
 * What the programs of this folder that start clusters of their own have in common: a directory for all of their data, signals
 * that end them, their exit status, and the circumstances that they tell with their figures.
 * INVARIANT: the directory is gone when the program ends by itself or by a signal that can be handled.
 */
import { setMaxListeners } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, showError } from '#src/cli/output.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { describe } from '#src/common/failure.ts';
import { monotonicMs } from './load/monotonic.ts';
import { type Commit, fileSystemOf, readCommit, readVersion } from './servers/machine.ts';

/** What something was measured with. */
export interface Circumstances {
  readonly version: string;
  readonly commit: Commit | null;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly elapsedSeconds: number;
  /** Under the data of the clusters. */
  readonly fileSystem: string;
  /** Of the machine, in the minute before the start. */
  readonly loadAverage: number;
}

/** Notes what is measured with; the function that it returns ends the time. */
export function noteCircumstances(directory: string): () => Circumstances {
  const startedAt = new Date().toISOString();
  const from = monotonicMs();
  const loadAverage = loadavg()[0] ?? 0;
  return () => ({
    ...{ version: readVersion(), commit: readCommit(), startedAt },
    elapsedSeconds: Math.round((monotonicMs() - from) / 1_000),
    ...{ fileSystem: fileSystemOf(directory), loadAverage },
  });
}

/**
 * Resolves with the exit status that `work` resolves with, or with that of an interrupted program. It gets a new directory in
 * `data`, or in the folder of temporary files, and a signal that is aborted when the program is to end.
 */
export async function workIn(
  data: string | undefined,
  name: string,
  work: (directory: string, stopped: AbortSignal) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  const parent = resolve(data ?? tmpdir());
  mkdirSync(parent, { recursive: true });
  const directory = mkdtempSync(join(parent, `ringkeep-${name}-`));
  try {
    return await work(directory, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return EXIT.INTERRUPTED;
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Returns the flags of a program; with `--quick` those of `quick`, but for the ones that were given. */
export function withQuick<F extends { readonly quick: boolean }>(
  command: Command,
  flags: F,
  quick: Partial<F>,
): F {
  if (!flags.quick) return flags;
  const isGiven = (name: string) => command.getOptionValueSource(name) === 'cli';
  return { ...flags, ...Object.fromEntries(Object.entries(quick).filter(([name]) => !isGiven(name))) };
}

/** Ends the process with the exit status of `work`, or of its error. */
export async function endWith(work: Promise<number>): Promise<void> {
  const status = await work.catch((error: unknown) => showError(error, false));
  // A start that was broken off may leave timers behind. Pipes take what is written at their reader's pace.
  process.stdout.write('', () => process.exit(status));
}

/** Returns an error in words. */
export function messageOf(error: unknown): string {
  if (error instanceof RingkeepError) return describe(error);
  return error instanceof Error ? error.message : String(error);
}
