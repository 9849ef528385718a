import { describe, expect, test } from 'vitest';
import { Machine, meta, payload } from '../../../test/support/wal-machine.ts';

describe('wal', () => {
  test('recovers what was durable and goes on with the next lsn', () => {
    const machine = new Machine(1);
    expect(machine.open()).toMatchObject({ replicas: [], lastLsn: 0, problems: [] });
    expect(machine.wal.append({ type: 'meta', partition: 7, meta: meta('r1') })).toBe(1);
    machine.entries(7, 1, 50);
    machine.settle(51);
    machine.crash();
    const { replicas, lastLsn, entries, problems } = machine.open();
    expect(problems).toEqual([]);
    expect(lastLsn).toBe(51);
    expect(replicas).toEqual([
      {
        partition: 7,
        meta: meta('r1'),
        firstIndex: 1,
        lastIndex: 50,
        epochs: [{ index: 1, epoch: 1 }],
        damage: null,
      },
    ]);
    const found = [...entries(7, 10)];
    expect(found.length).toBe(41);
    for (const entry of found) expect(Buffer.from(entry.payload)).toEqual(payload(7, entry.index, 1));
    machine.entries(7, 51, 51);
    machine.settle(52);
    expect(machine.read(7, 49).entries.map((entry) => entry.index)).toEqual([49, 50, 51]);
    machine.close();
    expect(machine.open().replicas[0]).toMatchObject({ lastIndex: 51, damage: null });
  });
});
