/** Prometheus metrics of a node. Labels come from fixed sets: operations, result codes, event names of our own. */
import { Counter, createRegistry, Gauge, type Registry } from '../../common/metrics.ts';
import type { Reply } from '../../common/wire/messages.ts';
import type { CoreFigures } from '../core/core-figures.ts';
import type { CoreEvent } from '../core/effects.ts';
import { SLOW_BATCH_MS, type StorageFigures } from '../storage-figures.ts';

/** Figures read when somebody asks. */
export interface NodeFigures extends CoreFigures {
  readonly walBytes: number;
  readonly sessions: number;
  readonly peers: number;
  readonly controllerAttached: boolean;
}

/** The registry of one node. */
export class NodeMetrics {
  readonly registry: Registry;
  private readonly replies: Counter<'result'>;
  private readonly events: Counter<'event'>;
  private readonly lost: Counter;
  private readonly scrubs: Counter<'result'>;
  private readonly scrubbedAt: Gauge<'result'>;

  constructor(nodeId: string, figures: () => NodeFigures, storage: () => StorageFigures) {
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
    this.scrubs = new Counter({
      name: 'ringkeep_node_scrubs_total',
      help: 'Scrubs of partitions led here, by result.',
      labelNames: ['result'],
      registers,
    });
    this.scrubbedAt = new Gauge({
      name: 'ringkeep_node_scrub_last_timestamp_seconds',
      help: 'When a scrub of a partition led here last had this result.',
      labelNames: ['result'],
      registers,
    });
    new Counter({
      name: 'ringkeep_node_shared_reads_total',
      help: 'Gets that were answered by what was read for another get of the same key.',
      registers,
      collect() {
        this.reset();
        this.inc(figures().sharedReads);
      },
    });
    new Counter({
      name: 'ringkeep_node_scrub_bytes_total',
      help: 'Bytes of rows that scrubs have read here.',
      registers,
      collect() {
        this.reset();
        this.inc(figures().scrubbedBytes);
      },
    });
    new Counter({
      name: 'ringkeep_node_copied_bytes_total',
      help: 'Bytes that replicas were filled with, by this node and on it: rows of snapshots, entries of the log.',
      labelNames: ['direction', 'by'],
      registers,
      collect() {
        const { sentBytes, receivedBytes, sentLogBytes, receivedLogBytes } = figures();
        this.reset();
        this.inc({ direction: 'sent', by: 'snapshot' }, sentBytes);
        this.inc({ direction: 'received', by: 'snapshot' }, receivedBytes);
        this.inc({ direction: 'sent', by: 'log' }, sentLogBytes);
        this.inc({ direction: 'received', by: 'log' }, receivedLogBytes);
      },
    });
    this.registerFigures(figures);
    this.registerStorage(storage);
  }

  private registerFigures(figures: () => NodeFigures): void {
    const registers = [this.registry];
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
    gauge(
      'move_limit_bytes_per_second',
      'What moves may use now, in each direction: less than their rate while timers run late.',
      (now) => now.moveLimit,
    );
    gauge(
      'hottest_key_share',
      'Of the operations here, the part that the hottest key has.',
      (now) => now.hottestKeyShare,
    );
    gauge(
      'hottest_partition_share',
      'Of the operations here, the part that the hottest partition has.',
      (now) => now.hottestPartitionShare,
    );
    gauge('salted_keys', 'Salted keys of the partitions led here.', (now) => now.saltedKeys);
    gauge('key_copies', 'Copies of salted keys of others that answer reads here.', (now) => now.keyCopies);
    gauge(
      'salted_writes_waiting',
      'Writes of salted keys that wait until no copy can answer.',
      (now) => now.writesWaiting,
    );
    gauge('room_for_copies', '0 while no copies of replicas are taken for lack of space.', (now) =>
      now.roomForCopies ? 1 : 0,
    );
    gauge(
      'slowed_partitions',
      'Partitions led here whose writers are slowed down until a replica has caught up.',
      (now) => now.slowedPartitions,
    );
    gauge('controller_attached', '1 while a router is connected.', (now) => (now.controllerAttached ? 1 : 0));
    gauge(
      'expiry_lateness_seconds',
      'How far values that are due are behind their time, at the worst of the partitions led here.',
      (now) => now.expiryLatenessMs / 1_000,
    );
  }

  /** What is written how often, how much is on the disk, and how long writers waited. A ratio that is not known is NaN. */
  private registerStorage(storage: () => StorageFigures): void {
    const registers = [this.registry];
    // LevelDB is asked once for all metrics of a scrape, which are collected in one go.
    let figures: StorageFigures | null = null;
    const current = (): StorageFigures => {
      if (figures === null) queueMicrotask(() => (figures = null));
      figures ??= storage();
      return figures;
    };
    const counter = (name: string, help: string, read: (now: StorageFigures) => number): void => {
      new Counter({
        name: `ringkeep_node_${name}`,
        help,
        registers,
        // The sums are kept elsewhere.
        collect() {
          this.reset();
          this.inc(read(current()));
        },
      });
    };
    const gauge = (name: string, help: string, read: (now: StorageFigures) => number): void => {
      new Gauge({
        name: `ringkeep_node_${name}`,
        help,
        registers,
        collect() {
          this.set(read(current()));
        },
      });
    };
    counter(
      'client_bytes_total',
      'Keys and values of writes that took effect here.',
      (now) => now.clientBytes,
    );
    counter('wal_written_bytes_total', 'Bytes written to the WAL.', (now) => now.walBytesWritten);
    counter(
      'table_written_bytes_total',
      'Bytes of tables that flushes and compactions wrote, to the MiB per level.',
      (now) => now.tableBytesWritten,
    );
    counter('batches_total', 'Batches that the store has taken.', (now) => now.batches);
    counter('batch_bytes_total', 'Bytes of keys and values in these batches.', (now) => now.batchBytes);
    counter('slow_batches_total', `Batches that took over ${SLOW_BATCH_MS} ms.`, (now) => now.slowBatches);
    counter('slow_batch_seconds_total', 'Time that these took.', (now) => now.slowBatchMs / 1_000);
    gauge('table_bytes', 'Bytes in the tables of LevelDB.', (now) => now.tableBytes);
    gauge('level0_files', 'Files in level 0: 8 slow writes, 12 stop them.', (now) => now.level0Files);
    gauge(
      'write_amplification',
      'Bytes written to the WAL and to tables per byte of clients.',
      (now) => now.writeAmplification ?? Number.NaN,
    );
    gauge(
      'space_amplification',
      'Bytes in all tables per byte in those of the deepest level.',
      (now) => now.spaceAmplification ?? Number.NaN,
    );
  }

  /** Counts replies. */
  replied(replies: readonly Reply[]): void {
    for (const reply of replies) this.replies.inc({ result: reply.failure?.code ?? reply.result });
  }

  /** Counts an event of the core. */
  event(event: CoreEvent): void {
    this.events.inc({ event: event.event });
    if (event.event === 'leader_writes_lost') this.lost.inc(Number(event.lost));
    if (!event.event.startsWith('scrub_')) return;
    const result = String(event.result);
    this.scrubs.inc({ result });
    this.scrubbedAt.set({ result }, Date.now() / 1_000);
  }
}
