/**
 * The golden data directories of test/golden (scripts/make-golden.mjs): unpacks one into the directory of a cluster, which listens
 * elsewhere than the one that made it, and holds what is read from it against its manifest.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { expect } from 'vitest';
import type { Entry, ReadLevel, RingkeepClient } from '../../src/client/index.ts';

const FOLDER = fileURLToPath(new URL('../golden', import.meta.url));
const PACKED = '.gz';

/** What must be read of one key: one of `value`, `base64`, `repeat`, `counter` and `absent`. */
export interface GoldenEntry {
  readonly keyspace: string;
  readonly key: string;
  readonly value?: unknown;
  readonly base64?: string;
  readonly repeat?: { readonly text: string; readonly times: number };
  /** In decimal. */
  readonly counter?: string;
  readonly absent?: true;
  readonly version?: number;
  readonly expiresAt?: number;
  /** It was in write-ahead logs alone. */
  readonly tail?: true;
}

/** A golden directory and its manifest. */
export interface Golden {
  readonly folder: string;
  readonly format: number;
  /** What its makers spoke. */
  readonly protocol: number;
  readonly partitions: number;
  readonly nodes: readonly string[];
  readonly entries: readonly GoldenEntry[];
}

/** Returns every golden directory that there is, by format number. */
export function goldenDirectories(): Golden[] {
  const names = readdirSync(FOLDER).filter((name) => /^format-\d+$/.test(name));
  const all = names.map((name): Golden => {
    const folder = join(FOLDER, name);
    const text = readFileSync(join(folder, 'manifest.json'), 'utf8');
    return { ...(JSON.parse(text) as Omit<Golden, 'folder'>), folder };
  });
  return all.sort((a, b) => a.format - b.format);
}

/** Unpacks the directories of its processes below `directory`. Returns the paths of the files, as they are named there. */
export async function unpackGolden({ folder }: Golden, directory: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const packed = found.filter((entry) => entry.isFile() && entry.name.endsWith(PACKED));
  return Promise.all(
    packed.map(async ({ parentPath, name }) => {
      const path = join(relative(folder, parentPath), name.slice(0, -PACKED.length));
      await mkdir(join(directory, dirname(path)), { recursive: true });
      await writeFile(join(directory, path), gunzipSync(await readFile(join(parentPath, name))));
      return path;
    }),
  );
}

function expected(entry: GoldenEntry): unknown {
  if (entry.base64 !== undefined) return Buffer.from(entry.base64, 'base64');
  if (entry.repeat !== undefined) return entry.repeat.text.repeat(entry.repeat.times);
  if (entry.counter === undefined) return entry.value;
  const exact = BigInt(entry.counter);
  return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
}

/** Texts are compared by their ends: a long one that differs would fill the screen. */
function shown(value: unknown): unknown {
  if (typeof value === 'string' && value.length > 1_000) return `${value.length}: ${value.slice(-100)}`;
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

function facts(entry: GoldenEntry, found: Entry | undefined): Record<string, unknown> {
  const { keyspace, key } = entry;
  if (found === undefined) return { keyspace, key, absent: true };
  const { version, expiresAt } = found;
  return { keyspace, key, value: shown(found.value), version, expiresAt };
}

/** Reads everything that the manifest names, and expects it to be that: values, versions and times. */
export async function expectGolden(client: RingkeepClient, golden: Golden, read: ReadLevel): Promise<void> {
  const wanted = golden.entries.map((entry) => {
    const { keyspace, key, version, expiresAt = null } = entry;
    // The longest time to live is ten years.
    const over = entry.expiresAt !== undefined && Date.now() >= entry.expiresAt;
    if (entry.absent === true || over) return { keyspace, key, absent: true };
    return { keyspace, key, value: shown(expected(entry)), version, expiresAt };
  });
  const found = await Promise.all(
    golden.entries.map(async (entry) => {
      const space = entry.keyspace === '' ? client : client.keyspace(entry.keyspace);
      return facts(entry, await space.getEntry(entry.key, { read, timeoutMs: 60_000 }));
    }),
  );
  expect(found, `read at ${read}`).toEqual(wanted);
}
