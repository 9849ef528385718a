/**
 * What a node answers: operations of clients and routers, the topology for direct clients, administration. Connections
 * get numbers; the core knows nothing else of them.
 */
import { NO_BYTES } from '../../common/bytes.ts';
import { RingkeepError } from '../../common/errors.ts';
import { partitionOf } from '../../common/hash.ts';
import { hotLimit } from '../../common/hot.ts';
import { withRepair } from '../../common/scrub.ts';
import type { Topology } from '../../common/topology.ts';
import type { HotReply, NodeStatus, SaltedKey, ScrubReply } from '../../common/wire/admin-messages.ts';
import type {
  AdminHandler,
  KeyValueHandler,
  ScrubOrder,
  SessionConnection,
  TopologyHandler,
  TopologyPush,
} from '../../common/wire/contract.ts';
import type { Reply } from '../../common/wire/messages.ts';
import type { Store } from '../store.ts';
import type { Engine } from './engine.ts';
import { hashPartition } from './partition-hash.ts';

/** Sessions of clients and routers. */
export class Sessions {
  private readonly connections = new Map<number, SessionConnection>();
  private nextConnection = 1;
  private readonly engine: Engine;
  private readonly counted: (replies: readonly Reply[]) => void;

  constructor(engine: Engine, counted: (replies: readonly Reply[]) => void) {
    this.engine = engine;
    this.counted = counted;
  }

  readonly service: KeyValueHandler = {
    onSession: (peer, connection) => {
      const number = this.nextConnection++;
      const clientId = peer.hello.role === 'router' ? NO_BYTES : peer.hello.clientId;
      this.connections.set(number, connection);
      const { engine } = this;
      return {
        onRequests: (requests) =>
          engine.run((core) => {
            for (const request of requests) core.request(number, request, clientId);
          }),
        onCancels: (ids) =>
          engine.run((core) => {
            for (const id of ids) core.cancel(number, id);
          }),
        onCredits: () => {},
        onEnd: () => {
          this.connections.delete(number);
          engine.run((core) => core.connectionClosed(number));
        },
      };
    },
  };

  reply(connection: number, replies: Reply[]): void {
    this.counted(replies);
    this.connections.get(connection)?.reply(replies);
  }

  get count(): number {
    return this.connections.size;
  }
}

/** Watchers of the topology: the full one first, then every change. */
export class TopologyWatchers {
  private readonly watchers = new Set<TopologyPush>();
  private readonly full: () => Topology | null;

  constructor(full: () => Topology | null) {
    this.full = full;
  }

  readonly service: TopologyHandler = {
    onWatch: (_peer, push) => {
      const topology = this.full();
      if (topology === null) {
        const details = { retryAfterMs: 100 };
        throw new RingkeepError('NOT_READY', 'the node knows no topology yet', 'not_applied', details);
      }
      this.watchers.add(push);
      push.send(topology);
      return { onEnd: () => this.watchers.delete(push) };
    },
  };

  /** Pushes a change to everybody. */
  push(change: Topology): void {
    for (const watcher of this.watchers) watcher.send(change);
  }
}

/** Begins a scrub of partitions that are led here, or tells how one stands. */
async function scrub(engine: Engine, { run, partitions }: ScrubOrder): Promise<ScrubReply> {
  let wanted = run;
  if (wanted === 0) {
    // Before the core is told: what it throws ends the node.
    const count = engine.core.topology()?.partitions ?? 0;
    const unknown = partitions.find((partition) => partition >= count);
    if (unknown !== undefined)
      throw new RingkeepError('INVALID_ARGUMENT', `there is no partition ${unknown}`);
    engine.run((core) => {
      wanted = core.scrubs.begin(partitions);
    });
  }
  const found = engine.core.scrubs.tell(wanted);
  if (found === null) throw new RingkeepError('INVALID_ARGUMENT', `this process knows of no scrub ${run}`);
  const topology = engine.core.topology();
  return { run: wanted, partitions: found.map((each) => withRepair(each, topology)) };
}

/** What this node is asked for most. */
export function hotOf({ core }: Engine, limit: number): HotReply {
  const report = core.hot.report(hotLimit(limit));
  const partitions = core.topology()?.partitions ?? 1;
  const keys = report.keys.map((key) => ({ ...key, partition: partitionOf(key.key, partitions) }));
  return { ...report, keys, nodes: [], salts: saltsOf(core) };
}

/** The salted keys of the partitions that are led here, with the nodes that lead those of their copies. */
function saltsOf(core: Engine['core']): SaltedKey[] {
  const reports = [...core.replicas.byPartition.values()].flatMap(({ leadership }) =>
    leadership === null ? [] : [...leadership.salts.report(), ...leadership.counters.report()],
  );
  if (reports.length === 0) return [];
  const leaders = new Map(core.topology()?.records.map(({ partition, leader }) => [partition, leader?.node]));
  const nodeOf = (partition: number): string => leaders.get(partition) ?? '';
  return reports.map((report) => ({
    ...{ ...report, node: core.options.nodeId },
    copies: report.copies.map((copy) => ({ ...copy, node: nodeOf(copy.partition) })),
  }));
}

/** Status, hashes and scrubs. */
export function adminService(
  engine: Engine,
  store: Store,
  own: () => NodeStatus,
  figures: () => object,
): AdminHandler {
  return {
    status: async () => ({
      topology: engine.core.topology(),
      nodes: [own()],
      replicas: engine.core.reportAll(),
      json: JSON.stringify(figures()),
    }),
    hashPartition: async (_peer, partition) => {
      const replica = engine.core.replicas.byPartition.get(partition);
      if (replica === undefined || !replica.usable) {
        throw new RingkeepError(
          'INVALID_ARGUMENT',
          `this node has no usable replica of partition ${partition}`,
        );
      }
      return hashPartition(store, replica);
    },
    setAck: async () => {
      throw new RingkeepError(
        'INVALID_ARGUMENT',
        'a node does not set defaults of the cluster: ask a router',
      );
    },
    moves: async () => {
      throw new RingkeepError('INVALID_ARGUMENT', 'a node moves no replicas: ask a router');
    },
    hot: async (_peer, limit) => hotOf(engine, limit),
    scrub: (_peer, order) => scrub(engine, order),
  };
}
