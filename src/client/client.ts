/**
 * The client that `connect` returns: the default keyspace, named keyspaces, events and the ways to end. It
 * wires the engine to one of the two ways to reach a cluster and holds no protocol of its own.
 */

import { randomBytes } from 'node:crypto';
import { RingkeepError } from '../common/errors.ts';
import { CLIENT_ID_BYTES, VALUE_BYTES_CEILING } from '../common/limits.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import { type AdminTransport, ClientAdmin } from './admin.ts';
import type { BatchOperation, BatchReceipt } from './batch.ts';
import { DirectRoutes } from './direct.ts';
import { Engine } from './engine.ts';
import { type ClientEvents, ClientReporter } from './events.ts';
import { HistoryRecorder } from './history.ts';
import { type Key, Keyspace, type PutResult } from './keyspace.ts';
import type { Transport } from './link.ts';
import type { CounterReceipt, Entry, Receipt, ScanPage } from './operation.ts';
import {
  type ConditionalOptions,
  type ConnectOptions,
  checkAck,
  checkCodec,
  checkKeyspaceName,
  checkNames,
  checkTimeout,
  type IdempotentOptions,
  type IncrementOptions,
  KEYSPACE_NAMES,
  type KeyspaceOptions,
  type LivingOptions,
  type PutOptions,
  type ReadOptions,
  type ResolvedOptions,
  resolveOptions,
  type TouchOptions,
} from './options.ts';
import { RoutedRoutes } from './routed.ts';
import { type ScanOptions, scanPages } from './scan.ts';
import { Session } from './session.ts';
import type { UpdateResult } from './update.ts';

/**
 * A client of one cluster. Safe to share by everything in a process; it connects when it is first used.
 *
 * @example
 * const db = connect('ringkeep://127.0.0.1:7400');
 * try {
 *   await db.put('user:1', { name: 'Ada' });
 * } finally {
 *   await db.close();
 * }
 */
export class RingkeepClient {
  readonly #engine: Engine;
  readonly #options: ResolvedOptions;
  readonly #reporter: ClientReporter;
  readonly #default: Keyspace;
  /** Questions about the cluster itself. */
  readonly admin: ClientAdmin;
  /** What all calls that name no session have seen. */
  readonly defaultSession = new Session();

  /** @internal Use `connect`. */
  constructor(options: ResolvedOptions, transport: Transport, admin: AdminTransport) {
    const clientId = randomBytes(CLIENT_ID_BYTES);
    this.#options = options;
    this.#reporter = new ClientReporter(options.logger);
    const recorder = options.recorder === undefined ? null : new HistoryRecorder(clientId, options.recorder);
    const { retry, connectTimeoutMs, operationsMax, operationBytesMax, endpoints, mode } = options;
    this.#engine = new Engine(
      {
        transport,
        reporter: this.#reporter,
        recorder,
        retry,
        clientId,
        wholeClientId: randomBytes(CLIENT_ID_BYTES),
        connectTimeoutMs,
        operationsMax,
        operationBytesMax,
        valueBytesMax: VALUE_BYTES_CEILING,
      },
      (host) => (mode === 'routed' ? new RoutedRoutes(host, endpoints) : new DirectRoutes(host, endpoints)),
    );
    this.#default = this.#keyspace('', {});
    const { requestTimeoutMs } = options;
    this.admin = new ClientAdmin({ transport: admin, engine: this.#engine, endpoints, requestTimeoutMs });
  }

  /** Writes a value in the default keyspace; see `Keyspace.put`. */
  put(key: Key, value: unknown, options?: PutOptions): Promise<Receipt> {
    return this.#default.put(key, value, options);
  }

  /** Reads a value of the default keyspace; see `Keyspace.get`. */
  get<T = unknown>(key: Key, options?: ReadOptions): Promise<T | undefined> {
    return this.#default.get(key, options) as Promise<T | undefined>;
  }

  /** Reads a value with its version; see `Keyspace.getEntry`. */
  getEntry<T = unknown>(key: Key, options?: ReadOptions): Promise<Entry<T> | undefined> {
    return this.#default.getEntry(key, options) as Promise<Entry<T> | undefined>;
  }

  /** Deletes a key of the default keyspace; see `Keyspace.delete`. */
  delete(key: Key, options?: ConditionalOptions): Promise<Receipt> {
    return this.#default.delete(key, options);
  }

  /** Changes a value of the default keyspace that depends on what is there; see `Keyspace.update`. */
  update<T = unknown>(
    key: Key,
    compute: (current: T | undefined) => T | undefined | Promise<T | undefined>,
    options?: LivingOptions,
  ): Promise<UpdateResult<T>> {
    return (this.#default as Keyspace<T>).update(key, compute, options);
  }

  /** Lets a value of the default keyspace go after a time; see `Keyspace.expire`. */
  expire(key: Key, ttlMs: number, options?: TouchOptions): Promise<Receipt> {
    return this.#default.expire(key, ttlMs, options);
  }

  /** Lets a value of the default keyspace stay; see `Keyspace.persist`. */
  persist(key: Key, options?: TouchOptions): Promise<Receipt> {
    return this.#default.persist(key, options);
  }

  /** Reads many keys of the default keyspace; see `Keyspace.getMany`. */
  getMany<T = unknown>(keys: Iterable<Key>, options?: ReadOptions): Promise<(T | undefined)[]> {
    return this.#default.getMany(keys, options) as Promise<(T | undefined)[]>;
  }

  /** Writes many entries of the default keyspace, with a result for each; see `Keyspace.putMany`. */
  putMany(entries: Iterable<readonly [Key, unknown]>, options?: LivingOptions): Promise<PutResult[]> {
    return this.#default.putMany(entries, options);
  }

  /** Writes several keys of the default keyspace at once; see `Keyspace.batch`. */
  batch(operations: Iterable<BatchOperation>, options?: IdempotentOptions): Promise<BatchReceipt> {
    return this.#default.batch(operations, options);
  }

  /** Adds to a counter of the default keyspace; see `Keyspace.increment`. */
  increment(key: Key, delta?: number | bigint, options?: IncrementOptions): Promise<CounterReceipt> {
    return this.#default.increment(key, delta, options);
  }

  /** Adds to a counter of the default keyspace without asking for its value; see `Keyspace.add`. */
  add(key: Key, delta?: number | bigint, options?: IncrementOptions): Promise<Receipt> {
    return this.#default.add(key, delta, options);
  }

  /**
   * Writes bytes under the tag of their codec into the default keyspace; see `Keyspace.putEncoded`.
   *
   * @internal For `ringkeep put` and `ringkeep import`.
   */
  putEncoded(key: Key, value: Uint8Array, codec: number, options?: PutOptions): Promise<Receipt> {
    return this.#default.putEncoded(key, value, codec, options);
  }

  /**
   * Returns a named keyspace: 1 to 64 bytes of UTF-8. Cheap; needs no declaration.
   *
   * @throws RingkeepError INVALID_ARGUMENT for a bad name or option
   * @example
   * const pages = db.keyspace<string>('pages', { codec: 'string' });
   */
  keyspace<T = unknown>(name: string, options: KeyspaceOptions = {}): Keyspace<T> {
    checkKeyspaceName(name);
    checkNames('keyspace', options, KEYSPACE_NAMES);
    return this.#keyspace<T>(name, options);
  }

  /**
   * Returns a session of its own, that has seen nothing yet, or what the `token` of another one says, perhaps of another
   * process. With `session` among the options of its calls, reads at `session` show all that it has written and read.
   *
   * @throws RingkeepError INVALID_ARGUMENT for what is no token
   * @example
   * const session = db.session();
   * await db.put('cart:1', ['tea'], { session });
   * // Where the token is passed on to, what was written is seen.
   * const elsewhere = db.session(session.token);
   * const cart = await db.get('cart:1', { read: 'session', session: elsewhere });
   */
  session(token?: string): Session {
    return token === undefined ? new Session() : Session.from(token);
  }

  #keyspace<T>(name: string, options: KeyspaceOptions): Keyspace<T> {
    return new Keyspace<T>({
      engine: this.#engine,
      name,
      codec: checkCodec(options.codec, this.#options.codec),
      ack: checkAck(options.ack, this.#options.ack),
      requestTimeoutMs: this.#options.requestTimeoutMs,
      session: this.defaultSession,
    });
  }

  /**
   * Reads the pages of one partition in key order, each linearizable, all of them together no snapshot.
   *
   * @internal For `ringkeep export`.
   */
  scan(options: ScanOptions): AsyncGenerator<ScanPage, void, undefined> {
    return scanPages(this.#engine, options, this.#options.requestTimeoutMs);
  }

  /**
   * Resolves with the number of partitions of the cluster, connecting if need be.
   *
   * @internal
   */
  async partitions(): Promise<number> {
    if (this.#engine.cluster.partitions === 0) await this.ready();
    return this.#engine.cluster.partitions;
  }

  /**
   * Resolves once the cluster is connected. Not needed before other calls. Rejects with RingkeepError
   * UNAVAILABLE, VERSION_MISMATCH or WRONG_CLUSTER, at the latest after `timeoutMs`.
   *
   * @example
   * await db.ready({ timeoutMs: 2_000 });
   */
  async ready(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = checkTimeout('timeoutMs', options.timeoutMs, this.#options.requestTimeoutMs);
    await this.#engine.ready(performance.now() + timeoutMs);
  }

  /**
   * Calls the listener at every such event.
   *
   * @example
   * db.on('disconnect', ({ address, error }) => console.warn(address, error.code));
   */
  on<E extends keyof ClientEvents>(event: E, listener: (...values: ClientEvents[E]) => void): this {
    const { emitter } = this.#reporter;
    emitter.on<keyof ClientEvents>(event, listener as (...values: ClientEvents[keyof ClientEvents]) => void);
    return this;
  }

  /** Takes a listener away that `on` has added. */
  off<E extends keyof ClientEvents>(event: E, listener: (...values: ClientEvents[E]) => void): this {
    const { emitter } = this.#reporter;
    emitter.off<keyof ClientEvents>(event, listener as (...values: ClientEvents[keyof ClientEvents]) => void);
    return this;
  }

  /** Takes no new operations, waits for the open ones to end, then ends all connections. Never rejects. */
  close(): Promise<void> {
    return this.#engine.close();
  }

  /**
   * Ends everything at once; open operations reject with CLOSED, writes that were sent with outcome
   * `unknown`.
   */
  destroy(): void {
    this.#engine.destroy();
  }

  /** As `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Creates a client over a given transport; what it asks about the cluster itself goes another way.
 *
 * @throws RingkeepError INVALID_ARGUMENT for bad options
 */
export function createClient(
  transport: Transport,
  target: string | ConnectOptions,
  options?: Partial<ConnectOptions>,
  admin: AdminTransport = grpcConnector,
): RingkeepClient {
  if (typeof target !== 'string' && (target === null || typeof target !== 'object')) {
    throw new RingkeepError('INVALID_ARGUMENT', 'connect takes a URL or an object with endpoints');
  }
  return new RingkeepClient(resolveOptions(target, options), transport, admin);
}
