/**
 * Samples the servers' CPU and memory every second: local processes by /proc, others by Prometheus. What cannot be read in a
 * second is left out of it.
 */
import { readFileSync } from 'node:fs';
import { monotonicMs } from '../load/monotonic.ts';
import { type ProcessFigures, readMetrics, readProc, type ServerSample } from './sample.ts';

/** A server process; at least one of the two is known. */
export interface Server {
  readonly name: string;
  /** Of a process of this machine. */
  readonly pid: number | null;
  readonly metricsUrl: string | null;
}

const PERIOD_MS = 1_000;
const FETCH_MS = 900;

/** Returns a local process's figures; null if there are none. */
export function figuresOf(pid: number): ProcessFigures | null {
  try {
    return readProc(readFileSync(`/proc/${pid}/stat`, 'utf8'), readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return null;
  }
}

async function look({ pid, metricsUrl }: Server): Promise<ProcessFigures | null> {
  const local = pid === null ? null : figuresOf(pid);
  if (local !== null || metricsUrl === null) return local;
  try {
    const response = await fetch(metricsUrl, { signal: AbortSignal.timeout(FETCH_MS) });
    return response.ok ? readMetrics(await response.text()) : null;
  } catch {
    return null;
  }
}

export class ServerSampler {
  readonly #servers: () => readonly Server[];
  readonly #from: number;
  readonly #before = new Map<string, { readonly at: number; readonly cpuMs: number }>();
  readonly #samples: ServerSample[] = [];
  readonly #timer: NodeJS.Timeout;

  /** `servers` is asked every time: a process that is started again is another one. `from` is the time of second 0. */
  constructor(servers: () => readonly Server[], from: number) {
    this.#servers = servers;
    this.#from = from;
    const take = () => void Promise.all(this.#servers().map((server) => this.#take(server)));
    this.#timer = setInterval(take, PERIOD_MS);
    take();
  }

  /** Ends the sampling and returns all samples of `from` and later. */
  stop(): readonly ServerSample[] {
    clearInterval(this.#timer);
    return this.#samples.filter(({ second }) => second >= 0);
  }

  async #take(server: Server): Promise<void> {
    const figures = await look(server);
    if (figures === null) return;
    const at = monotonicMs();
    const run = `${server.name} ${server.pid ?? ''}`;
    const before = this.#before.get(run);
    this.#before.set(run, { at, cpuMs: figures.cpuMs });
    if (before === undefined || at <= before.at) return;
    this.#samples.push({
      second: (at - this.#from) / 1_000,
      server: server.name,
      cpuPercent: Math.max(0, (100 * (figures.cpuMs - before.cpuMs)) / (at - before.at)),
      rssBytes: figures.rssBytes,
      rssAnonBytes: figures.rssAnonBytes,
    });
  }
}
