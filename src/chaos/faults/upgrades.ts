/**
 * Rolling upgrades: all processes go back to the protocol version before one after the other, and forward again, as in
 * docs/UPGRADES.md. Meanwhile the cluster is mixed in most of the ways in which it can be.
 * INVARIANT: when it is over every process speaks the present version, or is not running and will when it is started.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import { PROTOCOL_MAX } from '../../common/limits.ts';
import type { ProcessCluster } from '../cluster.ts';
import { ANYWHERE, type FaultDriver } from '../fault.ts';
import { type ClusterProcess, eventually, STEP_MS } from '../process.ts';

const EARLIER = PROTOCOL_MAX - 1;
const CONFIRM_MS = 10_000;
const STARTS_MAX = 3;

/** Starts a process unless something else has. One that refuses to, for a fault beside this one, is tried again. */
async function start(process: ClusterProcess): Promise<void> {
  for (let tries = 1; !process.running; tries += 1) {
    try {
      await process.start();
    } catch (error) {
      if (!(error instanceof RingkeepError) || tries >= STARTS_MAX) throw error;
    }
  }
}

/** The way of a cluster to an earlier version and back. */
class RollingUpgrade {
  private readonly cluster: ProcessCluster;
  /** Processes that start with the earlier version, and what ends that. */
  private readonly held = new Map<ClusterProcess, () => void>();
  private readonly pids = new Map<string, number[]>();
  private ended = false;

  constructor(cluster: ProcessCluster) {
    this.cluster = cluster;
    for (const { name, pid } of cluster.processes) this.pids.set(name, [pid]);
  }

  /** Goes there and back, or as far as it comes; resolves with what has shown it. */
  async run(holdMs: number): Promise<string> {
    const { router, nodes } = this.cluster;
    try {
      for (const process of [router, ...nodes]) await this.move(process, EARLIER);
      await delay(holdMs);
      for (const process of [...nodes, router]) await this.move(process, PROTOCOL_MAX);
    } catch (error) {
      const moved = [...this.pids].filter(([, pids]) => pids.length > 1).map(([name]) => name);
      if (!(error instanceof RingkeepError) || error.code !== 'NOT_READY' || moved.length === 0) throw error;
      return `${EARLIER} was spoken by ${moved.join(', ')}; then: ${error.message}`;
    }
    const lives = [...this.pids].map(([name, pids]) => `${name} ${pids.join(' ')}`).join(', ');
    return `each has spoken ${EARLIER}, and ${PROTOCOL_MAX} again: ${lives}`;
  }

  private async move(process: ClusterProcess, protocol: number): Promise<void> {
    if (this.ended) throw new RingkeepError('CANCELLED', 'the upgrade was ended');
    await this.restart(process, protocol);
    this.pids.get(process.name)?.push(process.pid);
    await this.cluster.whenHealthy(STEP_MS);
  }

  /** Starts a process again in good order, and waits until it says that it speaks this version. */
  private async restart(process: ClusterProcess, protocol: number): Promise<void> {
    this.release(process);
    if (protocol < PROTOCOL_MAX) {
      const flag = ['--protocol-max', `${protocol}`];
      const leave = process.surround((launch) => ({ ...launch, args: [...launch.args, ...flag] }));
      this.held.set(process, leave);
    }
    await process.end();
    await start(process);
    await eventually(
      `${process.name} to speak ${protocol}`,
      async (missing) => {
        const found = await this.cluster.protocolOf(process).catch((error: unknown) => String(error));
        return found === protocol ? true : missing(`${found}`);
      },
      CONFIRM_MS,
    );
  }

  private release(process: ClusterProcess): void {
    this.held.get(process)?.();
    this.held.delete(process);
  }

  /** Lets it go no further, and brings whatever is not at the present version there. */
  async undo(lane: Promise<unknown>): Promise<void> {
    this.ended = true;
    await lane.catch(() => {});
    const { router, nodes } = this.cluster;
    const left = [...nodes, router].filter((process) => this.held.has(process));
    // Whatever starts one of them from here on, as its own fault is undone, starts it so.
    for (const process of left) this.release(process);
    for (const process of left) {
      await this.restart(process, PROTOCOL_MAX).catch(() => {});
      await this.cluster.whenHealthy(STEP_MS).catch(() => {});
    }
  }
}

const upgrade: FaultDriver = {
  kind: 'rolling-upgrade',
  family: 'process',
  group: 'restart',
  planned: true,
  text: `SIGTERM to all processes one after the other, each started again with protocol ${EARLIER}; then again with ${PROTOCOL_MAX}`,
  missing: ANYWHERE,
  inject: async ({ cluster, holdMs }) => {
    const way = new RollingUpgrade(cluster);
    const confirmed = way.run(holdMs / 2);
    confirmed.catch(() => {});
    let undone: Promise<void> | null = null;
    const undo = (): Promise<void> => {
      undone ??= way.undo(confirmed);
      return undone;
    };
    return { target: `all processes, to ${EARLIER} and back`, cutOff: [], confirmed, undo };
  },
};

/** Every fault of versions. */
export const UPGRADE_FAULTS: readonly FaultDriver[] = [upgrade];
