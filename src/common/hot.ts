/**
 * What a cluster is asked for most, out of what its nodes tell, and the shape in which it is shown: rates of one key are added up, since a key
 * is read at every replica of its partition. A node that does not answer in time is left out, and named.
 */
import { RingkeepError } from './errors.ts';
import { HOT_TOLD_DEFAULT, HOT_TOLD_MAX } from './limits.ts';
import { textOf, toJson } from './text.ts';
import type { HotKey, HotNode, HotPartition, HotReply, SaltedKey } from './wire/admin-messages.ts';

/** Of each node so many times as many keys are asked for: what is fifth everywhere may be first in the sum. */
const SPARE = 4;

/** What a node has told, or why it has not. */
export interface ToldHot {
  readonly node: string;
  readonly reply: HotReply | null;
  readonly problem: string;
}

interface Rates {
  readonly reads: number;
  readonly writes: number;
}

/** Returns how many are told of, out of how many were asked for; 0: the default. */
export function hotLimit(asked: number): number {
  return Math.min(asked === 0 ? HOT_TOLD_DEFAULT : asked, HOT_TOLD_MAX);
}

/** Returns those with the most operations, the first one first. */
export function hottest<T extends Rates>(all: Iterable<T>, limit: number): T[] {
  return [...all].sort((a, b) => b.reads + b.writes - (a.reads + a.writes)).slice(0, limit);
}

/** Adds up what nodes have told. */
export function mergeHot(told: readonly ToldHot[], limit: number): HotReply {
  const keys = new Map<string, HotKey>();
  const partitions = new Map<number, HotPartition>();
  const nodes: HotNode[] = [];
  // A leader that has not heard of its end yet tells of its keys as well.
  const salts = new Map<string, SaltedKey>();
  let seconds = 0;
  for (const { node, reply, problem } of told) {
    nodes.push({ node, reads: reply?.reads ?? 0, writes: reply?.writes ?? 0, problem });
    if (reply === null) continue;
    seconds = Math.max(seconds, reply.seconds);
    for (const salted of reply.salts) salts.set(nameOf(salted), salted);
    for (const key of reply.keys) {
      const id = nameOf(key);
      const { reads = 0, writes = 0, error = 0 } = keys.get(id) ?? {};
      const sums = { reads: key.reads + reads, writes: key.writes + writes, error: key.error + error };
      keys.set(id, { ...key, ...sums });
    }
    for (const one of reply.partitions) {
      const { reads = 0, writes = 0 } = partitions.get(one.partition) ?? {};
      partitions.set(one.partition, { ...one, reads: one.reads + reads, writes: one.writes + writes });
    }
  }
  const sum = (of: 'reads' | 'writes'): number => nodes.reduce((total, each) => total + each[of], 0);
  return {
    ...{ seconds, reads: sum('reads'), writes: sum('writes') },
    ...{ keys: hottest(keys.values(), limit), partitions: hottest(partitions.values(), limit) },
    nodes: nodes.sort((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true })),
    salts: [...salts.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, salted]) => salted),
  };
}

function nameOf({ keyspace, key }: Pick<HotKey, 'keyspace' | 'key'>): string {
  return `${keyspace}\0${Buffer.from(key).toString('latin1')}`;
}

/** Asks all nodes. `limit`: keys and partitions, 0: the default. */
export async function askHot<T>(
  nodes: readonly T[],
  limit: number,
  nameOf: (node: T) => string,
  ask: (node: T, limit: number) => Promise<HotReply>,
): Promise<HotReply> {
  const wanted = hotLimit(limit);
  const told = await Promise.all(
    nodes.map(async (node): Promise<ToldHot> => {
      try {
        const reply = await ask(node, Math.min(wanted * SPARE, HOT_TOLD_MAX));
        return { node: nameOf(node), reply, problem: '' };
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        return { node: nameOf(node), reply: null, problem: error.message };
      }
    }),
  );
  return mergeHot(told, wanted);
}

function shareOf({ reads, writes }: Rates, all: Rates): number {
  const sum = all.reads + all.writes;
  return sum === 0 ? 0 : (reads + writes) / sum;
}

/** A key among the hottest; rates are operations per second. */
export interface HotKeyFigures {
  /** Empty: the default keyspace. */
  readonly keyspace: string;
  readonly key: Uint8Array;
  readonly partition: number;
  readonly reads: number;
  readonly writes: number;
  /** Of all operations of the cluster, 0 to 1. */
  readonly share: number;
  /** So many operations per second it may have had besides, before it was counted. */
  readonly error: number;
}

export interface HotPartitionFigures {
  readonly partition: number;
  readonly reads: number;
  readonly writes: number;
  readonly share: number;
}

export interface HotNodeFigures {
  readonly node: string;
  readonly reads: number;
  readonly writes: number;
  readonly share: number;
  /** Why it is left out; empty: it is not. */
  readonly problem: string;
}

/** A copy of a hot key. */
export interface KeyCopyFigures {
  readonly partition: number;
  /** Leads the partition; empty: not known. */
  readonly node: string;
  /** It answers reads, as far as the key's home knows. */
  readonly held: boolean;
}

/** A key that is read at copies too. */
export interface SaltedKeyFigures {
  readonly keyspace: string;
  readonly key: Uint8Array;
  /** Its home, and the node that leads it. */
  readonly partition: number;
  readonly node: string;
  readonly copies: readonly KeyCopyFigures[];
  /** Writes that wait until the copies are gone. */
  readonly waitingWrites: number;
  /** Salted by its node while it is hot; else by `salt`, until `unsalt`. */
  readonly automatic: boolean;
}

/** What a cluster is asked for most. */
export interface HotFigures {
  /** Time that the rates are of, about, s: older operations count less and less. */
  readonly seconds: number;
  readonly reads: number;
  readonly writes: number;
  readonly keys: readonly HotKeyFigures[];
  readonly partitions: readonly HotPartitionFigures[];
  readonly nodes: readonly HotNodeFigures[];
  /** All keys that are salted, hot or not. */
  readonly salts: readonly SaltedKeyFigures[];
}

/** Returns the figures of an answer. */
export function hotFigures(reply: HotReply): HotFigures {
  const { seconds, reads, writes } = reply;
  const withShare = <T extends Rates>(one: T): T & { share: number } => ({
    ...one,
    share: shareOf(one, reply),
  });
  return {
    ...{ seconds, reads, writes },
    keys: reply.keys.map((key) => withShare({ ...key, key: new Uint8Array(key.key) })),
    partitions: reply.partitions.map(withShare),
    nodes: reply.nodes.map(withShare),
    salts: reply.salts.map((salted) => ({ ...salted, key: new Uint8Array(salted.key) })),
  };
}

/** Returns them as one line of JSON; a key that is not UTF-8 as `{"$base64": "..."}`. */
export function hotJson(figures: HotFigures): string {
  const shown = <T extends { readonly key: Uint8Array }>(one: T) => ({
    ...one,
    key: textOf(one.key) ?? one.key,
  });
  return toJson({ ...figures, keys: figures.keys.map(shown), salts: figures.salts.map(shown) });
}
