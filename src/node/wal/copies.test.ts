/**
 * Entries that hold the head back: a stuck partition beside busy ones, the limits of what is copied, logs
 * that change meanwhile, and a crash at every point between the first copy and the end of the cut.
 */
import { describe, expect, test } from 'vitest';
import { Machine, meta, payload } from '../../../test/support/wal-machine.ts';
import type { WriterOptions } from './writer.ts';

const BUSY = 1;
const STUCK = 2;
/** The stuck partition's entries from here on are needed; epoch 2 begins with LAST. */
const FLOOR = 3;
const LAST = 8;

/**
 * A log whose first segment holds entries 1 to LAST of a stuck partition, with `busy` entries of another
 * behind.
 */
function stuckLog(seed: number, busy: number, options: Partial<WriterOptions> = {}): Machine {
  const machine = new Machine(seed, { segmentBytes: 1500, ...options });
  machine.open();
  for (const partition of [BUSY, STUCK])
    machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
  machine.entries(STUCK, 1, LAST - 1);
  machine.entries(STUCK, LAST, LAST, 2);
  machine.settle(2 + LAST);
  keepBusy(machine, 1, busy);
  return machine;
}

function keepBusy(machine: Machine, from: number, to: number): void {
  for (let index = from; index <= to; index++) {
    machine.entries(BUSY, index, index);
    machine.settle(machine.durableLsn + 1);
  }
}

function expectEntries(machine: Machine, from: number, last: number): void {
  let next = from;
  while (next <= last) {
    const { gone, entries } = machine.read(STUCK, next, 4, 100);
    expect({ gone, first: entries[0]?.index }).toEqual({ gone: false, first: next });
    for (const { index, epoch, payload: bytes } of entries) {
      expect(index).toBe(next++);
      expect(epoch).toBe(index < LAST ? 1 : 2);
      expect(Buffer.from(bytes)).toEqual(payload(STUCK, index, epoch));
    }
  }
  expect(machine.read(STUCK, last + 1)).toEqual({ gone: false, entries: [] });
}

/** What a recovery must say of the stuck partition, and serve. */
function expectRecovered(machine: Machine, last: number): void {
  const replica = machine.replica(STUCK);
  if (replica === undefined) throw new Error('the stuck partition is lost');
  const { damage, firstIndex, lastIndex, epochs } = replica;
  expect({ damage, lastIndex }).toEqual({ damage: null, lastIndex: last });
  expect(firstIndex).toBeLessThanOrEqual(FLOOR);
  // The epoch of the entry below the first one is known: it is needed to send the first one.
  expect(epochs).toEqual([
    { index: Math.max(1, firstIndex - 1), epoch: 1 },
    { index: LAST, epoch: 2 },
  ]);
  let next = firstIndex;
  for (const entry of machine.opened?.entries(STUCK, firstIndex) ?? []) {
    expect(Buffer.from(entry.payload)).toEqual(payload(STUCK, next, next < LAST ? 1 : 2));
    next++;
  }
  expect(next).toBe(last + 1);
}

const floors = (busy: number): Map<number, number> =>
  new Map([
    [BUSY, busy],
    [STUCK, FLOOR],
  ]);

describe('a stuck partition', () => {
  test.each([0, 6000])('does not make the log grow over many checkpoints, keeping %i bytes', (keepBytes) => {
    const machine = stuckLog(1, 0);
    let most = 0;
    let last = LAST;
    for (let round = 1; round <= 60; round++) {
      keepBusy(machine, 30 * round - 29, 30 * round);
      if (round % 20 === 0) {
        machine.entries(STUCK, last + 1, last + 1, 2);
        machine.settle(machine.durableLsn + 1);
        last++;
      }
      expectEntries(machine, FLOOR, last);
      machine.wal.truncateHead(floors(30 * round + 1), keepBytes);
      expectEntries(machine, FLOOR, last);
      machine.clock.run(20);
      expectEntries(machine, FLOOR, last);
      most = Math.max(most, machine.wal.bytes());
      if (round % 7 !== 0) continue;
      if (round % 2 === 0) machine.close();
      else machine.crash();
      machine.open();
      expectRecovered(machine, last);
    }
    // What is kept, four times what is stuck, the growth between two checkpoints and the segments they round
    // up to.
    expect(most).toBeLessThan(keepBytes + 4 * 1000 + 3000 + 3 * 1500);
    expect(machine.copies().alone).toBeGreaterThanOrEqual(LAST - FLOOR + 1);
  });

  test('can be read while its place goes', () => {
    for (let seed = 0; seed < 20; seed++) {
      const machine = new Machine(seed, { segmentBytes: 1500 });
      machine.open();
      for (const partition of [BUSY, STUCK])
        machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
      // Too long for one call of the disk.
      machine.entries(STUCK, 1, 1, 1, 10_000);
      machine.settle(3);
      keepBusy(machine, 1, 600);
      // With the newest metas behind, the head goes in the event in which the copy is durable.
      for (const partition of [BUSY, STUCK])
        machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
      machine.wal.flush();
      machine.settle(605);
      machine.wal.truncateHead(new Map([[STUCK, 1]]), 0);
      const answers: unknown[] = [];
      let asked = 0;
      for (; machine.firstSegment === 1 && asked < 1000; asked++) {
        machine.wal.read(STUCK, 1, 1, 1, (error, result) => answers.push(error ?? result?.entries[0]?.index));
        machine.clock.run(0.05);
      }
      machine.clock.run(30);
      expect(machine.copies().alone).toBe(1);
      expect(answers).toEqual(new Array(asked).fill(1));
    }
  });

  test('is copied only as far as the limits go, and holds the head as before beyond them', () => {
    const bytes = (options: Partial<WriterOptions>, busy = 100): number => {
      const machine = stuckLog(1, busy, options);
      machine.wal.truncateHead(floors(busy + 1), 0);
      machine.clock.run(20);
      expectEntries(machine, FLOOR, LAST);
      expect(machine.copies().alone).toBe(machine.firstSegment === 1 ? 0 : LAST - FLOOR + 1);
      return machine.firstSegment;
    };
    const size = (LAST - FLOOR + 1) * (64 + 8 + 24);
    expect(bytes({})).toBeGreaterThan(1);
    // A first run may be longer than the rest of a call.
    expect(bytes({ copyBytes: 10, copyRunBytes: size })).toBeGreaterThan(1);
    expect(bytes({ copyBytes: size, copyRunBytes: 10 })).toBeGreaterThan(1);
    expect(bytes({ copyBytes: size - 1, copyRunBytes: size - 1 })).toBe(1);
    // A quarter of what could go.
    expect(bytes({}, 16)).toBe(1);
  });

  test('is copied in its turn, the rest by the next calls, and the head goes as far as that', () => {
    const machine = new Machine(1, { segmentBytes: 4000, copyBytes: 700, copyRunBytes: 0 });
    machine.open();
    const stuck = [11, 12, 13, 14, 15];
    for (const partition of [BUSY, ...stuck])
      machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
    for (const partition of stuck) machine.entries(partition, 1, 3);
    machine.settle(21);
    keepBusy(machine, 1, 300);
    const needed = new Map([[BUSY, 301], ...stuck.map((partition) => [partition, 1] as const)]);
    const first: number[] = [];
    for (let call = 0; call < 3; call++) {
      machine.wal.truncateHead(needed, 0);
      machine.clock.run(20);
      first.push(machine.firstSegment);
    }
    // Two runs of three entries fit into a call.
    expect(first.map((segment) => segment > 1)).toEqual([false, false, true]);
    for (const partition of stuck) expect(machine.read(partition, 1).entries.length).toBe(3);
    machine.crash();
    machine.open();
    for (const partition of stuck)
      expect(machine.replica(partition)).toMatchObject({ firstIndex: 1, lastIndex: 3, damage: null });
  });

  test('counts in the durable lsn that a later start is compared with, and not in those of the caller', () => {
    const machine = stuckLog(1, 100);
    machine.wal.truncateHead(floors(101), 0);
    machine.clock.run(30);
    machine.entries(BUSY, 101, 101);
    machine.settle(machine.durableLsn + 1);
    const durable = machine.wal.durableLsn();
    expect(durable).toBeGreaterThan(machine.durableLsn);
    machine.crash();
    expect(machine.open().lastLsn).toBe(durable);
    expect(machine.wal.durableLsn()).toBe(durable);
  });

  test('is not copied on a full disk', () => {
    const machine = stuckLog(1, 100, { aheadBytes: 0 });
    machine.disk.limitFreeBytes(0);
    machine.entries(BUSY, 101, 101);
    machine.clock.run(20);
    expect(machine.full).toBe(true);
    const before = machine.wal.bytes();
    machine.wal.truncateHead(floors(101), 0);
    machine.clock.run(20);
    expect(machine.copies()).toEqual({ beside: 0, alone: 0 });
    expect(machine.wal.bytes()).toBe(before);
  });
});

describe('a log that changes while it is copied', () => {
  /** Changes the log after so many events and checks what is left, now and after a crash. */
  function change(run: (machine: Machine) => number, check: (machine: Machine) => void): void {
    for (let events = 0; events < 12; events++) {
      const machine = stuckLog(events, 100);
      machine.wal.truncateHead(floors(101), 0);
      for (let event = 0; event < events; event++) machine.clock.step();
      const lsn = run(machine);
      machine.wal.flush();
      machine.settle(lsn);
      machine.clock.run(30);
      check(machine);
      machine.wal.truncateHead(floors(101), 0);
      machine.clock.run(30);
      check(machine);
      expect(machine.firstSegment).toBeGreaterThan(1);
      machine.crash();
      machine.open();
      expect(machine.replica(STUCK)?.damage).toBe(null);
      check(machine);
    }
  }

  test('may be appended to', () => {
    change(
      (machine) => {
        machine.entries(STUCK, LAST + 1, LAST + 3, 2);
        return machine.wal.append({ type: 'meta', partition: BUSY, meta: meta('r1') });
      },
      (machine) => expectEntries(machine, FLOOR, LAST + 3),
    );
  });

  test('may be truncated and go on with other entries', () => {
    change(
      (machine) => {
        machine.wal.append({ type: 'truncate', partition: STUCK, index: 5 });
        for (let index = 6; index <= LAST; index++)
          machine.wal.append({
            type: 'entry',
            partition: STUCK,
            index,
            epoch: 3,
            payload: payload(STUCK, index, 3),
          });
        return machine.wal.append({ type: 'meta', partition: BUSY, meta: meta('r1') });
      },
      (machine) => {
        const found = machine.read(STUCK, FLOOR).entries;
        expect(found.map(({ epoch }) => epoch)).toEqual([1, 1, 1, 3, 3, 3]);
        for (const { index, epoch, payload: bytes } of found)
          expect(Buffer.from(bytes)).toEqual(payload(STUCK, index, epoch));
      },
    );
  });

  test('may become another replica with entries of the same indexes', () => {
    change(
      (machine) => {
        machine.wal.append({ type: 'meta', partition: STUCK, meta: meta('other') });
        // Also of the same epoch: nothing but the moment tells them from the old ones.
        for (let index = 1; index <= 5; index++)
          machine.wal.append({
            type: 'entry',
            partition: STUCK,
            index,
            epoch: 1,
            payload: payload(STUCK, index, 7),
          });
        return machine.wal.append({ type: 'meta', partition: BUSY, meta: meta('r1') });
      },
      (machine) => {
        const found = machine.read(STUCK, 1).entries;
        expect(found.map(({ index, epoch }) => [index, epoch])).toEqual([1, 2, 3, 4, 5].map((at) => [at, 1]));
        for (const { index, payload: bytes } of found)
          expect(Buffer.from(bytes)).toEqual(payload(STUCK, index, 7));
      },
    );
  });

  test('may be closed', () => {
    for (let events = 0; events < 12; events++) {
      const machine = stuckLog(events, 100);
      machine.wal.truncateHead(floors(101), 0);
      for (let event = 0; event < events; event++) machine.clock.step();
      machine.close();
      machine.open();
      expectRecovered(machine, LAST);
    }
  });
});

class Crash extends Error {}

describe('a crash', { timeout: 120_000 }, () => {
  /**
   * Crashes a machine whose head is about to go, and then once more until it has gone. Returns what it found.
   */
  function crashAndGoOn(machine: Machine, kind: 'power' | 'process'): { beside: number; alone: number } {
    machine.crash(kind);
    machine.open();
    const copies = machine.copies();
    expectRecovered(machine, LAST);
    expect(machine.replica(BUSY)).toMatchObject({ damage: null, lastIndex: 100 });
    machine.wal.truncateHead(floors(101), 0);
    machine.clock.run(30);
    expect(machine.firstSegment).toBeGreaterThan(1);
    expectEntries(machine, FLOOR, LAST);
    machine.crash(kind);
    machine.open();
    expectRecovered(machine, LAST);
    return copies;
  }

  test('at any event between the call and the end of the cut loses nothing', () => {
    const seen = { none: 0, torn: 0, beside: 0, alone: 0 };
    for (let events = 0; events < 14; events++) {
      for (let seed = 0; seed < 40; seed++) {
        const machine = stuckLog(seed, 100);
        machine.wal.truncateHead(floors(101), 0);
        for (let event = 0; event < events; event++) machine.clock.step();
        const { beside, alone } = crashAndGoOn(machine, seed % 4 === 0 ? 'process' : 'power');
        if (alone > 0) seen.alone++;
        else if (beside === 0) seen.none++;
        else if (beside < LAST - FLOOR + 1) seen.torn++;
        else seen.beside++;
      }
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(5);
  });

  test('at any event of a cut that copies nothing but metas loses no identity', () => {
    for (let events = 0; events < 8; events++) {
      for (let seed = 0; seed < 20; seed++) {
        const machine = stuckLog(seed, 100);
        machine.wal.truncateHead(new Map([[BUSY, 101]]), 0);
        for (let event = 0; event < events; event++) machine.clock.step();
        machine.crash();
        machine.open();
        expect(machine.replica(STUCK)).toMatchObject({ meta: meta('r2'), lastIndex: LAST, damage: null });
        expect(machine.replica(BUSY)).toMatchObject({ meta: meta('r1'), lastIndex: 100, damage: null });
      }
    }
  });

  test('inside any blocking call of the cut loses nothing', () => {
    let cuts = 0;
    for (let calls = 0; ; calls++) {
      let crashed = false;
      for (let seed = 0; seed < 20; seed++) {
        const machine = stuckLog(seed, 100);
        machine.wal.truncateHead(floors(101), 0);
        let left = calls;
        machine.disk.onStep = () => {
          if (left-- === 0) throw new Crash();
        };
        try {
          machine.clock.run(30);
        } catch (error) {
          if (!(error instanceof Crash)) throw error;
          crashed = true;
        }
        cuts += crashAndGoOn(machine, 'power').alone > 0 ? 1 : 0;
      }
      if (!crashed) break;
    }
    expect(cuts).toBeGreaterThan(20);
  });
});
