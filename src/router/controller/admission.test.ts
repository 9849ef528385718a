import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';
import type { Controller } from './controller.ts';
import type { Effects } from './types.ts';

const KEY = 'node/n2' as const;

/** A settled cluster, its controller, and attachments of n2 by hand. */
function begin() {
  const cluster = new ScriptedCluster(['n1', 'n2', 'n3'], 3);
  const { controller } = cluster.start();
  cluster.until('first leaders', () => cluster.settled());
  const attach = (incarnation: string, runs: readonly string[], durableLsn = 0): Effects => {
    const place = { address: 'n2:1', clientAddress: 'n2:2', zone: 'n2', pid: 1 };
    const register = { ...place, admittedBoot: 0, runs, durableLsn, joins: false };
    const rest = { clusterId: '', reports: [], knownTopology: null };
    controller.nodeAttached(cluster.now, 'n2', { incarnation, boot: 1, register, ...rest });
    return controller.take();
  };
  return { cluster, controller, attach };
}

function storedNode(controller: Controller) {
  return controller.topology().nodes.find(({ id }) => id === 'n2')!;
}

/** The runs that these effects write down. */
function writtenRuns({ cas }: Effects): unknown[] {
  return cas.flatMap(({ changes }) => changes.map(({ entry }) => (entry.value as { run?: string }).run));
}

describe('a node that attaches', () => {
  it('is refused with an old copy of its directory, whose run is never named', () => {
    const { cluster, controller, attach } = begin();
    const { incarnation, run } = storedNode(controller);
    for (const runs of [['c1'], ['c1', 'c2']]) {
      const effects = attach(incarnation, runs, 9);
      expect(effects.rejections).toMatchObject([{ node: 'n2', code: 'ROLLED_BACK' }]);
      expect(writtenRuns(effects)).toEqual([]);
    }
    // A run that goes on from the one that is named, but whose WAL is shorter than it was.
    attach(incarnation, [run], 9);
    const disk = { diskBytes: 0, diskFull: false, durableLsn: 20, figures: [] };
    const heartbeat = { sequence: 1, draining: false, ...disk };
    controller.nodeMessage(cluster.now, 'n2', { heartbeat });
    const regressed = attach(incarnation, [run, 'r2'], 19);
    expect(regressed.rejections).toMatchObject([{ node: 'n2', code: 'ROLLED_BACK' }]);
    const goesOn = attach(incarnation, [run, 'r2', 'r3'], 20);
    expect(goesOn.rejections).toEqual([]);
    expect(writtenRuns(goesOn)).toEqual(['r3']);
  });

  it('is refused with an old copy also while its record is being written', () => {
    const { controller, attach } = begin();
    const { incarnation, run } = storedNode(controller);
    expect(writtenRuns(attach(incarnation, [run, 'r2']))).toEqual(['r2']);
    expect(attach(incarnation, ['c1']).rejections).toMatchObject([{ node: 'n2', code: 'ROLLED_BACK' }]);
  });

  it('has to attach again once another directory of it has been admitted, and whoever does is named', () => {
    const { cluster, controller, attach } = begin();
    const [writing] = attach('a', ['a1']).cas;
    // Its process is gone, which is not noticed here; another controller has admitted the next directory.
    const { revision } = cluster.store.read([KEY])[0]!;
    const entry = {
      key: KEY,
      revision: revision + 1,
      value: { ...storedNode(controller), incarnation: 'b', run: 'b1' },
    };
    controller.storeChanged(cluster.now, entry);
    controller.casResult(cluster.now, writing!.tag, 'conflict');
    const asked = controller.take();
    for (const { tag } of asked.reads) controller.readResult(cluster.now, tag, [entry]);
    const overtaken = controller.take();
    const rejections = [...asked.rejections, ...overtaken.rejections];
    expect(rejections).toMatchObject([{ node: 'n2', code: 'UNAVAILABLE' }]);
    expect(writtenRuns(overtaken)).not.toContain('a1');
    const named = attach('b', ['b1']);
    expect([named.rejections, writtenRuns(named)]).toEqual([[], []]);
    const next = attach('a', ['a1', 'a2']);
    expect([next.rejections, writtenRuns(next)]).toEqual([[], ['a2']]);
  });
});
