/**
 * Each call takes effect once, whatever is retried inside it while leaders are killed: counters count the increments that
 * succeeded and at most those that ended as unknown; a request that is sent again to the next leader is a duplicate.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { keysOf } from '../support/load.ts';
import { eventually, ledBy, type ProcessCluster, startCluster } from '../support/processes.ts';
import { nameOf, openingWrite, type RawReply, type RawRequest, RawSession } from '../support/raw-session.ts';

const PARTITIONS = 12;
const KILLS = 3;
/** Increments of one counter that are open at once. */
const LANES = 4;

/** What was done to one counter. */
interface Counter {
  readonly key: string;
  succeeded: number;
  unknown: number;
  /** What each success was told the value was after it: all different if each took effect once. */
  readonly values: number[];
}

/** Increments all counters from many lanes until `stop` is aborted; resolves when the last one has ended. */
async function incrementAll(client: RingkeepClient, counters: readonly Counter[], stop: AbortSignal) {
  const lane = async (counter: Counter): Promise<void> => {
    while (!stop.aborted) {
      try {
        const { value } = await client.increment(counter.key);
        counter.succeeded += 1;
        counter.values.push(value);
      } catch (error) {
        if (!(error instanceof RingkeepError)) throw error;
        if (error.outcome !== 'not_applied') counter.unknown += 1;
      }
      await delay(5);
    }
  };
  await Promise.all(counters.flatMap((counter) => Array.from({ length: LANES }, () => lane(counter))));
}

async function killBusiest(cluster: ProcessCluster): Promise<void> {
  const topology = await cluster.whenHealthy();
  const count = (name: string): number => ledBy(topology, name).length;
  const [busiest] = cluster.nodes.toSorted((a, b) => count(b.name) - count(a.name));
  await busiest!.kill('SIGKILL');
  await cluster.whenServed(busiest!);
  await busiest!.start();
}

it('counts every increment once across leader kills', { timeout: 300_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const counters: Counter[] = Array.from({ length: PARTITIONS }, (_, partition) => ({
    key: keysOf(partition, PARTITIONS, 1, 'counter')[0]!,
    succeeded: 0,
    unknown: 0,
    values: [],
  }));
  const stop = new AbortController();
  const done = incrementAll(client, counters, stop.signal);
  for (let kill = 0; kill < KILLS; kill += 1) await killBusiest(cluster);
  await cluster.whenHealthy();
  stop.abort();
  await done;
  let succeeded = 0;
  let unknown = 0;
  for (const counter of counters) {
    const { value } = await client.increment(counter.key, 0);
    expect(value).toBeGreaterThanOrEqual(counter.succeeded);
    expect(value).toBeLessThanOrEqual(counter.succeeded + counter.unknown);
    expect(new Set(counter.values).size).toBe(counter.succeeded);
    succeeded += counter.succeeded;
    unknown += counter.unknown;
  }
  console.log(`${succeeded} increments over ${KILLS} kills, ${unknown} unknown`);
  expect(succeeded).toBeGreaterThan(0);
});

interface Sent {
  readonly request: RawRequest;
  readonly first: RawReply;
}

/** Sends the request, without any change but its attempt number, to the leader of the time until it is answered. */
async function sendAgain(
  cluster: ProcessCluster,
  clientId: Uint8Array,
  partition: number,
  request: RawRequest,
) {
  return eventually('an answer of the next leader', async (missing) => {
    const topology = await cluster.topology();
    const leader = topology.records.find((record) => record.partition === partition)?.leader;
    if (leader === null || leader === undefined) return missing('no leader');
    const session = new RawSession(cluster.node(leader.node).address, clientId);
    try {
      const reply = await session.send({ ...request, attempt: 1 });
      if (reply !== 'ended' && reply.receipt) return { reply, node: leader.node };
      return missing(nameOf(reply));
    } finally {
      session.close();
    }
  });
}

it('answers a request that is sent again to the next leader with its first result', {
  timeout: 200_000,
}, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const topology = await cluster.whenHealthy();
  const victim = cluster.nodes.find(({ name }) => ledBy(topology, name).length > 0)!;
  const partition = ledBy(topology, victim.name)[0]!;
  const clientId = randomBytes(16);
  const session = new RawSession(victim.address, clientId);
  const [counterKey = '', valueKey = ''] = keysOf(partition, PARTITIONS, 2, 'once');
  const increment: RawRequest = {
    operation: 'increment',
    key: Buffer.from(counterKey),
    increment: { delta: 7, ttlMs: 0 },
    sequence: 1,
  };
  const opened = await openingWrite(session, increment);
  const { sessionTime } = opened;
  const put: RawRequest = {
    operation: 'put',
    key: Buffer.from(valueKey),
    put: { value: Buffer.from('first'), codec: 1, ttlMs: 0 },
    sequence: 2,
    sessionTime,
  };
  const overwrite: RawRequest = {
    ...put,
    sequence: 3,
    put: { value: Buffer.from('second'), codec: 1, ttlMs: 0 },
  };
  const sent: Sent[] = [{ request: { ...increment, sessionTime }, first: opened.reply }];
  for (const request of [put, overwrite]) sent.push({ request, first: await session.send(request) });
  session.close();
  await victim.kill('SIGKILL');

  for (const { request, first } of sent) {
    if (first === 'ended' || !first.receipt) expect.fail(`the first attempt: ${nameOf(first)}`);
    const { reply, node } = await sendAgain(cluster, clientId, partition, request);
    expect(node).not.toBe(victim.name);
    const { version, counter } = first.receipt;
    expect(reply.receipt).toMatchObject({ duplicate: true, version, counter });
  }
  // Neither was the counter raised again, nor the second value overwritten by the repeated first one.
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  expect((await client.increment(counterKey, 0)).value).toBe(7);
  const [row] = await rowsOf(client, partition, valueKey);
  expect(row).toBe('second');
});

/** The stored bytes of a key, as text: what a raw session has written has no codec of ours. */
async function rowsOf(client: RingkeepClient, partition: number, key: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { rows } of client.scan({ partition }))
    for (const row of rows)
      if (Buffer.from(row.key).toString() === key) found.push(Buffer.from(row.value).toString());
  return found;
}
