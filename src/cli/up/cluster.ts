/**
 * A cluster of child processes on this machine: one router and the nodes. Starts them in order, waits until the
 * cluster takes writes, and ends them all within STOP_MS_MAX.
 * INVARIANT: when `stop` has resolved, no process of it is left.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Ack } from '../../client/index.ts';
import { RingkeepError } from '../../common/errors.ts';
import type { LogLevel } from '../../common/log.ts';
import type { StatusReply } from '../../common/wire/admin-messages.ts';
import { statusAt } from '../common-options.ts';
import { obstaclesIn } from '../status.ts';
import type { ReadyLine } from './child.ts';
import type { Layout } from './layout.ts';
import { whatIsMissing } from './readiness.ts';
import { ANY_ADDRESS, type ProcessReporter, type ProcessSpec, Supervised } from './supervised.ts';

export interface ClusterFlags {
  /** Port of the router; 0 takes a free one. */
  readonly port: number;
  readonly logLevel: LogLevel | undefined;
  /** Time until the cluster must take writes, in ms. */
  readonly startMs: number;
  /** Default acknowledgement of a new cluster; undefined: quorum. */
  readonly ack: Ack | undefined;
  /** Further flags of `ringkeep node`. */
  readonly nodeArgs?: readonly string[];
}

/** A process of a started cluster. */
export interface RunningProcess extends ReadyLine {
  readonly data: string;
}

/** A cluster that takes writes. */
export interface ReadyCluster {
  readonly url: string;
  readonly clusterId: string;
  readonly nodes: readonly RunningProcess[];
  readonly routers: readonly RunningProcess[];
}

const STATUS_POLL_MS = 100;
const SCALE_POLL_MS = 500;
const STATUS_TIMEOUT_MS = 1_000;
/** Open requests may end; handing leaderships over is pointless when every node stops. */
const NODE_GRACE_MS = 300;
const ROUTER_GRACE_MS = 300;
/** After this a process is killed. Together below what a user is promised, 8 s. */
const NODES_STOP_MS = 4_000;
const ROUTER_STOP_MS = 2_000;

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export class Cluster {
  readonly #layout: Layout;
  readonly #flags: ClusterFlags;
  readonly #router: Supervised;
  readonly #reporter: ProcessReporter;
  #nodes: Supervised[] = [];
  #stopping: Promise<void> | null = null;
  #scaling: NodeJS.Timeout | undefined;
  /** The router's. */
  #address = '';

  constructor(layout: Layout, flags: ClusterFlags, reporter: ProcessReporter) {
    this.#layout = layout;
    this.#flags = flags;
    this.#reporter = reporter;
    this.#router = new Supervised(this.#routerSpec(), reporter);
  }

  /** Starts everything; resolves when the cluster takes writes. Rejects with what prevents it; then call `stop`. */
  async start(): Promise<ReadyCluster> {
    const router = await this.#router.start();
    this.#address = router.address;
    if (this.#stopping !== null) throw new RingkeepError('SHUTTING_DOWN', 'stopped while starting');
    this.#layout.save({ ...this.#layout.addresses, router: router.address }, true);
    this.#nodes = this.#layout
      .nodeNames()
      .map((name) => new Supervised(this.#nodeSpec(name, router.address), this.#reporter));
    const refused = Promise.race(this.#nodes.map((node) => node.refused));
    await this.#unless(refused, Promise.all(this.#nodes.map((node) => node.start())));
    const clusterId = await this.#unless(refused, this.#whenWritable());
    this.#layout.save(this.#addresses(), true);
    this.#watch();
    return {
      url: `ringkeep://${router.address}`,
      clusterId,
      nodes: this.#nodes.map((node) => this.#shown(node)),
      routers: [this.#shown(this.#router)],
    };
  }

  /** Does what `ringkeep scale` asks for, one thing after the other. */
  #watch(): void {
    const look = (): void => {
      const nodes = this.#layout.takeWanted();
      const done = nodes === null ? Promise.resolve() : this.#scale(nodes);
      void done.then(() => {
        if (this.#stopping === null) this.#scaling = setTimeout(look, SCALE_POLL_MS);
      });
    };
    look();
  }

  /** Starts the nodes that are missing, or ends those that are too many: nothing is left on them. Never rejects. */
  async #scale(nodes: number): Promise<void> {
    const { shape } = this.#layout;
    this.#layout.shape = { ...shape, nodes };
    const names = this.#layout.nodeNames();
    if (nodes > shape.nodes) {
      try {
        // Before any of them runs, and may vote: an `up` after this one, whenever this one is killed, starts them.
        this.#layout.save(this.#addresses(), true);
      } catch (error) {
        this.#layout.shape = shape;
        for (const name of names.slice(shape.nodes)) this.#reporter.failed(name, textOf(error));
        return;
      }
    }
    const more = names
      .slice(shape.nodes)
      .map((name) => new Supervised(this.#nodeSpec(name, this.#address, true), this.#reporter));
    const fewer = this.#nodes.filter(({ spec }) => !names.includes(spec.name));
    this.#nodes = [...this.#nodes.filter((node) => !fewer.includes(node)), ...more];
    for (const node of fewer) node.stop(NODE_GRACE_MS);
    await this.#endWithin(fewer, NODES_STOP_MS);
    for (const { spec } of fewer) this.#reporter.left(spec.name);
    const add = async (node: Supervised): Promise<void> => {
      try {
        this.#reporter.joined(node.spec.name, await node.start());
      } catch (error) {
        this.#reporter.failed(node.spec.name, textOf(error));
      }
    };
    await Promise.all(more.map(add));
    this.#layout.save(this.#addresses(), true);
  }

  /** Ends all processes, the nodes first. Idempotent; never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#end();
    return this.#stopping;
  }

  /** Ends all processes at once. */
  kill(): void {
    for (const process of [...this.#nodes, this.#router]) process.kill();
  }

  async #end(): Promise<void> {
    clearTimeout(this.#scaling);
    // A signal to the whole process group may end it before its turn.
    this.#router.leave();
    for (const node of this.#nodes) node.stop(NODE_GRACE_MS);
    await this.#endWithin(this.#nodes, NODES_STOP_MS);
    this.#router.stop(ROUTER_GRACE_MS);
    await this.#endWithin([this.#router], ROUTER_STOP_MS);
  }

  async #endWithin(processes: readonly Supervised[], ms: number): Promise<void> {
    const late = setTimeout(() => {
      for (const process of processes) process.kill();
    }, ms);
    await Promise.all(processes.map((process) => process.ended()));
    clearTimeout(late);
  }

  #routerSpec(): ProcessSpec {
    const { shape } = this.#layout;
    const data = this.#layout.dataOf('router');
    const args = (listen: string) => [
      ...['router', '--data', data, '--listen', listen, '--http-listen', ANY_ADDRESS],
      ...['--initial-nodes', `${shape.nodes}`, '--partitions', `${shape.partitions}`],
      ...['--replication-factor', `${shape.replicationFactor}`],
      ...(this.#flags.ack === undefined ? [] : ['--ack', this.#flags.ack]),
      ...this.#logArgs(),
    ];
    return {
      name: 'router',
      kind: 'router',
      listen: `127.0.0.1:${this.#flags.port}`,
      portMayChange: false,
      logPath: this.#layout.logOf('router'),
      dataDirectory: data,
      args,
    };
  }

  #nodeSpec(name: string, router: string, joins = false): ProcessSpec {
    const data = this.#layout.dataOf(name);
    const args = (listen: string) => [
      ...['node', '--id', name, '--data', data, '--listen', listen, '--http-listen', ANY_ADDRESS],
      ...(joins ? ['--join', `ringkeep://${router}`] : ['--router', router]),
      ...(this.#flags.nodeArgs ?? []),
      ...this.#logArgs(),
    ];
    return {
      name,
      kind: 'node',
      listen: this.#layout.addresses[name] ?? ANY_ADDRESS,
      portMayChange: true,
      logPath: this.#layout.logOf(name),
      dataDirectory: data,
      args,
    };
  }

  #logArgs(): string[] {
    const { logLevel } = this.#flags;
    return logLevel === undefined ? [] : ['--log-level', logLevel];
  }

  #addresses(): Record<string, string> {
    const addresses: Record<string, string> = {};
    for (const { spec, running } of [this.#router, ...this.#nodes]) {
      if (running !== null) addresses[spec.name] = running.address;
    }
    return addresses;
  }

  #shown(process: Supervised): RunningProcess {
    const { spec, running } = process;
    if (running === null)
      throw new RingkeepError('NOT_READY', `${spec.name} ended while the cluster started`);
    const { address, http, pid } = running;
    return { id: spec.name, address, http, pid, data: spec.dataDirectory };
  }

  async #unless<T>(refused: Promise<RingkeepError>, goal: Promise<T>): Promise<T> {
    return Promise.race([
      goal,
      refused.then((error) => {
        throw error;
      }),
    ]);
  }

  /** Resolves with the cluster's id once it takes writes. */
  async #whenWritable(): Promise<string> {
    const until = performance.now() + this.#flags.startMs;
    for (;;) {
      const { status, missing } = await this.#look();
      if (missing === null) return status?.topology?.clusterId ?? '';
      if (this.#stopping !== null) throw new RingkeepError('SHUTTING_DOWN', 'stopped while starting');
      if (performance.now() > until) {
        const text = `the cluster takes no writes after ${this.#flags.startMs} ms: ${missing}; see the logs`;
        throw new RingkeepError('NOT_READY', `${text} in ${this.#layout.directory}`);
      }
      await delay(STATUS_POLL_MS);
    }
  }

  async #look(): Promise<{ status: StatusReply | null; missing: string | null }> {
    const router = this.#router.running;
    if (router === null) return { status: null, missing: 'the router does not run' };
    const pids = new Map<string, number>();
    for (const { spec, running } of this.#nodes) pids.set(spec.name, running?.pid ?? 0);
    try {
      const status = await statusAt(router.address, STATUS_TIMEOUT_MS);
      return { status, missing: whatIsMissing(status.topology, pids, obstaclesIn(status).reasons) };
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      return { status: null, missing: error.message };
    }
  }
}
