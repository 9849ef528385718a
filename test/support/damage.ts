/** Values that can be found again in the files of a node, and flipped bits where they stand. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { partitionOf } from '../../src/common/hash.ts';
import type { ClusterProcess, ProcessCluster } from './processes.ts';

const KEYS = 240;

/** Returns values that are found again in the files: incompressible, and each different. */
export function makeValues(): Map<string, string> {
  const keys = Array.from({ length: KEYS }, (_, index) => `bulk-${index}`);
  return new Map(keys.map((key) => [key, randomBytes(600).toString('base64')]));
}

/** Flips one bit in the middle of each place where the value of one of the keys stands; returns these keys. */
export async function flipBits(
  directory: string,
  suffix: string,
  values: ReadonlyMap<string, string>,
  keys: readonly string[],
): Promise<string[]> {
  const hit = new Set<string>();
  for (const name of (await readdir(directory)).filter((file) => file.endsWith(suffix))) {
    const path = join(directory, name);
    const bytes = await readFile(path);
    for (const key of keys) {
      const at = bytes.indexOf(values.get(key)!.slice(300, 360));
      if (at < 0) continue;
      bytes[at + 20]! ^= 0x10;
      hit.add(key);
    }
    await writeFile(path, bytes);
  }
  return keys.filter((key) => hit.has(key));
}

/** Returns one key of each of the `wanted` partitions. */
export function keysOfPartitions(
  count: number,
  values: ReadonlyMap<string, string>,
  wanted: readonly number[],
): string[] {
  return wanted.map((partition) => {
    const key = [...values.keys()].find((each) => partitionOf(Buffer.from(each), count) === partition);
    if (key === undefined) throw new Error(`no key in partition ${partition}`);
    return key;
  });
}

/** Returns the replica ids of the voters on a node, by partition. */
export async function votersOn(cluster: ProcessCluster, node: ClusterProcess): Promise<Map<number, string>> {
  const { records } = await cluster.topology();
  const voters = records.map(({ partition, voters: all }) => {
    return [partition, all.find((voter) => voter.node === node.name)?.id ?? ''] as const;
  });
  return new Map(voters);
}
