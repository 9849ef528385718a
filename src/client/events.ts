/**
 * What a client tells besides its results: typed events and a logger. An `error` event without a listener
 * goes to the logger alone and never throws, as trouble with one connection is not a reason to end a process.
 */
import { EventEmitter } from 'node:events';
import type { RingkeepError } from '../common/errors.ts';

/** Events of a client and their arguments. */
export interface ClientEvents {
  /** A session with a router or node is open. */
  connect: [{ readonly address: string; readonly role: 'router' | 'node'; readonly nodeId: string }];
  /** A session that was open is over. */
  disconnect: [{ readonly address: string; readonly error: RingkeepError }];
  /** A topology was taken (direct mode). */
  topology: [{ readonly revision: number }];
  /**
   * A connection could not be opened, or the cluster is not the one expected. Operations report their own
   * errors.
   */
  error: [RingkeepError];
}

/** The part of a pino logger that is used. */
export interface ClientLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Emits events and writes them to the logger. */
export class ClientReporter {
  readonly emitter = new EventEmitter<ClientEvents>();
  readonly #logger: ClientLogger | undefined;

  constructor(logger: ClientLogger | undefined) {
    this.#logger = logger;
  }

  connected(address: string, role: 'router' | 'node', nodeId: string): void {
    this.#logger?.info({ address, role, nodeId }, 'connected');
    this.emitter.emit('connect', { address, role, nodeId });
  }

  disconnected(address: string, error: RingkeepError): void {
    this.#logger?.info({ address, code: error.code }, 'disconnected');
    this.emitter.emit('disconnect', { address, error });
  }

  topologyTaken(revision: number): void {
    this.#logger?.debug({ revision }, 'topology taken');
    this.emitter.emit('topology', { revision });
  }

  trouble(address: string, error: RingkeepError): void {
    this.#logger?.warn({ address, code: error.code, reason: error.message }, 'connection failed');
    if (this.emitter.listenerCount('error') > 0) this.emitter.emit('error', error);
  }
}
