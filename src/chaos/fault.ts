/**
 * What a fault is to a chaos run: something that is done to a cluster, shows that it took effect, and can be undone. The drivers
 * are in faults/; the run (run.ts) knows nothing else of them.
 * INVARIANT: `undo` leaves nothing of the fault behind, may be called more than once, and works whatever state its processes are in.
 */
import { RingkeepError } from '../common/errors.ts';
import type { Random } from '../common/random.ts';
import { ledBy, type ProcessCluster } from './cluster.ts';
import type { Links } from './links.ts';
import type { ChaosCluster, Member } from './target.ts';

/** What a fault is done to. */
export type FaultFamily = 'links' | 'process' | 'disk' | 'clock' | 'limits' | 'clients' | 'members';

/** What a driver works with. `C`: the kind of cluster that its fault can be made in. */
export interface FaultContext<C extends ChaosCluster = ProcessCluster> {
  readonly cluster: C;
  /** Of this fault alone. */
  readonly random: Random;
  /** So long it will be left alone, ms. */
  readonly holdMs: number;
  readonly partitions: number;
  /** Where clients without regard write. */
  readonly keyspace: string;
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
  /** Resolves with what shows that it took effect, within a minute or so whatever is on beside it. Rejects with RingkeepError NOT_READY if nothing does. */
  readonly confirmed: Promise<string>;
  /** Ends it. Idempotent. */
  undo(): Promise<void>;
  /** Of clients without regard: ends them, and resolves with what they were told. */
  rude?(): Promise<RudeFacts>;
}

/** How large a cluster is. */
export interface Size {
  readonly nodes: readonly unknown[];
  /** Voters of a partition; none: at least three. */
  readonly replicationFactor?: number;
}

/** What is said of damage until somebody has found it. */
export const UNMET = 'nobody has met it yet';

/** A kind of fault. `C`: where it can be made; `S`: what has to be known to say whether it can be made there. */
export interface FaultDriver<C extends ChaosCluster = ProcessCluster, S = Size> {
  readonly kind: string;
  readonly family: FaultFamily;
  /** What it does, in one sentence. */
  readonly text: string;
  /** It takes a node's data, or part of it: never beside another such fault, since a quorum must be left. */
  readonly destroys?: boolean;
  /** It damages bytes that a node has to find out: held against G8 where one has, or the scrub. */
  readonly damages?: boolean;
  /** Of faults with the same one only one is on at a time: they would undo each other. */
  readonly group?: string;
  /** It is a planned change: nothing may be lost by it, at any level. */
  readonly planned?: boolean;
  /** Why it is not possible with this machine or cluster; null: it is. */
  missing(cluster: S): string | null;
  inject(context: FaultContext<C>): Promise<ActiveFault>;
}

/** A fault that is known to be possible. */
export type PossibleFault<C extends ChaosCluster> = Omit<FaultDriver<C>, 'missing'>;

/** No driver needs anything that is not there. */
export const ANYWHERE = (): null => null;

/** What takes the data of one replica is promised to be survived by a quorum of others. */
export function missingVoters({ replicationFactor = 3 }: Size): string | null {
  return replicationFactor < 3 ? 'it needs three voters of each partition' : null;
}

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

/** Returns the links between the processes of a cluster. */
export function linksOf({ links }: ProcessCluster): Links {
  if (links === null) throw new RingkeepError('NOT_READY', 'there are no proxies between the processes');
  return links;
}

/** A cluster of which one node is chosen. */
interface Choice<M> {
  readonly cluster: Pick<ChaosCluster, 'topology'> & { readonly nodes: readonly M[] };
  readonly random: Random;
}

/** Returns a node that runs and has said that it is ready: mostly the one that leads most partitions, since more depends on it. */
export async function pickNode<M extends Member & { readonly running: boolean; readonly ready?: boolean }>({
  cluster,
  random,
}: Choice<M>): Promise<M> {
  const running = cluster.nodes.filter(({ ready, running: runs }) => ready ?? runs);
  const candidates = running.length > 0 ? running : cluster.nodes;
  if (random.next() < 0.3) return pick(random, candidates);
  const topology = await cluster.topology().catch(() => null);
  if (topology === null) return pick(random, candidates);
  const count = (node: Member): number => ledBy(topology, node.name).length;
  return candidates.toSorted((a, b) => count(b) - count(a))[0]!;
}
