/**
 * What is told while a benchmark runs, on stderr: one row per second, with what the clients have told of the second before.
 */
import { note } from '#src/cli/output.ts';
import { monotonicMs } from './load/monotonic.ts';
import type { RunCollector } from './report/run-result.ts';

const PERIOD_MS = 1_000;
/** Processes report a second a moment after it is over. */
const DELAY_MS = 250;

const COLUMNS = ['second', 'ops/s', 'p50 ms', 'p99 ms', 'max ms', 'failed', 'waiting'];
const WIDTH = 10;

function row(cells: readonly string[]): string {
  return cells.map((cell) => cell.padStart(WIDTH)).join('');
}

export class Progress {
  say(text: string): void {
    note(text);
  }

  runStarts(run: number, runs: number, rate: number | null): void {
    const pace = rate === null ? 'closed loop' : `${rate} operations per second`;
    note(`${runs === 1 ? 'run' : `run ${run} of ${runs}`}: ${pace}`);
    note(row(COLUMNS));
  }

  /** Begins to print the seconds since `from` as they end, until the function that it returns is called. */
  rows(from: number, collector: RunCollector, waiting: () => number): () => void {
    let next = 0;
    const tellBefore = (end: number) => {
      for (; next < end; next += 1) {
        const { succeeded, failed, p50, p99, max } = collector.point(next);
        const latencies = [p50, p99, max].map((ms) => ms.toFixed(2));
        note(row([`${next + 1}`, `${succeeded}`, ...latencies, `${failed}`, `${Math.round(waiting())}`]));
      }
    };
    const over = () => Math.floor((monotonicMs() - DELAY_MS - from) / PERIOD_MS);
    const timer = setInterval(() => tellBefore(over()), PERIOD_MS / 4);
    return () => {
      clearInterval(timer);
      tellBefore(collector.seconds);
    };
  }
}

/** Tells nothing: rows of single seconds are for single benchmarks. */
export const SILENT: Progress = {
  say: () => {},
  runStarts: () => {},
  rows: () => () => {},
};
