/**
 * A simulated client that goes through routers: the production engine in routed mode, with its links and rules, on virtual
 * time. It asks for the same kinds of operations as a direct client (sim-client.ts) and passes the same checks.
 * It takes no decision of its own.
 */
import { Engine } from '../../src/client/engine.ts';
import { ClientReporter } from '../../src/client/events.ts';
import { Operation as Call } from '../../src/client/operation.ts';
import { RETRY_DEFAULTS } from '../../src/client/retry-policy.ts';
import { RoutedRoutes } from '../../src/client/routed.ts';
import { Session } from '../../src/client/session.ts';
import { toLatin1 } from '../../src/common/bytes.ts';
import { assert } from '../../src/common/errors.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { VALUE_BYTES_CEILING } from '../../src/common/limits.ts';
import type { ClientChecks, Operation, Wish } from './client-checks.ts';
import { requestName } from './ghost.ts';
import { inputsOf, wireItems } from './sim-batch.ts';
import { ackOf } from './sim-client.ts';
import { guarded, simClock } from './sim-clock.ts';
import type { SimSessions } from './sim-sessions.ts';
import { inputOf, nextOperation, type Workload, type WorkloadClient } from './workload.ts';
import type { World } from './world.ts';

/** What a routed client works with. */
export interface RoutedSurroundings {
  readonly world: World;
  readonly sessions: SimSessions;
  /** Places of the routers that it knows of. */
  readonly routers: readonly string[];
  readonly checks: ClientChecks;
  readonly workload: Workload;
}

interface Running {
  readonly operation: Operation;
  readonly done: (applied: boolean) => void;
}

const LEVELS = {
  linearizable: 'READ_LINEARIZABLE',
  quorum: 'READ_QUORUM',
  session: 'READ_SESSION',
  stale: 'READ_STALE',
} as const;

const CONNECT_MS = 500;
const BYTES_CODEC = 1;

export class SimRoutedClient implements WorkloadClient {
  readonly id: string;
  open = 0;
  private readonly around: RoutedSurroundings;
  private readonly clientId: Uint8Array;
  private readonly engine: Engine;
  private readonly running = new Map<Call, Running>();
  private readonly session = new Session();
  private values = 0;
  private stopped = false;

  constructor(id: string, around: RoutedSurroundings) {
    const { world, sessions, routers, workload } = around;
    this.id = id;
    this.around = around;
    this.clientId = Buffer.from(world.random.id(), 'latin1');
    const options = {
      transport: sessions.connector(id),
      reporter: new ClientReporter(undefined),
      recorder: this.recorder(),
      retry: RETRY_DEFAULTS,
      clientId: this.clientId,
      wholeClientId: Buffer.from(world.random.id(), 'latin1'),
      connectTimeoutMs: CONNECT_MS,
      operationsMax: 1_000,
      operationBytesMax: 1_000_000,
      valueBytesMax: VALUE_BYTES_CEILING,
      clock: simClock(world, id),
    };
    this.engine = new Engine(options, (host) => new RoutedRoutes(host, routers));
    for (let lane = 0; lane < workload.concurrency; lane += 1) this.think();
  }

  stop(): void {
    this.stopped = true;
  }

  /** It has no connections to nodes. */
  nodeStopped(): void {}

  run(wish: Wish, done: (applied: boolean) => void): void {
    const { world, checks, workload } = this.around;
    const { kind, key, condition, ttlMs, items } = wish;
    assert(kind !== 'check', 'checks are in batches');
    const partition = partitionOf(Buffer.from(key), workload.partitions);
    this.values += 1;
    const input = inputOf(wish, this.id, this.values);
    const inputs = inputsOf(items, input);
    const seen = wish.level === 'session' ? this.session.get(partition) : null;
    const operation = checks.call({ ...wish, client: this.id, partition, input, request: '', seen }, inputs);
    const call = new Call({
      kind,
      shape: kind === 'get' ? 'entry' : kind === 'batch' ? 'batch' : 'receipt',
      keyspace: '',
      key: Buffer.from(key),
      deadline: world.now + workload.timeoutMs,
      ack: ackOf(wish, workload),
      condition,
      put: kind === 'put' ? { value: Buffer.from(input), codec: BYTES_CODEC, ttlMs } : null,
      delta: kind === 'increment' ? wish.delta : 0,
      ttlMs: kind === 'put' ? 0 : ttlMs,
      batch: kind === 'batch' ? wireItems(items, inputs) : null,
      idempotencyKey: Buffer.from(wish.once),
      copies: 0,
      counter: false,
      unread: wish.unread,
      scan: null,
      level: LEVELS[wish.level],
      maxStalenessMs: wish.maxStalenessMs,
      session: this.session,
      signal: null,
    });
    call.resolve = () => {};
    // Under which id it went where it has not counted.
    const startOver = call.startOver.bind(call);
    call.startOver = () => {
      this.name(call, operation);
      startOver();
    };
    call.reject = (error) => {
      this.name(call, operation);
      if (error.code === 'WRITE_LOST') checks.lossTold(operation, error.epoch ?? 0, call.get);
      checks.failed(operation, error.outcome, error.code);
      this.finish(call, error.outcome === 'applied');
    };
    this.open += 1;
    this.running.set(call, { operation, done });
    guarded(world, this.id, () => this.engine.start(call));
  }

  private think(): void {
    const { world, workload, checks } = this.around;
    world.schedule(world.between(0, workload.thinkMs * 2), () => {
      if (!this.stopped) this.run(nextOperation(world, workload, checks), () => this.think());
    });
  }

  /** Where the engine tells the answers themselves, not what callers make of them. */
  private recorder(): ConstructorParameters<typeof Engine>[0]['recorder'] {
    return {
      clock: () => 0,
      succeeded: (call, _result, { receipt, value }) => {
        const { operation } = this.running.get(call)!;
        const { checks } = this.around;
        this.name(call, operation);
        if (receipt != null) checks.acknowledged(operation, receipt);
        else if (value != null) checks.read(operation, value);
        this.finish(call, true);
      },
      failed: () => {},
    };
  }

  /** The request id that all attempts had: known only now, since the engine takes a sequence when it first has a route. */
  private name(call: Call, operation: Operation): void {
    if (!call.isWrite) return;
    const own = call.sequences?.clientId ?? this.clientId;
    operation.request = requestName(toLatin1(own.length > 0 ? own : this.clientId), call.sequence);
    if (call.partition >= 0) operation.pins.push({ partition: call.partition, request: operation.request });
  }

  private finish(call: Call, applied: boolean): void {
    const { done } = this.running.get(call)!;
    this.running.delete(call);
    this.open -= 1;
    done(applied);
  }
}
