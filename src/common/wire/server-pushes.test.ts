import { afterEach, describe, expect, it } from 'vitest';
import { IDENTITY, listen, until } from '../../../test/support/wire.ts';
import type { RingkeepError } from '../errors.ts';
import type { Topology } from '../topology.ts';
import { grpcConnector } from './connections.ts';
import type { ControlPush, Opening, Peer, PeerPush, TopologyPush } from './contract.ts';
import { makeHello } from './handshake.ts';
import type { ControllerMessage, NodeMessage, PeerMessage, ReplicaReport, Welcome } from './messages.ts';
import type { WireServer } from './server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
function later<T extends { close(): void }>(connection: T): T {
  cleanups.push(() => connection.close());
  return connection;
}
function stopLater(server: WireServer): WireServer {
  cleanups.push(() => server.stop(0));
  return server;
}

const NODE = makeHello({ role: 'node', nodeId: 'node-2', incarnation: 'i', boot: 3 });

function topology(revision: number, full: boolean, reason = ''): Topology {
  const node = {
    id: 'n',
    incarnation: 'i',
    boot: 1,
    address: 'a:1',
    clientAddress: 'a:2',
    zone: 'z',
    pid: 1,
    run: 'r2',
    formerRuns: [{ incarnation: 'h', boot: 4, run: 'r1' }],
    membership: 'NODE_LEAVING' as const,
  };
  return {
    clusterId: 'cluster-1',
    revision,
    partitions: 48,
    replicationFactor: 3,
    acks: { cluster: 'ACK_LEADER', keyspaces: [{ keyspace: 'orders', ack: 'ACK_ALL' }] },
    moves: { bytesPerSecond: 2 ** 40, perNode: 3, lostAfterSeconds: 60, automatic: true },
    full,
    nodes: [{ ...node, alive: false, reason }],
    records: [
      {
        partition: 3,
        revision: 9,
        epoch: 4,
        reservationId: 'r',
        configuration: 2,
        voters: [{ id: 'v1', node: 'n' }],
        previousVoters: [],
        led: true,
        learners: [],
        leader: { replica: 'v1', node: 'n', boot: 1 },
        established: true,
      },
    ],
  };
}

function report(partition: number): ReplicaReport {
  return {
    partition,
    replica: `replica-${partition}`,
    state: 'follower',
    promiseEpoch: 5,
    reservationId: 'r',
    configuration: 1,
    voters: [{ id: 'a', node: 'b' }],
    previousVoters: [],
    lastEpoch: 5,
    lastIndex: 100,
    commitIndex: 99,
    appliedIndex: 98,
    ledEpoch: 0,
    established: false,
    paused: false,
    levelTarget: '',
    levelLearners: ['x'],
    durableEpoch: 5,
  };
}

function append(partition: number, entry: Uint8Array): PeerMessage {
  return {
    partition,
    from: 'r1',
    to: 'r2',
    epoch: 4,
    body: 'append',
    append: {
      configuration: 1,
      prevIndex: 6,
      prevEpoch: 3,
      entries: [entry],
      commitIndex: 5,
      voters: [],
      previousVoters: [],
      sentAt: 12,
      echo: 0,
      echoBoot: 0,
    },
  };
}

describe('Watch', () => {
  async function watched(limits = {}) {
    const pushes: TopologyPush[] = [];
    const ends: string[] = [];
    const server = stopLater(
      await listen(
        {
          topology: {
            onWatch: (peer, push) => {
              pushes.push(push);
              push.send(topology(1, true));
              return { onEnd: () => ends.push(peer.hello.role) };
            },
          },
        },
        { limits },
      ),
    );
    return { server, pushes, ends };
  }

  it('gives the full topology first, then changes in order, and ends once', async () => {
    const { server, pushes, ends } = await watched();
    const got: Topology[] = [];
    const errors: RingkeepError[] = [];
    const watch = later(
      grpcConnector.watchTopology(server.address, makeHello({ role: 'client' }), {
        onTopology: (one) => got.push(one),
        onEnd: (error) => errors.push(error),
      }),
    );
    await until(() => got.length === 1, 'the full topology');
    expect(got[0]).toEqual(topology(1, true));
    expect(watch.ready).toBe(true);
    for (let revision = 2; revision <= 50; revision += 1) pushes[0]?.send(topology(revision, false));
    await until(() => got.length === 50, 'the changes');
    expect(got.map((one) => one.revision)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    pushes[0]?.close();
    await until(() => errors.length === 1 && ends.length === 1, 'the end');
    expect(errors[0]?.code).toBe('UNAVAILABLE');
    expect(watch.ready).toBe(false);
  });

  it('refuses the wrong cluster', async () => {
    const { server, pushes } = await watched();
    const errors: RingkeepError[] = [];
    grpcConnector.watchTopology(server.address, makeHello({ role: 'client', clusterId: 'other' }), {
      onTopology: () => {},
      onEnd: (error) => errors.push(error),
    });
    await until(() => errors.length === 1, 'the refusal');
    expect(errors[0]?.code).toBe('WRONG_CLUSTER');
    expect(pushes).toHaveLength(0);
  });

  it('ends a watcher that does not keep up, with OVERLOADED', async () => {
    const { server, pushes, ends } = await watched({ pushBytesMax: 100_000 });
    const errors: RingkeepError[] = [];
    later(
      grpcConnector.watchTopology(server.address, makeHello({ role: 'client' }), {
        onTopology: () => {},
        onEnd: (error) => errors.push(error),
      }),
    );
    await until(() => pushes.length === 1, 'the watcher');
    // All in one turn: nothing can be read in between.
    for (let revision = 2; revision < 200; revision += 1)
      pushes[0]?.send(topology(revision, false, 'x'.repeat(1000)));
    expect(pushes[0]?.bufferedBytes).toBeLessThanOrEqual(100_000);
    await until(() => errors.length === 1 && ends.length === 1, 'the end');
    expect(errors[0]?.code).toBe('OVERLOADED');
  });
});

describe('Attach', () => {
  it('registers with all reports, then carries messages both ways in order', async () => {
    const seen: { opening?: Opening; push?: ControlPush; messages: NodeMessage[]; ends: number } = {
      messages: [],
      ends: 0,
    };
    const server = stopLater(
      await listen(
        {
          control: {
            onAttach: (peer, opening, push) => {
              expect(peer.hello).toMatchObject({ nodeId: 'node-2', boot: 3 });
              seen.opening = opening;
              seen.push = push;
              return {
                onMessage: (message) => seen.messages.push(message),
                onEnd: () => {
                  seen.ends += 1;
                },
              };
            },
          },
        },
        { identity: { role: 'router', nodeId: 'router-1' } },
      ),
    );
    const welcomes: Welcome[] = [];
    const got: ControllerMessage[] = [];
    const errors: RingkeepError[] = [];
    const register = {
      address: 'h:1',
      clientAddress: 'h:2',
      zone: 'z1',
      pid: 42,
      admittedBoot: 2,
      runs: ['r1', 'r2'],
      durableLsn: 9,
      joins: true,
    };
    const attachment = later(
      grpcConnector.attachController(
        server.address,
        NODE,
        { register, reports: [report(1), report(2)], topology: topology(4, true) },
        {
          onWelcome: (welcome) => welcomes.push(welcome),
          onMessage: (message) => got.push(message),
          onEnd: (error) => errors.push(error),
        },
      ),
    );
    for (let sequence = 1; sequence <= 20; sequence += 1) {
      const figures = [{ partition: 3, bytes: 5_000_000_000, copied: 7, load: 4_000 }];
      const heartbeat = { sequence, draining: false, diskBytes: 5, diskFull: false, durableLsn: 10, figures };
      expect(attachment.send({ heartbeat })).toBe(true);
    }
    await until(() => seen.messages.length === 20, 'heartbeats');
    expect(welcomes[0]).toMatchObject({ role: 'router', nodeId: 'router-1' });
    expect(seen.opening).toEqual({ register, reports: [report(1), report(2)], topology: topology(4, true) });
    expect(seen.messages.map((message) => message.heartbeat?.sequence)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    expect(seen.push?.send({ topology: topology(5, true) })).toBe(true);
    expect(seen.push?.send({ prepares: [{ partition: 1, epoch: 2, target: 't' }] })).toBe(true);
    await until(() => got.length === 2, 'messages of the controller');
    expect(got[0]?.topology?.revision).toBe(5);
    expect(got[1]?.prepares).toEqual([{ partition: 1, epoch: 2, target: 't' }]);
    attachment.close();
    await until(() => seen.ends === 1 && errors.length === 1, 'both ends');
    expect(seen.push?.send({})).toBe(false);
  });

  it('takes nodes only', async () => {
    const server = stopLater(
      await listen({ control: { onAttach: () => ({ onMessage: () => {}, onEnd: () => {} }) } }),
    );
    const errors: RingkeepError[] = [];
    const register = {
      address: '',
      clientAddress: '',
      zone: '',
      pid: 0,
      admittedBoot: 2,
      runs: [],
      durableLsn: 0,
      joins: false,
    };
    grpcConnector.attachController(
      server.address,
      makeHello({ role: 'client' }),
      { register, reports: [], topology: null },
      {
        onWelcome: () => {},
        onMessage: () => {},
        onEnd: (error) => errors.push(error),
      },
    );
    await until(() => errors.length === 1, 'the refusal');
    expect(errors[0]?.code).toBe('INVALID_ARGUMENT');
  });
});

describe('Subscribe', () => {
  it.each([
    ['the server', 2, 1],
    ['the subscriber', 1, 2],
  ])('carries what version 1 knows if %s speaks no later one', async (_who, offered, protocolMax) => {
    const pushes: PeerPush[] = [];
    const protocols: number[] = [];
    const replication = {
      onSubscribe: (peer: Peer, push: PeerPush) => {
        pushes.push(push);
        protocols.push(peer.protocol);
        return { onEnd: () => {} };
      },
    };
    const server = stopLater(await listen({ replication }, { identity: { protocolMax } }));
    const got: PeerMessage[] = [];
    later(
      grpcConnector.subscribePeer(
        server.address,
        { ...NODE, protocolMax: offered },
        {
          onWelcome: ({ protocol }) => protocols.push(protocol),
          onMessages: (messages) => got.push(...messages),
          onEnd: () => {},
        },
      ),
    );
    await until(() => protocols.length === 2, 'the welcome');
    expect(protocols).toEqual([1, 1]);
    const head = { partition: 1, from: 'r1', to: 'r2', epoch: 3, body: 'scrub' } as const;
    const none = { index: 0, hash: '', damaged: false, underWay: 0, rows: 0, bytes: 0 };
    const scrubs = [
      { ...none, underWay: 9, rows: 3, bytes: 70 },
      { ...none, index: 9, damaged: true },
      { ...none, index: 9, hash: 'ab', rows: 4, bytes: 90 },
    ];
    expect(pushes[0]?.push(scrubs.map((scrub) => ({ ...head, scrub })))).toBe(true);
    pushes[0]?.push([append(2, Buffer.alloc(3))]);
    await until(() => got.length === 2, 'two messages');
    expect(got[0]).toMatchObject({ body: 'scrub', scrub: { ...none, index: 9, hash: 'ab' } });
    expect(got[1]).toMatchObject({ body: 'append', partition: 2 });
  });

  it('coalesces what is pushed and refuses beyond its bound, all or none', async () => {
    const pushes: PeerPush[] = [];
    let ended = 0;
    const server = stopLater(
      await listen(
        {
          replication: {
            onSubscribe: (_peer, push) => {
              pushes.push(push);
              return {
                onEnd: () => {
                  ended += 1;
                },
              };
            },
          },
        },
        { limits: { peerBytesMax: 1_000_000 } },
      ),
    );
    const got: PeerMessage[] = [];
    let batches = 0;
    const welcomes: Welcome[] = [];
    const errors: RingkeepError[] = [];
    const subscription = later(
      grpcConnector.subscribePeer(
        server.address,
        { ...NODE, expectedNode: IDENTITY.nodeId },
        {
          onWelcome: (welcome) => welcomes.push(welcome),
          onMessages: (messages) => {
            batches += 1;
            got.push(...messages);
          },
          onEnd: (error) => errors.push(error),
        },
      ),
    );
    await until(() => welcomes.length === 1, 'the welcome');
    const entry = Buffer.alloc(10_000, 7);
    let taken = 0;
    for (let index = 0; index < 200; index += 1) {
      if (!pushes[0]?.push([append(index, entry), append(index, entry)])) break;
      taken += 2;
    }
    expect(taken).toBeGreaterThan(90);
    expect(taken).toBeLessThan(110);
    await until(() => got.length === taken, 'everything that was taken');
    expect(batches).toBeLessThan(taken);
    expect(got.map((message) => message.partition)).toEqual(
      Array.from({ length: taken }, (_, index) => Math.floor(index / 2)),
    );
    expect(got[0]).toMatchObject({ body: 'append', epoch: 4, append: { prevIndex: 6, sentAt: 12 } });
    expect(Buffer.from(got[0]?.append?.entries[0] ?? []).equals(entry)).toBe(true);
    await until(() => pushes[0]?.bufferedBytes === 0, 'the bytes to be accounted');
    expect(pushes[0]?.push([append(1, entry)])).toBe(true);
    subscription.close();
    await until(() => ended === 1 && errors.length === 1, 'both ends');
    expect(pushes[0]?.push([append(1, entry)])).toBe(false);
  });
});
