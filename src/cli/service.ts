/**
 * The process around a node or a router: says when it is ready, stops in good order when it is asked to, ends when it
 * has failed, and never outlives the `ringkeep up` that started it.
 *
 * A process started by `up` has its stdin tied to it:  `stop MS\n` asks for a stop with that grace,  end of file means
 * that `up` is gone, however it went. Ctrl-C of a terminal reaches such a process too; that signal is left to `up`.
 * INVARIANT: after the first request to stop, the process ends within the grace and STOP_SLACK_MS.
 */
import { RingkeepError } from '../common/errors.ts';
import { DRAIN_MS } from '../common/limits.ts';
import { createLog, type Log, type LogLevel } from '../common/log.ts';
import { EXIT, note, print, printJson, showError, surviveClosedOutput } from './output.ts';

/** A started node or router. */
export interface Service {
  /** Stops in good order, handing over for at most `graceMs`. */
  stop(graceMs: number): Promise<void>;
  /** Resolves when it has failed and the process must end. */
  readonly failed?: Promise<Error>;
}

/** What a service says when it is ready. */
export interface Ready {
  readonly service: Service;
  readonly id: string;
  readonly address: string;
  readonly http: string | null;
}

export interface ServiceOptions {
  readonly kind: 'node' | 'router';
  readonly json: boolean;
  readonly logLevel: LogLevel | undefined;
  /** Process that this one must not outlive; undefined: none. */
  readonly parentPid: number | undefined;
  readonly start: (log: Log) => Promise<Ready>;
}

/** Closing files after the grace. */
const STOP_SLACK_MS = 1_500;
const PARENT_POLL_MS = 250;
const COMMAND_BYTES_MAX = 1024;

/** Ends this process when its parent is gone; calls `stop` when it asks for it. */
function followParent(parentPid: number, log: Log, stop: (graceMs: number) => void): void {
  const gone = (how: string) => {
    log.warn('parent_gone', { parentPid, how });
    process.exit(EXIT.OK);
  };
  let text = '';
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk) => {
    text = (text + chunk).slice(-COMMAND_BYTES_MAX);
    const command = /^stop (\d{1,6})\n/m.exec(text);
    if (command !== null) stop(Number(command[1]));
  });
  process.stdin.on('end', () => gone('its pipe is closed'));
  process.stdin.on('error', () => gone('its pipe is broken'));
  // The pipe is enough on its own, unless something else holds its other end open.
  setInterval(() => {
    if (process.ppid !== parentPid) gone('it has ended');
  }, PARENT_POLL_MS).unref();
}

function endOnBugs(log: Log): void {
  const end = (error: unknown) => {
    log.fatal('bug', { error: error instanceof Error ? error : new Error(String(error)) });
    process.exit(EXIT.BUG);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

class ServiceProcess {
  readonly #options: ServiceOptions;
  readonly #log: Log;
  #service: Service | null = null;
  #stopping = false;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#log = createLog({
      process: options.kind,
      ...(options.logLevel === undefined ? {} : { level: options.logLevel }),
      // Standard output carries the ready line alone. Pipes and files are written synchronously here.
      destination: { write: (line) => process.stderr.write(line) },
    });
  }

  async run(): Promise<number> {
    const { parentPid, json } = this.#options;
    surviveClosedOutput();
    endOnBugs(this.#log);
    this.#listenToSignals(parentPid !== undefined);
    if (parentPid !== undefined) followParent(parentPid, this.#log, (graceMs) => this.#stop(graceMs));
    let ready: Ready;
    try {
      ready = await this.#options.start(this.#log);
    } catch (error) {
      return showError(error, json);
    }
    this.#service = ready.service;
    await this.#sayReady(ready);
    const failure = await (ready.service.failed ?? new Promise<Error>(() => {}));
    const status = showError(failure, json);
    // An operating error is for whoever started it to put right: starting it again would not help.
    return failure instanceof RingkeepError ? status : EXIT.BUG;
  }

  async #sayReady(ready: Ready): Promise<void> {
    const { id, address, http } = ready;
    const { kind, json } = this.#options;
    if (json) await printJson({ event: 'ready', id, address, http, pid: process.pid });
    else
      await print(`${kind} ${id} listens on ${address}${http === null ? '' : `, metrics on http://${http}`}`);
  }

  #listenToSignals(hasParent: boolean): void {
    const onSignal = (signal: NodeJS.Signals) => this.#onSignal(signal);
    process.on('SIGTERM', onSignal);
    process.on('SIGHUP', onSignal);
    process.on('SIGINT', (signal) => {
      if (!hasParent) onSignal(signal);
    });
  }

  #onSignal(signal: NodeJS.Signals): void {
    if (this.#stopping) process.exit(EXIT.OK);
    if (!this.#options.json) note(`${signal}: stopping; once more to stop at once`);
    this.#stop(DRAIN_MS);
  }

  /** Stops within `graceMs`; a later call can only make it shorter. */
  #stop(graceMs: number): void {
    if (this.#service === null) process.exit(EXIT.OK);
    // Recovery copes with an end at any moment; being late is worse than being untidy.
    setTimeout(() => {
      this.#log.warn('stop_too_slow', { graceMs });
      process.exit(EXIT.OK);
    }, graceMs + STOP_SLACK_MS).unref();
    if (this.#stopping) return;
    this.#stopping = true;
    this.#service.stop(graceMs).then(
      () => process.exit(EXIT.OK),
      (error: unknown) => {
        this.#log.error('stop_failed', { error: error instanceof Error ? error : new Error(String(error)) });
        process.exit(EXIT.FAILED);
      },
    );
  }
}

/** Runs a service until it is stopped or fails. Resolves with the exit status; a stop exits the process itself. */
export function runService(options: ServiceOptions): Promise<number> {
  return new ServiceProcess(options).run();
}
