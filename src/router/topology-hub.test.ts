import { describe, expect, it } from 'vitest';
import { partitionRecord, topologyOf } from '../../test/support/router.ts';
import type { Topology } from '../common/topology.ts';
import type { TopologyPush } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { TopologyHub } from './topology-hub.ts';

const PEER = { hello: makeHello({ role: 'client' }), protocol: 1, remote: '' };

class FakePush implements TopologyPush {
  readonly sent: Topology[] = [];
  bufferedBytes = 0;
  send(topology: Topology): void {
    this.sent.push(topology);
  }
  fail(): void {}
  close(): void {}
}

function change(revision: number): Topology {
  return { ...topologyOf([], [partitionRecord(0, 'n1', revision)], revision), full: false };
}

describe('TopologyHub', () => {
  it('refuses watchers before there is a topology', () => {
    const hub = new TopologyHub(() => null);
    expect(() => hub.onWatch(PEER, new FakePush())).toThrow('not formed yet');
    expect(hub.watchers).toBe(0);
  });

  it('sends the full topology, then every change, until the watcher ends', () => {
    const hub = new TopologyHub(() => topologyOf([], [], 1));
    const push = new FakePush();
    const sink = hub.onWatch(PEER, push);
    hub.broadcast(change(2));
    hub.broadcast(change(3));
    sink.onEnd();
    hub.broadcast(change(4));
    expect(push.sent.map(({ full, revision }) => [full, revision])).toEqual([
      [true, 1],
      [false, 2],
      [false, 3],
    ]);
  });

  it('sends a watcher that is behind nothing, and then one full topology', () => {
    let revision = 1;
    const hub = new TopologyHub(() => topologyOf([], [], revision));
    const slow = new FakePush();
    hub.onWatch(PEER, slow);
    slow.bufferedBytes = 2 * 1024 * 1024;
    for (revision = 2; revision < 100; revision += 1) hub.broadcast(change(revision));
    hub.tick();
    expect(slow.sent).toHaveLength(1);
    slow.bufferedBytes = 0;
    hub.broadcast(change(100));
    expect(slow.sent).toHaveLength(1);
    hub.tick();
    hub.broadcast(change(101));
    expect(slow.sent.map(({ full, revision: at }) => [full, at])).toEqual([
      [true, 1],
      [true, 100],
      [false, 101],
    ]);
  });
});
