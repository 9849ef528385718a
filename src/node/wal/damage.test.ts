/**
 * Damage (G8): a small log over two segments is cut at every length and flipped at every bit. Whatever was
 * proven durable is either there, byte for byte, or its partition is reported damaged; nothing else is ever
 * served.
 */
import { describe, expect, test } from 'vitest';
import { Clock, Machine, meta, payload, seeded } from '../../../test/support/wal-machine.ts';
import { SimDisk } from '../../common/sim-disk.ts';
import { dumpWal } from './dump.ts';
import { decodeManifest } from './manifest.ts';
import {
  byteView,
  FLAG_COPY,
  putRecord,
  recordLength,
  sealHeader,
  segmentSeed,
  TYPE_ENTRY,
  TYPE_MARK,
} from './record.ts';
import { scanSegment, segmentName, segmentNumber } from './segment.ts';

const PARTITIONS = [1, 2, 3];
const LAST = 5;
/** The newest promise of each partition. */
const PROMISES: Readonly<Record<number, number>> = { 1: 7, 2: 9, 3: 0 };
/** Lets the log roll once. */
const SEGMENT_BYTES = 1400;
const PAYLOAD_BYTES = 16;

/** A closed log: three partitions of five entries each, promises and a truncation, over two segments. */
function build(): { files: Map<string, Uint8Array>; segments: string[] } {
  const machine = new Machine(1, { segmentBytes: SEGMENT_BYTES, reserveBytes: 0 });
  machine.open();
  for (const partition of PARTITIONS)
    machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
  let lsn = PARTITIONS.length;
  for (let index = 1; index <= LAST; index++) {
    for (const partition of PARTITIONS) {
      machine.entries(partition, index, index, 1, PAYLOAD_BYTES);
      lsn++;
    }
    if (index === 3) {
      // Records whose loss shows in no entry: a promise, and a truncation whose entries come again.
      machine.wal.append({ type: 'meta', partition: 1, meta: meta('r1', { promiseEpoch: 7 }) });
      machine.wal.append({ type: 'truncate', partition: 3, index: 2 });
      machine.entries(3, 3, 3, 1, PAYLOAD_BYTES);
      lsn += 3;
    }
    machine.settle(lsn);
  }
  machine.wal.append({ type: 'meta', partition: 2, meta: meta('r2', { promiseEpoch: 9 }) });
  machine.close();
  return filesOf(machine);
}

/** What a closed or crashed machine's log consists of. */
function filesOf(machine: Machine): { files: Map<string, Uint8Array>; segments: string[] } {
  const files = new Map<string, Uint8Array>();
  for (const name of machine.disk.listSync('wal')) files.set(name, machine.disk.readSync(`wal/${name}`));
  return { files, segments: [...files.keys()].filter((name) => segmentNumber(name) !== null) };
}

function machineWith(files: ReadonlyMap<string, Uint8Array>): Machine {
  const machine = new Machine(2, { segmentBytes: SEGMENT_BYTES, reserveBytes: 0 });
  machine.disk.makeDirectorySync('wal');
  for (const [name, bytes] of files) machine.disk.replaceSync(`wal/${name}`, bytes);
  return machine;
}

/**
 * Opens, checks that nothing false is served, and returns the partitions that are whole and those that are
 * damaged.
 */
function judge(machine: Machine): { whole: number[]; damaged: number[]; absent: number[] } {
  const { replicas, entries } = machine.open();
  const whole: number[] = [];
  const damaged: number[] = [];
  for (const { partition, firstIndex, lastIndex, damage, meta: found } of replicas) {
    let index = firstIndex;
    for (const entry of entries(partition, firstIndex)) {
      const right =
        entry.index === index &&
        Buffer.compare(entry.payload, payload(partition, index, 1, PAYLOAD_BYTES)) === 0;
      if (!right) throw new Error(`partition ${partition} serves something else as entry ${index}`);
      index++;
    }
    if (index !== lastIndex + 1) throw new Error(`partition ${partition} lacks entries`);
    if (found.replica !== `r${partition}`) throw new Error(`partition ${partition} has a foreign identity`);
    if (damage === null && found.promiseEpoch !== PROMISES[partition])
      throw new Error(`${partition} broke its promise`);
    if (damage !== null) damaged.push(partition);
    else if (lastIndex === LAST) whole.push(partition);
    else throw new Error(`partition ${partition} ends at ${lastIndex} and does not say why`);
  }
  const absent = PARTITIONS.filter((partition) => ![...whole, ...damaged].includes(partition));
  return { whole, damaged, absent };
}

/** What each byte of a segment belongs to: a partition, or 0 for headers of segments and marks. */
function owners(segment: Uint8Array, number: number, salt: Uint8Array): Int32Array {
  const owner = new Int32Array(segment.length);
  for (const piece of scanSegment(segment, segmentSeed(salt, number))) {
    if (piece.kind === 'bad') throw new Error('the log is good');
    const { offset, header } = piece;
    const end = offset + 64 + Math.ceil(header.payloadLength / 8) * 8;
    owner.fill(header.type === TYPE_MARK ? 0 : header.partition, offset, end);
  }
  return owner;
}

function saltOf(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const manifest = decodeManifest(files.get('MANIFEST') ?? new Uint8Array(0));
  if (manifest === null) throw new Error('no manifest');
  return manifest.salt;
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

describe('damage', { timeout: 240_000 }, () => {
  const { files, segments } = build();

  test('the log is what these tests are about', () => {
    expect(segments.length).toBe(2);
    const total = segments.reduce((sum, name) => sum + (files.get(name)?.length ?? 0), 0);
    expect(total).toBeLessThanOrEqual(8192);
    expect(judge(machineWith(files))).toEqual({ whole: PARTITIONS, damaged: [], absent: [] });
  });

  test.each(segments)(
    'every flipped bit of segment %s is detected and harms its own partition alone',
    (name) => {
      const good = files.get(name) ?? new Uint8Array(0);
      const number = segmentNumber(name) ?? 0;
      const owner = owners(good, number, saltOf(files));
      for (let bit = 0; bit < good.length * 8; bit++) {
        const machine = machineWith(new Map(files).set(name, flipped(good, bit)));
        const { whole, damaged, absent } = judge(machine);
        const partition = owner[bit >> 3] ?? 0;
        const lost = [...damaged, ...absent];
        const expected = partition === 0 ? [] : [partition];
        if (lost.join() !== expected.join() || whole.length + lost.length !== PARTITIONS.length) {
          throw new Error(`bit ${bit} of partition ${partition}: damaged ${damaged}, absent ${absent}`);
        }
      }
    },
  );

  test('flipped bits of the manifest are harmless', () => {
    const good = files.get('MANIFEST') ?? new Uint8Array(0);
    for (let bit = 0; bit < good.length * 8; bit++) {
      const result = judge(machineWith(new Map(files).set('MANIFEST', flipped(good, bit))));
      if (result.whole.length !== PARTITIONS.length) throw new Error(`bit ${bit}`);
    }
  });

  test.each([0, 1])('every truncation of segment %i loses nothing silently', (at) => {
    const name = segments[at] ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const salt = saltOf(files);
    for (let length = 0; length < good.length; length++) {
      const cut = good.slice(0, length);
      const machine = machineWith(new Map(files).set(name, cut));
      if (at === 0) {
        const { whole, damaged, absent } = judge(machine);
        // Every lost record belongs to a partition that is reported; a cut that loses a mark alone loses
        // nothing.
        const lost = new Set<number>();
        for (const piece of scanSegment(good, segmentSeed(salt, segmentNumber(name) ?? 0))) {
          if (piece.kind !== 'record' || piece.header.type === TYPE_MARK) continue;
          if (piece.offset + 64 + Math.ceil(piece.header.payloadLength / 8) * 8 > length)
            lost.add(piece.header.partition);
        }
        for (const partition of lost) {
          if (whole.includes(partition))
            throw new Error(`cut at ${length}: ${partition} lost records silently`);
        }
        expect(whole.length + damaged.length + absent.length).toBe(PARTITIONS.length);
      } else truncatedLast(machine, length);
    }
  });

  /**
   * The end of the last segment proves itself only up to the durable lsn that a record before the cut
   * carries.
   */
  function truncatedLast(machine: Machine, length: number): void {
    const name = segments[1] ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const proven = new Map<number, number>();
    let durable = 0;
    const seen: { lsn: number; partition: number; index: number }[] = [];
    for (const piece of scanSegment(
      good.slice(0, length),
      segmentSeed(saltOf(files), segmentNumber(name) ?? 0),
    )) {
      if (piece.kind === 'record' && piece.intact) durable = Math.max(durable, piece.header.durableLsn);
    }
    for (const one of segments) {
      for (const piece of scanSegment(
        files.get(one) ?? good,
        segmentSeed(saltOf(files), segmentNumber(one) ?? 0),
      )) {
        if (piece.kind === 'record' && piece.header.type === TYPE_ENTRY) seen.push(piece.header);
      }
    }
    for (const { lsn, partition, index } of seen) if (lsn <= durable) proven.set(partition, index);
    const { replicas, entries } = machine.open();
    for (const { partition, firstIndex, lastIndex, damage } of replicas) {
      let index = firstIndex;
      for (const entry of entries(partition, firstIndex)) {
        expect(Buffer.compare(entry.payload, payload(partition, index, 1, PAYLOAD_BYTES))).toBe(0);
        index++;
      }
      expect(index).toBe(lastIndex + 1);
      if (damage === null) expect(lastIndex).toBeGreaterThanOrEqual(proven.get(partition) ?? 0);
    }
    if (length < 64) for (const { damage } of replicas) expect(damage).not.toBe(null);
  }

  test('a missing segment damages what it held, the last one everything', () => {
    for (const [at, name] of segments.entries()) {
      const rest = new Map(files);
      rest.delete(name);
      const { whole, damaged, absent } = judge(machineWith(rest));
      expect(whole).toEqual([]);
      expect([...damaged, ...absent].sort()).toEqual(PARTITIONS);
      if (at === 1) expect(damaged).toEqual(PARTITIONS);
    }
  });

  test('segments that are swapped, or twice there, are not taken for each other', () => {
    const [first, second] = segments;
    if (first === undefined || second === undefined) throw new Error('two segments');
    const [one, two] = [files.get(first), files.get(second)];
    if (one === undefined || two === undefined) throw new Error('two segments');
    for (const changes of [
      [
        [first, two],
        [second, one],
      ],
      [[second, one]],
      [[first, two]],
    ] as const) {
      const changed = new Map(files);
      for (const [name, bytes] of changes) changed.set(name, bytes);
      expect(judge(machineWith(changed)).whole).toEqual([]);
    }
  });

  test('a lost manifest makes nothing trusted, and a lost directory is not taken for a new one', () => {
    const rest = new Map(files);
    rest.delete('MANIFEST');
    expect(judge(machineWith(rest))).toEqual({ whole: [], damaged: PARTITIONS, absent: [] });
    const alone = machineWith(new Map([['MANIFEST', files.get('MANIFEST') ?? new Uint8Array(0)]]));
    expect(alone.open().replicas).toEqual([]);
    expect(alone.opened?.problems.join('\n')).toMatch(/is missing/);
  });

  test('records of another directory are not taken, whatever their file is called', () => {
    const other = new Machine(3, { segmentBytes: SEGMENT_BYTES, reserveBytes: 0 });
    other.disk.makeDirectorySync('wal');
    const name = segments[1] ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const foreign = good.slice();
    // A header of ours over bytes that were written with another salt.
    const salt = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9);
    const pieces = [...scanSegment(foreign, segmentSeed(salt, segmentNumber(name) ?? 0))];
    expect(pieces).toEqual([{ kind: 'bad', offset: 64, length: good.length - 64 }]);
  });

  test('damage stays known after the bytes that showed it are gone', () => {
    const name = segments[1] ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const salt = saltOf(files);
    const victim = [...scanSegment(good, segmentSeed(salt, segmentNumber(name) ?? 0))].find(
      (piece) => piece.kind === 'record' && piece.header.partition === 2,
    );
    const machine = machineWith(new Map(files).set(name, flipped(good, ((victim?.offset ?? 0) + 70) * 8)));
    const found: number[] = [];
    machine.found = (lastLsn) => found.push(lastLsn);
    expect(judge(machine)).toEqual({ whole: [1, 3], damaged: [2], absent: [] });
    // What the log ended with is told without the META that recovery has added.
    expect(found).toEqual([(machine.opened?.lastLsn ?? 0) - 1]);
    for (const kind of ['power', 'process', 'power'] as const) {
      machine.crash(kind);
      expect(judge(machine)).toEqual({ whole: [1, 3], damaged: [2], absent: [] });
      expect(machine.replica(2)?.meta.damaged).toBe(true);
    }
    // A new identity ends it.
    const lsn = machine.wal.append({ type: 'meta', partition: 2, meta: meta('r2b') });
    machine.wal.flush();
    machine.settle(lsn);
    machine.crash();
    machine.open();
    expect(machine.replica(2)).toMatchObject({ damage: null, lastIndex: 0, meta: { replica: 'r2b' } });
    expect(machine.replica(1)).toMatchObject({ damage: null, lastIndex: LAST });
  });

  test('bytes that rot while the log is open are an error, not an answer', () => {
    const machine = machineWith(files);
    machine.open();
    const name = machine.disk.listSync('wal').find((file) => file.endsWith('.wal')) ?? '';
    const salt = saltOf(files);
    const bytes = machine.disk.readSync(`wal/${name}`);
    for (const piece of scanSegment(bytes, segmentSeed(salt, segmentNumber(name) ?? 0))) {
      if (piece.kind !== 'record' || piece.header.partition !== 2 || piece.header.index !== 3) continue;
      machine.disk.flipBit(`wal/${name}`, piece.offset + 70, 5);
    }
    expect(machine.read(2, 1).entries.map((entry) => entry.index)).toEqual([1, 2]);
    expect(() => machine.read(2, 3)).toThrow(/EIO/);
    expect(machine.read(1, 1).entries.length).toBe(LAST);
  });

  test('a dump names every record, the bad ones with place and reason', () => {
    const name = segments[0] ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const disk = new SimDisk(new Clock().schedule, seeded(1));
    disk.makeDirectorySync('wal');
    for (const [file, bytes] of files) disk.replaceSync(`wal/${file}`, bytes);
    const clean = [...dumpWal(disk, 'wal')];
    expect(clean.filter((line) => line.kind === 'bad')).toEqual([]);
    expect(clean.filter((line) => line.kind === 'record' && line.type === 'entry').length).toBe(16);
    disk.replaceSync(`wal/${name}`, flipped(flipped(good, 8 * 80), 8 * (good.length - 1)));
    const lines = [...dumpWal(disk, 'wal')];
    const bad = lines.filter((line) => line.kind === 'bad');
    expect(bad.map(({ segment, offset, reason }) => [segment, offset, reason])).toEqual([
      [segmentNumber(name), 64, expect.stringMatching(/header/)],
      [segmentNumber(name), expect.any(Number), expect.stringMatching(/payload/)],
    ]);
    expect(disk.listSync('wal')).toEqual([...files.keys()].sort());
    expect(segmentName(segmentNumber(name) ?? 0)).toBe(name);
  });
});

describe('damage of copies', { timeout: 240_000 }, () => {
  /** Partition 1 is stuck: all of its entries are needed, and lie at the head. */
  const STUCK = 1;
  const FLOORS = new Map(PARTITIONS.map((partition) => [partition, partition === STUCK ? 1 : LAST + 1]));

  /**
   * A log whose head is held back by partition 1, up to a state of dropping it: the copies are durable and
   * their originals are listed (and nothing proves the last group), or the head is gone, at that moment or
   * after some more and a close.
   */
  function buildCopies(state: 'beside' | 'alone' | 'closed'): ReturnType<typeof filesOf> {
    const machine = new Machine(1, { segmentBytes: 600, reserveBytes: 0 });
    machine.open();
    for (const partition of PARTITIONS) {
      const promiseEpoch = PROMISES[partition] ?? 0;
      machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`, { promiseEpoch }) });
    }
    machine.entries(STUCK, 1, LAST, 1, PAYLOAD_BYTES);
    machine.settle(PARTITIONS.length + LAST);
    let lsn = PARTITIONS.length + LAST;
    // What was written and is gone makes room for what is copied.
    for (let round = 0; round < 12; round++) {
      for (const partition of PARTITIONS) {
        if (partition === STUCK) continue;
        if (round > 0) machine.wal.append({ type: 'truncate', partition, index: 0 });
        machine.entries(partition, 1, LAST, 1, PAYLOAD_BYTES);
        lsn += LAST + (round > 0 ? 1 : 0);
        machine.settle(lsn);
      }
    }
    // With the newest metas behind, nothing else is to be written before the head goes.
    for (const partition of PARTITIONS) {
      const promiseEpoch = PROMISES[partition] ?? 0;
      machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`, { promiseEpoch }) });
    }
    machine.wal.flush();
    machine.settle(lsn + PARTITIONS.length);
    machine.wal.truncateHead(FLOORS, 0);
    if (state === 'beside') {
      let crashed = false;
      machine.disk.onStep = (_, path) => {
        if (path !== 'wal/MANIFEST' || machine.copies().beside < LAST) return;
        crashed = true;
        throw new Error('crash before the new manifest');
      };
      expect(() => machine.clock.run(100)).toThrow(/crash/);
      expect(crashed).toBe(true);
      machine.crash('process');
    } else {
      while (machine.firstSegment === 1) if (!machine.clock.step()) throw new Error('the head stays');
      if (state === 'closed') machine.close();
    }
    return filesOf(machine);
  }

  test.each(['alone', 'closed'] as const)(
    'every flipped bit of the only copies (%s) harms its own partition, and never silently',
    (state) => {
      const { files, segments } = buildCopies(state);
      const salt = saltOf(files);
      const machine = machineWith(files);
      expect(judge(machine)).toEqual({ whole: PARTITIONS, damaged: [], absent: [] });
      expect(machine.copies().alone).toBe(LAST);
      for (const name of segments) {
        const good = files.get(name) ?? new Uint8Array(0);
        const owner = owners(good, segmentNumber(name) ?? 0, salt);
        for (let bit = 0; bit < good.length * 8; bit++) {
          const { damaged, absent } = judge(machineWith(new Map(files).set(name, flipped(good, bit))));
          const partition = owner[bit >> 3] ?? 0;
          const lost = [...damaged, ...absent];
          // Without a mark at the end, a lost record may have been of any partition that has none behind it.
          const right = state === 'closed' ? lost.length === 1 : lost.length > 0;
          if (partition === 0 ? lost.length > 0 : !right || !lost.includes(partition))
            throw new Error(
              `${name} bit ${bit} of partition ${partition}: damaged ${damaged}, absent ${absent}`,
            );
        }
      }
    },
  );

  test('while the originals are listed, no flipped bit of the last segment loses an entry', () => {
    const { files, segments } = buildCopies('beside');
    const machine = machineWith(files);
    expect(judge(machine).whole).toEqual(PARTITIONS);
    expect(machine.copies()).toMatchObject({ beside: LAST, alone: 0 });
    const name = segments.at(-1) ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    let harmless = 0;
    for (let bit = 0; bit < good.length * 8; bit++) {
      // `judge` throws for a partition that lacks an entry and does not say so.
      const { whole } = judge(machineWith(new Map(files).set(name, flipped(good, bit))));
      if (whole.length === PARTITIONS.length) harmless++;
    }
    expect(harmless).toBeGreaterThan(0);
  });

  test.each(['alone', 'closed', 'beside'] as const)('no cut of the last segment (%s) is silent', (state) => {
    const { files, segments } = buildCopies(state);
    const name = segments.at(-1) ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    for (let length = 0; length < good.length; length++) {
      const { whole } = judge(machineWith(new Map(files).set(name, good.slice(0, length))));
      if (length < 64) expect(whole).toEqual([]);
    }
  });

  test.each([
    ['above the end', LAST + 1, 1, FLAG_COPY],
    ['of another epoch', LAST, 2, FLAG_COPY],
    ['that does not begin at the end', LAST - 1, 1, FLAG_COPY],
    ['with a flag that is not known', LAST, 1, FLAG_COPY | 64],
  ])('a copy %s was never written: its partition is damaged', (_, index, epoch, flags) => {
    const { files, segments } = build();
    const name = segments.at(-1) ?? '';
    const good = files.get(name) ?? new Uint8Array(0);
    const seed = segmentSeed(saltOf(files), segmentNumber(name) ?? 0);
    let lsn = 0;
    let previousLsn = 0;
    for (const piece of scanSegment(good, seed)) {
      if (piece.kind !== 'record') continue;
      lsn = piece.header.lsn;
      if (piece.header.partition === 3) previousLsn = lsn;
    }
    const entry = Buffer.concat([Buffer.alloc(8), payload(3, index, epoch, PAYLOAD_BYTES)]);
    const record = byteView(new Uint8Array(recordLength(entry.length)));
    putRecord(record, 0, TYPE_ENTRY, flags, 3, index, epoch, lsn + 1, previousLsn, entry);
    sealHeader(record, 0, lsn, seed, good.length);
    const machine = machineWith(new Map(files).set(name, Buffer.concat([good, record.bytes])));
    expect(judge(machine)).toEqual({ whole: [1, 2], damaged: [3], absent: [] });
  });
});
