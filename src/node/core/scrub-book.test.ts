import { describe, expect, it } from 'vitest';
import { ScrubBook } from './scrub-book.ts';

const KIB = 1024;

/** A scrub that reads whatever it may, a page of `page` bytes at a time. */
class Reader {
  ready = true;
  private granted = 0;
  read = 0;
  private readonly book: ScrubBook;
  private readonly page: number | null;

  constructor(book: ScrubBook, page: number | null = null) {
    this.book = book;
    this.page = page;
    book.enter(this);
  }

  grant(bytes: number): void {
    this.granted = bytes;
    this.ready = false;
  }

  tick(): void {
    if (this.granted === 0) return;
    const bytes = this.page ?? this.granted;
    this.read += bytes;
    this.book.read(this.granted, bytes);
    this.granted = 0;
    this.ready = true;
  }
}

function readersOf(rate: number, pages: readonly (number | null)[]) {
  const book = new ScrubBook({ boot: 1, scrubBytesPerSecond: rate }, new Map());
  const readers = pages.map((page) => new Reader(book, page));
  const run = (from: number, to: number): void => {
    for (let now = from; now < to; now += 20) {
      book.tick(now);
      for (const reader of readers) reader.tick();
    }
  };
  return { book, readers, run, total: () => readers.reduce((sum, { read }) => sum + read, 0) };
}

describe('the rate of scrubs', () => {
  it.each([64 * KIB, 1024 * KIB, 64 * 1024 * KIB])('of %d bytes/s is for all of a node together', (rate) => {
    const { run, total } = readersOf(rate, [null, null, null, null, null, null, null, null]);
    run(0, 10_000);
    const burst = Math.max(rate / 10, 64 * KIB);
    expect(total()).toBeLessThanOrEqual(10 * rate + burst);
    expect(total()).toBeGreaterThan(9 * rate);
  });

  it('is for those first that have begun first, and nothing of it is lost', () => {
    const { readers, run, total } = readersOf(1024 * KIB, [null, null]);
    run(0, 1_000);
    expect(readers[0]!.read).toBeGreaterThan(0.8 * total());
    readers[0]!.ready = false;
    const before = readers[1]!.read;
    run(1_000, 2_000);
    expect(readers[1]!.read - before).toBeGreaterThan(900 * KIB);
  });

  it('is kept by a pause after a row that is longer than a chunk', () => {
    const { run, total, book } = readersOf(1024 * KIB, [8 * 1024 * KIB]);
    run(0, 7_900);
    expect(total()).toBe(8 * 1024 * KIB);
    run(7_900, 8_200);
    expect(total()).toBe(16 * 1024 * KIB);
    expect(book.bytesRead).toBe(total());
  });

  it('gives back what one that ends has not used', () => {
    const { book, readers, run } = readersOf(64 * KIB, [null, null]);
    book.tick(0);
    book.leave(readers[0]!, 64 * KIB);
    run(0, 20);
    expect(readers[1]!.read).toBe(64 * KIB);
  });
});

describe('runs', () => {
  it('are forgotten, the oldest first, and one that is led elsewhere says so', () => {
    const { book } = readersOf(1, []);
    const first = book.begin([3]);
    expect(book.tell(first)).toMatchObject([{ partition: 3, state: 'SCRUB_UNAVAILABLE' }]);
    expect(book.tell(book.begin([3, 3, 3]))).toHaveLength(1);
    expect(book.tell(first + 2)).toBeNull();
    for (let more = 0; more < 64; more += 1) book.begin([]);
    expect(book.tell(first + 1)).toBeNull();
    expect(book.tell(first + 2)).toEqual([]);
  });
});
