/**
 * A simulated client: several operations at once over few keys, every attempt of a write under the same request id. The
 * decisions are those of the production client (retry policy, budget, sequences, routing); only the waiting is the
 * simulation's. It ends every operation as applied, not applied or unknown, and tells the client checks.
 * INVARIANT: `not_applied` only if every attempt of the write was.
 */

import {
  attemptTimeMs,
  backoffDelayMs,
  RETRY_DEFAULTS,
  RetryBudget,
  retryClass,
} from '../../src/client/retry-policy.ts';
import { PartitionSequences, type SessionPin } from '../../src/client/sequences.ts';
import { Session } from '../../src/client/session.ts';
import { toLatin1 } from '../../src/common/bytes.ts';
import { assert, type ErrorCode, type Outcome } from '../../src/common/errors.ts';
import { fromFailure } from '../../src/common/failure.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../src/common/reads.ts';
import type {
  AckName,
  Failure,
  GetOperation,
  Receipt,
  Reply,
  Request,
  Value,
} from '../../src/common/wire/messages.ts';
import { Routing } from '../../src/router/routing.ts';
import { type ClientChecks, CODEC_BYTES, type Operation, type Wish } from './client-checks.ts';
import { requestName } from './ghost.ts';
import type { Connection, Network } from './network.ts';
import { inputsOf, isBlind, wireItems } from './sim-batch.ts';
import type { SimNode } from './sim-node.ts';
import { inputOf, nextOperation, type Workload, type WorkloadClient } from './workload.ts';
import type { World } from './world.ts';

/** What a client that talks to nodes works with. */
export interface ClientSurroundings {
  readonly world: World;
  readonly network: Network;
  readonly nodes: readonly SimNode[];
  readonly checks: ClientChecks;
  readonly workload: Workload;
}

interface ToNode {
  readonly request?: Request;
  readonly cancel?: number;
}

interface Link {
  readonly connection: Connection<ToNode, Reply>;
  /** Attempts that wait for a reply, by request id. */
  readonly waiting: Map<number, (reply: Reply | null) => void>;
}

/** A sub-counter, as the home of its counter has told. */
interface Sub {
  readonly partition: number;
  readonly set: number;
  readonly delta: number;
  /** What the home was at then. */
  readonly index: number;
}

interface Running extends SessionPin {
  readonly operation: Operation;
  readonly deadline: number;
  sequences: PartitionSequences | null;
  /** Of an increment: the sub-counter that it was pinned to. */
  sub: Sub | null;
  attempt: number;
  /** Partition whose copy of the key the last attempt has asked; null: the key itself. */
  copyIn: number | null;
  failures: number;
  redirected: boolean;
  /** Attempts without an answer. */
  inFlight: number;
  done: (applied: boolean) => void;
}

function askedOf({ copyIn, sub, operation }: Running): number {
  return copyIn ?? sub?.partition ?? operation.partition;
}

function getOf({ level, seen, maxStalenessMs }: Operation): GetOperation {
  if (level === 'session') return seen!;
  if (level === 'stale') return { ...LINEARIZABLE_GET, level: 'READ_STALE', maxStalenessMs };
  return level === 'quorum' ? QUORUM_GET : LINEARIZABLE_GET;
}

/** Acknowledgement levels as they are on the wire. */
export const ACKS = { leader: 'ACK_LEADER', quorum: 'ACK_QUORUM', all: 'ACK_ALL' } as const;

/** Returns the level that a write names: none, if the cluster's default comes to the one it wants. */
export function ackOf(wish: Wish, { defaultAck }: Workload): AckName {
  const isEarly = defaultAck === 'leader' && isBlindWish(wish);
  const byDefault = defaultAck === 'leader' && !isEarly ? 'quorum' : defaultAck;
  return wish.ack === byDefault ? 'ACK_DEFAULT' : ACKS[wish.ack];
}

function isBlindWish({ kind, condition, once, items }: Wish): boolean {
  if (once !== '') return false;
  if (kind === 'batch') return isBlind(items);
  return (kind === 'put' || kind === 'delete') && condition === null;
}

export class SimClient implements WorkloadClient {
  readonly id: string;
  private readonly around: ClientSurroundings;
  private readonly clientId: Uint8Array;
  private readonly routing = new Routing();
  private readonly links = new Map<string, Link>();
  private readonly sequences = new Map<number, PartitionSequences>();
  private readonly session = new Session();
  /** Partitions that have held copies of keys. */
  private readonly salted = new Map<string, Set<number>>();
  /** Sub-counters of counters, those of each set together. */
  private readonly subs = new Map<string, Sub[][]>();
  private readonly budget = new RetryBudget(RETRY_DEFAULTS);
  private nextRequest = 1;
  private values = 0;
  private stopped = false;
  /** Operations that have not ended. */
  open = 0;

  constructor(id: string, around: ClientSurroundings) {
    this.id = id;
    this.around = around;
    this.clientId = Buffer.from(around.world.random.id(), 'latin1');
    this.refresh();
    for (let lane = 0; lane < around.workload.concurrency; lane += 1) this.think();
  }

  /** Lets what is under way end and starts nothing more. */
  stop(): void {
    this.stopped = true;
  }

  /** Runs one operation to its end, beside the workload; `done` is told whether it was applied (or read). */
  run(wish: Wish, done: (applied: boolean) => void): void {
    const { world, checks, workload } = this.around;
    const { kind, key } = wish;
    const partition = partitionOf(Buffer.from(key), workload.partitions);
    const sub = this.subFor(wish);
    const sequences = kind === 'get' ? null : this.sequencesOf(sub?.partition ?? partition);
    const sequence = sequences?.acquire() ?? 0;
    this.values += 1;
    const input = inputOf(wish, this.id, this.values);
    const inputs = inputsOf(wish.items, input);
    const request = sequences === null ? '' : requestName(toLatin1(this.clientId), sequence);
    const seen = wish.level === 'session' ? this.session.get(partition) : null;
    const operation = checks.call({ ...wish, client: this.id, partition, input, request, seen }, inputs);
    if (sequences !== null) operation.pins.push({ partition: sub?.partition ?? partition, request });
    this.open += 1;
    this.budget.earn();
    const running: Running = {
      operation,
      deadline: world.now + workload.timeoutMs,
      sequences,
      sub,
      sequence,
      sessionTime: 0,
      sessionGeneration: 0,
      maybeApplied: false,
      attempt: 0,
      copyIn: null,
      failures: 0,
      redirected: false,
      inFlight: 0,
      done,
    };
    world.schedule(workload.timeoutMs, () => this.timedOut(running));
    this.attempt(running);
  }

  private think(): void {
    const { world, workload, checks } = this.around;
    world.schedule(world.between(0, workload.thinkMs * 2), () => {
      if (!this.stopped) this.run(nextOperation(world, workload, checks), () => this.think());
    });
  }

  private attempt(running: Running): void {
    const { world } = this.around;
    if (running.operation.end !== null) return;
    if (running.sequences !== null && !running.sequences.pin(running)) {
      this.fail(running, 'unknown', 'SESSION_EXPIRED');
      return;
    }
    running.copyIn = this.copyFor(running);
    const node = this.route(running);
    const link = node === null ? null : this.link(node);
    if (link === null) {
      this.retry(running, 'UNAVAILABLE', 0);
      return;
    }
    running.attempt += 1;
    running.inFlight += 1;
    const id = this.nextRequest++;
    const left = running.deadline - world.now;
    const waitMs = attemptTimeMs(RETRY_DEFAULTS, left, running.operation.ack === 'all');
    const { sessionTime, sub } = running;
    link.waiting.set(id, (reply) => {
      // What was asked of a sub-counter before it said that it is closed.
      if (running.sub === sub) this.answered(running, sessionTime, reply);
    });
    link.connection.sendRight({ request: this.build(running, id, waitMs) });
    world.schedule(waitMs, () => {
      const waiting = link.waiting.get(id);
      if (waiting === undefined) return;
      link.waiting.delete(id);
      if (world.chance(0.5)) link.connection.sendRight({ cancel: id });
      waiting(null);
    });
  }

  private build(running: Running, id: number, waitMs: number): Request {
    const { kind, key, input, condition, ttlMs, items, parts, once, unread } = running.operation;
    assert(kind !== 'check', 'checks are in batches');
    const base: Request = {
      id,
      timeLeftMs: Math.max(1, Math.floor(waitMs)),
      keyspace: '',
      key: Buffer.from(key),
      clientId: new Uint8Array(0),
      sequence: running.sequence,
      lowWater: running.sequences?.lowWater ?? 0,
      sessionTime: running.sessionTime,
      attempt: running.attempt,
      ack: ackOf(running.operation, this.around.workload),
      traceParent: '',
      condition,
      operation: kind,
      idempotencyKey: Buffer.from(once),
    };
    if (kind === 'batch') {
      const inputs = parts.map((part) => part.input);
      return { ...base, batch: { items: wireItems(items, inputs) } };
    }
    if (kind === 'put') return { ...base, put: { value: Buffer.from(input), codec: CODEC_BYTES, ttlMs } };
    if (kind === 'increment') {
      const { sub } = running;
      const pinned = sub === null ? {} : { saltIn: sub.partition + 1, saltSet: sub.set };
      return { ...base, ...pinned, increment: { delta: Number(input), ttlMs, unread } };
    }
    if (kind === 'touch') return { ...base, touch: { ttlMs } };
    if (kind === 'delete') return { ...base, delete: {} };
    const saltIn = running.copyIn === null ? 0 : running.copyIn + 1;
    return { ...base, saltIn, get: getOf(running.operation) };
  }

  private answered(running: Running, sessionTime: number, reply: Reply | null): void {
    running.inFlight -= 1;
    const { sequences } = running;
    if (reply === null) {
      running.maybeApplied = true;
      this.retry(running, 'DEADLINE_EXCEEDED', 0);
    } else if (reply.result === 'failure' && reply.failure != null) {
      this.refused(running, sessionTime, reply.failure);
    } else if (running.operation.end === null) {
      if (reply.receipt != null) {
        sequences?.observe(reply.receipt.logTime);
        const { sub, operation } = running;
        if (sub !== null && reply.receipt.conditionFailed) return this.startOver(running);
        if (sub === null) this.session.wrote(reply.receipt);
        else this.session.applied(operation.partition, sub.index);
        this.learnSubs(operation.key, reply.receipt);
        this.around.checks.acknowledged(running.operation, reply.receipt);
      } else if (reply.value != null) {
        this.session.read(reply.value, running.operation.seen);
        this.learn(running, reply.value);
        this.around.checks.read(running.operation, reply.value);
      }
      this.finish(running, true);
    }
  }

  private refused(running: Running, sessionTime: number, failure: Failure): void {
    const error = fromFailure(failure);
    if (error.outcome === 'unknown') running.maybeApplied = true;
    if (running.operation.end !== null) return;
    if (error.code === 'SESSION_TIME') {
      running.sequences?.observe(failure.logTime);
      if (sessionTime === 0) {
        this.attempt(running);
        return;
      }
    }
    if (error.code === 'WRITE_LOST') this.lost(running.operation, error.epoch ?? 0);
    if (error.code === 'SESSION_EXPIRED') running.sequences?.forget(sessionTime);
    if (error.outcome === 'applied') {
      const { sub, operation } = running;
      if (sub !== null) this.session.applied(operation.partition, sub.index);
      else if (error.version !== undefined) this.session.applied(operation.partition, error.version);
      this.fail(running, 'applied', error.code);
      return;
    }
    if (error.code === 'NOT_LEADER' && error.leader !== undefined && error.epoch !== undefined) {
      this.routing.hint(askedOf(running), error.leader, error.epoch);
    }
    this.retry(running, error.code, error.retryAfterMs ?? 0);
  }

  private lost(operation: Operation, epoch: number): void {
    this.session.lost(operation.partition, epoch, operation.seen);
    this.around.checks.lossTold(operation, epoch, operation.seen);
  }

  private retry(running: Running, code: Parameters<typeof retryClass>[0], retryAfterMs: number): void {
    const { world } = this.around;
    if (running.operation.end !== null) return;
    const action = retryClass(code);
    if (action === 'never') {
      this.fail(running, running.maybeApplied || running.inFlight > 0 ? 'unknown' : 'not_applied', code);
      return;
    }
    running.failures += 1;
    this.refresh();
    if (action === 'redirect' && !running.redirected) {
      running.redirected = true;
      world.schedule(0, () => this.attempt(running));
      return;
    }
    const delayMs = backoffDelayMs(RETRY_DEFAULTS, running.failures, world.random.next(), retryAfterMs);
    world.schedule(Math.max(delayMs, this.budget.take(world.now)), () => this.attempt(running));
  }

  private timedOut(running: Running): void {
    if (running.operation.end !== null) return;
    const unknown = running.maybeApplied || running.inFlight > 0;
    this.fail(running, unknown ? 'unknown' : 'not_applied', 'DEADLINE_EXCEEDED');
  }

  private fail(running: Running, outcome: Outcome, code: ErrorCode): void {
    this.around.checks.failed(running.operation, outcome, code);
    this.finish(running, outcome === 'applied');
  }

  private finish(running: Running, applied: boolean): void {
    running.sequences?.end(running.sequence);
    this.open -= 1;
    running.done(applied);
  }

  /**
   * Remembers for good where a key has had copies: whoever asks there later, as an outdated client would, must not be shown what was there
   * then.
   */
  private learn({ operation, copyIn }: Running, { salts }: Value): void {
    const { world } = this.around;
    if (copyIn !== null) world.count('copy read');
    if (salts == null) return;
    const known = this.salted.get(operation.key) ?? new Set();
    this.salted.set(operation.key, known);
    for (const partition of salts.partitions) known.add(partition);
  }

  /** Remembers all sub-counters that a counter has ever had: an outdated client may use them. */
  private learnSubs(key: string, { salts, index }: Receipt): void {
    if (!salts?.set) return;
    const known = this.subs.get(key) ?? [];
    this.subs.set(key, known);
    const { set, partitions, delta = 0 } = salts;
    const subs = partitions.map((partition): Sub => ({ partition, set, delta: Number(delta), index }));
    if (known.at(-1)?.[0]?.set === set) known.pop();
    known.push(subs);
  }

  /** Where an increment goes that was never sent; null: home. Mostly by what was heard last. */
  private subFor({ key, kind, unread, delta }: Wish): Sub | null {
    const known = this.subs.get(key);
    if (known === undefined || kind !== 'increment' || !unread) return null;
    const { world } = this.around;
    if (world.chance(0.3)) return null;
    const subs = world.chance(0.15) ? world.pick(known) : known.at(-1)!;
    const sub = world.pick(subs);
    return sub.delta === 0 || sub.delta === delta ? sub : null;
  }

  /** The sub-counter has not taken it, and never will: it begins anew at home. */
  private startOver(running: Running): void {
    const { operation } = running;
    running.sequences!.end(running.sequence);
    running.sequences = this.sequencesOf(operation.partition);
    running.sub = null;
    running.sequence = running.sequences.acquire();
    running.sessionTime = 0;
    running.sessionGeneration = 0;
    running.maybeApplied = false;
    running.attempt = 0;
    running.inFlight = 0;
    operation.request = requestName(toLatin1(this.clientId), running.sequence);
    operation.pins.push({ partition: operation.partition, request: operation.request });
    this.attempt(running);
  }

  /** The partition whose copy is asked; null: the key itself. */
  private copyFor({ operation, attempt }: Running): number | null {
    const { world } = this.around;
    const known = operation.level === 'linearizable' ? this.salted.get(operation.key) : undefined;
    if (operation.kind !== 'get' || known === undefined || attempt > 1 || world.chance(0.2)) return null;
    return world.pick([...known]);
  }

  /** The node to ask: the leader if one is known, else any; of quorum reads any. */
  private route(running: Running): SimNode | null {
    const { nodes, world } = this.around;
    const { level } = running.operation;
    const partition = askedOf(running);
    if (level !== 'linearizable') return world.pick(nodes);
    const route = this.routing.ready ? this.routing.leader(partition) : null;
    const known = nodes.find((node) => node.id === route?.node);
    return known !== undefined && world.chance(0.95) ? known : world.pick(nodes);
  }

  private link(node: SimNode): Link | null {
    const existing = this.links.get(node.id);
    if (existing !== undefined) return existing;
    const { network } = this.around;
    if (!node.running || !network.reachable(this.id, node.id)) return null;
    const waiting = new Map<number, (reply: Reply | null) => void>();
    const number = node.accept(this.clientId, (reply) => connection.sendLeft(reply));
    if (number === null) return null;
    const connection: Connection<ToNode, Reply> = network.connect(
      this.id,
      node.id,
      {
        message: (reply) => {
          const waiter = waiting.get(reply.id);
          waiting.delete(reply.id);
          waiter?.(reply);
        },
        closed: () => {
          if (this.links.get(node.id)?.connection === connection) this.links.delete(node.id);
          const lost = [...waiting.values()];
          waiting.clear();
          for (const waiter of lost) waiter(null);
        },
      },
      {
        message: ({ request, cancel }) => {
          if (request !== undefined) node.request(number, request);
          if (cancel !== undefined) node.cancel(number, cancel);
        },
        closed: () => node.closed(number),
      },
    );
    const link = { connection, waiting };
    this.links.set(node.id, link);
    return link;
  }

  /** A node has crashed: its connections break. */
  nodeStopped(node: string): void {
    this.links.get(node)?.connection.break();
    this.links.delete(node);
  }

  /** Reads the topology from some node, as a subscription would have brought it. */
  private refresh(): void {
    const { world, nodes, network } = this.around;
    const node = world.pick(nodes);
    if (!network.reachable(this.id, node.id)) return;
    const topology = node.knownTopology();
    if (topology !== null) this.routing.apply(topology);
  }

  private sequencesOf(partition: number): PartitionSequences {
    let sequences = this.sequences.get(partition);
    if (sequences === undefined) {
      sequences = new PartitionSequences();
      this.sequences.set(partition, sequences);
    }
    return sequences;
  }
}
