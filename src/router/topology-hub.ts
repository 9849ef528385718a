/**
 * TopologyService.Watch on a router: every watcher gets the full topology first, then the changes.
 * INVARIANT: a slow watcher costs at most BEHIND_BYTES and one message: while it is behind, changes are not queued for it;
 * once it has caught up it gets the newest full topology, which carries everything that it missed.
 */
import { RingkeepError } from '../common/errors.ts';
import type { Topology } from '../common/topology.ts';
import type { EndSink, Peer, TopologyHandler, TopologyPush } from '../common/wire/contract.ts';

/** Unread bytes from which on a watcher is behind. */
const BEHIND_BYTES = 1024 * 1024;
const NOT_READY_RETRY_MS = 200;

interface Watcher {
  readonly push: TopologyPush;
  behind: boolean;
}

export class TopologyHub implements TopologyHandler {
  readonly #full: () => Topology | null;
  readonly #watchers = new Set<Watcher>();

  /** `full` returns the newest whole topology, or null before the cluster is formed. */
  constructor(full: () => Topology | null) {
    this.#full = full;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** @throws RingkeepError NOT_READY before the cluster is formed */
  onWatch(_peer: Peer, push: TopologyPush): EndSink {
    const full = this.#full();
    if (full === null) {
      const details = { retryAfterMs: NOT_READY_RETRY_MS };
      throw new RingkeepError('NOT_READY', 'the cluster is not formed yet', 'not_applied', details);
    }
    const watcher: Watcher = { push, behind: false };
    this.#watchers.add(watcher);
    push.send(full);
    return { onEnd: () => this.#watchers.delete(watcher) };
  }

  /** Sends a change to everybody who keeps up. */
  broadcast(change: Topology): void {
    for (const watcher of this.#watchers) {
      if (watcher.push.bufferedBytes > BEHIND_BYTES) watcher.behind = true;
      if (!watcher.behind) watcher.push.send(change);
    }
  }

  /** Sends the full topology to watchers that have caught up. To be called now and then. */
  tick(): void {
    for (const watcher of this.#watchers) {
      if (!watcher.behind || watcher.push.bufferedBytes > 0) continue;
      const full = this.#full();
      if (full === null) return;
      watcher.behind = false;
      watcher.push.send(full);
    }
  }
}
