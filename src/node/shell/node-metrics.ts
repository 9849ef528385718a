/** Prometheus metrics of a node. Labels come from fixed sets: operations, result codes, event names of our own. */
import { Counter, createRegistry, Gauge, type Registry } from '../../common/metrics.ts';
import type { Reply } from '../../common/wire/messages.ts';
import type { CoreEvent } from '../core/effects.ts';

/** Figures read when somebody asks. */
export interface NodeFigures {
  readonly replicas: number;
  readonly leaders: number;
  readonly openRequests: number;
  readonly walBytes: number;
  readonly durableLsn: number;
  readonly sessions: number;
  readonly peers: number;
  readonly diskFull: boolean;
  readonly controllerAttached: boolean;
}

/** The registry of one node. */
export class NodeMetrics {
  readonly registry: Registry;
  private readonly replies: Counter<'result'>;
  private readonly events: Counter<'event'>;
  private readonly lost: Counter;

  constructor(nodeId: string, figures: () => NodeFigures) {
    this.registry = createRegistry({ process: 'node', node: nodeId });
    const registers = [this.registry];
    this.replies = new Counter({
      name: 'ringkeep_node_replies_total',
      help: 'Replies to requests by result: value, receipt, rows or an error code.',
      labelNames: ['result'],
      registers,
    });
    this.events = new Counter({
      name: 'ringkeep_node_events_total',
      help: 'Events of the replicas: leaderships, snapshots, damage.',
      labelNames: ['event'],
      registers,
    });
    this.lost = new Counter({
      name: 'ringkeep_node_leader_writes_lost_total',
      help: 'Writes acknowledged at `leader` that a failover has truncated here.',
      registers,
    });
    const gauge = (name: string, help: string, read: (now: NodeFigures) => number): void => {
      new Gauge({
        name: `ringkeep_node_${name}`,
        help,
        registers,
        collect() {
          this.set(read(figures()));
        },
      });
    };
    gauge('replicas', 'Replicas on this node.', (now) => now.replicas);
    gauge('leaders', 'Partitions led by this node.', (now) => now.leaders);
    gauge('open_requests', 'Requests that wait for an answer.', (now) => now.openRequests);
    gauge('wal_bytes', 'Bytes in all WAL segments.', (now) => now.walBytes);
    gauge('wal_durable_lsn', 'Last fsynced WAL record.', (now) => now.durableLsn);
    gauge('sessions', 'Open client and router sessions.', (now) => now.sessions);
    gauge('peers', 'Nodes subscribed to this one.', (now) => now.peers);
    gauge('disk_full', '1 while writes are refused for lack of space.', (now) => (now.diskFull ? 1 : 0));
    gauge('controller_attached', '1 while a router is connected.', (now) => (now.controllerAttached ? 1 : 0));
  }

  /** Counts replies. */
  replied(replies: readonly Reply[]): void {
    for (const reply of replies) this.replies.inc({ result: reply.failure?.code ?? reply.result });
  }

  /** Counts an event of the core. */
  event(event: CoreEvent): void {
    this.events.inc({ event: event.event });
    if (event.event === 'leader_writes_lost') this.lost.inc(Number(event.lost));
  }
}
