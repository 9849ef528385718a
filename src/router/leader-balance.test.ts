import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countLeaders, findLeaderMoves, findLoadMoves, type LoadedLeadership } from './leader-balance.ts';

describe('findLeaderMoves', () => {
  it('finds a chain where the fullest and the emptiest node share no partition', () => {
    const counts = new Map([
      ['a', 3],
      ['b', 2],
      ['c', 1],
    ]);
    const moves = findLeaderMoves(counts, [
      { partition: 0, leader: 'a', candidates: ['b'] },
      { partition: 1, leader: 'b', candidates: ['c'] },
    ]);
    expect(moves).toEqual([
      { partition: 0, from: 'a', to: 'b' },
      { partition: 1, from: 'b', to: 'c' },
    ]);
  });

  it('finds nothing when the spread is one, or no voter could take over', () => {
    const even = new Map([
      ['a', 2],
      ['b', 1],
    ]);
    expect(findLeaderMoves(even, [{ partition: 0, leader: 'a', candidates: ['b'] }])).toEqual([]);
    const stuck = new Map([
      ['a', 5],
      ['b', 0],
    ]);
    expect(findLeaderMoves(stuck, [{ partition: 0, leader: 'a', candidates: ['c'] }])).toEqual([]);
  });
});

const NODES = ['a', 'b', 'c', 'd'];

/** Leaders of as even numbers as can be, each with the two next nodes for candidates. */
function cluster(requests: readonly number[]): LoadedLeadership[] {
  return requests.map((load, partition) => {
    const others = [1, 2].map((step) => NODES[(partition + step) % NODES.length]!);
    return { partition, leader: NODES[partition % NODES.length]!, candidates: others, load };
  });
}

/** What would be led where after the moves. */
function handed(
  leaderships: readonly LoadedLeadership[],
  moves: readonly { partition: number; to: string }[],
): LoadedLeadership[] {
  const heads = new Map(moves.map(({ partition, to }) => [partition, to]));
  return leaderships.map((one) => {
    const to = heads.get(one.partition);
    if (to === undefined) return one;
    expect(one.candidates).toContain(to);
    const candidates = [...one.candidates.filter((node) => node !== to), one.leader];
    return { ...one, leader: to, candidates };
  });
}

function loadsOf(leaderships: readonly LoadedLeadership[]): Map<string, number> {
  const loads = new Map(NODES.map((node) => [node, 0]));
  for (const { leader, load } of leaderships) loads.set(leader, loads.get(leader)! + load);
  return loads;
}

function find(leaderships: readonly LoadedLeadership[], least = 1): ReturnType<typeof findLoadMoves> {
  return findLoadMoves(countLeaders(NODES, leaderships), leaderships, least);
}

describe('findLoadMoves', () => {
  it('swaps a leader of a busy node for one of a node that is not', () => {
    const leaderships = cluster([500, 10, 10, 10, 500, 20, 20, 20]);
    // Partition 1 has no voter on a; 7 and 3 on d have, and so have 2 and 6 on c.
    expect(find(leaderships)).toEqual([
      { partition: 0, from: 'a', to: 'c' },
      { partition: 2, from: 'c', to: 'a' },
    ]);
  });

  it('gives one away where the other node leads fewer', () => {
    const leaderships: LoadedLeadership[] = [
      { partition: 0, leader: 'a', candidates: ['b'], load: 400 },
      { partition: 1, leader: 'a', candidates: ['c'], load: 400 },
      { partition: 2, leader: 'b', candidates: ['c'], load: 10 },
    ];
    const counts = new Map([
      ['a', 2],
      ['b', 1],
      ['c', 0],
    ]);
    expect(findLoadMoves(counts, leaderships, 1)).toEqual([{ partition: 1, from: 'a', to: 'c' }]);
  });

  it('leaves alone what cannot be helped, what is about even, and what is not worth it', () => {
    expect(find(cluster([900, 1, 1, 1, 1, 1, 1, 1]))).toEqual([]);
    expect(find(cluster([110, 100, 100, 100, 100, 100, 100, 100]))).toEqual([]);
    expect(find(cluster([50, 1, 1, 1, 50, 1, 1, 1]), 100)).toEqual([]);
    expect(find(cluster([0, 0, 0, 0]))).toEqual([]);
    expect(findLoadMoves(new Map(), [], 1)).toEqual([]);
  });

  it('ends, never makes the busiest busier, keeps the numbers even, and leaves nothing that would help', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000), { minLength: 4, maxLength: 24 }), (requests) => {
        let leaderships = cluster(requests);
        let busiest = Math.max(...loadsOf(leaderships).values());
        let rounds = 0;
        for (let moves = find(leaderships); moves.length > 0; moves = find(leaderships)) {
          leaderships = handed(leaderships, moves);
          const counts = [...countLeaders(NODES, leaderships).values()];
          expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
          const now = Math.max(...loadsOf(leaderships).values());
          expect(now).toBeLessThanOrEqual(busiest);
          busiest = now;
          rounds += 1;
          expect(rounds).toBeLessThan(200);
        }
        const loads = loadsOf(leaderships);
        const mean = [...loads.values()].reduce((sum, load) => sum + load) / NODES.length;
        const top = [...loads].sort((x, y) => y[1] - x[1])[0]!;
        if (top[1] <= mean * 1.2) return;
        // Every hand-over and every swap, tried out.
        for (const one of leaderships)
          for (const to of one.leader === top[0] ? one.candidates : []) {
            const tried = leaderships
              .filter(({ leader, candidates }) => leader === to && candidates.includes(top[0]))
              .map(({ partition }) => [{ partition, to: top[0] }]);
            for (const back of tried) {
              const loadsThen = loadsOf(handed(leaderships, [{ partition: one.partition, to }, ...back]));
              const then = Math.max(loadsThen.get(top[0])!, loadsThen.get(to)!);
              expect(then).toBeGreaterThan(top[1] - Math.max(1, mean * 0.1));
            }
          }
      }),
      { numRuns: 300 },
    );
  });
});
