/**
 * Runs one seed: forms a cluster, lets clients work while the nemesis injects faults, heals, and then requires that
 * every partition takes writes again, that every replica catches up, that all rows are equal and that the history of the
 * clients is linearizable.
 * A failure is thrown as a `SimulationFailure` that names the seed and the command that repeats it.
 */
import { partitionOf } from '../../src/common/hash.ts';
import { MOVE_BYTES_MIN } from '../../src/common/limits.ts';
import { Cluster, type ClusterShape, drawShape } from './cluster.ts';
import { describeKey, judge } from './history.ts';
import { FAULT_WEIGHTS, type FaultWeights, Nemesis, type PlannedFault, planFaults } from './nemesis.ts';
import type { WorkloadClient } from './workload.ts';
import { DEFAULT_READ, SINGLE } from './workload.ts';
import { SimulationFailure, World } from './world.ts';

/** What a run is made of; everything has a default. Times in virtual ms. */
export interface SimulationOptions {
  readonly shape?: Partial<ClusterShape>;
  readonly faults?: Partial<FaultWeights>;
  /** How long faults are injected. */
  readonly faultMs?: number;
  /** Places in the plan of the faults to inject; the default is all. */
  readonly keepFaults?: ReadonlySet<number>;
  /** Mean time between two faults. */
  readonly faultEveryMs?: number;
  /** Sees every trace line. */
  readonly print?: (line: string) => void;
  /** Flags of `npm run sim` that stand for these options in the text of a failure, each with a space before it. */
  readonly flags?: string;
}

/** What a run did. */
export interface SimulationResult {
  readonly seed: number;
  readonly events: number;
  readonly operations: number;
  readonly virtualMs: number;
  readonly traceHash: string;
  /** How often each path of the protocol was taken, by name. */
  readonly counts: ReadonlyMap<string, number>;
}

/** A new cluster serves within this. */
const FORMATION_MS = 10_000;
/** After healing, every partition takes a write within this (DESIGN section 5, invariant 13). */
const RECOVERY_MS = 20_000;
/** ... and then every replica has everything within this. */
const SETTLE_MS = 20_000;
/** How late a value may end in a cluster that is well. */
const EXPIRY_LATE_MS = 1_000;
/** Routers hold nothing within this after the last operation has ended: nodes still have to answer what was given up. */
const ROUTERS_MS = 5_000;

/** Runs one simulation to its end. Throws a `SimulationFailure`. */
export function simulate(seed: number, options: SimulationOptions = {}): SimulationResult {
  const world = new World(seed, options.print ?? null, options.flags);
  const cluster = new Cluster(world, drawShape(world, options.shape ?? {}));
  const weights = { ...FAULT_WEIGHTS, ...options.faults };
  const durationMs = options.faultMs ?? world.between(1_500, 3_500);
  const plan = planFaults(seed, weights, durationMs, options.faultEveryMs ?? world.between(30, 200));
  try {
    run(cluster, new Nemesis(cluster, weights), plan, durationMs, options);
  } catch (error) {
    if (error instanceof SimulationFailure) {
      error.faults = plan.length;
      error.clients = cluster.shape.clients;
    }
    throw error;
  }
  const { counts } = cluster.checks;
  for (const [name, count] of Object.entries(counts)) world.counts.set(`operation ${name}`, count);
  return {
    seed,
    events: world.events,
    operations: cluster.checks.history.length,
    virtualMs: world.now,
    traceHash: world.traceHash(),
    counts: world.counts,
  };
}

function run(
  cluster: Cluster,
  nemesis: Nemesis,
  plan: readonly PlannedFault[],
  durationMs: number,
  options: SimulationOptions,
): void {
  const world: World = cluster.world;
  world.trace(`shape ${JSON.stringify(cluster.shape)}`);
  for (const node of cluster.nodes.slice(0, cluster.shape.nodes)) node.start();
  for (const controller of cluster.controllers) controller.start();
  reach(cluster, FORMATION_MS, 'the cluster is formed', () => isEstablished(cluster));
  const { clients, routedClients } = cluster.shape;
  for (let at = 1; at <= clients; at += 1)
    cluster.addClient(`u${at}`, cluster.workload.concurrency, at <= routedClients);
  nemesis.start(plan.filter(({ index }) => options.keepFaults?.has(index) ?? true));
  world.run(world.now + durationMs);
  nemesis.heal();
  requireProgress(cluster);
  settle(cluster);
  cluster.checks.spread.finish();
  for (const key of judge(cluster.checks.history)) world.check(false, () => describeKey(key));
  world.counts.set('operation lost', cluster.checks.lost().length);
  world.trace(`end after ${world.events} events`);
}

/** Every partition takes a quorum write of fresh clients, direct and routed, while the workload goes on. */
function requireProgress(cluster: Cluster): void {
  const { world, workload, shape } = cluster;
  const probes = [cluster.addClient('probe', 0), cluster.addClient('routed-probe', 0, true)];
  const done = new Set<string>();
  const start = world.now;
  const attempt = (probe: WorkloadClient, key: string, partition: number): void => {
    probe.run(
      { kind: 'put', key, ack: 'quorum', condition: null, ttlMs: 0, ...DEFAULT_READ, ...SINGLE },
      (applied) => {
        if (applied) done.add(`${probe.id} ${partition}`);
        else if (world.now - start < RECOVERY_MS) world.schedule(50, () => attempt(probe, key, partition));
      },
    );
  };
  // Salted counters can be read, as far as they can be.
  const read = new Set<string>();
  const readCounter = (key: string): void => {
    const wish = { kind: 'get', key, ack: 'quorum', condition: null, ttlMs: 0 } as const;
    probes[0]!.run({ ...wish, ...DEFAULT_READ, ...SINGLE, level: 'session' }, (found) => {
      if (found) read.add(key);
      else if (world.now - start < RECOVERY_MS) world.schedule(50, () => readCounter(key));
    });
  };
  for (const key of workload.spread) readCounter(key);
  for (const [at, key] of workload.keys.entries()) {
    if (at >= shape.partitions * 2) break;
    for (const probe of probes) attempt(probe, key, partitionOf(Buffer.from(key), shape.partitions));
  }
  reach(
    cluster,
    RECOVERY_MS,
    'invariant 13: every partition takes writes again',
    () => done.size === shape.partitions * probes.length && read.size === workload.spread.length,
  );
}

/** Clients stop; every voter then applies the whole committed log, and every copy equals the ghost's. */
function settle(cluster: Cluster): void {
  const { clients } = cluster;
  const world: World = cluster.world;
  for (const client of clients) client.stop();
  cluster.salter.stop();
  reach(cluster, SETTLE_MS, 'all operations end', () => clients.every(({ open }) => open === 0));
  // Each request got its one last reply, and none is counted any more.
  reach(cluster, ROUTERS_MS, 'no router holds anything', () => cluster.routers.every(({ idle }) => idle));
  reach(cluster, SETTLE_MS, 'what is due has ended', () => !isLate(cluster));
  // At the rate that some clusters copy with, a long log would take minutes. An operator may change it amid a copy.
  for (const each of cluster.controllers)
    each.order((core) => core.moves.configure({ bytesPerSecond: MOVE_BYTES_MIN }));
  reach(cluster, SETTLE_MS, 'every move has ended', () => isBalanced(cluster));
  reach(cluster, SETTLE_MS, 'every voter applies everything', () => isLevel(cluster));
  const copies = cluster.nodes.filter(({ directory }) => directory.isOldCopy).map(({ id }) => id);
  world.check(
    copies.length === 0,
    () => `invariant 9: nobody has noticed the old copy on ${copies.join(' ')}`,
  );
  let pending = 0;
  for (const node of cluster.nodes) {
    for (const report of node.core?.reportAll() ?? []) {
      const generation = cluster.invariants.durableLog(node.id, report.partition)?.meta?.generation;
      if (report.state === 'damaged' || generation === undefined) continue;
      pending += 1;
      cluster.rows.copy(node.id, node.store, report.partition, generation, () => {
        pending -= 1;
      });
    }
  }
  reach(cluster, 5_000, 'all copies are read', () => pending === 0);
  world.check(pending === 0, () => `${pending} copies were not read`);
}

function reach(cluster: Cluster, limitMs: number, what: string, until: () => boolean): void {
  const world: World = cluster.world;
  const limit = world.now + limitMs;
  // Checked on a timer, so that it costs nothing per event.
  let reached = false;
  const poll = (): void => {
    reached = until();
    if (!reached && world.now < limit) world.schedule(20, poll);
  };
  poll();
  world.run(limit, () => reached);
  world.check(reached, () => `${what}: not within ${limitMs} ms\n${describeCluster(cluster)}`);
}

function isEstablished(cluster: Cluster): boolean {
  return cluster.ghosts.every(({ partition }) => cluster.invariants.record(partition)?.established === true);
}

/** Whether a value is still there although its time has passed by every clock, and by more than what is allowed. */
function isLate({ nodes, ghosts }: Cluster): boolean {
  const clock = Math.min(...nodes.map(({ wallMs }) => wallMs)) - EXPIRY_LATE_MS;
  return ghosts.some((ghost) => ghost.hasOlder(clock));
}

function isLevel(cluster: Cluster): boolean {
  return cluster.ghosts.every(({ partition, length }) => {
    const record = cluster.invariants.record(partition);
    if (record === null || !record.established) return false;
    return record.voters.every((voter) => {
      const node = cluster.nodes.find(({ id }) => id === voter.node);
      const report = node?.core?.reportAll().find((found) => found.replica === voter.id);
      return report?.appliedIndex === length;
    });
  });
}

/**
 * Whether the moves have come to an end: nothing is under way, and, unless somebody has aborted the plan, or nobody has asked for one,
 * nothing would be planned anew, every partition has the voters that are wanted, and none is on a node that leaves without being told
 * to be stuck.
 */
function isBalanced(cluster: Cluster): boolean {
  const { controllers, ghosts, invariants, nodeRecords } = cluster;
  const running = controllers.find(({ running: runs }) => runs);
  const status = running?.rebalance();
  const topology = running?.topology();
  if (!status || !topology || status.state === 'running' || status.state === 'aborting') return false;
  const records = ghosts.map(({ partition }) => invariants.record(partition));
  if (records.some((record) => record === null || !record.established || record.learners.length > 0))
    return false;
  if (status.state === 'aborted' || topology.moves?.automatic === false) return true;
  if (running!.preview() > 0) return false;
  const stuck = new Set(status.stuck.map(({ partition, node }) => `${partition} ${node}`));
  return records.every(
    (record) =>
      record!.voters.length === topology.replicationFactor &&
      record!.voters.every(
        ({ node }) =>
          nodeRecords.get(node)?.membership !== 'NODE_LEAVING' || stuck.has(`${record!.partition} ${node}`),
      ),
  );
}

function describeCluster(cluster: Cluster): string {
  const lines = [...cluster.controllers, ...cluster.routers].map((process) => process.describe());
  for (const { partition, length } of cluster.ghosts) {
    lines.push(
      `p${partition}: ${length} committed, record ${JSON.stringify(cluster.invariants.record(partition))}`,
    );
  }
  for (const node of cluster.nodes) {
    lines.push(`${node.id}: ${node.running ? '' : 'down '}${node.paused ? 'paused ' : ''}boot ${node.boot}`);
    for (const report of node.core?.reportAll() ?? []) lines.push(`  ${JSON.stringify(report)}`);
  }
  return lines.join('\n');
}
