import { afterEach, describe, expect, it } from 'vitest';
import { until as untilIn } from '../../test/support/wire.ts';
import { RingkeepError } from '../common/errors.ts';
import { blankScrub } from '../common/scrub.ts';
import type { NodeRecord, PartitionRecord, Topology } from '../common/topology.ts';
import type { PartitionScrub, ScrubReply } from '../common/wire/admin-messages.ts';
import type { ScrubOrder } from '../common/wire/contract.ts';
import { ClusterScrubs, type ScrubSurroundings } from './cluster-scrubs.ts';

const NODES = ['n1', 'n2', 'n3'];
const opened: ClusterScrubs[] = [];
afterEach(() => {
  for (const scrubs of opened.splice(0)) scrubs.stop();
});

function recordOf(partition: number, leader: string | null): PartitionRecord {
  return {
    ...{
      partition,
      revision: 1,
      epoch: 1,
      reservationId: '',
      configuration: 1,
      led: true,
      established: true,
    },
    ...{
      voters: NODES.map((node) => ({ id: `${node}-${partition}`, node })),
      previousVoters: [],
      learners: [],
    },
    leader: leader === null ? null : { replica: `${leader}-${partition}`, node: leader, boot: 1 },
  };
}

/** Nodes that answer what a test tells them to. */
class FakeCluster {
  records: PartitionRecord[];
  readonly asked: { node: string; order: ScrubOrder }[] = [];
  /** By node, then partition; a function may throw. */
  answers = new Map<string, (partition: number) => Partial<PartitionScrub>>();
  readonly scrubs: ClusterScrubs;
  readonly #runs = new Map<number, readonly number[]>();

  constructor(leaders: readonly (string | null)[], more: Partial<ScrubSurroundings> = {}) {
    this.records = leaders.map((leader, partition) => recordOf(partition, leader));
    this.scrubs = new ClusterScrubs({
      topology: () => this.topology(),
      unavailable: () => new Map([[9, 'its voters are dead']]),
      ask: (node, order) => this.#ask(node.id, order),
      ...{ pollMs: 1, ...more },
    });
    opened.push(this.scrubs);
  }

  topology(): Topology {
    const nodes = NODES.map((id) => ({ id }) as NodeRecord);
    const { records } = this;
    const partitions = records.length;
    return { clusterId: 'c', revision: 1, partitions, replicationFactor: 3, full: true, nodes, records };
  }

  async #ask(node: string, order: ScrubOrder): Promise<ScrubReply> {
    this.asked.push({ node, order });
    const run = order.run === 0 ? this.asked.length : order.run;
    if (order.run === 0) this.#runs.set(run, order.partitions);
    const answer = this.answers.get(node) ?? (() => ({ state: 'SCRUB_AGREED' as const }));
    const partitions = this.#runs.get(run);
    if (partitions === undefined) throw new RingkeepError('INVALID_ARGUMENT', 'no such run');
    return {
      run,
      partitions: partitions.map((partition) => ({ ...blankScrub(partition), ...answer(partition) })),
    };
  }

  /** Forgets its runs, as a node that is started again. */
  forget(): void {
    this.#runs.clear();
  }

  /** Begins a run; returns how its partitions stand, now and later. */
  begin(partitions: readonly number[] = []): () => readonly PartitionScrub[] {
    const { run } = this.scrubs.answer({ run: 0, partitions });
    return () => this.scrubs.answer({ run, partitions: [] }).partitions;
  }
}

/** Waits, but not for ever. */
function until(condition: () => boolean): Promise<void> {
  return untilIn(condition, 'the scrubs', 10_000);
}

const ended = (scrubs: readonly PartitionScrub[]): boolean =>
  scrubs.every(({ state }) => state !== 'SCRUB_RUNNING');

describe('a scrub of the cluster', () => {
  it('asks every leader once for all that it leads, and follows it to its end', async () => {
    const cluster = new FakeCluster(['n1', 'n2', 'n1', 'n3']);
    let running = true;
    cluster.answers.set('n2', () => ({ state: running ? 'SCRUB_RUNNING' : 'SCRUB_AGREED', bytes: 5 }));
    const told = cluster.begin();
    expect(told().map(({ state }) => state)).toEqual(Array(4).fill('SCRUB_RUNNING'));
    await until(() => told().filter(({ state }) => state === 'SCRUB_AGREED').length === 3);
    expect(told()[1]).toMatchObject({ state: 'SCRUB_RUNNING', bytes: 5 });
    running = false;
    await until(() => ended(told()));
    const begun = cluster.asked.filter(({ order }) => order.run === 0);
    expect(begun.map(({ node, order }) => [node, order.partitions])).toEqual([
      ['n1', [0, 2]],
      ['n2', [1]],
      ['n3', [3]],
    ]);
  });

  it('asks the next leader where one has changed, and a node again that has been restarted', async () => {
    const cluster = new FakeCluster(['n1', 'n2']);
    let restarted = false;
    cluster.answers.set('n1', () => ({ state: 'SCRUB_UNAVAILABLE', reason: 'this node does not lead it' }));
    cluster.answers.set('n2', () => ({ state: restarted ? 'SCRUB_AGREED' : 'SCRUB_RUNNING' }));
    const told = cluster.begin();
    await until(() => cluster.asked.length > 8);
    expect(told()[0]).toMatchObject({ state: 'SCRUB_RUNNING', reason: 'this node does not lead it' });
    cluster.records = [recordOf(0, 'n3'), recordOf(1, 'n2')];
    await until(() => told()[0]!.state === 'SCRUB_AGREED');
    cluster.forget();
    restarted = true;
    await until(() => ended(told()));
    expect(told().map(({ state }) => state)).toEqual(['SCRUB_AGREED', 'SCRUB_AGREED']);
  });

  it('asks again for what is undecided, and takes the third answer', { timeout: 20_000 }, async () => {
    const cluster = new FakeCluster(['n1', 'n2']);
    let asked = 0;
    cluster.answers.set('n1', () => ({ state: 'SCRUB_UNDECIDED', reason: 'no answer from n3' }));
    cluster.answers.set('n2', () => ({ state: ++asked === 1 ? 'SCRUB_UNDECIDED' : 'SCRUB_AGREED' }));
    const told = cluster.begin();
    await until(() => ended(told()));
    expect(told()).toMatchObject([
      { state: 'SCRUB_UNDECIDED', reason: 'no answer from n3' },
      { state: 'SCRUB_AGREED' },
    ]);
    expect(cluster.asked.filter(({ node }) => node === 'n1')).toHaveLength(3);
  });

  it('gives up a partition that nobody leads, or whose leader does not answer', async () => {
    const cluster = new FakeCluster(['n1', 'n2', null], { leaderlessMs: 50 });
    cluster.answers.set('n2', () => {
      throw new RingkeepError('UNAVAILABLE', 'refused');
    });
    const told = cluster.begin();
    await until(() => ended(told()));
    expect(told()).toMatchObject([
      { state: 'SCRUB_AGREED' },
      { state: 'SCRUB_UNAVAILABLE', reason: 'n2 does not answer: UNAVAILABLE: refused' },
      { state: 'SCRUB_UNAVAILABLE', reason: 'it has no leader' },
    ]);
  });

  it('says that a leader speaks an earlier protocol, and goes on where that has changed in time', async () => {
    const cluster = new FakeCluster(['n1', 'n2'], { leaderlessMs: 300 });
    const older = (): never => {
      throw new RingkeepError('VERSION_MISMATCH', 'this call is part of 2');
    };
    for (const node of ['n1', 'n2']) cluster.answers.set(node, older);
    const told = cluster.begin();
    const reason = 'n1 speaks an earlier protocol, without scrubs on demand';
    await until(() => told()[0]!.reason === reason);
    expect(told()[0]!.state).toBe('SCRUB_RUNNING');
    cluster.answers.delete('n2');
    await until(() => ended(told()));
    expect(told()).toMatchObject([{ state: 'SCRUB_UNAVAILABLE', reason }, { state: 'SCRUB_AGREED' }]);
  });

  it('says when what was found bad votes no more, and the voters are complete again', async () => {
    const cluster = new FakeCluster(['n1']);
    const bad = { id: 'n2-0', node: 'n2' };
    cluster.answers.set('n1', () => ({ state: 'SCRUB_DAMAGED', damaged: [bad], voters: 3 }));
    const told = cluster.begin();
    await until(() => ended(told()));
    const repaired = (change: Partial<PartitionRecord>): boolean => {
      cluster.records = [{ ...recordOf(0, 'n1'), ...change }];
      return told()[0]!.repaired;
    };
    const [one, , three] = recordOf(0, 'n1').voters;
    const others = [one!, three!, { id: 'n2-again', node: 'n2' }];
    expect(repaired({})).toBe(false);
    expect(repaired({ voters: [one!, three!] })).toBe(false);
    expect(repaired({ voters: others, previousVoters: recordOf(0, 'n1').voters })).toBe(false);
    expect(repaired({ voters: others, established: false })).toBe(false);
    expect(repaired({ voters: others })).toBe(true);
  });

  it('tells of damage that was met while it was under way, whoever leads at the end', {
    timeout: 20_000,
  }, async () => {
    const cluster = new FakeCluster(['n1', 'n2', null], { leaderlessMs: 2_000 });
    const [of0, of1, of2] = [0, 1, 2].map((partition) => ({ id: `n3-${partition}`, node: 'n3' }));
    cluster.scrubs.meetDamage(0, { id: 'before', node: 'n3' });
    let state: PartitionScrub['state'] = 'SCRUB_UNDECIDED';
    cluster.answers.set('n1', () => ({ state }));
    cluster.answers.set('n2', () => ({ state: 'SCRUB_DAMAGED', damaged: [of1!], voters: 3 }));
    const told = cluster.begin();
    await until(() => cluster.asked.some(({ node }) => node === 'n1'));
    for (const [partition, replica] of [of0, of1, of2].entries())
      cluster.scrubs.meetDamage(partition, replica!);
    state = 'SCRUB_AGREED';
    await until(() => ended(told()));
    cluster.scrubs.meetDamage(0, { id: 'afterwards', node: 'n3' });
    expect(told()).toMatchObject([
      { state: 'SCRUB_DAMAGED', damaged: [of0] },
      { state: 'SCRUB_DAMAGED', damaged: [of1] },
      { state: 'SCRUB_DAMAGED', damaged: [of2], reason: 'it has no leader' },
    ]);
  });

  it('refuses partitions and runs that there are not, and too many runs', () => {
    const cluster = new FakeCluster([null]);
    expect(() => cluster.begin([1])).toThrow('there is no partition 1');
    expect(() => cluster.scrubs.answer({ run: 7, partitions: [] })).toThrow('knows of no scrub 7');
    for (let run = 0; run < 16; run += 1) cluster.begin();
    expect(() => cluster.begin()).toThrow('16 scrubs are under way');
  });
});
