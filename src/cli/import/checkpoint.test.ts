import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  BAD_LINES_KEPT,
  type BadLine,
  Checkpoint,
  type Done,
  DonePrefix,
  NOTHING_DONE,
} from './checkpoint.ts';
import type { Line } from './line-splitter.ts';

function badLine(line: number): BadLine {
  return { line, code: 'INVALID_ARGUMENT', message: 'the line is not JSON' };
}

function line(number: number): Line {
  return { number, bytes: new Uint8Array(0), end: number * 10, checksum: number * 7 };
}

describe('DonePrefix', () => {
  it('is always the longest run of finished lines from the start, whatever order they finish in', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.array(fc.nat(), { maxLength: 80 }), (count, picks) => {
        const prefix = new DonePrefix();
        const finish = Array.from({ length: count }, (_, index) => prefix.add(line(index + 1)));
        const finished = new Set<number>();
        for (const pick of picks) {
          const number = (pick % count) + 1;
          if (finished.has(number)) continue;
          finished.add(number);
          finish[number - 1]?.();
          let expected = 0;
          while (finished.has(expected + 1)) expected++;
          expect(prefix.position.number).toBe(expected);
          expect(prefix.position.end).toBe(expected * 10);
          expect(prefix.waiting).toBe(count - expected);
        }
      }),
    );
  });

  it('forgets finished lines, so that a long import holds no more than a short one', () => {
    const prefix = new DonePrefix();
    for (let number = 1; number <= 10_000; number++) prefix.add(line(number))();
    expect(prefix.position.number).toBe(10_000);
    expect(prefix.waiting).toBe(0);
  });

  it('counts the bad lines up to its position and no others, and keeps the first few', () => {
    const prefix = new DonePrefix({ ...NOTHING_DONE, bad: 1, badLines: [badLine(1)] });
    const finish = Array.from({ length: 40 }, (_, index) => prefix.add(line(index + 2)));
    for (const [index, done] of finish.entries()) if (index > 0) done(badLine(index + 2));
    expect(prefix.done).toMatchObject({ number: 0, bad: 1, badLines: [badLine(1)] });
    finish[0]?.();
    expect(prefix.done).toMatchObject({ number: 41, bad: 40 });
    expect(prefix.done.badLines.map((bad) => bad.line).slice(0, 3)).toEqual([1, 3, 4]);
    expect(prefix.done.badLines).toHaveLength(BAD_LINES_KEPT);
  });
});

describe('Checkpoint', () => {
  const identity = { cluster: 'c1', keyspace: 'users', key: 'id', codec: 'json' } as const;
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
    path = join(directory, 'checkpoint');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('reads back what was written, and nothing once it is removed', () => {
    const checkpoint = new Checkpoint(path, identity);
    expect(checkpoint.read()).toBeNull();
    const done: Done = { number: 12, end: 3_456, checksum: 0xdeadbeef, bad: 3, badLines: [badLine(4)] };
    checkpoint.write(NOTHING_DONE);
    checkpoint.write(done);
    expect(new Checkpoint(path, identity).read()).toEqual(done);
    checkpoint.remove();
    expect(checkpoint.read()).toBeNull();
  });

  it('does not count for another cluster, keyspace, key field or codec', () => {
    new Checkpoint(path, identity).write({ ...NOTHING_DONE, number: 12, end: 3_456 });
    for (const other of [
      { cluster: 'c2' },
      { keyspace: '' },
      { key: 'name' },
      { codec: 'msgpack' } as const,
    ]) {
      expect(new Checkpoint(path, { ...identity, ...other }).read()).toBeNull();
    }
  });

  it('refuses a file that is something else', () => {
    const counts = '"number":1,"end":1,"checksum":0';
    const texts = ['', 'hello', '[]', '{"format":2}', `{"format":1,${counts}}`, `{"format":2,${counts}}`];
    for (const text of [...texts, `{"format":2,${counts},"bad":-1,"badLines":[]}`]) {
      writeFileSync(path, text);
      expect(() => new Checkpoint(path, identity).read(), text).toThrow(
        /INVALID_ARGUMENT.*no import checkpoint/,
      );
    }
  });
});
