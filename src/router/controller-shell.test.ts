import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../../test/support/wire.ts';
import { RingkeepError } from '../common/errors.ts';
import { silentLog } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import type { Topology } from '../common/topology.ts';
import type { AttachSink, ControllerPart, ControlPush } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { Hello, NodeMessage, ReplicaReport } from '../common/wire/messages.ts';
import { Controller } from './controller/controller.ts';
import type { StoreChange, StoreKey } from './controller/types.ts';
import { ControllerShell } from './controller-shell.ts';
import {
  type CasAnswer,
  type TopologyCallback,
  type TopologyStore,
  TopologyTable,
} from './topology-store.ts';

/** A store in memory whose writes can be made to end with an unknown outcome, applied or not. */
class MemoryStore implements TopologyStore {
  readonly table = new TopologyTable({ storeId: 'store', revision: 0, entries: new Map() });
  readonly reads: StoreKey[][] = [];
  /** Outcomes of the next writes; `unknown` ones are applied. */
  unknown = 0;

  load(done: TopologyCallback<ReturnType<TopologyTable['state']>>): void {
    queueMicrotask(() => done(null, this.table.state()));
  }

  read(keys: readonly StoreKey[], done: TopologyCallback<ReturnType<TopologyTable['read']>>): void {
    this.reads.push([...keys]);
    queueMicrotask(() => done(null, this.table.read(keys)));
  }

  compareAndSwap(changes: readonly StoreChange[], done: (answer: CasAnswer) => void): void {
    const { answer } = this.table.compareAndSwap(changes);
    const lost = this.unknown > 0;
    this.unknown -= lost ? 1 : 0;
    const error = new RingkeepError('UNAVAILABLE', 'the answer was lost', 'unknown');
    queueMicrotask(() => done(lost ? { status: 'unknown', error } : answer));
  }

  watch(): () => void {
    return () => {};
  }

  close(done: TopologyCallback<void>): void {
    queueMicrotask(() => done(null));
  }
}

/** A node's end of its control stream. */
class FakeNode implements ControlPush {
  readonly sent: ControllerPart[] = [];
  readonly failures: RingkeepError[] = [];
  readonly hello: Hello;
  bufferedBytes = 0;
  takes = true;
  sink!: AttachSink;

  constructor(id: string, changes: Partial<Hello> = {}) {
    this.hello = makeHello({ role: 'node', nodeId: id, incarnation: `${id}-1`, boot: 1, ...changes });
  }

  attach(shell: ControllerShell, topology: Topology | null = null, reports: ReplicaReport[] = []): this {
    const { nodeId, boot } = this.hello;
    const runs = [`run ${boot - 1}`, `run ${boot}`];
    const register = {
      address: `${nodeId}:1`,
      clientAddress: '',
      zone: '',
      pid: 1,
      admittedBoot: 0,
      runs,
      durableLsn: 0,
      joins: false,
    };
    const peer = { hello: this.hello, protocol: 1, remote: '' };
    this.sink = shell.onAttach(peer, { register, reports, topology }, this);
    return this;
  }

  say(part: Partial<NodeMessage>): void {
    this.sink.onMessage({
      hello: null,
      register: null,
      heartbeat: null,
      sealReplies: [],
      reports: [],
      topology: null,
      ...part,
    });
  }

  send(part: ControllerPart): boolean {
    if (this.takes) this.sent.push(part);
    return this.takes;
  }

  fail(error: RingkeepError): void {
    this.failures.push(error);
  }

  close(): void {}

  topologies(): Topology[] {
    return this.sent.flatMap(({ topology }) => topology ?? []);
  }
}

const shells: ControllerShell[] = [];
afterEach(() => {
  for (const shell of shells.splice(0)) shell.stop();
});

async function start(store = new MemoryStore()) {
  const topologies: Topology[] = [];
  const fatal: RingkeepError[] = [];
  const damaged: string[] = [];
  const bootstrap = { initialNodes: 3, partitions: 4, replicationFactor: 3 };
  const shell = new ControllerShell({
    controller: new Controller({ random: createRandom(1), bootstrap }),
    store,
    onTopology: (topology) => topologies.push(topology),
    onDamage: (partition, { id, node }) => damaged.push(`${partition} ${id} ${node}`),
    storeId: 'store',
    onFatal: (error) => fatal.push(error),
    log: silentLog,
  });
  shells.push(shell);
  await shell.start();
  return { shell, store, topologies, fatal, damaged };
}

const IDS = ['n1', 'n2', 'n3'];

describe('ControllerShell', () => {
  it('forms a cluster, and sends every node the full topology before the first Seal', async () => {
    const { shell, topologies } = await start();
    const nodes = IDS.map((id) => new FakeNode(id).attach(shell));
    const sealed = (node: FakeNode) => node.sent.some(({ seals }) => (seals?.length ?? 0) > 0);
    await until(() => nodes.every(sealed), 'Seals for all nodes');
    for (const node of nodes) {
      expect(node.sent[0]?.topology).toMatchObject({ full: true, partitions: 4 });
      expect(node.topologies()[0]?.records).toHaveLength(4);
    }
    expect(topologies[0]).toMatchObject({ full: true, partitions: 4, replicationFactor: 3 });
    expect(topologies.slice(1).every(({ full }) => !full)).toBe(true);
    expect(shell.status().mode).toBe('active');
  });

  it('tells of replicas that are damaged, when a node comes and when it says so', async () => {
    const { shell, damaged } = await start();
    const report = (partition: number, state: ReplicaReport['state']): ReplicaReport => ({
      ...{
        partition,
        replica: `n1-${partition}`,
        state,
        promiseEpoch: 0,
        reservationId: '',
        configuration: 1,
      },
      ...{ voters: [], previousVoters: [], lastEpoch: 0, lastIndex: 0, commitIndex: 0, appliedIndex: 0 },
      ...{
        ledEpoch: 0,
        established: false,
        paused: false,
        levelTarget: '',
        levelLearners: [],
        durableEpoch: 0,
      },
    });
    const node = new FakeNode('n1').attach(shell, null, [report(0, 'damaged'), report(1, 'follower')]);
    expect(damaged).toEqual(['0 n1-0 n1']);
    node.say({ reports: [report(1, 'damaged'), report(2, 'leader')] });
    expect(damaged).toEqual(['0 n1-0 n1', '1 n1-1 n1']);
  });

  it('reads back a write whose outcome is unknown, and goes on', async () => {
    const store = new MemoryStore();
    store.unknown = 1;
    const { shell } = await start(store);
    for (const id of IDS) new FakeNode(id).attach(shell);
    await until(() => shell.formed, 'the cluster is formed');
    expect(shell.counts().cas.unknown).toBe(1);
    expect(store.reads[0]).toContain('partition/0');
  });

  it('sets a default acknowledgement level once, and tells when it is stored and pushed', async () => {
    const store = new MemoryStore();
    const { shell } = await start(store);
    await expect(shell.setAck({ keyspace: '', ack: 'ACK_ALL' })).rejects.toMatchObject({ code: 'NOT_READY' });
    const nodes = IDS.map((id) => new FakeNode(id).attach(shell));
    await until(() => shell.formed, 'the cluster is formed');
    store.unknown = 1;
    const acks = { cluster: 'ACK_QUORUM', keyspaces: [{ keyspace: 'orders', ack: 'ACK_ALL' }] };
    expect(await shell.setAck({ keyspace: 'orders', ack: 'ACK_ALL' })).toEqual(acks);
    expect(store.table.read(['cluster'])[0]!.value).toMatchObject({ acks });
    for (const node of nodes) expect(node.topologies().at(-1)).toMatchObject({ acks });
    expect(await shell.setAck({ keyspace: 'orders', ack: 'ACK_ALL' })).toEqual(acks);
    await expect(shell.setAck({ keyspace: 'orders', ack: 9 as never })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const waiting = shell.setAck({ keyspace: '', ack: 'ACK_LEADER' });
    shell.stop();
    await expect(waiting).rejects.toMatchObject({ code: 'SHUTTING_DOWN', outcome: 'unknown' });
  });

  it('gives a node that could not take a topology the full one before any order', async () => {
    const { shell } = await start();
    const slow = new FakeNode('n1');
    slow.takes = false;
    slow.attach(shell);
    const others = ['n2', 'n3'].map((id) => new FakeNode(id).attach(shell));
    await until(() => others.every((node) => node.sent.length > 1), 'orders for the others');
    slow.takes = true;
    await until(() => slow.sent.some(({ seals }) => (seals?.length ?? 0) > 0), 'a Seal for the slow node');
    expect(slow.sent[0]?.topology?.full).toBe(true);
  });

  it('refuses another process under the id of a node that is here, and takes its next run', async () => {
    const { shell } = await start();
    const first = new FakeNode('n1').attach(shell);
    const twin = new FakeNode('n1', { incarnation: 'another' });
    expect(() => twin.attach(shell)).toThrow('another process is attached');
    expect(first.failures).toHaveLength(0);
    const next = new FakeNode('n1', { boot: 2 }).attach(shell);
    expect(first.failures).toHaveLength(1);
    first.sink.onEnd();
    const disk = { diskBytes: 77, diskFull: false, durableLsn: 0, figures: [] };
    next.say({ heartbeat: { sequence: 1, draining: false, ...disk } });
    expect(shell.nodeStatuses()).toEqual([{ id: 'n1', diskBytes: 77, diskFull: false, draining: false }]);
  });

  it('never forms a new cluster over nodes that hold data of an old one', async () => {
    const { shell, store } = await start();
    for (const id of IDS) new FakeNode(id, { clusterId: 'old' }).attach(shell);
    await until(() => shell.status().waitingFor.includes('knows the topology'), 'the controller waits');
    expect(store.table.state().entries.size).toBe(0);
    const known: Topology = {
      ...{ clusterId: 'old', revision: 9, partitions: 8, replicationFactor: 3, full: true },
      ...{ nodes: [], records: [] },
    };
    new FakeNode('n4', { clusterId: 'old' }).attach(shell, known);
    await until(() => shell.formed, 'the old cluster is back');
    expect(shell.topology()).toMatchObject({ clusterId: 'old', partitions: 8 });
  });

  it('tells that it cannot go on when the nodes belong to different clusters', async () => {
    const { shell, store, fatal } = await start();
    new FakeNode('n1', { clusterId: 'old' }).attach(shell);
    new FakeNode('n2', { clusterId: 'older' }).attach(shell);
    await until(() => fatal.length > 0, 'the failure');
    expect(fatal[0]).toMatchObject({ code: 'WRONG_CLUSTER' });
    expect(store.table.state().entries.size).toBe(0);
  });
});
