/** What a simulated node tells the controllers of itself. */
import type { Heartbeat } from '../../src/common/wire/messages.ts';
import type { NodeCore } from '../../src/node/core/node-core.ts';

/** Returns a heartbeat; a simulated disk has no size. */
export function heartbeatOf(
  core: NodeCore,
  told: Pick<Heartbeat, 'sequence' | 'draining' | 'durableLsn'>,
): Heartbeat {
  const figures = [...core.replicas.byPartition.values()].map((replica) => ({
    partition: replica.partition,
    bytes: 0,
    copied: replica.copiedBytes,
    // In all, not per second: at these speeds it makes leaders move now and then.
    load: replica.leadership?.requests ?? 0,
  }));
  return { ...told, diskBytes: 0, diskFull: core.diskFull || core.room.full, figures };
}
