/**
 * The part of the key space that a run works in: the operations of a client there, and how it is emptied at the end. In somebody
 * else's cluster that is a keyspace of the run's own, so that no key of theirs is written, read or deleted.
 */
import { connect, type Entry, type Key, type ReadOptions, type RingkeepClient } from '../../client/index.ts';
import { RingkeepError } from '../../common/errors.ts';

/** What workloads call of a client. */
export type SpaceClient = Pick<
  RingkeepClient,
  'put' | 'get' | 'getEntry' | 'delete' | 'increment' | 'add' | 'batch' | 'getMany' | 'session'
>;

const TIMEOUT_MS = 30_000;
const TOGETHER = 64;
/** What was sent and not answered may still take effect while it is looked for. */
const ROUNDS_MAX = 5;

/**
 * Returns a client's operations in a keyspace; the empty name is the default keyspace. Writes are acknowledged at `quorum` if they do
 * not say, whatever the cluster has as its default.
 */
export function inKeyspace(client: RingkeepClient, name: string): SpaceClient {
  if (name === '') return client;
  const space = client.keyspace(name, { ack: 'quorum' });
  return {
    put: (key, value, options) => space.put(key, value, options),
    get: <T>(key: Key, options?: ReadOptions) => space.get(key, options) as Promise<T | undefined>,
    getEntry: <T>(key: Key, options?: ReadOptions) =>
      space.getEntry(key, options) as Promise<Entry<T> | undefined>,
    delete: (key, options) => space.delete(key, options),
    increment: (key, delta, options) => space.increment(key, delta, options),
    add: (key, delta, options) => space.add(key, delta, options),
    batch: (operations, options) => space.batch(operations, options),
    getMany: <T>(keys: Iterable<Key>, options?: ReadOptions) =>
      space.getMany(keys, options) as Promise<(T | undefined)[]>,
    session: (token) => client.session(token),
  };
}

/** Where the keys of a keyspace begin, as a cursor of `scan`: the length of its name, and its name. */
function beginning(keyspace: string): Uint8Array {
  const name = Buffer.from(keyspace);
  return Buffer.concat([Buffer.of(name.byteLength), name]);
}

/** Deletes all keys of a keyspace in a partition. Resolves with how many there were. */
async function emptyPartition(client: RingkeepClient, keyspace: string, partition: number): Promise<number> {
  const space = client.keyspace(keyspace, { ack: 'quorum' });
  let count = 0;
  // From there on only: the rows of others are not read, but for the page in which this keyspace ends.
  for await (const { rows } of client.scan({ partition, cursor: beginning(keyspace), bytesMax: 64 * 1024 })) {
    const own = rows.filter((row) => row.keyspace === keyspace);
    for (let at = 0; at < own.length; at += TOGETHER)
      await Promise.all(own.slice(at, at + TOGETHER).map(({ key }) => space.delete(key)));
    count += own.length;
    if (own.length < rows.length) break;
  }
  return count;
}

/** Deletes all keys of a keyspace, until none is found. Rejects with RingkeepError if that is not possible. */
export async function emptyKeyspace(url: string, keyspace: string): Promise<void> {
  const client = connect(url, { requestTimeoutMs: TIMEOUT_MS });
  try {
    const partitions = await client.partitions();
    const all = Array.from({ length: partitions }, (_, partition) => partition);
    let left = all;
    for (let round = 0; round < ROUNDS_MAX && left.length > 0; round += 1) {
      const found: number[] = [];
      for (const partition of left)
        if ((await emptyPartition(client, keyspace, partition)) > 0) found.push(partition);
      left = found;
    }
    if (left.length > 0)
      throw new RingkeepError('NOT_READY', `there are still new keys in ${left.length} partitions`);
  } finally {
    await client.close();
  }
}
