/**
 * A leader is paused for 10 s with requests queued in its sockets, and goes on when others lead: it must acknowledge
 * nothing, at no level, and serve no linearizable read for the epoch it has lost. No clock may be needed for that.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import type { Topology } from '../../src/common/topology.ts';
import type { AckName } from '../../src/common/wire/messages.ts';
import { keysOf, Load } from '../support/load.ts';
import { eventually, ledBy, type ProcessCluster, startCluster } from '../support/processes.ts';
import { nameOf, openingWrite, type RawReply, RawSession } from '../support/raw-session.ts';

const PARTITIONS = 12;
const PAUSE_MS = 10_000;
const ACKS: readonly AckName[] = ['ACK_LEADER', 'ACK_QUORUM', 'ACK_ALL'];

interface Queued {
  readonly what: string;
  readonly partition: number;
  readonly reply: Promise<RawReply>;
}

/** Opens a session to the node and a deduplication session in each of the partitions. */
async function openSessions(address: string, partitions: readonly number[]) {
  const session = new RawSession(address, randomBytes(16));
  const times = new Map<number, number>();
  for (const partition of partitions) {
    const { reply, sessionTime } = await openingWrite(session, {
      operation: 'put',
      key: rawKey(partition),
      sequence: 1,
      put: { value: Buffer.from('before'), codec: 1, ttlMs: 0 },
    });
    expect(nameOf(reply)).toBe('receipt');
    times.set(partition, sessionTime);
  }
  return { session, times };
}

function rawKey(partition: number): Buffer {
  return Buffer.from(keysOf(partition, PARTITIONS, 1, 'raw')[0]!);
}

/** Sends a write at each level and a read to each of the partitions. */
function queue(session: RawSession, times: ReadonlyMap<number, number>): Queued[] {
  const queued: Queued[] = [];
  for (const [partition, sessionTime] of times) {
    const key = rawKey(partition);
    ACKS.forEach((ack, index) => {
      const put = { value: Buffer.from(`queued at ${ack}`), codec: 1, ttlMs: 0 };
      const request = {
        operation: 'put',
        key,
        put,
        ack,
        sequence: index + 2,
        lowWater: 1,
        sessionTime,
      } as const;
      queued.push({ what: ack, partition, reply: session.send(request) });
    });
    queued.push({
      what: 'get',
      partition,
      reply: session.send({ operation: 'get', key, get: LINEARIZABLE_GET }),
    });
  }
  return queued;
}

function whenMoved(cluster: ProcessCluster, before: Topology, node: string): Promise<Topology> {
  const epochs = new Map(before.records.map(({ partition, epoch }) => [partition, epoch]));
  const affected = new Set(ledBy(before, node));
  return eventually('other leaders', async (missing) => {
    const topology = await cluster.topology();
    const still = topology.records.filter(
      ({ partition, epoch, established, leader }) =>
        affected.has(partition) && !(established && epoch > epochs.get(partition)! && leader?.node !== node),
    );
    return still.length === 0 ? topology : missing(`${still.length} partitions`);
  });
}

it('acknowledges and serves nothing after a pause in which it was deposed', {
  timeout: 240_000,
}, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const load = new Load({ url: cluster.url, partitions: PARTITIONS, writers: 4, acks: ['quorum', 'all'] });
  await load.start();
  const before = await cluster.whenHealthy();
  const victim = cluster.nodes.find(({ name }) => ledBy(before, name).length > 0)!;
  const affected = ledBy(before, victim.name);
  const { session, times } = await openSessions(victim.address, affected);

  victim.signal('SIGSTOP');
  const pausedAt = performance.now();
  const queued = queue(session, times);
  const moved = await whenMoved(cluster, before, victim.name);
  // More of them when the others lead already, and writes acknowledged by those.
  queued.push(...queue(session, times));
  const { writes } = load;
  await eventually('writes elsewhere', () => (load.writes > writes + 50 ? true : null));
  await delay(Math.max(0, PAUSE_MS - (performance.now() - pausedAt)));
  victim.signal('SIGCONT');

  const replies = await Promise.all(
    queued.map(async ({ what, partition, reply }) => ({ what, partition, reply: await reply })),
  );
  session.close();
  const epochs = new Map(moved.records.map(({ partition, epoch }) => [partition, epoch]));
  const served = replies.filter(({ reply }) => reply === 'ended' || !reply.failure);
  expect(served.map(({ what, partition, reply }) => `${what} on ${partition}: ${nameOf(reply)}`)).toEqual([]);
  const names = replies.map(({ what, reply }) => `${what}: ${nameOf(reply)}`);
  console.log(`after the pause: ${[...new Set(names)].sort().join('; ')}`);
  for (const partition of affected) expect(epochs.get(partition)).toBeGreaterThan(0);

  await cluster.whenHealthy();
  await load.stop();
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
});
