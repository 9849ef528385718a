/**
 * What a fault is to a chaos run: something that is done to a cluster, shows that it took effect, and can be undone. The drivers
 * are in faults/; the run (run.ts) knows nothing else of them.
 * INVARIANT: `undo` leaves nothing of the fault behind, may be called more than once, and works whatever state its processes are in.
 */
import type { Random } from '../common/random.ts';
import { ledBy, type ProcessCluster } from './cluster.ts';
import type { Links } from './links.ts';
import type { ClusterProcess } from './process.ts';

/** What a fault is done to. */
export type FaultFamily = 'links' | 'process' | 'disk' | 'clock' | 'limits' | 'clients';

/** What a driver works with. */
export interface FaultContext {
  readonly cluster: ProcessCluster;
  readonly links: Links;
  /** Of this fault alone. */
  readonly random: Random;
  /** So long it will be left alone, ms. */
  readonly holdMs: number;
  readonly partitions: number;
}

/** What clients without regard were told. */
export interface RudeFacts {
  readonly sent: number;
  /** Refused with OVERLOADED, and of these with another outcome than `not_applied` or without a time to retry after. */
  readonly refused: number;
  readonly wrong: number;
  /** Keys of some writes that were refused, each of which was written once. */
  readonly refusedKeys: readonly string[];
}

/** A fault that is on. */
export interface ActiveFault {
  /** What it hits, for people: `n2 | n1 n3 router`. */
  readonly target: string;
  /** Nodes that run and reach no quorum of nodes as long as it is on: they may acknowledge nothing. */
  readonly cutOff: readonly string[];
  /** Resolves with what shows that it took effect. Rejects with RingkeepError NOT_READY if nothing does. */
  readonly confirmed: Promise<string>;
  /** Ends it. Idempotent. */
  undo(): Promise<void>;
  /** Of clients without regard: ends them, and resolves with what they were told. */
  rude?(): Promise<RudeFacts>;
}

/** A kind of fault. */
export interface FaultDriver {
  readonly kind: string;
  readonly family: FaultFamily;
  /** What it does, in one sentence. */
  readonly text: string;
  /** It takes a node's data, or part of it: never beside another such fault, since a quorum must be left. */
  readonly destroys?: boolean;
  /** Of faults with the same one only one is on at a time: they would undo each other. */
  readonly group?: string;
  /** It is a planned change: nothing may be lost by it, at any level. */
  readonly planned?: boolean;
  /** Why it is not possible with this machine or cluster; null: it is. */
  missing(cluster: ProcessCluster): string | null;
  inject(context: FaultContext): Promise<ActiveFault>;
}

/** No driver needs anything that is not there. */
export const ANYWHERE = (): null => null;

/** Returns one of several. */
export function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.integer(list.length)]!;
}

/** Returns as many different ones, in any order. */
export function pickSome<T>(random: Random, list: readonly T[], count: number): T[] {
  const rest = [...list];
  const some: T[] = [];
  while (some.length < count && rest.length > 0) some.push(...rest.splice(random.integer(rest.length), 1));
  return some;
}

/** Returns a node that runs: mostly the one that leads most partitions, since more depends on it. */
export async function pickNode({ cluster, random }: FaultContext): Promise<ClusterProcess> {
  const running = cluster.nodes.filter((node) => node.running);
  const candidates = running.length > 0 ? running : cluster.nodes;
  if (random.next() < 0.3) return pick(random, candidates);
  const topology = await cluster.topology().catch(() => null);
  if (topology === null) return pick(random, candidates);
  const count = (node: ClusterProcess): number => ledBy(topology, node.name).length;
  return candidates.toSorted((a, b) => count(b) - count(a))[0]!;
}
