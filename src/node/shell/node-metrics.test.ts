import { describe, expect, it } from 'vitest';
import { BatchTimes, type StorageFigures, storageFigures } from '../storage-figures.ts';
import { type NodeFigures, NodeMetrics } from './node-metrics.ts';

const FIGURES: NodeFigures = {
  ...{ replicas: 4, leaders: 2, openRequests: 0, walBytes: 9, durableLsn: 7, sessions: 1, peers: 2 },
  ...{
    roomForCopies: true,
    sharedReads: 41,
    hottestKeyShare: 0.25,
    hottestPartitionShare: 0.5,
    moveLimit: 2_000_000,
    slowedPartitions: 2,
    ...{ saltedKeys: 5, keyCopies: 3, writesWaiting: 11 },
  },
  ...{ diskFull: false, controllerAttached: true, expiryLatenessMs: 1_500, scrubbedBytes: 123 },
  ...{ sentBytes: 70, receivedBytes: 5, sentLogBytes: 8, receivedLogBytes: 9 },
};
const TABLES = { level0Files: 3, tableBytes: 1_200, deepestBytes: 1_000, tableBytesWritten: 2_500 };

function metricIn(text: string, name: string): string | undefined {
  return new RegExp(`^ringkeep_node_${name}\\{[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1];
}

describe('the metrics of a node', () => {
  it('tell what its storage has counted, at every call anew', async () => {
    const times = new BatchTimes();
    times.add(100, 1_500);
    let storage: StorageFigures = storageFigures(0, 0, { ...TABLES, deepestBytes: 0, ...times.figures });
    let asked = 0;
    const { registry } = new NodeMetrics(
      'n1',
      () => FIGURES,
      () => {
        asked += 1;
        return storage;
      },
    );
    const before = await registry.metrics();
    expect(metricIn(before, 'replicas')).toBe('4');
    expect(before).toMatch(/^ringkeep_node_slowed_partitions\{.*\} 2$/m);
    expect(metricIn(before, 'shared_reads_total')).toBe('41');
    expect(metricIn(before, 'hottest_key_share')).toBe('0.25');
    expect(metricIn(before, 'hottest_partition_share')).toBe('0.5');
    expect(metricIn(before, 'salted_keys')).toBe('5');
    expect(metricIn(before, 'key_copies')).toBe('3');
    expect(metricIn(before, 'salted_writes_waiting')).toBe('11');
    expect(metricIn(before, 'move_limit_bytes_per_second')).toBe('2000000');
    expect(before).toMatch(/^ringkeep_node_room_for_copies\{.*\} 1$/m);
    expect(before).toMatch(/^ringkeep_node_copied_bytes_total\{direction="sent",by="snapshot",.*\} 70$/m);
    expect(before).toMatch(/^ringkeep_node_copied_bytes_total\{direction="received",by="log",.*\} 9$/m);
    expect(before).toMatch(/^ringkeep_node_copied_bytes_total\{direction="received",.*\} 5$/m);
    expect(metricIn(before, 'expiry_lateness_seconds')).toBe('1.5');
    expect(metricIn(before, 'write_amplification')).toBe('Nan');
    expect(metricIn(before, 'space_amplification')).toBe('Nan');
    expect(asked).toBe(1);
    const mib = 1024 * 1024;
    storage = storageFigures(mib, 4 * mib - 2_500, { ...TABLES, ...times.figures });
    await registry.metrics();
    expect(asked).toBe(2);
    const text = await registry.metrics();
    const expected = {
      ...{
        client_bytes_total: `${mib}`,
        wal_written_bytes_total: `${4 * mib - 2_500}`,
        table_written_bytes_total: '2500',
      },
      ...{ batches_total: '1', batch_bytes_total: '100', slow_batches_total: '1' },
      ...{ slow_batch_seconds_total: '1.5', table_bytes: '1200', level0_files: '3' },
      ...{ write_amplification: '4', space_amplification: '1.2' },
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, metricIn(text, name)]))).toEqual(
      expected,
    );
  });

  it('tell how scrubs ended, and how much they have read', async () => {
    const none = storageFigures(0, 0, { ...TABLES, ...new BatchTimes().figures });
    const metrics = new NodeMetrics(
      'n1',
      () => FIGURES,
      () => none,
    );
    for (const result of ['agreed', 'agreed', 'damaged'])
      metrics.event({ level: 'info', event: `scrub_${result}`, partition: 1, result });
    const text = await metrics.registry.metrics();
    const counts = [...text.matchAll(/^ringkeep_node_scrubs_total\{result="(\w+)",[^}]*\} (\d+)$/gm)];
    expect(counts.map(([, result, count]) => [result, count])).toEqual([
      ['agreed', '2'],
      ['damaged', '1'],
    ]);
    expect(metricIn(text, 'scrub_bytes_total')).toBe('123');
    expect(text).toMatch(/ringkeep_node_scrub_last_timestamp_seconds\{result="damaged"[^}]*\} \d{10}/);
  });
});
