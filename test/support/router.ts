/** What the router's tests share: scripted nodes behind real loopback servers, topologies, a proxy with clients. */
import { NO_DETAILS } from '../../src/common/failure.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { silentLog } from '../../src/common/log.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import type { NodeRecord, PartitionRecord, Topology } from '../../src/common/topology.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import type { Failure, Reply, Request } from '../../src/common/wire/messages.ts';
import type { StreamLimits, WireServer } from '../../src/common/wire/server.ts';
import { RequestProxy } from '../../src/router/proxy.ts';
import type { ProxyOptions } from '../../src/router/proxy-options.ts';
import {
  listen,
  openClient,
  putRequest,
  recorder,
  type SeenClient,
  type SeenSession,
  valueReply,
} from './wire.ts';

export const CLUSTER = 'cluster-1';
export const PARTITIONS = 4;
/** 16 bytes that name a client. */
export const CLIENT_ID = Buffer.from('0123456789abcdef');

/** A node that answers what its script says, over the real wire. */
export interface ScriptedNodeServer {
  readonly id: string;
  readonly server: WireServer;
  readonly sessions: SeenSession[];
  /** Requests of all sessions, in order. */
  requests(): Request[];
}

/** Starts a scripted node. Without `answer`, or when it returns undefined, a request stays open. */
export async function startScriptedNode(
  id: string,
  answer?: (request: Request) => Reply | undefined,
  options: { limits?: Partial<StreamLimits>; listen?: string } = {},
): Promise<ScriptedNodeServer> {
  const keyValue = recorder(answer);
  const identity = { nodeId: id, clusterId: CLUSTER, partitions: PARTITIONS };
  const server = await listen({ keyValue }, { ...options, identity });
  const requests = (): Request[] => keyValue.sessions.flatMap((session) => session.requests);
  return { id, server, sessions: keyValue.sessions, requests };
}

export function nodeRecord(id: string, address: string): NodeRecord {
  const texts = {
    id,
    incarnation: `${id}-incarnation`,
    address,
    clientAddress: address,
    zone: '',
    reason: '',
  };
  return { ...texts, boot: 1, alive: true, pid: 1, run: `${id}-run`, formerRuns: [] };
}

/** A record of `partition`, led by `leader` (null: by nobody). */
export function partitionRecord(partition: number, leader: string | null, epoch = 1): PartitionRecord {
  const voters = ['n1', 'n2', 'n3'].map((node) => ({ id: `${node}-r`, node }));
  return {
    ...{ partition, revision: epoch * 10 + (leader === null ? 0 : 1), epoch, reservationId: `r${epoch}` },
    ...{ configuration: 1, voters, previousVoters: [], led: true, learners: [] },
    leader: leader === null ? null : { replica: `${leader}-r`, node: leader, boot: 1 },
    established: leader !== null,
  };
}

export function topologyOf(
  nodes: readonly NodeRecord[],
  records: readonly PartitionRecord[],
  revision = 1,
): Topology {
  return {
    clusterId: CLUSTER,
    revision,
    partitions: PARTITIONS,
    replicationFactor: 3,
    full: true,
    nodes,
    records,
  };
}

/** Returns a key of a partition. */
export function keyOf(partition: number, nth = 0): Buffer {
  for (let n = 0, found = 0; ; n += 1) {
    const key = Buffer.from(`key-${n}`);
    if (partitionOf(key, PARTITIONS) !== partition) continue;
    if (found === nth) return key;
    found += 1;
  }
}

export function put(id: number, partition: number, changes: Partial<Request> = {}): Request {
  return { ...putRequest(id), key: keyOf(partition), ...changes };
}

export function get(id: number, partition: number, changes: Partial<Request> = {}): Request {
  const { put: _, ...rest } = putRequest(id);
  return { ...rest, key: keyOf(partition), operation: 'get', get: LINEARIZABLE_GET, ...changes };
}

export function found(request: Request): Reply {
  return valueReply(request.id, Buffer.from('value'));
}

export function refusal(request: Request, failure: Partial<Failure>): Reply {
  const whole = {
    ...NO_DETAILS,
    code: 'NOT_LEADER',
    outcome: 'not_applied',
    message: 'scripted',
    ...failure,
  } as const;
  return { id: request.id, end: true, result: 'failure', failure: whole };
}

/** A proxy behind a real server, without a topology yet, and everything that has to be stopped. */
export class ProxyUnderTest {
  readonly proxy: RequestProxy;
  readonly unavailable = new Map<number, string>();
  server!: WireServer;
  readonly #nodes: ScriptedNodeServer[] = [];
  readonly #clients: SeenClient[] = [];

  private constructor(options: Partial<ProxyOptions>) {
    this.proxy = new RequestProxy({
      connector: grpcConnector,
      addressOf: (node) => node.address,
      unavailable: () => this.unavailable,
      waitingFor: () => '2 more of 3 nodes',
      log: silentLog,
      ...options,
    });
  }

  static async start(options: Partial<ProxyOptions> = {}): Promise<ProxyUnderTest> {
    const started = new ProxyUnderTest(options);
    const identity = {
      role: 'router' as const,
      nodeId: 'router',
      clusterId: CLUSTER,
      partitions: PARTITIONS,
    };
    started.server = await listen({ keyValue: started.proxy }, { identity });
    return started;
  }

  async node(...args: Parameters<typeof startScriptedNode>): Promise<ScriptedNodeServer> {
    const node = await startScriptedNode(...args);
    this.#nodes.push(node);
    return node;
  }

  /** Applies a topology of all nodes so far in which `leaders` names each partition's leader. */
  apply(leaders: readonly (string | null)[], epoch = 1): void {
    const nodes = this.#nodes.map((node) => nodeRecord(node.id, node.server.address));
    const records = leaders.map((leader, partition) => partitionRecord(partition, leader, epoch));
    this.proxy.applyTopology(topologyOf(nodes, records, epoch));
  }

  /** Ends a node and its connections. */
  async stopNode(id: string): Promise<void> {
    await this.#nodes.find((node) => node.id === id)!.server.stop(0);
  }

  client(): SeenClient {
    const client = openClient(this.server.address, { clientId: CLIENT_ID });
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.session.close();
    await this.server.stop(0);
    this.proxy.stop();
    await Promise.all(this.#nodes.map((node) => node.server.stop(0)));
  }
}
