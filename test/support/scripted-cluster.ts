/**
 * Controllers, scripted nodes and a scripted store on virtual time. Messages are delivered at once, in order, unless a
 * test says otherwise; replication happens in one piece per step. After every step it checks: no committed entry is
 * missing from an established leader's log, and no entry is truncated at or below a commit index.
 */
import { assert } from '../../src/common/errors.ts';
import { createRandom } from '../../src/common/random.ts';
import { type AckLevel, type PartitionRecord, quorumSize } from '../../src/common/topology.ts';
import { Controller } from '../../src/router/controller/controller.ts';
import type { ControllerEvent, ControllerOptions, Effects } from '../../src/router/controller/types.ts';
import { type Entry, type FakeReplica, nextSerial, ScriptedNode } from './scripted-node.ts';
import { ScriptedStore } from './scripted-store.ts';

const STEP_MS = 20;
const HEARTBEAT_EVERY = 5;

interface Run {
  readonly controller: Controller;
  readonly attached: Set<string>;
  readonly reported: Map<string, string>;
  paused: boolean;
}

export class ScriptedCluster {
  now = 1_000;
  readonly store = new ScriptedStore();
  readonly nodes = new Map<string, ScriptedNode>();
  readonly runs: Run[] = [];
  readonly events: ControllerEvent[] = [];
  /** Whether two nodes can replicate to each other. */
  linked: (a: string, b: string) => boolean = () => true;
  /** Messages from controllers to nodes pass only when this says so. */
  passes: (kind: 'seal' | 'prepare' | 'push', node: string) => boolean = () => true;
  /** Of a cluster that is formed from now on. */
  replicationFactor = 3;
  ack: AckLevel = 'ACK_QUORUM';
  private readonly committed = new Map<number, Entry[]>();
  private readonly partitions: number;
  private readonly initialNodes: number;
  private steps = 0;

  constructor(nodeIds: readonly string[], partitions: number, zones?: readonly string[]) {
    this.partitions = partitions;
    this.initialNodes = nodeIds.length;
    for (const [index, id] of nodeIds.entries()) {
      this.nodes.set(id, new ScriptedNode(id, zones?.[index] ?? id));
    }
  }

  /** A node comes that the cluster does not know yet. */
  join(id: string, zone = id): ScriptedNode {
    const node = new ScriptedNode(id, zone);
    this.nodes.set(id, node);
    return node;
  }

  /** Starts a controller with the store as it is. */
  start(options: Partial<ControllerOptions> = {}, seed = 1 + this.runs.length): Run {
    const controller = new Controller({
      random: createRandom(seed),
      bootstrap: {
        initialNodes: this.initialNodes,
        partitions: this.partitions,
        replicationFactor: this.replicationFactor,
        ack: this.ack,
      },
      options,
    });
    const run: Run = { controller, attached: new Set(), reported: new Map(), paused: false };
    controller.load(this.now, this.store.all());
    this.runs.push(run);
    return run;
  }

  /** Forgets all controllers, as when their processes die. */
  stopControllers(): void {
    this.runs.length = 0;
  }

  node(id: string): ScriptedNode {
    return this.nodes.get(id)!;
  }

  replica(node: string, partition: number): FakeReplica {
    const replica = this.node(node).replicas.get(partition);
    assert(replica !== undefined, `${node} holds partition ${partition}`);
    return replica;
  }

  /** Appends `count` entries on the partition's leader, if it takes writes. */
  write(partition: number, count = 1): void {
    for (const node of this.nodes.values()) {
      const replica = node.replicas.get(partition);
      if (!node.up || replica === undefined || replica.ledEpoch === 0 || replica.paused) continue;
      for (let i = 0; i < count; i += 1) replica.log.push({ epoch: replica.ledEpoch, serial: nextSerial() });
    }
  }

  /** Lets `ms` pass. */
  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) this.step();
  }

  /** Lets time pass until `condition` holds; fails after `limitMs`. */
  until(what: string, condition: () => boolean, limitMs = 20_000): void {
    for (const end = this.now + limitMs; !condition(); this.step()) {
      if (this.now < end) continue;
      const states = this.runs.map(({ controller }) => JSON.stringify(controller.status().partitions));
      const trace = this.events.slice(-40).map((event) => JSON.stringify(event));
      assert(
        false,
        `${what} within ${limitMs} ms\n${JSON.stringify(this.store.records())}\n${states.join('\n')}\n${trace.join('\n')}`,
      );
    }
  }

  /** Whether every partition has an established leader that runs. */
  settled(): boolean {
    const records = this.store.records();
    return records.length === this.partitions && records.every((record) => this.isServed(record));
  }

  isServed(record: PartitionRecord): boolean {
    if (!record.established || record.leader === null) return false;
    const node = this.node(record.leader.node);
    return node.up && node.replicas.get(record.partition)?.ledEpoch === record.epoch;
  }

  /** Length of the partition's log that is known committed. */
  committedCount(partition: number): number {
    return this.committed.get(partition)?.length ?? 0;
  }

  /** Whether no planned change is under way. */
  isQuiet(): boolean {
    return this.runs.every(({ controller }) =>
      controller.status().partitions.every(({ phase }) => phase === 'established'),
    );
  }

  named(event: string): ControllerEvent[] {
    return this.events.filter((one) => one.event === event);
  }

  private step(): void {
    this.now += STEP_MS;
    this.steps += 1;
    this.replicate();
    for (const run of this.runs) {
      if (run.paused) continue;
      this.connect(run);
      for (const node of this.nodes.values()) if (node.up && !node.stalled) this.speak(run, node);
      run.controller.tick(this.now);
      this.deliver(run);
    }
  }

  private connect(run: Run): void {
    for (const node of this.nodes.values()) {
      const key = `${node.id}/${node.incarnation}/${node.boot}`;
      for (const old of run.attached) {
        if (!old.startsWith(`${node.id}/`) || (old === key && node.up)) continue;
        run.attached.delete(old);
        run.controller.nodeDetached(this.now, node.id);
        this.deliver(run);
      }
      if (!node.up || node.stalled || run.attached.has(key)) continue;
      run.attached.add(key);
      const { incarnation, boot, clusterId, known, zone } = node;
      const register = {
        address: `${node.id}:1`,
        clientAddress: `${node.id}:2`,
        zone,
        pid: boot,
        admittedBoot: 0,
        runs: Array.from({ length: boot }, (_, at) => `${node.id}/${incarnation}/${at + 1}`),
        durableLsn: 0,
        joins: node.joins,
      };
      const reports = node.reports();
      run.controller.nodeAttached(this.now, node.id, {
        ...{ incarnation, boot, clusterId, register, reports },
        knownTopology: known,
      });
      run.reported.set(node.id, JSON.stringify(reports));
      if (run.controller.formed && this.passes('push', node.id)) node.push(run.controller.topology());
      this.deliver(run);
    }
  }

  private speak(run: Run, node: ScriptedNode): void {
    if (this.steps % HEARTBEAT_EVERY === 0) {
      const heartbeat = {
        sequence: this.steps,
        draining: node.draining,
        diskBytes: 0,
        diskFull: node.diskFull,
        durableLsn: 0,
        figures: [...node.replicas.values()].map(({ partition, ledEpoch }) => ({
          partition,
          bytes: 0,
          copied: 0,
          load: ledEpoch === 0 ? 0 : node.loadOf(partition),
        })),
      };
      run.controller.nodeMessage(this.now, node.id, { heartbeat });
    }
    const reports = node.reports();
    const text = JSON.stringify(reports);
    if (run.reported.get(node.id) === text) return;
    run.reported.set(node.id, text);
    run.controller.nodeMessage(this.now, node.id, { reports });
  }

  /** Carries effects out until there are none. */
  private deliver(run: Run): void {
    for (let effects = run.controller.take(); !isEmpty(effects); effects = run.controller.take()) {
      this.events.push(...effects.events);
      if (effects.push !== null) {
        for (const node of this.nodes.values()) {
          if (node.up && !node.stalled && this.passes('push', node.id)) node.push(effects.push);
        }
      }
      for (const cas of effects.cas) run.controller.casResult(this.now, cas.tag, this.store.cas(cas));
      for (const read of effects.reads)
        run.controller.readResult(this.now, read.tag, this.store.read(read.keys));
      for (const { node, prepare } of effects.prepares) {
        if (this.node(node).up && this.passes('prepare', node)) this.node(node).prepare(prepare);
      }
      for (const { node: id, seal } of effects.seals) {
        const node = this.node(id);
        if (!node.up || node.stalled || !this.passes('seal', id)) continue;
        const reply = node.seal(seal);
        if (reply !== null && !node.deaf) run.controller.nodeMessage(this.now, id, { sealReplies: [reply] });
      }
    }
  }

  private replicate(): void {
    for (const node of this.nodes.values()) {
      if (!node.up || node.stalled) continue;
      for (const leader of node.replicas.values()) if (leader.ledEpoch > 0) this.replicateFrom(node, leader);
    }
  }

  private replicateFrom(node: ScriptedNode, leader: FakeReplica): void {
    const record = node.known?.records.find((one) => one.partition === leader.partition);
    if (record === undefined || record.epoch !== leader.ledEpoch) return;
    const copies = (ids: readonly { id: string; node: string }[]): string[] =>
      ids.filter((replica) => this.copy(node, leader, replica, record)).map((replica) => replica.id);
    const voters = copies(record.voters);
    const learners = copies(record.learners);
    leader.levelLearners = learners;
    if (leader.levelTarget.startsWith('?')) {
      const target = leader.levelTarget.slice(1);
      if (voters.includes(target) || learners.includes(target)) leader.levelTarget = target;
    }
    if (voters.length < quorumSize(record.voters.length)) return;
    leader.commitIndex = leader.log.length;
    this.checkCommitted(leader, record.epoch);
    leader.established = true;
  }

  /** Brings one replica level with the leader; false if it does not take it. */
  private copy(
    node: ScriptedNode,
    leader: FakeReplica,
    replica: { id: string; node: string },
    record: PartitionRecord,
  ): boolean {
    if (replica.id === leader.id) return true;
    const other = this.node(replica.node);
    const target = other.replicas.get(leader.partition);
    if (!other.up || other.stalled || target?.id !== replica.id || target.damaged) return false;
    if (!this.linked(node.id, replica.node) || target.promiseEpoch > leader.ledEpoch) return false;
    for (let i = 0; i < target.commitIndex; i += 1) {
      assert(
        target.log[i]!.serial === leader.log[i]?.serial,
        `${target.id} truncates committed entry ${i + 1}`,
      );
    }
    if (target.promiseEpoch < leader.ledEpoch) {
      Object.assign(target, { reservationId: '', voters: record.voters, previousVoters: [] });
      target.configuration = record.configuration;
    }
    target.promiseEpoch = leader.ledEpoch;
    target.log = [...leader.log];
    target.commitIndex = Math.max(target.commitIndex, leader.commitIndex);
    return true;
  }

  private checkCommitted(leader: FakeReplica, epoch: number): void {
    const before = this.committed.get(leader.partition) ?? [];
    for (const [index, entry] of before.entries()) {
      const own = leader.log[index];
      assert(
        own?.serial === entry.serial,
        `partition ${leader.partition}, epoch ${epoch}: leader ${leader.id} lacks committed entry ${index + 1}`,
      );
    }
    if (leader.log.length > before.length) this.committed.set(leader.partition, [...leader.log]);
  }
}

function isEmpty(effects: Effects): boolean {
  const { cas, reads, seals, prepares, push, events } = effects;
  return cas.length + reads.length + seals.length + prepares.length + events.length === 0 && push === null;
}
