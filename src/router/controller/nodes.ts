/**
 * What the controller knows of the nodes themselves: streams, process runs, reports, verdicts. Liveness is the failure
 * detector's; the stored node records only tell others. Decides nothing about partitions.
 * INVARIANT: a replica counts as lost only by its node's own word (reported damaged or removed, or missing from the full
 * list of a process run that may not create it any more), never by silence.
 */
import type { Random } from '../../common/random.ts';
import { makeReplicaId, mayCreateReplica } from '../../common/replica-id.ts';
import type { Leader, NodeRecord, Replica, Topology } from '../../common/topology.ts';
import type { Heartbeat, Register, ReplicaReport } from '../../common/wire/messages.ts';
import { type DetectorOptions, FailureDetector, type Verdict } from '../failure-detector.ts';
import type { NodeAttachment } from './types.ts';

/** A node's present or last stream. */
export interface NodeState {
  readonly id: string;
  readonly attached: boolean;
  /** Counts streams: what was sent on an earlier one may be lost. */
  readonly session: number;
  readonly incarnation: string;
  readonly boot: number;
  /** Random id of the process run. */
  readonly run: string;
  /** The run that the store named when it attached; empty: none. */
  readonly storedRun: string;
  /** How its durable position shows its directory to be an old copy; empty if it does not. */
  readonly regressed: string;
  readonly register: Register;
  readonly clusterId: string;
  readonly knownTopology: Topology | null;
  readonly heartbeat: Heartbeat | null;
  /** By partition and replica id. */
  readonly reports: ReadonlyMap<number, ReadonlyMap<string, ReplicaReport>>;
  /** Requests per second of the partitions that it leads, smoothed. */
  readonly loads: ReadonlyMap<number, number>;
}

interface MutableNode extends NodeState {
  attached: boolean;
  heartbeat: Heartbeat | null;
  readonly reports: Map<number, Map<string, ReplicaReport>>;
  loads: ReadonlyMap<number, number>;
}

/**
 * `unknown`: the node is not attached. `pending`: its present run was asked to create the replica and has not yet.
 * `lost`: it will never answer again.
 */
export type ReplicaHealth = 'healthy' | 'pending' | 'unknown' | 'lost';

function setReport(reports: Map<number, Map<string, ReplicaReport>>, report: ReplicaReport): void {
  const ofPartition = reports.get(report.partition);
  if (ofPartition === undefined) reports.set(report.partition, new Map([[report.replica, report]]));
  else ofPartition.set(report.replica, report);
}

/** One look is what it is; each later one counts for half. */
function smoothed(before: number | undefined, now: number): number {
  return before === undefined || before === 0 ? now : (before + now) / 2;
}

/** All nodes, attached or only known from the store. */
export class NodeRegistry {
  private readonly detector: FailureDetector;
  private readonly nodes = new Map<string, MutableNode>();
  private readonly watched = new Set<string>();
  /** The furthest durable position that a node has told of its directory. */
  private readonly heard = new Map<string, { incarnation: string; run: string; durableLsn: number }>();
  private verdicts = new Map<string, Verdict>();
  /** Since when a node has been known to be dead. */
  private readonly deadSince = new Map<string, number>();

  constructor(detector: Partial<DetectorOptions>) {
    this.detector = new FailureDetector(detector);
  }

  /** Watches a node that records name, so that one that never comes is found dead. */
  expect(now: number, node: string): void {
    this.watched.add(node);
    this.detector.watch(now, node);
    if (!this.verdicts.has(node)) this.verdicts.set(node, this.detector.verdict(now, node));
  }

  attach(now: number, id: string, attachment: NodeAttachment, storedRun: string): void {
    const previous = this.nodes.get(id);
    const reports = new Map<number, Map<string, ReplicaReport>>();
    for (const report of attachment.reports) setReport(reports, report);
    const { incarnation } = attachment;
    const { runs, durableLsn } = attachment.register;
    const run = runs.at(-1) ?? '';
    const heard = this.heard.get(id);
    const lsn = heard?.incarnation === incarnation && heard.run !== run ? heard.durableLsn : 0;
    const regressed =
      durableLsn < lsn ? `its WAL ends at ${durableLsn}, it had told ${lsn} to be durable` : '';
    this.nodes.set(id, {
      id,
      attached: true,
      session: (previous?.session ?? 0) + 1,
      incarnation,
      boot: attachment.boot,
      run,
      storedRun,
      regressed,
      register: attachment.register,
      clusterId: attachment.clusterId,
      knownTopology: attachment.knownTopology,
      heartbeat: null,
      reports,
      loads: new Map(),
    });
    if (regressed === '') this.hear(id, durableLsn);
    this.expect(now, id);
    this.detector.connected(now, id);
    this.verdicts.set(id, this.detector.verdict(now, id));
  }

  detach(now: number, id: string): void {
    const node = this.nodes.get(id);
    if (node === undefined) return;
    node.attached = false;
    this.detector.disconnected(now, id);
  }

  heartbeat(now: number, id: string, heartbeat: Heartbeat): void {
    this.detector.heartbeat(now, id);
    const node = this.nodes.get(id);
    if (node === undefined) return;
    node.heartbeat = heartbeat;
    this.hear(id, heartbeat.durableLsn);
    const { figures } = heartbeat;
    if (figures.length === 0) return;
    const { loads } = node;
    node.loads = new Map(
      figures.map(({ partition, load }) => [partition, smoothed(loads.get(partition), load)]),
    );
  }

  /** Requests per second that a node takes as leader of a partition, as far as it has told. */
  loadOf(partition: number, id: string): number {
    return this.nodes.get(id)?.loads.get(partition) ?? 0;
  }

  private hear(id: string, durableLsn: number): void {
    const { incarnation, run } = this.nodes.get(id)!;
    const heard = this.heard.get(id);
    const most = heard?.incarnation === incarnation ? Math.max(heard.durableLsn, durableLsn) : durableLsn;
    this.heard.set(id, { incarnation, run, durableLsn: most });
  }

  /** Forgets a node's stream: its run may not take part. */
  refuse(now: number, id: string): void {
    this.detach(now, id);
    this.nodes.delete(id);
  }

  report(id: string, report: ReplicaReport): void {
    const node = this.nodes.get(id);
    if (node !== undefined) setReport(node.reports, report);
  }

  /** Advances the detector; returns the nodes whose life or death is news. */
  tick(now: number): { node: string; verdict: Verdict }[] {
    this.detector.tick(now);
    const changed: { node: string; verdict: Verdict }[] = [];
    for (const node of this.watched) {
      const verdict = this.detector.verdict(now, node);
      const before = this.verdicts.get(node);
      // The reason is that of the moment of death: it does not change while the node stays dead.
      if (before !== undefined && before.alive === verdict.alive && !verdict.alive) continue;
      this.verdicts.set(node, verdict);
      if (before?.alive !== verdict.alive) changed.push({ node, verdict });
      if (verdict.alive) this.deadSince.delete(node);
      else if (!this.deadSince.has(node)) this.deadSince.set(node, now);
    }
    return changed;
  }

  /** For how long a node has been dead, ms; 0: it is not. */
  deadFor(now: number, id: string): number {
    const since = this.deadSince.get(id);
    return since === undefined || this.isAlive(id) ? 0 : now - since;
  }

  verdict(id: string): Verdict {
    return this.verdicts.get(id) ?? { alive: false, reason: 'unknown node', phi: 0 };
  }

  isAlive(id: string): boolean {
    return this.verdict(id).alive;
  }

  /** The node if its stream is up and nothing speaks against it. */
  live(id: string): NodeState | null {
    const node = this.nodes.get(id);
    return node?.attached === true && this.isAlive(id) ? node : null;
  }

  get(id: string): NodeState | undefined {
    return this.nodes.get(id);
  }

  all(): NodeState[] {
    return [...this.nodes.values()];
  }

  attached(): NodeState[] {
    return this.all().filter((node) => node.attached);
  }

  watchedIds(): string[] {
    return [...this.watched].sort();
  }

  isDraining(id: string): boolean {
    return this.nodes.get(id)?.heartbeat?.draining === true;
  }

  /** Nodes that may be given leaderships, sorted. */
  leadable(): string[] {
    return this.all()
      .filter((node) => this.live(node.id) !== null && !this.isDraining(node.id))
      .map((node) => node.id)
      .sort();
  }

  /** The last report of a replica on its node's last stream. */
  reportOf(partition: number, replica: Replica | Leader): ReplicaReport | undefined {
    const id = 'id' in replica ? replica.id : replica.replica;
    return this.nodes.get(replica.node)?.reports.get(partition)?.get(id);
  }

  health(partition: number, replica: Replica): ReplicaHealth {
    const node = this.nodes.get(replica.node);
    if (node === undefined || !node.attached) return 'unknown';
    const report = this.reportOf(partition, replica);
    if (report === undefined) {
      const run = { node: node.id, incarnation: node.incarnation, boot: node.boot };
      return mayCreateReplica(replica.id, run) ? 'pending' : 'lost';
    }
    if (report.state === 'damaged' || report.state === 'removed') return 'lost';
    return 'healthy';
  }

  /** Names a new replica for the present run of a node that has been attached. */
  mintReplica(id: string, random: Random): Replica {
    const { incarnation, boot } = this.nodes.get(id)!;
    return { id: makeReplicaId({ node: id, incarnation, boot }, random.id()), node: id };
  }

  /** Returns the record that should be stored for a node beside its former runs, or null while it is not attached. */
  recordOf(id: string): Omit<NodeRecord, 'formerRuns'> | null {
    const node = this.nodes.get(id);
    if (node?.attached !== true) return null;
    const { alive, reason } = this.verdict(id);
    const { incarnation, boot, run, register } = node;
    return {
      id,
      incarnation,
      boot,
      address: register.address,
      clientAddress: register.clientAddress,
      zone: register.zone,
      alive,
      reason,
      pid: register.pid,
      run,
    };
  }
}
