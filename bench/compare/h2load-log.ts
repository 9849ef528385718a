/**
 * The log file of h2load: a line per answered request, which is its start (µs since 1970), HTTP status, and the µs until
 * the end of the response, with tabs between. h2load runs over the warm-up as well; what started then is left out here.
 * Measured is what the benchmark's own loop measures: what started after the warm-up; throughput is what of it has
 * ended in time. What was in flight at the end is in no line, since h2load breaks it off.
 */
import type { Figures } from './measurements.ts';

/** One request. */
export interface LoggedRequest {
  readonly startMicros: number;
  /** -1: the stream failed. */
  readonly status: number;
  readonly durationMicros: number;
}

const OK = 200;
/** Versions to come may add columns behind. */
const LINE = /^(\d+)\t(-?\d+)\t(\d+)(?:\t|$)/;

/** Returns the requests of a log. @throws Error for a line that is none of a log */
export function parseLog(text: string): LoggedRequest[] {
  const requests: LoggedRequest[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const found = LINE.exec(line);
    if (found === null) throw new Error(`not a line of h2load's log: "${line}"`);
    const [, startMicros, status, durationMicros] = found.map(Number);
    requests.push({ startMicros: startMicros!, status: status!, durationMicros: durationMicros! });
  }
  return requests;
}

/** Returns how many requests were answered with success, as HTTP sees it. */
export function countOk(requests: readonly LoggedRequest[]): number {
  return requests.reduce((sum, { status }) => sum + (status === OK ? 1 : 0), 0);
}

/** Returns a percentile, in (0, 100], of at least one sorted number: the smallest that so many percent do not exceed. */
export function percentileOf(sorted: ArrayLike<number>, percentile: number): number {
  const rank = Math.ceil((percentile / 100) * sorted.length);
  return sorted[Math.max(0, rank - 1)]!;
}

/**
 * Returns the figures of a run of `warmUpMs + durationMs`. `confirmed` is how many requests of the log the server says it
 * has done: what is missing has failed, whatever HTTP has said. @throws Error if the measured part is empty
 */
export function figuresOfLog(
  requests: readonly LoggedRequest[],
  run: { readonly warmUpMs: number; readonly durationMs: number; readonly confirmed: number },
): Figures {
  // Not Math.min(...): a log has more lines than a call may have arguments.
  const first = requests.reduce((least, { startMicros }) => Math.min(least, startMicros), Infinity);
  const from = first + run.warmUpMs * 1_000;
  const to = from + run.durationMs * 1_000;
  const measured = requests.filter(({ startMicros }) => startMicros >= from);
  const succeeded = measured.filter(({ status }) => status === OK);
  if (succeeded.length === 0) throw new Error("h2load's log has no success in the measured part");
  const unconfirmed = Math.max(0, countOk(requests) - run.confirmed);
  const inTime = succeeded.filter(({ startMicros, durationMicros }) => startMicros + durationMicros <= to);
  const count = Math.max(0, inTime.length - unconfirmed);
  const latencies = Float64Array.from(succeeded, ({ durationMicros }) => durationMicros / 1_000).sort();
  const seconds = run.durationMs / 1_000;
  return {
    count,
    errors: measured.length - succeeded.length + unconfirmed,
    seconds,
    throughput: count / seconds,
    mean: latencies.reduce((sum, latency) => sum + latency, 0) / latencies.length,
    p50: percentileOf(latencies, 50),
    p99: percentileOf(latencies, 99),
  };
}
