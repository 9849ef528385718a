import { describe, expect, it } from 'vitest';
import { clientFor, endOf, errorOf } from '../../test/support/client-fixtures.ts';
import {
  nodeRecord,
  partitionRecord,
  refusal,
  ScriptedNetwork,
  ScriptedServer,
  topologyOf,
} from '../../test/support/client-network.ts';
import { RingkeepError } from '../common/errors.ts';
import { partitionOf } from '../common/hash.ts';
import type { HotReply, StatusReply } from '../common/wire/admin-messages.ts';
import type { Receipt, Reply, Request } from '../common/wire/messages.ts';
import { type AdminTransport, ClientAdmin, type SaltOptions } from './admin.ts';

const NOTHING: HotReply = {
  seconds: 10,
  reads: 1,
  writes: 0,
  keys: [],
  partitions: [],
  nodes: [],
  salts: [],
};
const NODE = { node: 'n1', reads: 1, writes: 0, problem: '' };

/** An administration whose endpoints answer so; remembers whom it asked. */
function admin(answers: Readonly<Record<string, HotReply | 'away'>>): {
  asked: string[];
  admin: ClientAdmin;
} {
  const asked: string[] = [];
  const transport: AdminTransport = {
    adminStatus: () => Promise.reject(new Error('nobody asks for it')),
    hot: async (address: string, _hello: unknown, limit: number, timeoutMs: number): Promise<HotReply> => {
      asked.push(`${address} ${limit} ${timeoutMs}`);
      const answer = answers[address]!;
      if (answer === 'away') throw new RingkeepError('UNAVAILABLE', `${address} is away`);
      return answer;
    },
  };
  return {
    asked,
    admin: new ClientAdmin({
      ...{ transport, endpoints: Object.keys(answers), requestTimeoutMs: 700 },
      engine: { submit: () => Promise.reject(new Error('nothing is submitted')) },
    }),
  };
}

it('believes the first router that answers', async () => {
  const { asked, admin: one } = admin({ a: 'away', b: { ...NOTHING, nodes: [NODE] }, c: NOTHING });
  expect((await one.hot({ limit: 3 })).nodes).toEqual([{ ...NODE, share: 1 }]);
  expect(asked).toEqual(['a 3 700', 'b 3 700']);
});

it('adds up what nodes say where there is no router among the endpoints', async () => {
  const { admin: one } = admin({ a: NOTHING, b: 'away', c: NOTHING });
  const figures = await one.hot({ timeoutMs: 5 });
  expect(figures.reads).toBe(2);
  expect(figures.nodes.map(({ node, problem }) => `${node} ${problem}`)).toEqual([
    'a ',
    'b UNAVAILABLE: b is away',
    'c ',
  ]);
});

it('rejects where nobody answers, and what is no limit', async () => {
  const { admin: one } = admin({ a: 'away', b: 'away' });
  await expect(one.hot()).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'UNAVAILABLE: b is away' });
  for (const limit of [0, 1.5, 1_001, Number.NaN])
    await expect(one.hot({ limit })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

describe('the copies of a hot key', () => {
  const HOME = partitionOf(Buffer.from('hot'), 8);
  const NODES = ['n1', 'n2', 'n3'];
  const records = Array.from({ length: 8 }, (_, at) => partitionRecord(at, 5, NODES[(at - HOME + 9) % 3]!));
  const topology = topologyOf(NODES.map(nodeRecord), records);
  const copiesAt = [(HOME + 1) % 8, (HOME + 2) % 8];

  /** What the leader of the home answers: no more copies than there are other nodes. */
  function receiptOf(request: Request): Reply {
    const partitions = copiesAt.slice(0, request.salt!.copies);
    const receipt: Receipt = {
      ...{ partition: HOME, epoch: 1, version: 9, durability: 'quorum', logTime: 0, duplicate: false },
      ...{ counter: 0, conditionFailed: false, index: 9, items: [], repeated: false, salts: { partitions } },
    };
    return { id: request.id, end: true, result: 'receipt', receipt };
  }

  function setUp(mode: 'routed' | 'direct', answers: ((request: Request) => Reply)[] = []) {
    const router = new ScriptedServer('r:1');
    const nodes = NODES.map((id) => new ScriptedServer(`${id}.test:1`, 'node', id));
    const servers = [router, ...nodes];
    for (const server of servers)
      server.script = (request, session) => session.reply((answers.shift() ?? receiptOf)(request));
    const network = new ScriptedNetwork().add(...servers);
    for (const server of servers) server.push(topology);
    const status = { topology } as unknown as StatusReply;
    const admin: AdminTransport = {
      hot: () => Promise.reject(new Error('nobody asks for it')),
      adminStatus: async (address) => {
        if (address === 'away:1') throw new RingkeepError('UNAVAILABLE', 'away');
        return status;
      },
    };
    const endpoints = mode === 'direct' ? ['r:1'] : ['away:1', 'r:1'];
    const options = { endpoints, mode, retry: { backoffMs: 1, backoffMsMax: 5 } };
    return { db: clientFor(network.transport, options, undefined, admin), router, nodes };
  }

  const leaderOf = (partition: number): string => records[partition]!.leader!.node;
  const expected = copiesAt.map((partition) => ({ partition, node: leaderOf(partition) }));

  it('or the sub-counters of one are ordered with the delta that each increment adds', async () => {
    const { db, router } = setUp('routed');
    const salted = { partition: HOME, copies: expected };
    expect(await db.admin.saltCounter('hot', { copies: 2 })).toEqual(salted);
    await db.admin.saltCounter('hot', { copies: 2, delta: -5n });
    await db.admin.saltCounter('hot', { copies: 2, delta: 'mixed' });
    const asked = router.requests.map(({ salt }) => [salt?.counter, salt?.delta]);
    expect(asked).toEqual([
      [true, 1],
      [true, -5n],
      [true, 0],
    ]);
    for (const options of [{ copies: 0 }, { copies: 2, delta: 0 }, { copies: 2, delta: 1.5 }])
      expect(await errorOf(db.admin.saltCounter('hot', options))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    await db.close();
  });

  it.each(['routed', 'direct'] as const)(
    'are ordered from its home, %s, and told with their nodes',
    async (mode) => {
      const { db, router, nodes } = setUp(mode);
      expect(await db.admin.salt('hot', { copies: 2 })).toEqual({ partition: HOME, copies: expected });
      expect((await db.admin.salt('hot', { copies: 8, keyspace: 'k' })).copies).toEqual(expected);
      expect(await db.admin.unsalt('hot')).toEqual({ partition: HOME, copies: [] });
      const home = mode === 'routed' ? router : nodes.find(({ nodeId }) => nodeId === leaderOf(HOME))!;
      expect(
        home.requests.map(({ operation, salt, sequence, keyspace }) => [operation, salt, sequence, keyspace]),
      ).toEqual([
        ['salt', { copies: 2, counter: false, delta: 0 }, 0, ''],
        ['salt', { copies: 8, counter: false, delta: 0 }, 0, 'k'],
        ['salt', { copies: 0, counter: false, delta: 0 }, 0, ''],
      ]);
      // Sequences of writes go on as if nothing had been.
      await db.close();
    },
  );

  it('are asked for again when a leader cannot say, and no session has seen them', async () => {
    const { db, router } = setUp('routed', [
      (request) => refusal(request, 'UNAVAILABLE', { outcome: 'unknown' }),
      (request) => refusal(request, 'NOT_LEADER'),
    ]);
    expect((await db.admin.salt('hot', { copies: 1 })).copies).toEqual(expected.slice(0, 1));
    expect(router.requests.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(db.defaultSession.token).toBe(db.session().token);
  });

  it('may be there when nobody has said in time', async () => {
    const { db, router } = setUp('routed');
    router.script = () => {};
    expect(await endOf(db.admin.salt('hot', { copies: 1, timeoutMs: 100 }))).toBe(
      'DEADLINE_EXCEEDED unknown',
    );
  });

  it('are refused where it makes no sense', async () => {
    const { db, router } = setUp('routed');
    const bad = [
      {},
      { copies: 0 },
      { copies: 9 },
      { copies: 1.5 },
      { copies: '2' },
      { copies: 1, keyspace: '' },
      { copies: 1, more: 1 },
      null,
    ];
    for (const options of bad)
      expect(await endOf(db.admin.salt('hot', options as SaltOptions)), JSON.stringify(options)).toBe(
        'INVALID_ARGUMENT not_applied',
      );
    expect(await endOf(db.admin.salt('', { copies: 1 }))).toMatch(/not_applied$/);
    expect(await endOf(db.admin.unsalt('hot', { copies: 1 } as never))).toBe('INVALID_ARGUMENT not_applied');
    expect(router.requests).toEqual([]);
  });
});
