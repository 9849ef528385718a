import { it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';
import { createRandom, type Random } from '../../common/random.ts';

const SEEDS = Number(process.env.RINGKEEP_WALKS ?? 8);
const FIRST = Number(process.env.RINGKEEP_SEED ?? 1);

/** Random faults for a while; disks are lost only one replica at a time, from settled states. */
class Walk {
  private readonly random: Random;
  private readonly cluster: ScriptedCluster;
  private readonly ids: readonly string[];
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
    this.random = createRandom(seed);
    this.ids = Array.from({ length: 3 + this.random.integer(3) }, (_, index) => `n${index + 1}`);
    this.cluster = new ScriptedCluster(this.ids, 3);
    this.cluster.start({}, seed);
  }

  run(rounds: number): void {
    const { cluster, random } = this;
    cluster.until('first leaders', () => cluster.settled());
    let backup = cluster.store.all();
    for (let round = 0; round < rounds; round += 1) {
      cluster.write(random.integer(3), 1 + random.integer(2));
      this.fault();
      cluster.run(20 * (1 + random.integer(40)));
      if (random.integer(20) === 0) backup = cluster.store.all();
      if (random.integer(60) === 0) this.forget(random.integer(2) === 0 ? [] : backup);
    }
    this.heal();
    cluster.until(`seed ${this.seed} settles`, () => cluster.settled(), 180_000);
    for (let partition = 0; partition < 3; partition += 1) cluster.write(partition);
    const commits = (): boolean =>
      cluster.isQuiet() &&
      cluster.store.records().every((record) => {
        if (!cluster.isServed(record)) return false;
        const { commitIndex, log } = cluster.replica(record.leader!.node, record.partition);
        return commitIndex === log.length;
      });
    cluster.until(`seed ${this.seed} commits`, commits, 60_000);
  }

  /** The store loses its newest writes; controllers die with it. */
  private forget(entries: ReturnType<ScriptedCluster['store']['all']>): void {
    this.cluster.stopControllers();
    this.cluster.store.restore(entries);
    this.startController();
  }

  private startController(): void {
    this.cluster.start({}, 1 + this.random.integer(2 ** 31));
  }

  private fault(): void {
    const { cluster, random } = this;
    const node = cluster.node(this.ids[random.integer(this.ids.length)]!);
    const faults: (() => void)[] = [
      () => (node.up ? this.stop(node.id) : node.restart()),
      () => node.restart(),
      () => this.lose(node.id),
      () => this.restoreLinks(),
      () => this.cut(node.id),
      () => {
        node.deaf = !node.deaf;
      },
      () => {
        node.stalled = !node.stalled;
      },
      () => {
        node.draining = !node.draining;
      },
      () => this.dropMessages(),
      () => this.upsetStore(),
      () => this.changeControllers(),
      () => this.move(),
    ];
    faults[random.integer(faults.length)]!();
  }

  private stop(id: string): void {
    this.cluster.node(id).up = false;
  }

  /** Wipes a node or damages one of its replicas, if every partition can bear it. */
  private lose(id: string): void {
    const { cluster, random } = this;
    const whole = [...cluster.nodes.values()].every((node) => node.up && !node.stalled);
    if (!whole || !cluster.settled()) return;
    const held = cluster.store.records().every((record) =>
      record.voters.every(({ id: replica, node }) => {
        const own = cluster.node(node).replicas.get(record.partition);
        return (
          own?.id === replica && !own.damaged && own.log.length >= cluster.committedCount(record.partition)
        );
      }),
    );
    if (!held) return;
    const node = cluster.node(id);
    if (random.integer(2) === 0) {
      node.wipe();
      node.restart();
    } else {
      for (const replica of node.replicas.values()) if (random.integer(2) === 0) replica.damaged = true;
    }
  }

  private cut(id: string): void {
    const oneWay = this.random.integer(2) === 0;
    this.cluster.linked = (a, b) => (oneWay ? a !== id : a !== id && b !== id);
  }

  private restoreLinks(): void {
    this.cluster.linked = () => true;
    this.cluster.passes = () => true;
    this.cluster.store.script = () => 'ok';
  }

  private dropMessages(): void {
    const { random } = this;
    this.cluster.passes = () => random.integer(3) > 0;
  }

  private upsetStore(): void {
    const { random } = this;
    this.cluster.store.script = () => (['ok', 'ok', 'lost', 'landed'] as const)[random.integer(4)]!;
  }

  private changeControllers(): void {
    const { cluster, random } = this;
    const run = cluster.runs[random.integer(cluster.runs.length)];
    if (run !== undefined && random.integer(2) === 0) run.paused = !run.paused;
    else if (cluster.runs.length < 3) this.startController();
    else cluster.stopControllers();
    if (cluster.runs.length === 0) this.startController();
  }

  private move(): void {
    const { cluster, random } = this;
    const partition = random.integer(3);
    const record = cluster.store.records().find((one) => one.partition === partition);
    const voter = record?.voters[random.integer(record.voters.length)];
    const to = this.ids[random.integer(this.ids.length)]!;
    if (voter !== undefined) cluster.runs[0]?.controller.moveVoter(partition, voter.id, to);
  }

  private heal(): void {
    const { cluster } = this;
    this.restoreLinks();
    for (const node of cluster.nodes.values()) {
      node.deaf = false;
      node.stalled = false;
      node.draining = false;
      if (!node.up) node.restart();
    }
    for (const run of cluster.runs) run.paused = false;
  }
}

it(`loses nothing committed and settles again after random faults (${SEEDS} walks)`, () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed += 1) {
    try {
      new Walk(seed).run(120);
    } catch (error) {
      throw new Error(`RINGKEEP_SEED=${seed} RINGKEEP_WALKS=1 repeats this`, { cause: error });
    }
  }
});
