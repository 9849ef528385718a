import { describe, expect, it } from 'vitest';
import { FairShares, type Share, type Ticket, unitsOf } from './fair-share.ts';

const PERIOD_MS = 100;

/** Connections on a clock of their own, each with as many requests open as it wants, one unit each. */
class Bench {
  readonly shares = new FairShares();
  now = 1_000;
  #connections = 0;

  join(weight = 1, limited = true): Share {
    this.#connections += 1;
    return this.shares.join(`connection ${this.#connections}`, weight, limited);
  }

  /** Opens so many requests; starts those that may start. */
  open(share: Share, count: number, units = 1): Ticket[] {
    for (let n = 0; n < count; n += 1) share.enter(units, this.now);
    return this.fill(share, count, units);
  }

  /** Starts what is open until nothing more may start. */
  fill(share: Share, most: number, units = 1): Ticket[] {
    const tickets: Ticket[] = [];
    while (tickets.length < most && share.mayStart(this.now)) tickets.push(share.start(units, this.now));
    return tickets;
  }

  end(share: Share, tickets: readonly Ticket[], answerUnits = 0): void {
    for (const ticket of tickets) share.end(ticket, answerUnits, this.now);
  }

  /** Lets so many periods pass. */
  pass(periods: number): void {
    for (let n = 0; n < periods; n += 1) {
      this.now += PERIOD_MS;
      this.shares.tick(this.now);
    }
  }
}

describe('a fair share', () => {
  it('counts long values as many requests', () => {
    expect([0, 100, 16_383, 16_384, 1024 * 1024].map(unitsOf)).toEqual([1, 1, 1, 2, 65]);
  });

  it('is everything for one alone', () => {
    const bench = new Bench();
    const share = bench.join();
    expect(bench.open(share, 5_000)).toHaveLength(5_000);
    bench.pass(3);
    expect(bench.open(share, 5_000, 65)).toHaveLength(5_000);
  });

  it('of one that floods is a quarter of what ordinary ones have in progress', () => {
    const bench = new Bench();
    const ordinary = Array.from({ length: 16 }, () => bench.join());
    for (const share of ordinary) expect(bench.open(share, 4)).toHaveLength(4);
    const flood = bench.join();
    const first = bench.open(flood, 2_000);
    // At once, before anything is known of anybody.
    expect(first).toHaveLength(8);
    bench.pass(2);
    bench.end(flood, first);
    expect(bench.fill(flood, 2_000)).toHaveLength(16);
    for (const share of ordinary) expect(share.mayStart(bench.now)).toBe(true);
  });

  it('of several that flood is shared by them, and no smaller than what is typical', () => {
    const bench = new Bench();
    for (let n = 0; n < 18; n += 1) bench.open(bench.join(), 4);
    const floods = [bench.join(), bench.join(), bench.join()];
    const first = floods.map((flood) => bench.open(flood, 2_000));
    bench.pass(2);
    for (const [n, flood] of floods.entries()) bench.end(flood, first[n]!);
    for (const flood of floods) expect(bench.fill(flood, 2_000)).toHaveLength(6);
    for (let n = 0; n < 4; n += 1) floods.push(bench.join());
    for (const flood of floods.slice(3)) bench.open(flood, 2_000);
    bench.pass(3);
    // A quarter of 72 is less than 4 for each of seven.
    for (const flood of floods) expect(bench.shares.limitOf(flood)).toBe(4);
  });

  it('does not shrink where everybody wants much', () => {
    const bench = new Bench();
    const many = [bench.join(), bench.join(), bench.join()];
    const open = many.map((share) => bench.open(share, 256));
    for (let n = 0; n < 10; n += 1) {
      bench.pass(1);
      for (const [k, share] of many.entries()) {
        bench.end(share, open[k]!);
        for (const _ of open[k]!) share.enter(1, bench.now);
        open[k] = bench.fill(share, 256);
      }
    }
    expect(open.map((tickets) => tickets.length)).toEqual([256, 256, 256]);
  });

  it('leaves one that wants much some room beside many that seldom want anything', () => {
    const bench = new Bench();
    const bulk = bench.join();
    const idlers = Array.from({ length: 100 }, () => bench.join());
    bench.open(bulk, 256);
    for (let n = 0; n < 5; n += 1) {
      for (const idler of idlers) {
        const tickets = bench.open(idler, 2);
        expect(tickets).toHaveLength(2);
        bench.now += 0.01;
        bench.end(idler, tickets);
      }
      bench.pass(1);
    }
    expect(bench.shares.limitOf(bulk)).toBe(8);
  });

  it('is one for all streams of a connection, until the last of them has left', () => {
    const { shares, ...bench } = { shares: new FairShares(), now: 0 };
    const other = shares.join('another', 1, true);
    other.enter(1, bench.now);
    const stream = shares.join('a connection', 1, true);
    const second = shares.join('a connection', 1, true);
    for (let n = 0; n < 8; n += 1) {
      expect(second.mayStart(bench.now)).toBe(true);
      stream.enter(1, bench.now);
      stream.start(1, bench.now);
    }
    expect(second.mayStart(bench.now)).toBe(false);
    shares.leave(stream);
    expect(second.mayStart(bench.now)).toBe(false);
    shares.leave(second);
    expect(shares.isAlone(other)).toBe(true);
    expect(shares.join('a connection', 1, true).mayStart(bench.now)).toBe(true);
  });

  it('counts others that pause for a moment, and no longer', () => {
    const bench = new Bench();
    const [first, second] = [bench.join(), bench.join()];
    const tickets = bench.open(first, 1);
    bench.now += 1;
    bench.end(first, tickets);
    expect(bench.open(second, 100)).toHaveLength(8);
    bench.pass(1);
    expect(bench.shares.isAlone(second)).toBe(false);
    bench.pass(2);
    expect(bench.shares.isAlone(second)).toBe(true);
    expect(bench.fill(second, 92)).toHaveLength(92);
  });

  it('does not count what is in progress for longer than two periods', () => {
    const bench = new Bench();
    const [first, second] = [bench.join(), bench.join()];
    bench.open(first, 1);
    const stuck = bench.open(second, 100);
    bench.pass(2);
    expect(bench.fill(second, 92)).toHaveLength(8);
    bench.end(second, stuck);
    expect(second.mayStart(bench.now)).toBe(false);
  });

  it('limits by weight, and a connection of other clients not at all', () => {
    const bench = new Bench();
    const router = bench.join(8, false);
    const client = bench.join(2);
    expect(bench.open(router, 1_000)).toHaveLength(1_000);
    expect(bench.open(client, 1_000)).toHaveLength(16);
  });
});

it('is one thing at a time for one that takes more than its credit, beside others', () => {
  const bench = new Bench();
  const flood = bench.join();
  flood.overdrawn = true;
  expect(bench.open(flood, 20)).toHaveLength(20);
  bench.open(bench.join(), 1);
  bench.pass(2);
  expect(bench.fill(flood, 20)).toHaveLength(1);
  flood.overdrawn = false;
  expect(bench.fill(flood, 20)).toHaveLength(7);
});

describe('what is longer than a share', () => {
  it('may start, one at a time, and is paid for with a pause as if it had been done in pieces', () => {
    const bench = new Bench();
    bench.open(bench.join(), 1);
    const bulk = bench.join();
    const started = bench.open(bulk, 3, 65);
    expect(started).toHaveLength(1);
    bench.now += 10;
    bench.end(bulk, started);
    const pauseMs = (65 / 8 - 1) * 10;
    bench.now += pauseMs - 1;
    expect(bulk.mayStart(bench.now)).toBe(false);
    bench.now += 1;
    expect(bench.fill(bulk, 2, 65)).toHaveLength(1);
  });

  it('is paid for by reads too, once it shows, and each time', () => {
    const bench = new Bench();
    bench.open(bench.join(), 1);
    const reader = bench.join();
    const reads = bench.open(reader, 4);
    bench.now += 5;
    bench.end(reader, reads, 65);
    bench.now += 4 * (65 / 8 - 1) * 5 - 1;
    expect(reader.mayStart(bench.now)).toBe(false);
    bench.now += 1;
    expect(reader.mayStart(bench.now)).toBe(true);
  });

  it('is not paid for endlessly after it had to wait for something else', () => {
    const bench = new Bench();
    bench.open(bench.join(), 1);
    const bulk = bench.join();
    const started = bench.open(bulk, 1, 65);
    bench.now += 10_000;
    bench.end(bulk, started);
    bench.now += 2_000;
    expect(bulk.mayStart(bench.now)).toBe(true);
  });
});
