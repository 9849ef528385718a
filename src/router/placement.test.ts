import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countLeaders, findLeaderMoves } from './leader-balance.ts';
import { LOAD_BOUND_DEFAULT, type PlacementInput, placePartitions, planMoves } from './placement.ts';
import { partitionToken, Ring, type RingNode } from './ring.ts';

function nodesOf(count: number, zones: number): RingNode[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `node-${index}`,
    zone: `zone-${index % zones}`,
  }));
}

function loads(voters: readonly (readonly string[])[], nodes: readonly RingNode[]): number[] {
  const counts = new Map(nodes.map((node) => [node.id, 0]));
  for (const node of voters.flat()) counts.set(node, counts.get(node)! + 1);
  return [...counts.values()];
}

const input = fc
  .record({
    partitions: fc.integer({ min: 1, max: 200 }),
    replicationFactor: fc.integer({ min: 1, max: 5 }),
    count: fc.constantFrom(3, 5, 8, 50),
    loadBound: fc.constantFrom(1.1, 1.25, 2),
  })
  .map(({ count, ...rest }): PlacementInput => ({ ...rest, vnodes: 32, nodes: nodesOf(count, count) }));

describe('the ring', () => {
  it('meets every node once and depends on nothing but the nodes', () => {
    const nodes = nodesOf(8, 8);
    const ring = new Ring(nodes);
    const again = new Ring([...nodes].reverse());
    for (let partition = 0; partition < 50; partition += 1) {
      const walk = ring.walk(partitionToken(partition));
      expect([...walk].sort()).toEqual(nodes.map(({ id }) => id).sort());
      expect(again.walk(partitionToken(partition))).toEqual(walk);
    }
  });

  it('keeps the order of the others when a node joins', () => {
    const before = new Ring(nodesOf(8, 8));
    const after = new Ring(nodesOf(9, 9));
    for (let partition = 0; partition < 50; partition += 1) {
      const walk = after.walk(partitionToken(partition)).filter((id) => id !== 'node-8');
      expect(walk).toEqual(before.walk(partitionToken(partition)));
    }
  });

  it('gives a node of twice the weight about twice the arcs', () => {
    const ring = new Ring([
      { id: 'a', zone: '', weight: 2 },
      { id: 'b', zone: '' },
      { id: 'c', zone: '' },
    ]);
    let first = 0;
    for (let partition = 0; partition < 4000; partition += 1) {
      if (ring.walk(partitionToken(partition))[0] === 'a') first += 1;
    }
    expect(first).toBeGreaterThan(1600);
    expect(first).toBeLessThan(2400);
  });
});

describe('placePartitions', () => {
  it('gives every partition distinct voters, no node more than its bounded share, and is deterministic', () => {
    fc.assert(
      fc.property(input, (one) => {
        const placement = placePartitions(one);
        const voters = Math.min(one.replicationFactor, one.nodes.length);
        for (const set of placement.voters) expect(new Set(set).size).toBe(voters);
        const share = (one.partitions * voters) / one.nodes.length;
        expect(Math.max(...loads(placement.voters, one.nodes))).toBeLessThanOrEqual(
          Math.ceil(one.loadBound! * share),
        );
        expect(placePartitions(one)).toEqual(placement);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    [3, 3],
    [5, 3],
    [8, 3],
    [8, 4],
    [50, 5],
  ])('spreads %i nodes in %i zones so that no two voters share a zone', (count, zones) => {
    const nodes = nodesOf(count, zones);
    const zoneOf = new Map(nodes.map(({ id, zone }) => [id, zone]));
    const { voters } = placePartitions({ partitions: 96, replicationFactor: 3, nodes });
    for (const set of voters) expect(new Set(set.map((node) => zoneOf.get(node))).size).toBe(3);
  });

  it('uses every zone once before any twice where there are fewer zones than voters', () => {
    const nodes = nodesOf(6, 2);
    const zoneOf = new Map(nodes.map(({ id, zone }) => [id, zone]));
    const { voters } = placePartitions({ partitions: 48, replicationFactor: 3, nodes });
    for (const set of voters) expect(new Set(set.map((node) => zoneOf.get(node))).size).toBe(2);
  });

  it.each([3, 5, 8, 50])('spreads the first leaders over %i nodes within one', (count) => {
    const nodes = nodesOf(count, count);
    const { leaders, voters } = placePartitions({ partitions: 48, replicationFactor: 3, nodes });
    const counts = countLeaders(
      nodes.map(({ id }) => id),
      leaders.map((leader) => ({ leader })),
    );
    expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThanOrEqual(1);
    for (const [partition, leader] of leaders.entries()) expect(voters[partition]).toContain(leader);
  });
});

describe('planMoves', () => {
  it('moves nothing when nothing changed', () => {
    fc.assert(
      fc.property(input, (one) => {
        expect(planMoves(placePartitions(one).voters, one)).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  it.each([3, 5, 8, 50])(
    'fills a node that joins %i others with no more than its fair share, rounded up',
    (count) => {
      const before = placePartitions({ partitions: 96, replicationFactor: 3, nodes: nodesOf(count, count) });
      const nodes = nodesOf(count + 1, count + 1);
      const moves = planMoves(before.voters, { partitions: 96, replicationFactor: 3, nodes });
      const share = (96 * 3) / (count + 1);
      const intoNew = moves.filter(({ to }) => to === `node-${count}`).length;
      expect(moves.length).toBeLessThanOrEqual(Math.ceil(share * LOAD_BOUND_DEFAULT));
      expect(intoNew).toBeGreaterThanOrEqual(Math.floor(share / LOAD_BOUND_DEFAULT));
      expect(intoNew).toBeLessThanOrEqual(Math.ceil(share));
    },
  );

  it('replaces the voters of a node that leaves, and little else', () => {
    const nodes = nodesOf(8, 8);
    const before = placePartitions({ partitions: 96, replicationFactor: 3, nodes });
    const left = nodes.slice(1);
    const gone = before.voters.flat().filter((node) => node === 'node-0').length;
    const moves = planMoves(before.voters, { partitions: 96, replicationFactor: 3, nodes: left });
    expect(moves.filter(({ from }) => from === 'node-0')).toHaveLength(gone);
    expect(moves.length).toBeLessThanOrEqual(gone + Math.ceil((96 * 3) / 7) * (LOAD_BOUND_DEFAULT - 1));
    const after = before.voters.map((set) => [...set]);
    for (const { partition, from, to } of moves) after[partition]![after[partition]!.indexOf(from)] = to;
    for (const set of after) expect(new Set(set).size).toBe(3);
    expect(Math.max(...loads(after, left))).toBeLessThanOrEqual(Math.ceil((LOAD_BOUND_DEFAULT * 96 * 3) / 7));
  });
});

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
