/** A small simulated cluster in calm, one partition on three nodes, that is asked node by node: for tests of one rule at a time. */

import { expect } from 'vitest';
import { rawRequest } from '../../src/chaos/requests.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import type { GetOperation, Reply, Request } from '../../src/common/wire/messages.ts';
import { Cluster, drawShape } from '../sim/cluster.ts';
import type { SimNode } from '../sim/sim-node.ts';
import { World } from '../sim/world.ts';

const CLIENT = Buffer.from('0123456789abcdef');
const KEY = 'k';
/** Of every question, ms. */
const TIME_MS = 3_000;

export const STALE: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_STALE' };

/** Returns what a session asks for that has seen the log so far. */
export function session(sessionIndex: number): GetOperation {
  return { ...LINEARIZABLE_GET, level: 'READ_SESSION', sessionIndex };
}

/** A question to one node, and what it has been told. */
export interface Asked {
  reply: Reply | null;
  at: number;
}

/** One partition on three nodes, and a fourth that holds nothing; questions reach every node, whatever is cut. */
export class Bench {
  readonly cluster: Cluster;
  private readonly connections = new Map<SimNode, number>();
  private readonly asked = new Map<number, Asked>();
  private nextId = 1;
  private sequence = 0;

  constructor(nodes = 3, seed = 8) {
    const shape = {
      nodes,
      partitions: 1,
      replicationFactor: 3,
      controllers: 1,
      clients: 0,
      datagrams: false,
    };
    const world = new World(seed);
    this.cluster = new Cluster(world, drawShape(world, shape));
    for (const node of this.cluster.nodes) node.start();
    for (const controller of this.cluster.controllers) controller.start();
    this.until('a leader', () => this.cluster.invariants.record(0)?.established === true);
    this.until('a serving leader', () => this.leadership()?.serving === true);
    this.put('first');
    this.until('it to be everywhere', () => this.voters.every((node) => this.read(node, STALE) === 'first'));
    this.run(1_000);
  }

  get now(): number {
    return this.cluster.world.now;
  }

  run(ms: number): void {
    this.cluster.world.run(this.now + ms, () => false);
  }

  until(what: string, done: () => boolean, limitMs = 20_000): void {
    this.cluster.world.run(this.now + limitMs, done);
    expect(done(), `${what}, within ${limitMs} ms of virtual time`).toBe(true);
  }

  private node(id: string): SimNode {
    return this.cluster.nodes.find((node) => node.id === id)!;
  }

  get voters(): SimNode[] {
    return this.cluster.invariants.record(0)!.voters.map(({ node }) => this.node(node));
  }

  get leader(): SimNode {
    return this.node(this.cluster.invariants.record(0)!.leader!.node);
  }

  get followers(): SimNode[] {
    return this.voters.filter((node) => node !== this.leader);
  }

  private leadership() {
    return this.leader.core?.replicas.byPartition.get(0)?.leadership;
  }

  /** The index of what a node has decided. */
  decided(node: SimNode): number {
    return node.core!.replicas.byPartition.get(0)!.machine.decidedIndex;
  }

  lastIndex(node: SimNode): number {
    return node.core!.replicas.byPartition.get(0)!.log.lastIndex;
  }

  ask(node: SimNode, request: Partial<Request>): Asked {
    let connection = this.connections.get(node);
    if (connection === undefined) {
      connection = node.accept(CLIENT, (reply) => {
        const asked = this.asked.get(reply.id)!;
        asked.reply = reply;
        asked.at = this.now;
      })!;
      this.connections.set(node, connection);
    }
    const id = this.nextId++;
    const asked: Asked = { reply: null, at: 0 };
    this.asked.set(id, asked);
    const part = { id, timeLeftMs: TIME_MS, keyspace: '', key: Buffer.from(KEY), get: LINEARIZABLE_GET };
    node.request(connection, rawRequest({ ...part, ...request }));
    return asked;
  }

  /** Returns what a read is told in the end: text, `absent`, or the code of an error. */
  read(node: SimNode, get: GetOperation, key = KEY): string {
    const asked = this.ask(node, { get, key: Buffer.from(key) });
    this.until(`an answer of ${node.id}`, () => asked.reply !== null, TIME_MS + 1_000);
    return told(asked.reply!);
  }

  /** Returns the bound that a stale read is told. */
  bound(node: SimNode): number {
    const asked = this.ask(node, { get: STALE });
    this.until(`an answer of ${node.id}`, () => asked.reply !== null, TIME_MS + 1_000);
    return asked.reply!.value!.stalenessMs;
  }

  /** Starts a write at the leader. */
  startPut(value: string, node = this.leader, ttlMs = 0): Asked {
    this.sequence += 1;
    const { logTime } = node.core!.replicas.byPartition.get(0)!.machine.mark;
    return this.ask(node, {
      operation: 'put',
      get: null,
      put: { value: Buffer.from(value), codec: 0, ttlMs },
      sequence: this.sequence,
      lowWater: this.sequence,
      sessionTime: logTime,
    });
  }

  put(value: string, ttlMs = 0): void {
    const asked = this.startPut(value, this.leader, ttlMs);
    this.until('the write', () => asked.reply !== null);
    expect(told(asked.reply!)).toBe('receipt');
  }

  /** Ends a node's process. */
  stop(node: SimNode): void {
    this.cluster.stopNode(node, 'process');
    this.connections.delete(node);
  }

  /** Cuts a node off from all others, controllers included. */
  isolate(node: SimNode): void {
    const { network, nodes, controllers } = this.cluster;
    for (const { id } of [...nodes, ...controllers]) {
      if (id === node.id) continue;
      network.cut(id, node.id);
      network.cut(node.id, id);
    }
  }
}

export function told({ result, value, failure }: Reply): string {
  if (result === 'failure') return failure!.code;
  if (result !== 'value') return result;
  return value!.found ? Buffer.from(value!.value).toString() : 'absent';
}
