/**
 * What a run does with a cluster that runs already (running-cluster.ts): it waits until others have put right what its faults did,
 * works in a keyspace of its own, and deletes that at the end.
 * INVARIANT: nothing is done to a cluster that is not whole before.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { assert, RingkeepError } from '../common/errors.ts';
import { badReplicas } from '../common/scrub.ts';
import type { PartitionScrub } from '../common/wire/admin-messages.ts';
import { eventually } from './process.ts';
import type { RunningCluster, RunningMember } from './running-cluster.ts';
import type { ClusterSize, Comparison, Recovery, Target } from './target.ts';
import { emptyKeyspace } from './workload/space.ts';

/** A cluster that is not whole within this at the beginning is left alone, and at the end not compared, ms. */
const WHOLE_MS = 15_000;
/** The replicas are compared for no longer, ms: others' data may be large. */
const COMPARE_MS = 60_000;
const POLL_MS = 100;

/** Waits for others. */
class RunningRecovery implements Recovery {
  private readonly cluster: RunningCluster;
  /** The lives that are accounted for. */
  private readonly runs = new Map<RunningMember, string>();

  constructor(cluster: RunningCluster) {
    this.cluster = cluster;
    this.unexplained();
  }

  /** Which processes a fault has ended is known to the cluster. */
  begins(): void {}

  unexplained(): string[] {
    const findings: string[] = [];
    for (const member of [this.cluster.router, ...this.cluster.nodes]) {
      const former = this.runs.get(member) ?? member.run;
      if (former !== member.run && !member.asked)
        findings.push(`${member.name} is another process than before, and no fault of this run has ended it`);
      this.runs.set(member, member.run);
      member.asked = false;
    }
    return findings;
  }

  async whole(timeoutMs: number): Promise<number> {
    const start = performance.now();
    await eventually(
      'a whole cluster',
      async (missing) => {
        const whole = await this.cluster.ifWhole(missing);
        if (whole === null) await delay(POLL_MS);
        return whole;
      },
      timeoutMs,
    );
    return performance.now() - start;
  }

  /** Nothing is damaged in a cluster that is somebody else's, and so nothing is looked for. */
  async scrub(): Promise<number> {
    assert(false, 'no fault destroys anything of a cluster that runs already');
  }
}

/** Returns what a scrub has found of a partition; null: nothing is wrong. */
function problemOf(scrub: PartitionScrub): string | null {
  const { partition, state } = scrub;
  const bad = badReplicas(scrub).map(({ node }) => node);
  if (bad.length > 0) return `partition ${partition}: ${bad.join(', ')} differs from the others`;
  return state === 'SCRUB_NO_QUORUM' ? `partition ${partition}: no quorum of its replicas agrees` : null;
}

/**
 * Compares all replicas by a scrub, each partition as of one entry of its log: others may write meanwhile. What could not be decided
 * is tried again as long as there is time.
 */
async function compareAll(cluster: RunningCluster): Promise<Comparison> {
  const until = performance.now() + COMPARE_MS;
  const found = new Map<number, PartitionScrub>();
  const { records } = await cluster.topology();
  const isOpen = ({ partition }: { readonly partition: number }): boolean => {
    const scrub = found.get(partition);
    return scrub === undefined || (scrub.state !== 'SCRUB_AGREED' && problemOf(scrub) === null);
  };
  let run = 0;
  while (performance.now() < until && records.some(isOpen)) {
    try {
      const open = records.filter(isOpen).map(({ partition }) => partition);
      const reply = await cluster.scrub({ run, partitions: run === 0 ? open : [] });
      for (const scrub of reply.partitions) found.set(scrub.partition, scrub);
      run = reply.partitions.some(({ state }) => state === 'SCRUB_RUNNING') ? reply.run : 0;
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      run = 0;
    }
    await delay(POLL_MS);
  }
  const texts = [...found.values()].map(problemOf).filter((text) => text !== null);
  const problems = texts.map((text) => ({ key: null, text }));
  return { problems, open: records.filter(isOpen).length };
}

class RunningTarget implements Target<RunningCluster> {
  readonly cluster: RunningCluster;
  readonly recovery: RunningRecovery;
  readonly size: ClusterSize;
  readonly keyspace = `chaos-${randomBytes(6).toString('hex')}`;
  readonly directory = '';
  private begun = false;
  private ended: Promise<string> | null = null;

  constructor(cluster: RunningCluster, size: ClusterSize) {
    this.cluster = cluster;
    this.recovery = new RunningRecovery(cluster);
    this.size = size;
  }

  async begin(): Promise<void> {
    try {
      await this.recovery.whole(WHOLE_MS);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      const text = `the cluster is not whole, and was left alone: ${error.message}`;
      throw new RingkeepError('NOT_READY', text, 'not_applied', { cause: error });
    }
    this.begun = true;
  }

  /** There is nothing of this run between the processes. */
  heal(): void {}

  async compare(): Promise<Comparison> {
    try {
      await this.recovery.whole(WHOLE_MS);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      // Of replicas that are away nothing is said; that they are was found before.
      return { problems: [], open: this.size.partitions };
    }
    return compareAll(this.cluster);
  }

  end(): Promise<string> {
    this.ended ??= this.leave();
    return this.ended;
  }

  private async leave(): Promise<string> {
    this.cluster.release();
    if (!this.begun) return '';
    try {
      await emptyKeyspace(this.cluster.url, this.keyspace);
      return '';
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      return `keys of this run are left in the keyspace ${this.keyspace}: ${error.code}: ${error.message}`;
    }
  }
}

/** Makes a cluster that runs already ready for a run. */
export async function runningTarget(cluster: RunningCluster): Promise<Target<RunningCluster>> {
  const { nodes, partitions, replicationFactor } = await cluster.topology();
  return new RunningTarget(cluster, { nodes: nodes.length, partitions, replicationFactor });
}
