/**
 * A cluster that runs already and belongs to somebody else, as a chaos run sees it: by its status, and by those of its processes that
 * are of this machine.
 * INVARIANT: nothing of it is started or stopped for good: what is paused is continued whatever happens to this process, and what is
 * ended is only ended where faults that do so were asked for.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import type { NodeRecord, Topology } from '../common/topology.ts';
import { formatAddress, parseClusterUrl } from '../common/wire/address.ts';
import type { ScrubReply, StatusReply } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { ScrubOrder } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { ReplicaReport } from '../common/wire/messages.ts';
import { PauseGuard } from './guardian.ts';
import { findProcess, isStill, type LocalProcess, type ProcessKind, signalStill } from './local-process.ts';
import { eventually } from './process.ts';
import type { ChaosCluster, Member } from './target.ts';
import { missingIn } from './wholeness.ts';

const STATUS_TIMEOUT_MS = 2_000;
/** Whoever watches over a process starts it again within this, ms. */
const RETURN_MS = 60_000;
const POLL_MS = 100;
/** A process that has just begun may not listen yet. */
const LOOKS_MAX = 20;

/** The parts of a router's figures that matter here. */
interface RouterPart {
  readonly id: string;
  readonly pid: number;
  readonly mode: string;
}

/** One process of a running cluster. */
export class RunningMember implements Member {
  readonly name: string;
  readonly kind: ProcessKind;
  address: string;
  /** Names its present life: another one, another process. */
  run = '';
  /** Why it cannot be signalled; empty: it can. */
  missing = 'it is not known';
  /** A fault of this run has ended its last life. */
  asked = false;
  /** Nobody has started it again. */
  lost = false;
  private local: LocalProcess | null = null;
  private looks = 0;

  constructor(name: string, kind: ProcessKind, address: string) {
    this.name = name;
    this.kind = kind;
    this.address = address;
  }

  /** Takes in what the cluster tells of it. */
  async follow(run: string, pid: number, addresses: readonly string[]): Promise<void> {
    if (run !== this.run) this.looks = 0;
    // What has once been found and is gone has ended: its pid in what the cluster tells is out of date.
    else if (this.missing === '' || this.looks >= LOOKS_MAX) return;
    this.looks += 1;
    const found = await findProcess({ kind: this.kind, id: this.name, pid, addresses });
    this.local = 'process' in found ? found.process : null;
    this.missing = 'process' in found ? '' : found.missing;
    this.run = run;
    this.lost = false;
  }

  /** Its process, as long as that is the one which was found; null: it is not of this machine, or has ended. */
  get process(): LocalProcess | null {
    return this.local !== null && isStill(this.local) ? this.local : null;
  }

  get pid(): number {
    return this.process?.pid ?? 0;
  }

  get running(): boolean {
    return this.process !== null;
  }
}

/** See the top of this file. */
export class RunningCluster implements ChaosCluster {
  readonly url: string;
  readonly router: RunningMember;
  readonly nodes: readonly RunningMember[];
  /** Routers that the URL names. */
  readonly addresses: readonly string[];
  readonly journals = null;
  readonly nodeAddresses: readonly string[];
  readonly oneMachine: boolean;
  private readonly clusterId: string;
  private guard: PauseGuard | null = null;

  private constructor(url: string, addresses: readonly string[], first: Attached) {
    this.url = url;
    this.addresses = addresses;
    this.clusterId = first.topology.clusterId;
    this.router = first.router;
    this.nodes = first.nodes;
    this.nodeAddresses = first.reached ? first.topology.nodes.map(({ clientAddress }) => clientAddress) : [];
    this.oneMachine = [first.router, ...first.nodes].every(({ running }) => running);
  }

  /**
   * Finds a cluster and its processes. Rejects with RingkeepError: UNAVAILABLE where nobody answers, INVALID_ARGUMENT where no router
   * does, NOT_READY before the cluster is formed.
   */
  static async attach(url: string): Promise<RunningCluster> {
    const addresses = parseClusterUrl(url).map(formatAddress);
    const { status, address } = await askRouters(addresses, '');
    const { topology } = status;
    if (topology === null || topology.partitions === 0 || topology.records.length === 0)
      throw new RingkeepError('NOT_READY', `the cluster at ${address} is not formed yet`);
    const figures = routerPart(status)!;
    const router = new RunningMember(figures.id, 'router', address);
    await router.follow(`${figures.pid}`, figures.pid, [address]);
    const nodes = topology.nodes.map(({ id, clientAddress }) => new RunningMember(id, 'node', clientAddress));
    const reached = await Promise.all(
      topology.nodes.map((record) => nodeStatus(record, topology.clusterId).catch(() => null)),
    );
    for (const [at, record] of topology.nodes.entries()) await followNode(nodes[at]!, record);
    const found = { topology, router, nodes, reached: reached.every((reply) => reply !== null) };
    return new RunningCluster(url, addresses, found);
  }

  get processes(): readonly RunningMember[] {
    return this.nodeAddresses.length === 0 ? [this.router] : [this.router, ...this.nodes];
  }

  async status(): Promise<StatusReply> {
    return (await askRouters(this.addresses, this.clusterId)).status;
  }

  async topology(): Promise<Topology> {
    const { topology } = await this.status();
    if (topology === null) throw new RingkeepError('NOT_READY', 'there is no topology');
    return topology;
  }

  /** Begins a scrub of all partitions, or tells how one stands. */
  scrub(order: ScrubOrder): Promise<ScrubReply> {
    const hello = makeHello({ role: 'client', clusterId: this.clusterId });
    return grpcConnector.scrub(this.router.address, hello, order, STATUS_TIMEOUT_MS);
  }

  /** Takes in which processes there are now. */
  async refresh(): Promise<Topology> {
    const { status, address } = await askRouters(this.addresses, this.clusterId);
    const figures = routerPart(status)!;
    await this.router.follow(`${figures.pid}`, figures.pid, [address]);
    const { topology } = status;
    if (topology === null) throw new RingkeepError('NOT_READY', 'there is no topology');
    for (const record of topology.nodes) {
      const node = this.nodes.find(({ name }) => name === record.id);
      if (node !== undefined) await followNode(node, record);
    }
    return topology;
  }

  /**
   * Resolves with true when every node is alive and every replica whole. Rejects with RingkeepError NOT_READY once it is known that a
   * process which this run has ended does not come back.
   */
  async ifWhole(missing: (text: string) => null): Promise<true | null> {
    let topology: Topology;
    try {
      topology = await this.refresh();
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      this.failIfLost();
      return missing(error.message);
    }
    this.failIfLost();
    const dead = topology.nodes.filter(({ alive }) => !alive);
    if (dead.length > 0) return missing(dead.map(({ id, reason }) => `${id} is dead: ${reason}`).join('; '));
    const away = this.nodes.filter(({ missing: why, running }) => why === '' && !running);
    if (away.length > 0) return missing(`ended: ${away.map(({ name }) => name).join(', ')}`);
    const boots = new Map(topology.nodes.map(({ id, boot }) => [id, boot]));
    const reports = this.nodeAddresses.length === 0 ? null : await this.reports(topology);
    const lack = missingIn(topology, boots, reports);
    return lack === null ? true : missing(lack);
  }

  private async reports(topology: Topology): Promise<Map<string, ReplicaReport>> {
    const replies = await Promise.all(
      topology.nodes.map((record) => nodeStatus(record, this.clusterId).catch(() => null)),
    );
    return new Map(
      replies.flatMap((reply) => reply?.replicas ?? []).map((report) => [report.replica, report]),
    );
  }

  private failIfLost(): void {
    const lost = [this.router, ...this.nodes].filter((member) => member.lost);
    if (lost.length === 0) return;
    const names = lost.map(({ name }) => name).join(', ');
    throw new RingkeepError(
      'NOT_READY',
      `nobody has started ${names} again within ${RETURN_MS / 1_000} s, which a fault of this run has ended`,
    );
  }

  /**
   * Stops a process, of which it is sure before that it will be continued. Resolves with what continues it. Rejects with RingkeepError
   * NOT_READY if it is not there.
   */
  async pause(member: RunningMember): Promise<{ readonly process: LocalProcess; resume(): void }> {
    const { process } = member;
    if (process === null)
      throw new RingkeepError('NOT_READY', `${member.name}: ${member.missing || 'ended'}`);
    this.guard ??= new PauseGuard();
    await this.guard.watch(process);
    if (!signalStill(process, 'SIGSTOP'))
      throw new RingkeepError('NOT_READY', `${member.name} has ended meanwhile`);
    return { process, resume: () => void signalStill(process, 'SIGCONT') };
  }

  /** Sends a signal that ends a process. Returns the process. Throws RingkeepError NOT_READY if it is not there. */
  end(member: RunningMember, signal: 'SIGKILL' | 'SIGTERM'): LocalProcess {
    const { process } = member;
    if (process === null || !signalStill(process, signal))
      throw new RingkeepError('NOT_READY', `${member.name}: ${member.missing || 'ended'}`);
    member.asked = true;
    return process;
  }

  /** Resolves when a process that was ended runs again in another life than `former`, or is known as lost. */
  async whenBack(member: RunningMember, former: string): Promise<void> {
    try {
      await eventually(
        `${member.name} in another life`,
        async (missing) => {
          await this.refresh().catch(() => null);
          await delay(POLL_MS);
          return member.run !== former ? true : missing(`run ${member.run}`);
        },
        RETURN_MS,
      );
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      member.lost = true;
    }
  }

  /** What is still stopped by this run is continued. */
  release(): void {
    this.guard?.release();
    this.guard = null;
  }
}

/** What was found where a cluster answers. */
interface Attached {
  readonly topology: Topology;
  readonly router: RunningMember;
  readonly nodes: readonly RunningMember[];
  /** Every node answers at the address that clients are told. */
  readonly reached: boolean;
}

function followNode(node: RunningMember, record: NodeRecord): Promise<void> {
  node.address = record.clientAddress;
  return node.follow(record.run, record.pid, [record.address, record.clientAddress]);
}

function nodeStatus({ id, clientAddress }: NodeRecord, clusterId: string): Promise<StatusReply> {
  const hello = makeHello({ role: 'client', clusterId, expectedNode: id });
  return grpcConnector.adminStatus(clientAddress, hello, STATUS_TIMEOUT_MS);
}

/** Returns what a router tells of itself; null: it is none. */
function routerPart({ json }: StatusReply): RouterPart | null {
  const figures = json === '' ? {} : (JSON.parse(json) as Partial<RouterPart>);
  return figures.mode === undefined ? null : (figures as RouterPart);
}

/** Asks one router after the other for its status. Rejects with the last RingkeepError. */
async function askRouters(
  addresses: readonly string[],
  clusterId: string,
): Promise<{ readonly status: StatusReply; readonly address: string }> {
  let failure: unknown;
  for (const address of addresses) {
    try {
      const hello = makeHello({ role: 'client', clusterId });
      const status = await grpcConnector.adminStatus(address, hello, STATUS_TIMEOUT_MS);
      if (routerPart(status) !== null) return { status, address };
      failure = new RingkeepError('INVALID_ARGUMENT', `${address} is a node; name the router`);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
