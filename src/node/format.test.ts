import { describe, expect, test } from 'vitest';
import { Machine, meta } from '../../test/support/wal-machine.ts';
import { RingkeepError } from '../common/errors.ts';
import { createRandom } from '../common/random.ts';
import { SimDisk } from '../common/sim-disk.ts';
import { openFormat } from './format.ts';

const disk = (random: () => number = () => 0.5) => new SimDisk(() => {}, random);
let ids = 0;
const newId = () => {
  ids += 1;
  return `id-${ids}`;
};

function code(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof RingkeepError ? error.code : String(error);
  }
  return 'nothing thrown';
}

describe('FORMAT', () => {
  test('is created in an empty directory and counts every start', () => {
    const data = disk();
    data.replaceSync('FORMAT.tmp', new Uint8Array(3));
    data.makeDirectorySync('lock');
    const first = openFormat(data, { nodeId: 'n1', newId });
    expect(first).toMatchObject({
      clusterId: '',
      nodeId: 'n1',
      boot: 1,
      created: true,
    });
    expect(first.admittedBoot).toBe(0);
    data.crash();
    const second = openFormat(data, { nodeId: 'n1', newId });
    expect(second).toMatchObject({ incarnation: first.incarnation, boot: 2, created: false });
    expect(second.runs).toEqual([...first.runs, expect.any(String)]);
    expect(new Set([first.incarnation, ...second.runs]).size).toBe(4);
    expect(Buffer.from(data.readSync('FORMAT')).toString()).toMatch(
      /^\{"format":1,.*\}\ncrc32c [0-9a-f]{8}\n$/,
    );
  });

  test('a boot number is never given twice, wherever the power goes', () => {
    for (let at = 0; at < 40; at++) {
      const data = disk(createRandom(at).next);
      const given: number[] = [];
      let left = at % 5;
      for (let start = 0; start < 8; start++) {
        data.onStep = () => {
          if (left-- === 0) throw new Error('power cut');
        };
        try {
          given.push(openFormat(data, { nodeId: 'n1', newId }).boot);
        } catch (error) {
          if (!(error instanceof Error) || error.message !== 'power cut') throw error;
          left = (at + start) % 7;
        }
        data.crash();
      }
      expect(new Set(given).size).toBe(given.length);
      expect(given).toEqual([...given].sort((a, b) => a - b));
    }
  });

  test('remembers the start that was admitted last, and those since', () => {
    const data = disk();
    const start = () => openFormat(data, { nodeId: 'n1', newId });
    start();
    const admitted = start();
    admitted.admit();
    admitted.admit();
    data.crash();
    const since = Array.from({ length: 3 }, start);
    expect(since.map(({ admittedBoot }) => admittedBoot)).toEqual([2, 2, 2]);
    expect(since[2]!.runs).toEqual([admitted, ...since].map(({ runs }) => runs.at(-1)));
  });

  test('remembers where the log ended that the first start since the admitted one has found', () => {
    const data = disk();
    const start = (end: number) => {
      data.crash();
      const format = openFormat(data, { nodeId: 'n1', newId });
      format.noteLogEnd(end);
      return format;
    };
    const first = start(0);
    expect(first.toldLogEnd(7)).toBe(0);
    first.admit();
    expect(first.toldLogEnd(7)).toBe(7);
    expect(start(8).toldLogEnd(11)).toBe(8);
    const third = start(12);
    expect(third.toldLogEnd(15)).toBe(8);
    third.admit();
    expect(third.toldLogEnd(15)).toBe(15);
    expect(start(16).toldLogEnd(20)).toBe(16);
    start(21).renew('another');
    expect(start(22).toldLogEnd(30)).toBe(22);
  });

  test('a copy of a directory tells of a shorter log than the directory, whatever its starts write to it', () => {
    const machine = new Machine(1, { segmentBytes: 1500 });
    let format = openFormat(machine.disk, { nodeId: 'n1', newId });
    machine.found = (lastLsn) => format.noteLogEnd(lastLsn);
    machine.open();
    format.admit();
    machine.wal.append({ type: 'meta', partition: 1, meta: meta('r1') });
    machine.entries(1, 1, 80);
    machine.settle(81);
    machine.wal.append({ type: 'meta', partition: 2, meta: meta('r2') });
    machine.entries(2, 1, 80);
    machine.settle(162);
    machine.close();
    const copy = machine.disk.contents();
    format = openFormat(machine.disk, { nodeId: 'n1', newId });
    machine.open();
    format.admit();
    machine.entries(1, 81, 82);
    machine.settle(machine.durableLsn + 2);
    const heard = format.toldLogEnd(machine.wal.durableLsn());
    machine.crash();
    machine.disk.putBack(copy);
    for (let start = 0; start < 3; start++) {
      format = openFormat(machine.disk, { nodeId: 'n1', newId });
      machine.open();
      // Dropping the head, the log writes again what it needs of it.
      machine.wal.truncateHead(
        new Map([
          [1, 70],
          [2, 81],
        ]),
        0,
      );
      machine.clock.run(1_000);
      expect(machine.wal.durableLsn()).toBeGreaterThan(heard);
      expect(format.toldLogEnd(machine.wal.durableLsn())).toBeLessThan(heard);
      machine.crash();
    }
  });

  test('is renewed durably, for the next start', () => {
    const data = disk();
    const old = openFormat(data, { nodeId: 'n1', clusterId: 'c1', newId });
    old.renew('another');
    data.crash();
    const renewed = openFormat(data, { nodeId: 'n1', newId });
    expect(renewed).toMatchObject({ incarnation: 'another', boot: 2, clusterId: 'c1', admittedBoot: 0 });
    expect(renewed.runs).not.toContain(old.runs.at(-1));
    expect(() => renewed.renew('another')).toThrow('another incarnation');
  });

  test('is not opened again once it is condemned', () => {
    const data = disk();
    openFormat(data, { nodeId: 'n1', clusterId: 'c1', newId }).condemn('the store is damaged: block 7');
    data.crash();
    const again = () => openFormat(data, { nodeId: 'n1', newId });
    expect(code(again)).toBe('DAMAGED');
    expect(again).toThrow('the store is damaged: block 7; wipe the directory and let the node join anew');
  });

  test('binds to one cluster, once', () => {
    const data = disk();
    const format = openFormat(data, { nodeId: 'n1', newId });
    format.setClusterId('c1');
    format.setClusterId('c1');
    expect(format.clusterId).toBe('c1');
    expect(code(() => format.setClusterId('c2'))).toBe('WRONG_CLUSTER');
    expect(openFormat(data, { nodeId: 'n1', newId }).clusterId).toBe('c1');
    expect(openFormat(data, { nodeId: 'n1', clusterId: 'c1', newId }).boot).toBe(3);
    expect(code(() => openFormat(data, { nodeId: 'n1', clusterId: 'c2', newId }))).toBe('WRONG_CLUSTER');
    // A refused start is none.
    expect(openFormat(data, { nodeId: 'n1', newId }).boot).toBe(4);
  });

  test('takes the cluster it is told when it has none', () => {
    const data = disk();
    openFormat(data, { nodeId: 'n1', newId });
    expect(openFormat(data, { nodeId: 'n1', clusterId: 'c1', newId }).clusterId).toBe('c1');
  });

  test('refuses another node, foreign files, newer formats and damage', () => {
    const data = disk();
    openFormat(data, { nodeId: 'n1', newId });
    expect(code(() => openFormat(data, { nodeId: 'n2', newId }))).toBe('WRONG_NODE');
    const foreign = disk();
    foreign.replaceSync('holiday.jpg', new Uint8Array(1));
    expect(code(() => openFormat(foreign, { nodeId: 'n1', newId }))).toBe('WRONG_NODE');
    const good = data.readSync('FORMAT');
    for (let bit = 0; bit < good.length * 8; bit++) {
      data.flipBit('FORMAT', bit >> 3, bit & 7);
      expect(code(() => openFormat(data, { nodeId: 'n1', newId }))).toBe('DAMAGED');
      data.flipBit('FORMAT', bit >> 3, bit & 7);
    }
    data.replaceSync('FORMAT', Buffer.from(`${NEWER}\ncrc32c ${NEWER_SUM}\n`));
    expect(code(() => openFormat(data, { nodeId: 'n1', newId }))).toBe('FORMAT_TOO_NEW');
  });
});

const NEWER = '{"format":2,"shape":"unknown"}';
const NEWER_SUM = '7f854c41';
