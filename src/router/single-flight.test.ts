/** Gets of one key that a router forwards as one, over real connections to scripted nodes. */
import { afterEach, expect, it } from 'vitest';
import {
  found,
  get,
  ProxyUnderTest,
  put,
  refusal,
  type ScriptedNodeServer,
} from '../../test/support/router.ts';
import { until, valueReply } from '../../test/support/wire.ts';
import { QUORUM_GET } from '../common/reads.ts';
import type { Reply, Request } from '../common/wire/messages.ts';
import { FLIGHTS_MAX } from './single-flight.ts';

let router: ProxyUnderTest;
afterEach(() => router.stop());

/** A router with two nodes that answer only what the test lets them; n1 leads. */
async function start(): Promise<{ n1: ScriptedNodeServer; n2: ScriptedNodeServer }> {
  router = await ProxyUnderTest.start();
  const n1 = await router.node('n1');
  const n2 = await router.node('n2');
  router.apply(['n1', 'n1', 'n1', 'n1']);
  await until(() => router.proxy.stats().nodes.every((node) => node.connected), 'the nodes are connected');
  return { n1, n2 };
}

/** Answers the nth request of a node. */
function answer(node: ScriptedNodeServer, nth: number, reply: (request: Request) => Reply = found): void {
  node.sessions[0]!.connection.reply([reply(node.requests()[nth]!)]);
}

async function sent(node: ScriptedNodeServer, count: number): Promise<Request> {
  await until(() => node.requests().length >= count, `${count} requests at ${node.id}`);
  return node.requests()[count - 1]!;
}

function told(reply: Reply | undefined): string {
  return reply?.failure?.code ?? Buffer.from(reply?.value?.value ?? []).toString();
}

it('lets a few go by themselves, and the others together when one of them has ended', async () => {
  const { n1 } = await start();
  const [one, other] = [router.client(), router.client()];
  for (let id = 1; id <= 6; id += 1) for (const client of [one, other]) client.session.send(get(id, 0));
  await until(() => router.proxy.stats().requests === 12, 'all have come');
  await sent(n1, FLIGHTS_MAX);
  expect(n1.requests().map(({ sharedReads }) => sharedReads)).toEqual(new Array(FLIGHTS_MAX).fill(0));
  answer(n1, 0);
  expect((await sent(n1, FLIGHTS_MAX + 1)).sharedReads).toBe(12 - FLIGHTS_MAX - 1);
  // What comes now was not there when it was sent.
  one.session.send(get(7, 0));
  await until(() => router.proxy.stats().requests === 13, 'it has come');
  answer(n1, FLIGHTS_MAX, ({ id }) => valueReply(id, Buffer.from('together')));
  await until(() => one.replies.size + other.replies.size === 1 + 12 - FLIGHTS_MAX, 'their answers');
  expect((await sent(n1, FLIGHTS_MAX + 2)).sharedReads).toBe(0);
  for (let nth = 1; nth < FLIGHTS_MAX; nth += 1) answer(n1, nth);
  answer(n1, FLIGHTS_MAX + 1, ({ id }) => valueReply(id, Buffer.from('later')));
  await until(() => one.replies.size + other.replies.size === 13, 'all answers');
  const all = [...one.replies.values(), ...other.replies.values()].map(told);
  expect(all.filter((value) => value === 'together')).toHaveLength(12 - FLIGHTS_MAX);
  expect(told(one.replies.get(7))).toBe('later');
  const { counters } = router.proxy;
  expect(counters.sharedReads).toBe(12 - FLIGHTS_MAX - 1);
  expect(counters.answered()).toEqual([{ operation: 'get', code: 'OK', count: 13 }]);
  await until(() => router.proxy.stats().requests === 0, 'nothing is left');
  expect(router.proxy.stats().requestBytes).toBe(0);
});

it('keeps apart what is of another key, level or keyspace, and what is no linearizable get', async () => {
  const { n1, n2 } = await start();
  const client = router.client();
  const session = { ...QUORUM_GET, level: 'READ_STALE' as const };
  let id = 0;
  for (let times = 0; times <= FLIGHTS_MAX; times += 1) {
    for (const changes of [{}, { keyspace: 'x' }, { get: QUORUM_GET }, { get: session }]) {
      id += 1;
      client.session.send(get(id, 0, changes));
    }
    client.session.send(get(id + 100, 1));
    client.session.send(put(id + 200, 0));
  }
  await until(() => router.proxy.stats().requests === 6 * (FLIGHTS_MAX + 1), 'all have come');
  // Puts and stale gets all go.
  const count = (): number => n1.requests().length + n2.requests().length;
  await until(() => count() === 4 * FLIGHTS_MAX + 2 * (FLIGHTS_MAX + 1), 'as many as go');
});

it('ends one that waits when its client cancels it, goes away, or has no time left, and answers the others', async () => {
  const { n1 } = await start();
  const [one, other, gone] = [router.client(), router.client(), router.client()];
  for (let id = 1; id <= FLIGHTS_MAX; id += 1) other.session.send(get(id, 0));
  await sent(n1, FLIGHTS_MAX);
  one.session.send(get(21, 0));
  one.session.send(get(22, 0, { timeLeftMs: 150 }));
  one.session.send(get(23, 0));
  other.session.send(get(24, 0));
  gone.session.send(get(25, 0));
  await until(() => router.proxy.stats().requests === FLIGHTS_MAX + 5, 'they wait');
  one.session.cancel(21);
  gone.session.close();
  await until(() => one.replies.has(21) && one.replies.has(22), 'their ends');
  expect([told(one.replies.get(21)), told(one.replies.get(22))]).toEqual(['CANCELLED', 'DEADLINE_EXCEEDED']);
  expect(one.replies.get(22)!.failure!.outcome).toBe('not_applied');
  await until(() => router.proxy.stats().requests === FLIGHTS_MAX + 2, 'the others wait');
  answer(n1, 0);
  expect((await sent(n1, FLIGHTS_MAX + 1)).sharedReads).toBe(1);
  answer(n1, FLIGHTS_MAX);
  await until(() => one.replies.has(23) && other.replies.has(24), 'the others’ answers');
  for (let nth = 1; nth < FLIGHTS_MAX; nth += 1) answer(n1, nth);
  await until(() => router.proxy.stats().requests === 0, 'nothing is left');
});

it('goes to the end of its clients’ time, and tells all of them a failure', async () => {
  const { n1 } = await start();
  const client = router.client();
  for (let id = 1; id <= FLIGHTS_MAX; id += 1) client.session.send(get(id, 0));
  await sent(n1, FLIGHTS_MAX);
  client.session.send(get(21, 0, { timeLeftMs: 20_000 }));
  client.session.send(get(22, 0, { timeLeftMs: 3_000 }));
  await until(() => router.proxy.stats().requests === FLIGHTS_MAX + 2, 'they wait');
  answer(n1, 1);
  const { timeLeftMs } = await sent(n1, FLIGHTS_MAX + 1);
  expect(timeLeftMs).toBeGreaterThan(15_000);
  answer(n1, FLIGHTS_MAX, (request) => refusal(request, { code: 'NO_QUORUM' }));
  await until(() => client.replies.has(21) && client.replies.has(22), 'their ends');
  expect([21, 22].map((id) => told(client.replies.get(id)))).toEqual(['NO_QUORUM', 'NO_QUORUM']);
});

it('leaves an old leader: what was sent is given up, what waits goes to the new one', async () => {
  const { n1, n2 } = await start();
  const client = router.client();
  for (let id = 1; id <= FLIGHTS_MAX + 3; id += 1) client.session.send(get(id, 0));
  await until(() => router.proxy.stats().requests === FLIGHTS_MAX + 3, 'all have come');
  await sent(n1, FLIGHTS_MAX);
  router.apply(['n2', 'n1', 'n1', 'n1'], 2);
  expect((await sent(n2, 1)).sharedReads).toBe(2);
  answer(n2, 0);
  await until(() => client.replies.size === FLIGHTS_MAX + 3, 'all ends');
  const values = [...client.replies.values()].map(told).sort();
  expect(values).toEqual([...new Array(FLIGHTS_MAX).fill('NOT_LEADER'), 'value', 'value', 'value']);
  expect(n1.requests()).toHaveLength(FLIGHTS_MAX);
});

it('goes on when the connection breaks', async () => {
  const { n1 } = await start();
  const client = router.client();
  for (let id = 1; id <= FLIGHTS_MAX + 2; id += 1) client.session.send(get(id, 0));
  await until(() => router.proxy.stats().requests === FLIGHTS_MAX + 2, 'all have come');
  await sent(n1, FLIGHTS_MAX);
  n1.sessions[0]!.connection.close();
  await until(() => client.replies.size === FLIGHTS_MAX, 'those that were sent have failed');
  await until(() => n1.sessions.length === 2 && n1.sessions[1]!.requests.length === 1, 'the others are sent');
  const [together] = n1.sessions[1]!.requests as [Request];
  expect(together.sharedReads).toBe(1);
  n1.sessions[1]!.connection.reply([found(together)]);
  await until(() => client.replies.size === FLIGHTS_MAX + 2, 'their answers');
  expect(router.proxy.stats().requests).toBe(0);
});

it('takes no word of a client for how many it is', async () => {
  const { n1 } = await start();
  router.client().session.send(get(1, 0, { sharedReads: 1_000 }));
  expect((await sent(n1, 1)).sharedReads).toBe(0);
});
