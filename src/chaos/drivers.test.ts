/** Which faults are possible where. */
import { describe, expect, it } from 'vitest';
import { DRIVERS, RUNNING_DRIVERS } from './drivers.ts';
import type { RunningCluster } from './running-cluster.ts';

interface Process {
  readonly name: string;
  readonly running: boolean;
  readonly missing: string;
}

function clusterOf(
  router: Process,
  nodes: readonly Process[],
  addresses = ['127.0.0.1:7400'],
): RunningCluster {
  return { router, nodes, addresses } as unknown as RunningCluster;
}

function possible(cluster: RunningCluster): string[] {
  return RUNNING_DRIVERS.filter((driver) => driver.missing(cluster) === null).map(({ kind }) => kind);
}

const here = (name: string): Process => ({ name, running: true, missing: '' });
const away = (name: string): Process => ({ name, running: false, missing: `${name} is on another machine` });
const CLIENTS = ['flood', 'slow-reader', 'half-open-clients'];

describe('faults of a cluster that runs already', () => {
  it('are among those of an own cluster, with the same family', () => {
    for (const { kind, family } of RUNNING_DRIVERS)
      expect(DRIVERS.find((driver) => driver.kind === kind)).toMatchObject({ kind, family });
    expect(RUNNING_DRIVERS.filter(({ planned }) => planned).map(({ kind }) => kind)).toEqual(['terminate']);
  });

  it('take no data and make no links', () => {
    expect(RUNNING_DRIVERS.filter(({ destroys }) => destroys === true)).toEqual([]);
    expect(new Set(RUNNING_DRIVERS.map(({ family }) => family))).toEqual(new Set(['process', 'clients']));
  });

  it('are those of clients where every process is elsewhere, and say so', () => {
    const cluster = clusterOf(away('r1'), [away('n1'), away('n2')]);
    expect(possible(cluster)).toEqual(CLIENTS);
    const pause = RUNNING_DRIVERS.find(({ kind }) => kind === 'pause')!;
    expect(pause.missing(cluster)).toBe('n1 is on another machine; n2 is on another machine');
  });

  it('hit processes where one of them is here', () => {
    const nodes = [away('n1'), here('n2')];
    expect(possible(clusterOf(away('r1'), nodes))).toEqual(['kill', 'terminate', 'pause', ...CLIENTS]);
    expect(possible(clusterOf(here('r1'), nodes))).toEqual([
      'kill',
      'kill-router',
      'terminate',
      'pause',
      ...CLIENTS,
    ]);
  });

  it('leave the router alone where there are several', () => {
    const cluster = clusterOf(here('r1'), [away('n1')], ['127.0.0.1:7400', '127.0.0.1:7401']);
    expect(possible(cluster)).toEqual(CLIENTS);
  });
});
