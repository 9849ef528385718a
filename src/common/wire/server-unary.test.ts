import { Client, credentials, Metadata, type ServiceError, status as Status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { listen, putRequest, receiptReply, recorder, until, valueReply } from '../../../test/support/wire.ts';
import { RingkeepError } from '../errors.ts';
import { fromFailure, toFailure } from '../failure.ts';
import { LINEARIZABLE_GET } from '../reads.ts';
import type { PartitionScrub } from './admin-messages.ts';
import { FAILURE_TRAILER } from './channel.ts';
import { grpcConnector } from './connections.ts';
import { makeHello } from './handshake.ts';
import type { Hello, Reply, Request } from './messages.ts';
import { failureCodec, type Method, methods } from './schema.ts';
import { ClientIdPool } from './server-unary.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A plain gRPC client, as in any other language. */
function plainClient(address: string) {
  const client = new Client(`dns:${address}`, credentials.createInsecure());
  cleanups.push(() => client.close());
  return <Q, S>(method: Method<Q, S>, request: Q, deadlineMs = 5000) =>
    new Promise<{ response: S } | { error: ServiceError }>((resolve) => {
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + deadlineMs },
        (error, response) => resolve(error === null ? { response: response as S } : { error }),
      );
    });
}

async function serve(answer: (request: Request) => Reply | undefined, hello: Hello | null = null) {
  const handler = recorder(answer);
  const server = await listen({ keyValue: handler });
  cleanups.push(() => server.stop(0));
  const call = plainClient(server.address);
  const put = (request: Partial<Request> = {}) =>
    call(methods.put, {
      hello,
      request: { ...putRequest(0), sequence: 0, lowWater: 0, attempt: 0, ...request },
    });
  return { handler, server, call, put };
}

function failureOf(error: ServiceError): RingkeepError {
  return fromFailure(failureCodec.deserialize(error.metadata.get(FAILURE_TRAILER)[0] as Buffer));
}

function failed(request: Request, error: RingkeepError): Reply {
  return { id: request.id, end: true, result: 'failure', failure: toFailure(error) };
}

const HOT = { partition: 3, reads: 10.5, writes: 0 };
const SALTED = {
  ...{ keyspace: 'k', key: Buffer.of(255), partition: 3, node: 'n1', waitingWrites: 2, automatic: true },
  copies: [{ partition: 4, node: 'n2', held: true }],
};
const MOVE = { from: 'n1', to: '', state: 'active', reason: 'why', bytes: 5e12, copied: 1, sender: 'n1' };

describe('unary calls', () => {
  it('answer Get, Put and Delete without a hello, an operation or an id', async () => {
    const { handler, call, put } = await serve((request) =>
      request.operation === 'get' ? valueReply(request.id, Buffer.from('v')) : receiptReply(request),
    );
    const bare = { ...putRequest(0), put: null, sequence: 0, attempt: 0 };
    const { operation: _dropped, ...without } = bare;
    const got = await call(methods.get, { hello: null, request: without as Request });
    expect(got).toMatchObject({ response: { found: true, value: Buffer.from('v') } });
    expect(await put()).toMatchObject({ response: { durability: 'quorum', version: 1 } });
    const deleted = await call(methods.delete, { hello: null, request: without as Request });
    expect(deleted).toMatchObject({ response: { durability: 'quorum' } });
    expect(handler.sessions.map((session) => session.requests[0]?.operation)).toEqual([
      'get',
      'put',
      'delete',
    ]);
    await until(() => handler.sessions.every((session) => session.ends === 1), 'every session to end');
  });

  it('read as the Get says, linearizably if it says nothing', async () => {
    const { handler, call } = await serve((request) => valueReply(request.id, Buffer.from('v')));
    const { put: _put, operation: _operation, ...rest } = putRequest(0);
    const stale = { ...LINEARIZABLE_GET, level: 'READ_STALE', maxStalenessMs: 7 } as const;
    await call(methods.get, { hello: null, request: rest as Request });
    await call(methods.get, { hello: null, request: { ...rest, operation: 'get', get: stale } });
    expect(handler.sessions.map((session) => session.requests[0]?.get)).toEqual([LINEARIZABLE_GET, stale]);
  });

  it('answer Increment with all of its 64 bits', async () => {
    const { handler, call } = await serve((request) => {
      const reply = receiptReply(request);
      return { ...reply, receipt: { ...reply.receipt!, counter: 2n ** 63n - 1n } };
    });
    const { put: _put, operation: _operation, ...rest } = putRequest(0);
    const request = { ...rest, sequence: 0, increment: { delta: -(2n ** 62n), ttlMs: 0 } } as Request;
    const answer = await call(methods.increment, { hello: null, request });
    expect(answer).toMatchObject({ response: { counter: 2n ** 63n - 1n } });
    expect(handler.sessions[0]!.requests[0]!.increment).toEqual({
      delta: -(2n ** 62n),
      ttlMs: 0,
      unread: false,
    });
    const bare = await call(methods.increment, { hello: null, request: rest as Request });
    expect('error' in bare && failureOf(bare.error)).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('bring a deduplication id with a sequence of its own for every write', async () => {
    const { handler, put } = await serve(receiptReply);
    await put();
    await put();
    const [first, second] = handler.sessions.map((session) => session.requests[0]!);
    expect(first!.clientId).toHaveLength(16);
    expect(Buffer.from(second!.clientId).equals(first!.clientId)).toBe(true);
    expect([first!.sequence, second!.sequence]).toEqual([1, 2]);
    expect(second!.lowWater).toBe(2);
    expect(second!.attempt).toBe(1);
    expect(second!.timeLeftMs).toBeGreaterThan(0);
  });

  it('keep the id and sequence of callers that have them', async () => {
    const clientId = Buffer.alloc(16, 9);
    const { handler, put } = await serve(receiptReply, makeHello({ role: 'client', clientId }));
    await put({ sequence: 17, lowWater: 12 });
    const session = handler.sessions[0]!;
    expect(session.requests[0]).toMatchObject({ sequence: 17, lowWater: 12 });
    expect(Buffer.from(session.peer.hello.clientId).equals(clientId)).toBe(true);
  });

  it('repeat a write with the log time that the leader tells, the same id and sequence', async () => {
    const { handler, put } = await serve((request) =>
      request.sessionTime === 5_000
        ? receiptReply(request)
        : failed(request, new RingkeepError('SESSION_TIME', 'resend', 'not_applied', { logTime: 5_000 })),
    );
    expect(await put({ sessionTime: 0 })).toMatchObject({ response: { version: 1 } });
    const requests = handler.sessions.map((session) => session.requests[0]!);
    expect(requests.map((request) => request.attempt)).toEqual([1, 2]);
    expect(requests[1]!.sequence).toBe(requests[0]!.sequence);
    expect(Buffer.from(requests[1]!.clientId).equals(requests[0]!.clientId)).toBe(true);
  });

  it.each([
    ['NOT_LEADER', Status.FAILED_PRECONDITION],
    ['NO_QUORUM', Status.UNAVAILABLE],
    ['OVERLOADED', Status.RESOURCE_EXHAUSTED],
    ['DEADLINE_EXCEEDED', Status.DEADLINE_EXCEEDED],
    ['VALUE_TOO_LARGE', Status.INVALID_ARGUMENT],
    ['INTERNAL', Status.INTERNAL],
  ] as const)('tell %s as a status with the whole failure in the trailer', async (code, status) => {
    const { put } = await serve((request) =>
      failed(
        request,
        new RingkeepError(code, 'ключ ☃', 'unknown', { retryAfterMs: 70, leader: 'node-3', epoch: 4 }),
      ),
    );
    const result = await put();
    if (!('error' in result)) throw new Error('it succeeded');
    expect(result.error.code).toBe(status);
    expect(failureOf(result.error)).toMatchObject({
      code,
      outcome: 'unknown',
      retryAfterMs: 70,
      leader: 'node-3',
    });
    expect(failureOf(result.error).message).toContain('ключ ☃');
  });

  it("refuse another operation than the method's, and a missing request or value", async () => {
    const { call, handler } = await serve(receiptReply);
    const results = [
      await call(methods.get, { hello: null, request: putRequest(1) }),
      await call(methods.put, { hello: null, request: null }),
      await call(methods.put, {
        hello: makeHello({ role: 'client', clusterId: 'x' }),
        request: putRequest(1),
      }),
    ];
    const codes = results.map((result) => ('error' in result ? failureOf(result.error).code : 'none'));
    expect(codes).toEqual(['INVALID_ARGUMENT', 'INVALID_ARGUMENT', 'WRONG_CLUSTER']);
    expect(handler.sessions).toHaveLength(0);
  });

  it('cancel the request when the caller has gone', async () => {
    const { handler, call, server } = await serve(() => undefined);
    const result = await call(methods.put, { hello: null, request: putRequest(1) }, 100);
    expect('error' in result && result.error.code).toBe(Status.DEADLINE_EXCEEDED);
    await until(() => handler.sessions[0]?.ends === 1, 'the end');
    expect(handler.sessions[0]?.cancels).toEqual([1]);
    expect(server.stats().unary).toBe(0);
  });

  it('are bounded in number', async () => {
    const handler = recorder();
    const server = await listen({ keyValue: handler }, { limits: { unaryMax: 1 } });
    cleanups.push(() => server.stop(0));
    const call = plainClient(server.address);
    const first = call(methods.put, { hello: null, request: putRequest(1) }, 3000);
    await until(() => server.stats().unary === 1, 'the first');
    const second = await call(methods.put, { hello: null, request: putRequest(1) });
    expect('error' in second && failureOf(second.error).code).toBe('OVERLOADED');
    const { connection, requests } = handler.sessions[0]!;
    connection.reply([receiptReply(requests[0]!)]);
    expect(await first).toHaveProperty('response');
  });
});

describe('administration', () => {
  it('answers, and rejects with the error that the handler told', async () => {
    const found: PartitionScrub = {
      partition: 0,
      state: 'SCRUB_DAMAGED',
      index: 7,
      hash: 'ab',
      rows: 3,
      bytes: 4_000_000_000_000,
      voters: 3,
      differing: [],
      damaged: [{ id: 'r', node: 'n1' }],
      repaired: true,
      reason: 'why',
    };
    const server = await listen({
      admin: {
        status: async (peer) => ({
          topology: null,
          nodes: [],
          replicas: [],
          json: JSON.stringify(peer.hello.role),
        }),
        setAck: async (_peer, { keyspace, ack }) => ({
          cluster: 'ACK_QUORUM',
          keyspaces: ack === 'ACK_ALL' ? [{ keyspace, ack }] : [],
        }),
        hot: async (_peer, limit) => ({
          ...{ seconds: 12.5, reads: 1e6, writes: 0.25 },
          keys: [{ ...HOT, keyspace: 'k', key: Buffer.of(0, 255), error: limit }],
          partitions: [HOT],
          nodes: [{ node: 'n1', reads: 1, writes: 2, problem: 'away' }],
          salts: [SALTED],
        }),
        hashPartition: async (_peer, partition) => {
          if (partition === 9) throw new RingkeepError('NOT_READY', 'not here');
          return { replica: 'r', appliedIndex: 5, hash: 'ab', rows: partition };
        },
        moves: async (_peer, { order, settings, replicationFactor, node, membership, partition }) => ({
          ...{ state: order, reason: `${node} ${membership}`, replicationFactor },
          // What is not named of a change does not arrive; zero and false do.
          settings: { bytesPerSecond: 5e9, perNode: 3, lostAfterSeconds: 60, automatic: true, ...settings },
          moves: [{ ...MOVE, partition }],
          stuck: [{ partition, node }],
          choices: [{ node, votes: true, reason: 'first', learns: false }],
          bytesPerSecond: 5e10,
          plan: 'p1',
          overfull: [{ node, voters: 9, bound: 8 }],
        }),
        scrub: async (_peer, { run, partitions }) => ({
          run: run + 1,
          partitions: partitions.map((partition) => ({ ...found, partition })),
        }),
      },
    });
    cleanups.push(() => server.stop(0));
    const hello = makeHello({ role: 'client' });
    expect(await grpcConnector.adminStatus(server.address, hello, 2000)).toMatchObject({ json: '"client"' });
    expect(await grpcConnector.hashPartition(server.address, hello, 3, 2000)).toMatchObject({ rows: 3 });
    const change = { keyspace: 'orders', ack: 'ACK_ALL' } as const;
    expect(await grpcConnector.setAck(server.address, hello, change, 2000)).toEqual({
      cluster: 'ACK_QUORUM',
      keyspaces: [change],
    });
    const settings = { lostAfterSeconds: 0, automatic: false };
    const moves = { order: 'MOVES_CONFIGURE', settings, node: 'n4', partition: 8 } as const;
    expect(await grpcConnector.moves(server.address, hello, moves, 2000)).toEqual({
      ...{ state: 'MOVES_CONFIGURE', reason: 'n4 NODE_MEMBER', replicationFactor: 0 },
      settings: { bytesPerSecond: 5e9, perNode: 3, ...settings },
      moves: [{ ...MOVE, partition: 8 }],
      stuck: [{ partition: 8, node: 'n4' }],
      choices: [{ node: 'n4', votes: true, reason: 'first', learns: false }],
      bytesPerSecond: 5e10,
      plan: 'p1',
      overfull: [{ node: 'n4', voters: 9, bound: 8 }],
    });
    const order = { run: 4, partitions: [2] };
    expect(await grpcConnector.scrub(server.address, hello, order, 2000)).toEqual({
      run: 5,
      partitions: [{ ...found, partition: 2 }],
    });
    expect(await grpcConnector.hot(server.address, hello, 7, 2000)).toEqual({
      ...{ seconds: 12.5, reads: 1e6, writes: 0.25 },
      keys: [{ ...HOT, keyspace: 'k', key: Buffer.of(0, 255), error: 7 }],
      partitions: [HOT],
      nodes: [{ node: 'n1', reads: 1, writes: 2, problem: 'away' }],
      salts: [SALTED],
    });
    await expect(grpcConnector.hashPartition(server.address, hello, 9, 2000)).rejects.toMatchObject({
      code: 'NOT_READY',
    });
    const elsewhere = makeHello({ role: 'client', expectedNode: 'node-9' });
    await expect(grpcConnector.adminStatus(server.address, elsewhere, 2000)).rejects.toMatchObject({
      code: 'WRONG_NODE',
    });
    await expect(grpcConnector.adminStatus('127.0.0.1:1', hello, 2000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

describe('a scrub on demand', () => {
  it.each([
    ['the server', 2, 1],
    ['the caller', 1, 2],
  ])('is refused if %s speaks no later version than 1', async (_who, offered, protocolMax) => {
    const admin = {
      status: async () => ({ topology: null, nodes: [], replicas: [], json: '' }),
      setAck: async () => ({ cluster: 'ACK_QUORUM' as const, keyspaces: [] }),
      hashPartition: async () => ({ replica: 'r', appliedIndex: 5, hash: 'ab', rows: 1 }),
      moves: async () => {
        throw new RingkeepError('NOT_READY', 'not here');
      },
      hot: async () => ({ seconds: 0, reads: 0, writes: 0, keys: [], partitions: [], nodes: [], salts: [] }),
      scrub: async () => ({ run: 1, partitions: [] }),
    };
    const server = await listen({ admin }, { identity: { protocolMax } });
    cleanups.push(() => server.stop(0));
    const hello = makeHello({ role: 'client', protocolMax: offered });
    const order = { run: 0, partitions: [] };
    await expect(grpcConnector.scrub(server.address, hello, order, 2000)).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      outcome: 'not_applied',
      message: expect.stringContaining('speak protocol 1 with each other; this call is part of 2'),
    });
    // What version 1 had is there.
    expect(await grpcConnector.hashPartition(server.address, hello, 3, 2000)).toMatchObject({ rows: 1 });
  });
});

describe('ClientIdPool', () => {
  it('lends an id to one write at a time and never repeats a sequence', () => {
    const pool = new ClientIdPool();
    const first = { ...pool.take() };
    const second = pool.take();
    expect(Buffer.from(first.clientId).equals(second.clientId)).toBe(false);
    pool.giveBack(second);
    const third = pool.take();
    expect(Buffer.from(third.clientId).equals(second.clientId)).toBe(true);
    expect(third.sequence).toBe(2);
  });
});
