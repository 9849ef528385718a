/**
 * The place of the command `bench` in the command line. The benchmark is a folder of its own, beside the sources, and is
 * loaded when it is asked for only: the other commands start without it and its library.
 */
import type { Command } from 'commander';

/** What dist/bench/main.js exports. */
interface BenchModule {
  addBenchCommand(program: Command, done: (status: number) => void): void;
}

/** Adds the command `bench`; of its options, only if `argv` (as `process.argv`) calls it or asks for its help. */
export async function addBenchCommand(
  program: Command,
  done: (status: number) => void,
  argv: readonly string[],
): Promise<void> {
  if (!argv.slice(2, 4).includes('bench')) {
    program.command('bench').description('measure throughput and latency');
    return;
  }
  const url = new URL('../bench/main.js', import.meta.url);
  const { addBenchCommand: add } = (await import(url.href)) as BenchModule;
  add(program, done);
}
