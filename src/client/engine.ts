/**
 * Moves operations from their call to their end: admission, route, sequence, attempt, retry, deadline, abort.
 * One coarse sweep serves every time limit; it runs only while something is open, so an idle client keeps no
 * process alive. The rules of retries and outcomes are attempts.ts, the ways to the cluster are routed.ts and
 * direct.ts.
 * INVARIANT: every submitted operation ends exactly once, at the latest one sweep after its deadline.
 * INVARIANT: open operations and their bytes are bounded; what is beyond is refused before anything is sent
 * (G9).
 */
import { type Clock, every, systemClock } from '../common/clock.ts';
import { assert, type ErrorCode, RingkeepError } from '../common/errors.ts';
import { describe, fromFailure } from '../common/failure.ts';
import { partitionOf } from '../common/hash.ts';
import { OVERLOADED_RETRY_AFTER_MS } from '../common/limits.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { Reply } from '../common/wire/messages.ts';
import * as attempts from './attempts.ts';
import { ClusterFacts } from './cluster-facts.ts';
import type { EngineOptions } from './engine-options.ts';
import type { ClientReporter } from './events.ts';
import { Hedging, isOverdue, isSlow } from './hedging.ts';
import { Link, type LinkOwner, type LinkSink, type Transport } from './link.ts';
import { collectRows, Operation, type OperationSpec, resultOf } from './operation.ts';
import { ReadyWaiters } from './ready-waiters.ts';
import { attemptTimeMs, RetryBudget } from './retry-policy.ts';
import type { Routes, RoutesHost } from './routes.ts';
import { SaltedGets } from './salted-gets.ts';
import { SequenceWindows } from './sequence-windows.ts';
import { SpreadIncrements } from './spread-increments.ts';

/** Granularity of all time limits, in ms. */
const SWEEP_MS = 20;
/** A waiting operation looks for a route again after this, in ms, if nothing woke it. */
const ROUTE_POLL_MS = 200;
/** Most of an attempt's time, ms, that is kept back, so that the server's own answer arrives first. */
const ANSWER_MARGIN_MS = 50;

/** The operations of one client. */
export class Engine implements RoutesHost, LinkSink {
  readonly transport: Transport;
  readonly reporter: ClientReporter;
  readonly clientId: Uint8Array;
  readonly connectTimeoutMs: number;
  readonly cluster: ClusterFacts;
  readonly salted = new SaltedGets();
  readonly #spread = new SpreadIncrements();
  readonly random = (): number => this.#clock.random();
  readonly now = (): number => this.#clock.now();
  readonly #clock: Clock;
  readonly #options: EngineOptions;
  readonly #routes: Routes;
  readonly #budget: RetryBudget;
  readonly #windows: SequenceWindows;
  readonly #hedging = new Hedging();
  readonly #open = new Set<Operation>();
  readonly #parked = new Set<Operation>();
  readonly #links = new Set<Link>();
  #bytes = 0;
  #sweeping: (() => void) | null = null;
  readonly #ready = new ReadyWaiters();
  #closing = false;
  #destroyed = false;
  #closed: (() => void)[] = [];

  constructor(options: EngineOptions, routes: (host: RoutesHost) => Routes) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.transport = options.transport;
    this.reporter = options.reporter;
    this.clientId = options.clientId;
    this.#windows = new SequenceWindows(options.wholeClientId);
    this.connectTimeoutMs = options.connectTimeoutMs;
    this.cluster = new ClusterFacts(options.valueBytesMax);
    this.#budget = new RetryBudget(options.retry);
    this.#routes = routes(this);
  }

  /** Operations that have not ended. */
  get openCount(): number {
    return this.#open.size;
  }

  // ------------------------------------------------------------ from the caller

  /**
   * Starts an operation; the promise settles with the result of its shape, or a RingkeepError with code and
   * outcome.
   */
  submit<T>(spec: OperationSpec): Promise<T> {
    const operation = new Operation(spec);
    const promise = new Promise<T>((resolve, reject) => {
      operation.resolve = resolve as (result: unknown) => void;
      operation.reject = reject;
    });
    this.start(operation);
    return promise;
  }

  /** Starts an operation whose `resolve` and `reject` are set; one of them is called once. */
  start(operation: Operation): void {
    const { signal } = operation.spec;
    const refusal = this.#refusal(operation);
    if (refusal !== null) {
      operation.state = 'ended';
      operation.reject(refusal);
      return;
    }
    if (this.#options.recorder !== null) operation.calledAt = this.#options.recorder.clock();
    this.#open.add(operation);
    this.#bytes += operation.bytes;
    this.#budget.earn();
    if (operation.isAnywhere) this.#hedging.earn();
    if (signal !== null) this.#listen(operation, signal);
    this.#startSweep();
    this.#dispatch(operation, this.now());
  }

  #refusal(operation: Operation): RingkeepError | null {
    if (this.#closing) return new RingkeepError('CLOSED', 'the client is closed');
    if (operation.spec.signal?.aborted) return attempts.cancelledError(operation);
    const { operationsMax, operationBytesMax } = this.#options;
    const fits = this.#open.size < operationsMax && this.#bytes + operation.bytes <= operationBytesMax;
    if (fits || this.#open.size === 0) return null;
    const text = `${this.#open.size} operations with ${this.#bytes} bytes are open in this client`;
    return new RingkeepError('OVERLOADED', text, 'not_applied', { retryAfterMs: OVERLOADED_RETRY_AFTER_MS });
  }

  #listen(operation: Operation, signal: AbortSignal): void {
    operation.onAbort = () => {
      this.#withdraw(operation);
      this.#fail(operation, attempts.cancelledError(operation));
    };
    signal.addEventListener('abort', operation.onAbort, { once: true });
  }

  /** Resolves when operations can be sent; rejects with what prevents it, at the latest at `deadline`. */
  async ready(deadline: number): Promise<void> {
    if (this.#closing) throw new RingkeepError('CLOSED', 'the client is closed');
    if (this.#routes.ready(this.now())) return;
    this.#startSweep();
    await this.#ready.wait(deadline);
  }

  /** Takes no new operations, waits for the open ones to end, then ends all connections. Never rejects. */
  close(): Promise<void> {
    this.#closing = true;
    if (this.#open.size === 0) this.destroy();
    return new Promise((resolve) => {
      if (this.#destroyed && this.#links.size === 0) resolve();
      else this.#closed.push(resolve);
    });
  }

  /** Ends everything now: open operations get CLOSED, writes that were sent with outcome unknown. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#closing = true;
    this.#destroyed = true;
    for (const operation of this.#open) {
      this.#withdraw(operation);
      this.#fail(
        operation,
        attempts.restate(operation, 'CLOSED', 'the client was closed', operation.lastError),
      );
    }
    this.#ready.rejectAll(new RingkeepError('CLOSED', 'the client is closed'));
    this.#stopSweep();
    this.#routes.close();
    for (const link of this.#links) link.close();
    this.#finishClose();
  }

  #finishClose(): void {
    if (!this.#destroyed || this.#links.size > 0) return;
    for (const resolve of this.#closed) resolve();
    this.#closed = [];
  }

  // ------------------------------------------------------------ from the routes

  openLink(address: string, expectedNode: string, owner: LinkOwner): Link {
    const hello = makeHello({
      role: 'client',
      clusterId: this.cluster.clusterId,
      clientId: this.clientId,
      expectedNode,
    });
    const tracked: LinkOwner = {
      linkOpened: (link, welcome) => owner.linkOpened(link, welcome),
      linkDraining: (link) => owner.linkDraining(link),
      linkEnded: (link, error) => {
        this.#links.delete(link);
        owner.linkEnded(link, error);
        this.#finishClose();
      },
    };
    const link = new Link(this.transport, address, hello, this.connectTimeoutMs, tracked, this);
    this.#links.add(link);
    return link;
  }

  wake(partition?: number): void {
    const now = this.now();
    if (this.#ready.size > 0 && this.#routes.ready(now)) this.#ready.resolveAll();
    for (const operation of [...this.#parked]) {
      if (!operation.wakeable || operation.state !== 'parked') continue;
      if (partition !== undefined && operation.partition !== partition) continue;
      this.#dispatch(operation, now);
    }
  }

  moved(leaders: ReadonlyMap<number, string>): void {
    for (const operation of [...this.#open]) {
      const leader = leaders.get(operation.askedPartition);
      const isThere = operation.state === 'sent' || operation.state === 'queued';
      const isLeft = isThere && !operation.isAnywhere && operation.link?.address !== leader;
      if (leader !== undefined && isLeft)
        this.#abandonAttempt(operation, 'NOT_LEADER', 'another node leads now');
    }
  }

  fatal(error: RingkeepError): void {
    this.#ready.rejectAll(error);
    for (const operation of [...this.#parked]) {
      if (operation.state !== 'parked') continue;
      this.#fail(operation, attempts.restate(operation, error.code, describe(error), error));
    }
  }

  // ------------------------------------------------------------ from the links

  sending(operation: Operation): number {
    const now = this.now();
    const remainingMs = operation.spec.deadline - now;
    const whole = operation.isWhole || operation.spec.kind === 'scan';
    const attemptMs = attemptTimeMs(this.#options.retry, remainingMs, whole);
    operation.attemptDeadline = now + attemptMs;
    operation.sentAt = now;
    operation.isHedged = false;
    // That of an attempt before: this one may get its own.
    this.#dropHedge(operation);
    return Math.max(1, Math.floor(attemptMs - Math.min(ANSWER_MARGIN_MS, attemptMs / 10)));
  }

  answered(asked: Operation, reply: Reply): void {
    if (reply.rows) collectRows(asked, reply);
    if (!reply.end) return;
    if (reply.failure) {
      this.failed(asked, fromFailure(reply.failure));
      return;
    }
    const operation = asked.hedgeOf ?? asked;
    if (operation !== asked) {
      this.#withdraw(operation);
      this.#forgetHedge(asked);
    }
    if (this.#spread.isClosed(operation, reply.receipt, this.now())) return this.#startOver(operation);
    this.#note(operation, asked, reply);
    let result: unknown;
    try {
      result = resultOf(operation, reply);
    } catch (error) {
      assert(error instanceof RingkeepError, `reading an answer threw ${String(error)}`);
      this.#fail(operation, attempts.restate(operation, error.code, describe(error), error, error.outcome));
      return;
    }
    this.#end(operation);
    this.#options.recorder?.succeeded(operation, result, reply);
    operation.resolve(result);
  }

  /** Takes from an answer what later operations go by. `asked` is the attempt that was answered. */
  #note(operation: Operation, asked: Operation, { receipt, value }: Reply): void {
    const { sequences, spec, sentAt } = operation;
    const { session } = spec;
    const now = this.now();
    if (receipt) {
      if (!receipt.conditionFailed) this.#windows.told(operation, receipt.durability);
      sequences?.observe(receipt.logTime);
      this.#spread.note(operation, receipt, now);
      if (operation.saltSet > 0) operation.noteCommitted(receipt.version);
      else session?.wrote(receipt);
    }
    if (value) {
      session?.read(value, asked.get);
      this.salted.note(asked, value, now);
    }
    if (asked.isHedgeable) this.#hedging.answered(now - sentAt);
  }

  failed(operation: Operation, error: RingkeepError): void {
    const goesHome = this.salted.isHomeward(operation, error);
    if (operation.hedgeOf !== null) return this.#forgetHedge(operation);
    const now = this.now();
    operation.rows = null;
    if (goesHome) return this.#dispatch(operation, now);
    if (error.code === 'NO_QUORUM') this.#routes.doubt(now);
    if (error.code === 'ACK_NOT_REACHED') this.#windows.told(operation, 'all');
    if (error.outcome === 'applied' && error.version !== undefined) operation.noteCommitted(error.version);
    const redirect = error.code === 'NOT_LEADER' && this.#routes.reroute(operation, error);
    operation.link = null;
    const verdict = attempts.judge(operation, error, {
      retry: this.#options.retry,
      budget: this.#budget,
      random: this.random,
      now,
      redirect,
    });
    switch (verdict.kind) {
      case 'end':
        this.#fail(operation, verdict.error);
        break;
      case 'renew':
        this.#windows.renew(operation);
        this.#dispatch(operation, now);
        break;
      case 'resend':
        this.#dispatch(operation, now);
        break;
      case 'later':
        this.#park(operation, now + verdict.delayMs, verdict.wakeable);
        break;
    }
  }

  returned(operation: Operation): void {
    if (operation.hedgeOf !== null) this.#forgetHedge(operation);
    else this.#dispatch(operation, this.now());
  }

  #dispatch(operation: Operation, now: number): void {
    if (operation.partition < 0 && this.cluster.partitions > 0 && !this.#locate(operation)) return;
    if (this.salted.mark(operation, now)) this.#hedging.earn();
    const link = this.#route(operation, now);
    if (link === null) return this.#park(operation, now + ROUTE_POLL_MS, true);
    this.#parked.delete(operation);
    if (operation.partition < 0 && !this.#locate(operation)) return;
    const uncertain = attempts.uncertainError(operation);
    if (uncertain !== null) return this.#fail(operation, uncertain);
    if (operation.isDeduplicated) {
      if (!this.#windows.admit(operation)) return;
      if (!operation.sequences!.pin(operation)) {
        this.#fail(operation, attempts.sessionLostError(operation));
        return;
      }
    }
    link.enqueue(operation);
  }

  /** An increment is pinned to a sub-counter by its first attempt only: while there is no way to it, it goes home. */
  #route(operation: Operation, now: number): Link | null {
    const link = this.#routes.route(operation, now);
    if (link?.knows(operation)) return link;
    if (operation.saltSet === 0 || !operation.isUntried) return null;
    operation.startOver();
    return this.#routes.route(operation, now);
  }

  /** Computes the partition; returns false if the operation names one that does not exist. */
  #locate(operation: Operation): boolean {
    const { scan, key } = operation.spec;
    operation.partition = scan === null ? partitionOf(key, this.cluster.partitions) : scan.partition;
    if (operation.partition < this.cluster.partitions) {
      this.#spread.aim(operation, this.now(), this.random);
      return true;
    }
    const text = `partition ${operation.partition} is not below ${this.cluster.partitions}`;
    this.#fail(operation, attempts.restate(operation, 'INVALID_ARGUMENT', text, null));
    return false;
  }

  /** Where it went, it has no effect: it begins anew at home, under another sequence. */
  #startOver(operation: Operation): void {
    this.#releaseSequence(operation);
    operation.startOver();
    this.#dispatch(operation, this.now());
  }

  #park(operation: Operation, wakeAt: number, wakeable: boolean): void {
    operation.state = 'parked';
    operation.wakeAt = wakeAt;
    operation.wakeable = wakeable;
    this.#parked.add(operation);
  }

  /** Takes the operation back from wherever it is. What was sent is lost, its answer no longer wanted. */
  #withdraw(operation: Operation): void {
    if (operation.state === 'sent') operation.noteLost();
    operation.link?.abandon(operation);
  }

  #fail(operation: Operation, error: RingkeepError): void {
    this.#end(operation);
    if (error.code === 'WRITE_LOST')
      operation.spec.session?.lost(operation.partition, error.epoch ?? 0, operation.get);
    this.#options.recorder?.failed(operation, error);
    operation.reject(error);
  }

  /** Asks a second voter for what the first one has not answered for a while. The first answer of both counts. */
  #hedge(operation: Operation, now: number): void {
    const hedge = new Operation(operation.spec);
    hedge.partition = operation.partition;
    hedge.hedgeOf = operation;
    hedge.isSalted = operation.isSalted;
    const link = this.#routes.route(hedge, now);
    if (link === null || !this.#hedging.take()) return;
    operation.hedge = hedge;
    operation.isHedged = true;
    link.enqueue(hedge);
  }

  /** Its answer is not wanted any more. */
  #dropHedge({ hedge }: Operation): void {
    if (hedge === null) return;
    this.#withdraw(hedge);
    this.#forgetHedge(hedge);
  }

  /** It was answered, or is lost: its link knows it no more. */
  #forgetHedge(hedge: Operation): void {
    hedge.hedgeOf!.hedge = null;
    hedge.state = 'ended';
    hedge.link = null;
  }

  #end(operation: Operation): void {
    assert(operation.state !== 'ended', 'an operation ends once');
    this.#dropHedge(operation);
    operation.state = 'ended';
    operation.link = null;
    this.#open.delete(operation);
    this.#parked.delete(operation);
    this.#bytes -= operation.bytes;
    if (operation.onAbort !== null) {
      operation.spec.signal!.removeEventListener('abort', operation.onAbort);
      operation.onAbort = null;
    }
    if (operation.isDeduplicated) this.#releaseSequence(operation);
    if (this.#closing && this.#open.size === 0) setImmediate(() => this.destroy());
  }

  #releaseSequence(operation: Operation): void {
    if (!this.#windows.release(operation) || this.#destroyed) return;
    const now = this.now();
    for (;;) {
      const waiting = this.#windows.next(operation);
      if (waiting === null) return;
      this.#dispatch(waiting, now);
    }
  }

  #startSweep(): void {
    this.#sweeping ??= every(this.#clock, SWEEP_MS, () => this.#sweep());
  }

  #stopSweep(): void {
    this.#sweeping?.();
    this.#sweeping = null;
  }

  #sweep(): void {
    const now = this.now();
    for (const operation of this.#open) {
      if (now >= operation.spec.deadline) this.#expire(operation);
      else if (operation.state === 'sent' && now >= operation.attemptDeadline)
        this.#abandonAttempt(operation, 'DEADLINE_EXCEEDED', 'no answer to this attempt');
      else if (operation.state === 'parked' && now >= operation.wakeAt) this.#dispatch(operation, now);
      else if (isSlow(operation, now, this.#hedging.afterMs)) this.#hedge(operation, now);
      else if (isOverdue(operation, now)) this.#routes.doubt(now);
    }
    this.#routes.pump();
    if (this.#ready.size > 0) {
      this.#routes.ready(now);
      this.#ready.expire(now, this.#routes.trouble());
    }
    if (this.#open.size === 0 && this.#ready.size === 0) this.#stopSweep();
  }

  #expire(operation: Operation): void {
    this.#withdraw(operation);
    const trouble = operation.attempt === 0 ? this.#unreached() : null;
    this.#fail(operation, attempts.deadlineError(operation, trouble, this.#routes.obstacle(operation)));
  }

  /** What keeps the client from sending anything: also that nobody has answered at all yet. */
  #unreached(): RingkeepError | null {
    const trouble = this.#routes.trouble();
    if (trouble !== null || this.#routes.ready(this.now())) return trouble;
    return new RingkeepError('UNAVAILABLE', 'no address of the cluster has answered yet');
  }

  /** Gives an unanswered attempt up and sends another one with the same request id. */
  #abandonAttempt(operation: Operation, code: ErrorCode, text: string): void {
    const outcome = operation.isWrite && operation.state === 'sent' ? 'unknown' : 'not_applied';
    this.#withdraw(operation);
    this.#dropHedge(operation);
    this.failed(operation, new RingkeepError(code, text, outcome));
  }
}
