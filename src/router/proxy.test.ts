import { afterEach, describe, expect, it } from 'vitest';
import {
  CLIENT_ID,
  found,
  get,
  keyOf,
  ProxyUnderTest,
  put,
  refusal,
  type ScriptedNodeServer,
} from '../../test/support/router.ts';
import { receiptReply, until } from '../../test/support/wire.ts';
import { QUORUM_GET } from '../common/reads.ts';
import type { Request } from '../common/wire/messages.ts';
import { FORWARDS_MAX } from './forward.ts';

let router: ProxyUnderTest;
afterEach(() => router.stop());

function answer(request: Request) {
  return request.operation === 'get' ? found(request) : receiptReply(request);
}

/** A router with nodes n1 and n2; n1 leads every partition unless `leaders` says otherwise. */
async function start(
  first: ((request: Request) => ReturnType<typeof answer> | undefined) | undefined,
  options: Parameters<typeof ProxyUnderTest.start>[0] = {},
  second: typeof first = answer,
): Promise<{ n1: ScriptedNodeServer; n2: ScriptedNodeServer; client: ReturnType<ProxyUnderTest['client']> }> {
  router = await ProxyUnderTest.start(options);
  const n1 = await router.node('n1', first);
  const n2 = await router.node('n2', second);
  router.apply(['n1', 'n1', 'n1', 'n1']);
  await until(() => router.proxy.stats().nodes.every((node) => node.connected), 'the nodes are connected');
  return { n1, n2, client: router.client() };
}

async function replyTo(client: ReturnType<ProxyUnderTest['client']>, id: number) {
  await until(() => client.replies.has(id), `a reply to request ${id}`);
  return client.replies.get(id)!;
}

async function failureOf(client: ReturnType<ProxyUnderTest['client']>, id: number) {
  const { failure } = await replyTo(client, id);
  return { code: failure?.code, outcome: failure?.outcome };
}

describe('routing', () => {
  it('sends every request to the leader of its partition and gives the answer back under the own id', async () => {
    const { n1, n2, client } = await start(answer);
    router.apply(['n1', 'n2', 'n1', 'n2'], 2);
    for (let partition = 0; partition < 4; partition += 1) {
      client.session.send(put(10 + partition, partition));
      client.session.send(get(20 + partition, partition));
    }
    client.session.send({ ...get(30, 0), operation: 'scan', get: null, scan: scanOf(3) });
    await until(() => client.replies.size === 9, 'all replies');
    const keys = (node: ScriptedNodeServer) => new Set(node.requests().map(({ key }) => key.toString()));
    expect(keys(n1)).toEqual(new Set([0, 2].map((partition) => keyOf(partition).toString())));
    expect(n2.requests().filter(({ operation }) => operation === 'scan')).toHaveLength(1);
    expect(client.replies.get(11)?.receipt?.version).toBe(11);
    expect(n1.sessions[0]?.peer.hello.role).toBe('router');
    for (const { clientId } of n1.requests()) expect(Buffer.from(clientId)).toEqual(CLIENT_ID);
  });

  it('refuses a scan outside of the partitions and a write without a client id', async () => {
    const { n1, client } = await start(answer);
    client.session.send({ ...get(1, 0), operation: 'scan', get: null, scan: scanOf(4) });
    client.session.send(put(2, 0, { clientId: Buffer.from('short') }));
    expect(await failureOf(client, 1)).toEqual({ code: 'INVALID_ARGUMENT', outcome: 'not_applied' });
    expect(await failureOf(client, 2)).toEqual({ code: 'INVALID_ARGUMENT', outcome: 'not_applied' });
    expect(n1.requests()).toHaveLength(0);
  });

  it('speaks no later protocol with nodes than it was told to', async () => {
    const { n1, n2 } = await start(answer, { protocolMax: 1 });
    for (const { sessions } of [n1, n2])
      expect(sessions[0]?.peer).toMatchObject({ protocol: 1, hello: { protocolMin: 1, protocolMax: 1 } });
  });

  it('refuses sessions until a topology is known', async () => {
    router = await ProxyUnderTest.start();
    const client = router.client();
    await until(() => client.ends.length > 0, 'the end of the session');
    expect(client.ends[0]?.code).toBe('NOT_READY');
    expect(client.ends[0]?.message).toContain('2 more of 3 nodes');
  });

  it('has at most as many requests open at a node as it was welcomed for', async () => {
    router = await ProxyUnderTest.start();
    const n1 = await router.node('n1', undefined, { limits: { inFlightMax: 2 } });
    router.apply(['n1', 'n1', 'n1', 'n1']);
    const client = router.client();
    for (let id = 1; id <= 5; id += 1) client.session.send(get(id, 0, { keyspace: `${id}` }));
    await until(
      () => n1.requests().length === 2 && router.proxy.stats().requests === 5,
      'two requests are sent',
    );
    expect(router.proxy.stats().nodes[0]).toMatchObject({ queued: 3, sent: 2 });
    let answered = 0;
    while (answered < 5) {
      const session = n1.sessions[0]!;
      await until(() => session.requests.length > answered, 'the next request');
      expect(session.requests.length - answered).toBeLessThanOrEqual(2);
      session.connection.reply([found(session.requests[answered]!)]);
      answered += 1;
    }
    await until(() => client.replies.size === 5, 'all replies');
  });
});

describe('a read that any voter may answer', () => {
  // Of one key they would go together.
  const later = (id: number, changes: Partial<Request> = {}) =>
    get(id, 0, { get: QUORUM_GET, attempt: 1, keyspace: `${id}`, ...changes });

  it('goes to all voters, also without a leader; every second attempt goes to the leader', async () => {
    const { n1, n2, client } = await start(answer);
    for (let id = 1; id <= 20; id += 1) client.session.send(later(id));
    await until(() => client.replies.size === 20, 'all replies');
    expect(Math.min(n1.requests().length, n2.requests().length)).toBeGreaterThan(2);
    const before = n2.requests().length;
    for (let id = 21; id <= 30; id += 1) client.session.send(later(id, { attempt: 2 }));
    await until(() => client.replies.size === 30, 'all replies');
    expect(n2.requests().length).toBe(before);
    router.apply([null, null, null, null], 2);
    client.session.send(later(31));
    expect((await replyTo(client, 31)).result).toBe('value');
  });

  it('is kept from a voter that does not answer', async () => {
    const { n1, n2, client } = await start(answer, {}, () => undefined);
    let sent = 0;
    while (n2.requests().length === 0) {
      sent += 1;
      client.session.send(later(sent));
      await until(() => client.replies.size + n2.requests().length === sent, 'the request is somewhere');
    }
    for (let id = sent + 1; id <= sent + 20; id += 1) {
      client.session.send(later(id));
      await replyTo(client, id);
    }
    expect(n2.requests()).toHaveLength(1);
    expect(n1.requests()).toHaveLength(sent + 19);
  });

  it('goes to the leader when the voter says that it is none', async () => {
    const { n1, n2, client } = await start(answer, {}, (request) =>
      refusal(request, { leader: 'n1', epoch: 1 }),
    );
    for (let id = 1; id <= 20; id += 1) client.session.send(later(id));
    await until(() => client.replies.size === 20, 'all replies');
    expect([...client.replies.values()].map(({ result }) => result)).toEqual(Array(20).fill('value'));
    expect(n2.requests().length).toBeGreaterThan(0);
    expect(n1.requests()).toHaveLength(20);
  });
});

describe('a node that does not lead', () => {
  it('makes the router forward to the leader it names', async () => {
    const { n2, client } = await start((request) => refusal(request, { leader: 'n2', epoch: 2 }));
    client.session.send(put(1, 0));
    expect((await replyTo(client, 1)).result).toBe('receipt');
    expect(n2.requests()).toHaveLength(1);
    expect(router.proxy.counters.forwardedAgain).toBe(1);
  });

  it('is answered to the client when nobody else is known to lead', async () => {
    const { n1, n2, client } = await start((request) => refusal(request, { epoch: 1 }));
    client.session.send(put(1, 0));
    expect(await failureOf(client, 1)).toEqual({ code: 'NOT_LEADER', outcome: 'not_applied' });
    expect([n1.requests().length, n2.requests().length]).toEqual([1, 0]);
  });

  it('is answered to the client when the outcome is unknown, whoever else leads', async () => {
    const { n2, client } = await start((request) =>
      refusal(request, { outcome: 'unknown', leader: 'n2', epoch: 2 }),
    );
    client.session.send(put(1, 0));
    expect(await failureOf(client, 1)).toEqual({ code: 'NOT_LEADER', outcome: 'unknown' });
    expect(n2.requests()).toHaveLength(0);
  });

  it('gets the request again, a few times, while it has not heard of its leadership yet', async () => {
    let refused = 0;
    const { client, n1 } = await start((request) => {
      refused += 1;
      return refused < FORWARDS_MAX ? refusal(request, { epoch: 0 }) : receiptReply(request);
    });
    client.session.send(put(1, 0));
    expect((await replyTo(client, 1)).result).toBe('receipt');
    client.session.send(put(2, 0));
    refused = Number.NEGATIVE_INFINITY;
    expect(await failureOf(client, 2)).toEqual({ code: 'NOT_LEADER', outcome: 'not_applied' });
    expect(n1.requests()).toHaveLength(2 * FORWARDS_MAX);
  });
});

describe('a partition without a leader', () => {
  it('has its requests wait for one, with the time they still have', async () => {
    const { n2, client } = await start(answer);
    router.apply([null, 'n1', 'n1', 'n1'], 2);
    client.session.send(put(1, 0, { timeLeftMs: 5_000 }));
    await until(() => router.proxy.stats().held === 1, 'the request is held');
    router.apply(['n2', 'n1', 'n1', 'n1'], 3);
    expect((await replyTo(client, 1)).result).toBe('receipt');
    expect(n2.requests()[0]?.timeLeftMs).toBeLessThan(5_000);
    expect(n2.requests()[0]?.timeLeftMs).toBeGreaterThan(0);
    expect(router.proxy.stats()).toMatchObject({ held: 0, requests: 0, requestBytes: 0 });
  });

  it('is told with its reason before the deadline, as not applied', async () => {
    const { client } = await start(answer);
    router.apply([null, null, 'n1', 'n1'], 2);
    router.unavailable.set(0, 'n2 and n3 do not answer');
    client.session.send(put(1, 0, { timeLeftMs: 100 }));
    client.session.send(put(2, 1, { timeLeftMs: 100 }));
    expect(await failureOf(client, 1)).toEqual({ code: 'NO_QUORUM', outcome: 'not_applied' });
    expect(client.replies.get(1)?.failure?.message).toContain('n2 and n3 do not answer');
    expect(await failureOf(client, 2)).toEqual({ code: 'UNAVAILABLE', outcome: 'not_applied' });
    expect(router.proxy.stats()).toMatchObject({ held: 0, requests: 0, requestBytes: 0 });
  });

  it('lets go of what was cancelled meanwhile', async () => {
    const { n2, client } = await start(answer);
    router.apply([null, 'n1', 'n1', 'n1'], 2);
    client.session.send(put(1, 0));
    await until(() => router.proxy.stats().held === 1, 'the request is held');
    client.session.cancel(1);
    expect(await failureOf(client, 1)).toEqual({ code: 'CANCELLED', outcome: 'not_applied' });
    router.apply(['n2', 'n1', 'n1', 'n1'], 3);
    client.session.send(put(2, 0));
    await replyTo(client, 2);
    expect(n2.requests()).toHaveLength(1);
  });
});

describe('a node that is slow or lost', () => {
  it('leaves a write unknown and a read not applied when it does not answer in time', async () => {
    const { n1, client } = await start(undefined);
    client.session.send(put(1, 0, { timeLeftMs: 60 }));
    client.session.send(get(2, 0, { timeLeftMs: 60 }));
    expect(await failureOf(client, 1)).toEqual({ code: 'DEADLINE_EXCEEDED', outcome: 'unknown' });
    expect(await failureOf(client, 2)).toEqual({ code: 'DEADLINE_EXCEEDED', outcome: 'not_applied' });
    await until(() => n1.sessions[0]?.cancels.length === 2, 'the node is told');
    expect(router.proxy.stats().requests).toBe(2);
    n1.sessions[0]?.connection.reply(n1.requests().map(found));
    await until(() => router.proxy.stats().requests === 0, 'the bounds are free again');
  });

  it('leaves a sent write unknown and a read not applied when another node leads, but not what any voter may answer', async () => {
    const { n1, n2, client } = await start(undefined, {}, () => undefined);
    client.session.send(put(1, 0));
    client.session.send(get(2, 0));
    client.session.send(put(3, 1));
    await until(() => n1.requests().length === 3, 'they are sent');
    for (let id = 4; id < 10; id += 1)
      client.session.send(get(id, 0, { get: QUORUM_GET, keyspace: `${id}` }));
    await until(() => n1.requests().length + n2.requests().length === 9, 'the others are sent');
    router.apply(['n2', 'n1', 'n1', 'n1'], 2);
    expect(await failureOf(client, 1)).toEqual({ code: 'NOT_LEADER', outcome: 'unknown' });
    expect(await failureOf(client, 2)).toEqual({ code: 'NOT_LEADER', outcome: 'not_applied' });
    await until(() => n1.sessions[0]?.cancels.length === 2, 'the node is told');
    expect([...client.replies.keys()].sort()).toEqual([1, 2]);
  });

  it('leaves a sent write unknown and a read not applied when its connection breaks', async () => {
    const { n1, client } = await start(undefined);
    client.session.send(put(1, 0));
    client.session.send(get(2, 0));
    await until(() => n1.requests().length === 2, 'both are sent');
    n1.sessions[0]?.connection.close();
    expect(await failureOf(client, 1)).toEqual({ code: 'UNAVAILABLE', outcome: 'unknown' });
    expect(await failureOf(client, 2)).toEqual({ code: 'UNAVAILABLE', outcome: 'not_applied' });
    client.session.send(put(3, 0));
    await until(
      () => n1.sessions.length === 2 && n1.requests().length === 3,
      'it is connected and used again',
    );
  });

  it('keeps what was not sent, for the node or for the next leader', async () => {
    const { n1, n2, client } = await start(undefined);
    await n1.server.stop(0);
    await until(() => router.proxy.stats().nodes[0]?.connected === false, 'the connection is gone');
    client.session.send(put(1, 0));
    client.session.send(put(2, 1, { timeLeftMs: 100 }));
    expect(await failureOf(client, 2)).toEqual({ code: 'UNAVAILABLE', outcome: 'not_applied' });
    router.apply(['n2', 'n1', 'n1', 'n1'], 2);
    expect((await replyTo(client, 1)).result).toBe('receipt');
    expect(n2.requests()).toHaveLength(1);
  });

  it('gets no new requests after it has said goaway, and answers those it has', async () => {
    const { n1, n2, client } = await start(undefined);
    client.session.send(put(1, 0));
    await until(() => n1.requests().length === 1, 'the first is sent');
    n1.sessions[0]?.connection.goaway();
    await until(() => router.proxy.stats().nodes[0]?.connected === false, 'the router has heard');
    client.session.send(put(2, 1));
    await until(() => router.proxy.stats().nodes[0]?.queued === 1, 'the second waits');
    n1.sessions[0]?.connection.reply([receiptReply(n1.requests()[0]!)]);
    expect((await replyTo(client, 1)).result).toBe('receipt');
    router.apply(['n1', 'n2', 'n1', 'n1'], 2);
    expect((await replyTo(client, 2)).result).toBe('receipt');
    expect(n2.requests()).toHaveLength(1);
  });
});

describe('clients that cancel or leave', () => {
  it('has cancels forwarded and the node answer them', async () => {
    const { n1, client } = await start(undefined);
    client.session.send(put(1, 0));
    await until(() => n1.requests().length === 1, 'it is sent');
    client.session.cancel(1);
    await until(() => n1.sessions[0]?.cancels.length === 1, 'the cancel arrives');
    expect(n1.sessions[0]?.cancels[0]).toBe(n1.requests()[0]?.id);
    n1.sessions[0]?.connection.reply([refusal(n1.requests()[0]!, { code: 'CANCELLED', outcome: 'unknown' })]);
    expect(await failureOf(client, 1)).toEqual({ code: 'CANCELLED', outcome: 'unknown' });
  });

  it('cancels what a client that has gone had sent, and counts it until the node has ended it', async () => {
    const { n1, client } = await start(undefined);
    client.session.send(put(1, 0));
    await until(() => n1.requests().length === 1, 'it is sent');
    client.session.close();
    await until(() => n1.sessions[0]?.cancels.length === 1, 'the cancel arrives');
    expect(router.proxy.stats()).toMatchObject({ sessions: 0, requests: 1 });
    n1.sessions[0]?.connection.reply([receiptReply(n1.requests()[0]!)]);
    await until(() => router.proxy.stats().requests === 0, 'it is forgotten');
  });
});

describe('bounds', () => {
  const limitsOf = (requestsMax: number, requestBytesMax: number, nodeRequestsMax: number) => ({
    limits: { requestsMax, requestBytesMax, nodeRequestsMax },
  });

  async function refusedAfter(client: ReturnType<ProxyUnderTest['client']>, id: number): Promise<void> {
    expect(await failureOf(client, id)).toEqual({ code: 'OVERLOADED', outcome: 'not_applied' });
    expect(client.replies.get(id)?.failure?.retryAfterMs).toBeGreaterThan(0);
  }

  it('refuses what is beyond the requests it holds, and takes more when some have ended', async () => {
    const { n1, client } = await start(undefined, limitsOf(2, 1e6, 100));
    for (const id of [1, 2, 3]) client.session.send(put(id, 0));
    await refusedAfter(client, 3);
    n1.sessions[0]?.connection.reply(n1.requests().map(receiptReply));
    await until(() => client.replies.size === 3, 'the others are answered');
    client.session.send(put(4, 0));
    await until(() => n1.requests().length === 3, 'the fourth is sent');
  });

  it('refuses what is beyond the bytes it holds', async () => {
    const { client } = await start(undefined, limitsOf(100, 3_000, 100));
    client.session.send(put(1, 0, { put: { value: Buffer.alloc(2_000), codec: 1, ttlMs: 0 } }));
    client.session.send(put(2, 0, { put: { value: Buffer.alloc(2_000), codec: 1, ttlMs: 0 } }));
    await refusedAfter(client, 2);
  });

  it('refuses what is beyond one node, and goes on serving the others', async () => {
    const { client } = await start(undefined, limitsOf(100, 1e6, 2));
    router.apply(['n1', 'n2', 'n1', 'n1'], 2);
    for (const id of [1, 2, 3]) client.session.send(put(id, 0));
    client.session.send(put(4, 1));
    await refusedAfter(client, 3);
    expect((await replyTo(client, 4)).result).toBe('receipt');
    expect(router.proxy.counters.refusals()).toContainEqual({ bound: 'node', count: 1 });
  });

  it('refuses what is beyond the queue of partitions without a leader', async () => {
    const { client } = await start(answer, limitsOf(100, 1e6, 2));
    router.apply([null, 'n1', 'n1', 'n1'], 2);
    for (const id of [1, 2, 3]) client.session.send(put(id, 0));
    client.session.send(put(4, 1));
    await refusedAfter(client, 3);
    expect((await replyTo(client, 4)).result).toBe('receipt');
  });
});

function scanOf(partition: number) {
  return { partition, cursor: new Uint8Array(0), bytesMax: 1000, allKeyspaces: true };
}
