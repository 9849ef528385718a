/**
 * The machine's monotonic clock in ms: the same for all processes, so that what they report can be put on one axis.
 */

/** `performance.now()` is cheap but counts from the start of the process; both read the same clock. */
function measureOffset(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6 - performance.now();
}

const offsetMs = measureOffset();

/** Returns the time since some moment before the start of this machine's processes, in ms. */
export function monotonicMs(): number {
  return performance.now() + offsetMs;
}
