/** What simulated clients do, and how they are seen by a run, whichever way they reach the cluster. */

import type { Condition } from '../../src/common/wire/messages.ts';
import type { ClientChecks, Wish } from './client-checks.ts';
import { isBlind, nextItems } from './sim-batch.ts';
import { MIXED_PREFIX } from './spread-checks.ts';
import type { World } from './world.ts';

/** What a client does. */
export interface Workload {
  readonly partitions: number;
  readonly keys: readonly string[];
  readonly counters: readonly string[];
  /** Counters that are salted as such. */
  readonly spread: readonly string[];
  /** Operations in flight per client. */
  readonly concurrency: number;
  /** Pause between two operations, mean, ms. */
  readonly thinkMs: number;
  /** Part of the operations that read. */
  readonly reads: number;
  /** Part of the operations on single keys that goes to the first key, or counter. */
  readonly hot: number;
  /** Part of the reads that are linearizable. */
  readonly linearizable: number;
  /** Time of one operation, ms. */
  readonly timeoutMs: number;
  /** The cluster's default acknowledgement. Writes that want what it comes to name no level. */
  readonly defaultAck: Wish['ack'];
}

/** A client as the run sees it, however it reaches the cluster. */
export interface WorkloadClient {
  readonly id: string;
  /** Operations that have not ended. */
  readonly open: number;
  /** Lets what is under way end and starts nothing more. */
  stop(): void;
  /** Runs one operation to its end, beside the workload; `done` is told whether it was applied (or read). */
  run(wish: Wish, done: (applied: boolean) => void): void;
  /** A node has crashed: connections to it break. */
  nodeStopped(node: string): void;
}

/** Draws the condition of a write; `version` is the one that was last shown of its key. */
function nextCondition(world: World, version: number, kind: Wish['kind']): Condition {
  const level = world.random.next();
  if (level < 0.3 && kind !== 'touch') return { kind: 'CONDITION_ABSENT', version: 0 };
  if (level < 0.5) return { kind: 'CONDITION_EXISTS', version: 0 };
  return { kind: 'CONDITION_VERSION', version: Math.max(1, version - (world.chance(0.15) ? 1 : 0)) };
}

function nextWrite(world: World): 'delete' | 'touch' | 'put' {
  const level = world.random.next();
  return level < 0.2 ? 'delete' : level < 0.3 ? 'touch' : 'put';
}

/** What a wish has that is no batch. */
export const SINGLE = { items: [], once: '', delta: 1, unread: false } as const;

/** How a wish that is no read reads. */
export const DEFAULT_READ = { level: 'linearizable', maxStalenessMs: 0 } as const;

function nextRead(world: World, { linearizable }: Workload): Pick<Wish, 'level' | 'maxStalenessMs'> {
  const level = world.random.next();
  if (level < linearizable) return DEFAULT_READ;
  if (level < 0.7) return { level: 'quorum', maxStalenessMs: 0 };
  if (level < 0.9) return { level: 'session', maxStalenessMs: 0 };
  return { level: 'stale', maxStalenessMs: world.chance(0.5) ? Math.ceil(world.between(1, 500)) : 0 };
}

/** Draws what a client does next. */
export function nextOperation(world: World, workload: Workload, checks: ClientChecks): Wish {
  if (workload.spread.length > 0 && world.chance(0.25)) return nextSpread(world, workload);
  if (world.chance(0.08)) return nextBatch(world, checks);
  const counter = world.chance(0.25);
  const read = world.chance(workload.reads);
  const keys = counter ? workload.counters : workload.keys;
  const key = workload.hot > 0 && world.chance(workload.hot) ? keys[0]! : world.pick(keys);
  const kind = read ? 'get' : counter ? 'increment' : nextWrite(world);
  const level = world.random.next();
  const early = kind === 'put' || kind === 'delete';
  const ack = level < 0.7 || counter ? 'quorum' : level < 0.85 && early ? 'leader' : 'all';
  const conditional = !read && !counter && ack !== 'leader' && world.chance(0.3);
  const lives =
    kind === 'put' || kind === 'increment' ? world.chance(0.2) : kind === 'touch' && world.chance(0.7);
  const ttlMs = lives ? Math.ceil(world.between(1, 1_500)) : 0;
  const once = !read && ack !== 'leader' && world.chance(0.1) ? nextOnce(world) : '';
  return {
    kind,
    key,
    ack,
    condition: conditional && once === '' ? nextCondition(world, checks.versionOf(key), kind) : null,
    ttlMs: once === '' || world.chance(0.1) ? ttlMs : 0,
    ...SINGLE,
    once,
    ...(read ? nextRead(world, workload) : DEFAULT_READ),
  };
}

/** Draws what is done with a counter that is salted and unsalted. */
function nextSpread(world: World, workload: Workload): Wish {
  const key = world.pick(workload.spread);
  const base = { key, condition: null, ttlMs: 0, ack: 'quorum', ...SINGLE, ...DEFAULT_READ } as const;
  if (world.chance(0.3)) return { ...base, kind: 'get', ...nextRead(world, workload) };
  const delta = key.startsWith(MIXED_PREFIX) ? world.pick([1, 1, 2, -1, 30]) : 1;
  const ack = world.chance(0.15) ? 'all' : 'quorum';
  return { ...base, kind: 'increment', ack, delta, unread: world.chance(0.9) };
}

/** Few keys, so that some are used again. */
function nextOnce(world: World): string {
  return world.pick(['i1', 'i2', 'i3']);
}

function nextBatch(world: World, checks: ClientChecks): Wish {
  const items = nextItems(world, checks, nextCondition);
  const once = world.chance(0.15) ? nextOnce(world) : '';
  const level = world.random.next();
  const early = isBlind(items) && once === '';
  const ack = level < 0.7 ? 'quorum' : level < 0.85 && early ? 'leader' : 'all';
  const key = items[0]!.key;
  return { kind: 'batch', key, ack, condition: null, ttlMs: 0, ...SINGLE, items, once, ...DEFAULT_READ };
}

/** The input of a write: each another one, unless it has an idempotency key. */
export function inputOf({ kind, once, delta }: Wish, client: string, values: number): string {
  if (kind === 'increment') return String(delta);
  if (kind !== 'put' && kind !== 'batch') return '';
  return once === '' ? `${client}.${values}` : `once.${once}`;
}
