/**
 * CPU and memory of a server process, from the text of Linux's /proc or of a Prometheus endpoint.
 */

/** What one process has used so far. */
export interface ProcessFigures {
  /** CPU time, user and system. */
  readonly cpuMs: number;
  readonly rssBytes: number;
  /** Memory that is not of files; null where it is not told. */
  readonly rssAnonBytes: number | null;
}

/** One process in one second. */
export interface ServerSample {
  /** Since the measured part began. */
  readonly second: number;
  readonly server: string;
  /** Of one core, since the sample before. */
  readonly cpuPercent: number;
  readonly rssBytes: number;
  readonly rssAnonBytes: number | null;
}

/** The unit of CPU times in /proc: 100 a second on every Linux that there is (USER_HZ). */
const TICK_MS = 10;
/** Places of user and system time behind the name of the program, which may hold anything. */
const USER_FIELD = 11;
const SYSTEM_FIELD = 12;

function kibibytes(status: string, name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
  return found === undefined ? null : Number(found) * 1024;
}

/** Returns the figures in /proc/PID/stat and /proc/PID/status; null if they are not those of a running process. */
export function readProc(stat: string, status: string): ProcessFigures | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const cpuMs = (Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD])) * TICK_MS;
  const rssBytes = kibibytes(status, 'VmRSS');
  if (!Number.isFinite(cpuMs) || rssBytes === null) return null;
  return { cpuMs, rssBytes, rssAnonBytes: kibibytes(status, 'RssAnon') };
}

function metric(text: string, name: string): number | null {
  const found = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text)?.[1];
  const value = Number(found ?? Number.NaN);
  return Number.isFinite(value) ? value : null;
}

/** Returns the figures of the process metrics of Prometheus clients; null if they are not there. */
export function readMetrics(text: string): ProcessFigures | null {
  const seconds = metric(text, 'process_cpu_seconds_total');
  const rssBytes = metric(text, 'process_resident_memory_bytes');
  if (seconds === null || rssBytes === null) return null;
  return { cpuMs: seconds * 1_000, rssBytes, rssAnonBytes: null };
}
