/**
 * The log: one JSON line per event, `{level, time, process, node, event, ...}`, made for machines and readable by people.
 * It does not rotate, ship or sample.
 * INVARIANT: keys and values of users never appear in it; say partition, index, epoch, byte counts instead.
 */
import { type DestinationStream, pino } from 'pino';
import { RingkeepError } from './errors.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What may stand beside an event: small things. An error is written with code, outcome and stack. */
export type LogFields = Readonly<
  Record<string, string | number | boolean | null | undefined | readonly (string | number)[] | Error>
>;

/** Writes events. `event` is a fixed name in snake_case; what varies goes into `fields`. */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  fatal(event: string, fields?: LogFields): void;
  /** Returns a log that adds `fields` to every event. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  /** node, router, up, chaos, ... */
  readonly process: string;
  /** Node or router id; may become known later, by `with`. */
  readonly node?: string;
  /** Default: RINGKEEP_LOG, else `info`. */
  readonly level?: LogLevel;
  /** Default: standard output, written synchronously, so that the last line before an exit is not lost. */
  readonly destination?: DestinationStream;
}

/** Returns the level named by RINGKEEP_LOG, or `info` when it names none. */
export function levelFromEnvironment(environment: NodeJS.ProcessEnv = process.env): LogLevel {
  const level = environment.RINGKEEP_LOG as LogLevel | undefined;
  return level !== undefined && LOG_LEVELS.includes(level) ? level : 'info';
}

function errorFields(error: Error): Record<string, unknown> {
  const fields: Record<string, unknown> = { name: error.name, message: error.message };
  if (error instanceof RingkeepError) Object.assign(fields, { code: error.code, outcome: error.outcome });
  else fields.stack = error.stack;
  if (error.cause instanceof Error) fields.cause = errorFields(error.cause);
  return fields;
}

function prepare(fields: LogFields | undefined): Record<string, unknown> {
  const prepared: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields ?? {})) {
    prepared[name] = value instanceof Error ? errorFields(value) : value;
  }
  return prepared;
}

/** Creates a process's log. */
export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level ?? levelFromEnvironment(),
      base: { process: options.process, ...(options.node === undefined ? {} : { node: options.node }) },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    options.destination ?? pino.destination({ dest: 1, sync: true }),
  );
  return wrap(logger);
}

function wrap(logger: pino.Logger): Log {
  const write =
    (level: 'debug' | 'info' | 'warn' | 'error' | 'fatal') =>
    (event: string, fields?: LogFields): void => {
      if (logger.isLevelEnabled(level)) logger[level]({ event, ...prepare(fields) });
    };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    with: (fields) => wrap(logger.child(prepare(fields))),
  };
}

/** A log that writes nothing; for tests and for libraries in other people's processes. */
export const silentLog: Log = wrap(pino({ level: 'silent' }));
