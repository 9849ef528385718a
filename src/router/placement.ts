/**
 * Which nodes vote on which partition: the next distinct nodes clockwise on the ring, spread over zones, none with more
 * than its bounded share. Owns the choice only; moves are carried out by the controller as reconfigurations.
 * INVARIANT: deterministic in its arguments. A node carries at most ceil(loadBound * fair share) voters, and no two
 * voters of a partition share a zone while a zone without one exists; where both cannot hold, zones come first.
 * Source: Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, 2016.
 */
import { assert } from '../common/errors.ts';
import { countLeaders, findLeaderMoves } from './leader-balance.ts';
import { partitionToken, Ring, type RingNode } from './ring.ts';

/** Most voters on a node, relative to its fair share. */
export const LOAD_BOUND_DEFAULT = 1.25;

/** What to place where. `loadBound` is above 1; `replicationFactor` is capped by the number of nodes. */
export interface PlacementInput {
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly nodes: readonly RingNode[];
  readonly loadBound?: number;
  readonly vnodes?: number;
}

/** Node ids by partition: the voters in ring order, and who should lead first (one of them). */
export interface Placement {
  readonly voters: readonly (readonly string[])[];
  readonly leaders: readonly string[];
}

/** One voter changes its node. */
export interface VoterMove {
  readonly partition: number;
  readonly from: string;
  readonly to: string;
}

/** The working state: loads change as voters are placed. */
interface Board {
  readonly zones: ReadonlyMap<string, string>;
  readonly capacity: ReadonlyMap<string, number>;
  /** Below this a node is short of voters. */
  readonly least: ReadonlyMap<string, number>;
  readonly load: Map<string, number>;
  readonly orders: readonly (readonly string[])[];
  readonly voters: string[][];
}

function createBoard(input: PlacementInput, voters: string[][]): Board {
  const { nodes, partitions } = input;
  const bound = input.loadBound ?? LOAD_BOUND_DEFAULT;
  assert(bound > 1, 'the load bound is above 1');
  assert(nodes.length > 0 && partitions >= 1 && input.replicationFactor >= 1, 'something to place somewhere');
  const ring = new Ring(nodes, input.vnodes);
  const slots = partitions * Math.min(input.replicationFactor, nodes.length);
  const weights = nodes.reduce((sum, node) => sum + (node.weight ?? 1), 0);
  const share = (node: RingNode): number => (slots * (node.weight ?? 1)) / weights;
  const load = new Map<string, number>(nodes.map((node) => [node.id, 0]));
  for (const node of voters.flat()) load.set(node, (load.get(node) ?? 0) + 1);
  return {
    zones: new Map(nodes.map((node) => [node.id, node.zone])),
    capacity: new Map(nodes.map((node) => [node.id, Math.ceil(bound * share(node))])),
    least: new Map(nodes.map((node) => [node.id, Math.floor(share(node) / bound)])),
    load,
    orders: Array.from({ length: partitions }, (_, partition) => ring.walk(partitionToken(partition))),
    voters,
  };
}

/** How often each zone is used by `chosen`. */
function zoneUse(board: Board, chosen: readonly string[]): Map<string, number> {
  const use = new Map<string, number>();
  for (const node of chosen) {
    const zone = board.zones.get(node)!;
    use.set(zone, (use.get(zone) ?? 0) + 1);
  }
  return use;
}

/** The next voter for a partition that has `chosen`: least used zone first, then room, then ring order. */
function chooseNext(board: Board, partition: number, chosen: readonly string[]): string {
  const use = zoneUse(board, chosen);
  const usedBy = (node: string): number => use.get(board.zones.get(node)!) ?? 0;
  const free = board.orders[partition]!.filter((node) => !chosen.includes(node));
  const leastUsed = Math.min(...free.map(usedBy));
  const eligible = free.filter((node) => usedBy(node) === leastUsed);
  const withRoom = eligible.find((node) => board.load.get(node)! < board.capacity.get(node)!);
  if (withRoom !== undefined) return withRoom;
  const fill = (node: string): number => board.load.get(node)! / board.capacity.get(node)!;
  return eligible.reduce((best, node) => (fill(node) < fill(best) ? node : best));
}

function fillUp(board: Board, partition: number, count: number): void {
  const chosen = board.voters[partition]!;
  while (chosen.length < count) {
    const node = chooseNext(board, partition, chosen);
    chosen.push(node);
    board.load.set(node, board.load.get(node)! + 1);
  }
}

function zonesOf(board: Board, nodes: readonly string[]): number {
  return new Set(nodes.map((node) => board.zones.get(node))).size;
}

/** Moves one voter from `from` to `to` where the ring likes `to` best and no zone spread is lost; false if nowhere. */
function moveOne(board: Board, from: string, to: string, moves: VoterMove[]): boolean {
  let best: { partition: number; rank: number } | null = null;
  for (const [partition, voters] of board.voters.entries()) {
    if (!voters.includes(from) || voters.includes(to)) continue;
    const after = voters.map((node) => (node === from ? to : node));
    if (zonesOf(board, after) < zonesOf(board, voters)) continue;
    const rank = board.orders[partition]!.indexOf(to);
    if (best === null || rank < best.rank) best = { partition, rank };
  }
  if (best === null) return false;
  const voters = board.voters[best.partition]!;
  voters[voters.indexOf(from)] = to;
  board.load.set(from, board.load.get(from)! - 1);
  board.load.set(to, board.load.get(to)! + 1);
  moves.push({ partition: best.partition, from, to });
  return true;
}

/** Relieves nodes above their capacity, and fills nodes below their least share, from the fullest to the emptiest. */
function level(board: Board, moves: VoterMove[]): void {
  const fill = (node: string): number => board.load.get(node)! / board.capacity.get(node)!;
  const byFill = (): string[] =>
    [...board.capacity.keys()].sort((a, b) => fill(a) - fill(b) || (a < b ? -1 : 1));
  const isOver = (node: string): boolean => board.load.get(node)! > board.capacity.get(node)!;
  const isShort = (node: string): boolean => board.load.get(node)! < board.least.get(node)!;
  const step = (): boolean => {
    const ascending = byFill();
    for (const from of [...ascending].reverse()) {
      for (const to of ascending) {
        if (!isOver(from) && !isShort(to)) continue;
        if (
          board.load.get(to)! >= board.capacity.get(to)! ||
          board.load.get(from)! <= board.load.get(to)! + 1
        )
          continue;
        if (!isOver(from) && board.load.get(from)! <= board.least.get(from)!) continue;
        if (moveOne(board, from, to, moves)) return true;
      }
    }
    return false;
  };
  // Every step lowers the sum of squared loads, so this ends.
  while (step());
}

/** Places every partition of a new cluster. The numbers of first leaders per node differ by at most one where the
 *  voters allow it. */
export function placePartitions(input: PlacementInput): Placement {
  const count = Math.min(input.replicationFactor, input.nodes.length);
  const board = createBoard(
    input,
    Array.from({ length: input.partitions }, () => []),
  );
  for (let partition = 0; partition < input.partitions; partition += 1) fillUp(board, partition, count);
  level(board, []);
  return { voters: board.voters, leaders: spreadLeaders(board.voters, [...board.capacity.keys()]) };
}

/**
 * Returns where voters should move so that `current` (node ids by partition) suits `input.nodes`: voters on nodes that
 * are gone are replaced, nodes above their bound relieved, nodes far below their share filled. Nothing else moves.
 */
export function planMoves(current: readonly (readonly string[])[], input: PlacementInput): VoterMove[] {
  assert(current.length === input.partitions, 'one entry per partition');
  const known = new Set(input.nodes.map((node) => node.id));
  const kept = current.map((voters) => voters.filter((node) => known.has(node)));
  const board = createBoard(input, kept);
  const moves: VoterMove[] = [];
  for (const [partition, voters] of current.entries()) {
    const gone = voters.filter((node) => !known.has(node));
    fillUp(board, partition, Math.min(voters.length, input.nodes.length));
    const added = board.voters[partition]!.filter((node) => !voters.includes(node));
    for (const [index, to] of added.entries()) moves.push({ partition, from: gone[index]!, to });
  }
  level(board, moves);
  return moves;
}

/** Chooses one leader per partition among its voters, evenly. */
export function spreadLeaders(voters: readonly (readonly string[])[], nodes: readonly string[]): string[] {
  const counts = countLeaders(nodes, []);
  const leaders = voters.map((candidates) => {
    const leader = candidates.reduce((best, node) => (counts.get(node)! < counts.get(best)! ? node : best));
    counts.set(leader, counts.get(leader)! + 1);
    return leader;
  });
  for (;;) {
    const leaderships = leaders.map((leader, partition) => ({
      partition,
      leader,
      candidates: voters[partition]!,
    }));
    const moves = findLeaderMoves(countLeaders(nodes, leaderships), leaderships);
    if (moves.length === 0) return leaders;
    for (const move of moves) leaders[move.partition] = move.to;
  }
}
