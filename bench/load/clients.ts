/**
 * The client processes: starts them, tells them what to do, and collects what they say. They end with this process.
 * INVARIANT: a process that ends or fails rejects whatever is waited for; nothing hangs.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { assert, RingkeepError } from '#src/common/errors.ts';
import { isErrorCode } from '#src/common/failure.ts';
import type { ClientReport, FromClient, Job, RunPlan, ToClient } from './messages.ts';
import type { Interval } from './recorder.ts';

const PROGRAM = fileURLToPath(new URL('./client-process.js', import.meta.url));
const CLOSE_MS = 5_000;

/** What a client process tells while it runs. */
export interface ClientProgress {
  readonly process: number;
  readonly interval: Interval;
  readonly inFlight: number;
  readonly waiting: number;
}

type Answer = Exclude<FromClient, { readonly type: 'interval' | 'loading' | 'error' }>;

class Client {
  readonly #child: ChildProcess;
  readonly #number: number;
  #resolve: (answer: Answer) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #failure: unknown = null;
  onProgress: (progress: ClientProgress) => void = () => {};
  loaded = 0;

  constructor(number: number) {
    this.#number = number;
    this.#child = fork(PROGRAM, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#child.on('message', (message: FromClient) => this.#take(message));
    const ended = (reason: string) =>
      this.#fail(new RingkeepError('INTERNAL', `client process ${number} ended ${reason}`));
    this.#child.on('error', (error) => ended(error.message));
    this.#child.on('exit', (status, signal) =>
      ended(signal === null ? `with status ${status}` : `by ${signal}`),
    );
  }

  ask(message: ToClient): Promise<Answer> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#child.send(message);
    return answer;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), CLOSE_MS);
    this.#reject = () => {};
    if (this.#child.connected) this.#child.send({ type: 'close' } satisfies ToClient);
    await exit;
    clearTimeout(late);
  }

  #take(message: FromClient): void {
    if (message.type === 'interval') {
      const { interval, inFlight, waiting } = message;
      this.onProgress({ process: this.#number, interval, inFlight, waiting });
    } else if (message.type === 'loading') this.loaded = message.records;
    else if (message.type === 'error') {
      const code = isErrorCode(message.code) ? message.code : 'INTERNAL';
      this.#fail(new RingkeepError(code, message.message));
    } else {
      if (message.type === 'loaded') this.loaded = message.records;
      this.#resolve(message);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#reject(this.#failure);
  }
}

/** Returns `whole` in parts that differ by one at most. */
export function divide(whole: number, parts: number): number[] {
  return Array.from({ length: parts }, (_, part) => Math.floor((whole + part) / parts));
}

export class Clients {
  readonly #clients: readonly Client[];

  constructor(processes: number) {
    this.#clients = Array.from({ length: processes }, (_, number) => new Client(number));
  }

  /** Connects all of them; resolves with the number of partitions of the cluster. */
  async connect(job: Omit<Job, 'part' | 'parts'>): Promise<number> {
    const parts = this.#clients.length;
    const answers = await Promise.all(
      this.#clients.map((client, part) =>
        client.ask({
          type: 'connect',
          job: { ...job, part, parts, seed: job.seed + part },
        }),
      ),
    );
    const [first] = answers;
    assert(first?.type === 'connected', 'a client process answers that it is connected');
    return first.partitions;
  }

  /** Writes the records from number `from` on, `inFlight` at a time over all processes; resolves with their number. */
  async load(inFlight: number, onProgress: (records: number) => void, from = 0): Promise<number> {
    const sum = () => this.#clients.reduce((records, { loaded }) => records + loaded, 0);
    const timer = setInterval(() => onProgress(sum()), 1_000);
    const shares = divide(inFlight, this.#clients.length);
    try {
      await Promise.all(
        this.#clients.map((client, at) =>
          client.ask({ type: 'load', inFlightMax: Math.max(1, shares[at]!), from }),
        ),
      );
    } finally {
      clearInterval(timer);
    }
    return sum();
  }

  /** Runs a plan; `plan.operations` and `plan.inFlightMax` are those of all processes together. */
  async run(plan: RunPlan, onProgress: (progress: ClientProgress) => void): Promise<ClientReport[]> {
    const processes = this.#clients.length;
    const operations = plan.operations === null ? null : divide(plan.operations, processes);
    const inFlight = divide(plan.inFlightMax, processes);
    return Promise.all(
      this.#clients.map(async (client, at) => {
        client.onProgress = onProgress;
        const answer = await client.ask({
          type: 'run',
          plan: {
            ...plan,
            operations: operations?.[at] ?? null,
            inFlightMax: Math.max(1, inFlight[at]!),
            seed: plan.seed + at,
          },
        });
        assert(answer.type === 'done', 'a client process answers a run with its report');
        return answer.report;
      }),
    );
  }

  /** Ends all of them. Never rejects. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
  }
}
