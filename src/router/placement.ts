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

/** One voter changes its node; without `from` one is added, without `to` one is given up. */
export interface VoterMove {
  readonly partition: number;
  readonly from: string | null;
  readonly to: string | null;
}

/** A voter that should not stay where it is, and cannot go anywhere. */
export interface StuckVoter {
  readonly partition: number;
  readonly node: string;
}

/** What is to be done, in this order, so that voters suit their nodes, and what cannot be. */
export interface PlacementPlan {
  readonly moves: readonly VoterMove[];
  readonly stuck: readonly StuckVoter[];
}

/** How one node stands to one partition. */
export interface NodeChoice {
  readonly node: string;
  readonly votes: boolean;
  /** For people: why it votes, or does not. */
  readonly reason: string;
}

/** The working state: loads change as voters are placed. Nodes are their places in the list of the input. */
class Board {
  readonly nodes: readonly RingNode[];
  readonly voters: number[][];
  readonly load: Uint32Array;
  readonly capacity: readonly number[];
  /** Below this a node is short of voters. */
  readonly least: readonly number[];
  /** The partitions that a node votes on. */
  private readonly held: readonly Set<number>[];
  private readonly ring: Ring;
  private readonly orders: (Uint16Array | undefined)[];
  private readonly ranks: (Uint16Array | undefined)[];

  constructor(input: PlacementInput, voters: number[][]) {
    const { nodes, partitions, replicationFactor, loadBound = LOAD_BOUND_DEFAULT } = input;
    assert(loadBound > 1, 'the load bound is above 1');
    assert(nodes.length > 0 && partitions >= 1 && replicationFactor >= 1, 'something to place somewhere');
    this.nodes = nodes;
    this.voters = voters;
    this.ring = new Ring(nodes, input.vnodes);
    this.orders = new Array<Uint16Array | undefined>(partitions);
    this.ranks = new Array<Uint16Array | undefined>(partitions);
    const slots = partitions * Math.min(replicationFactor, nodes.length);
    const weights = nodes.reduce((sum, { weight = 1 }) => sum + weight, 0);
    const shares = nodes.map(({ weight = 1 }) => (slots * weight) / weights);
    this.capacity = shares.map((share) => Math.ceil(loadBound * share));
    this.least = shares.map((share) => Math.floor(share / loadBound));
    this.load = new Uint32Array(nodes.length);
    this.held = nodes.map(() => new Set());
    for (const [partition, set] of voters.entries()) for (const node of set) this.count(partition, node);
  }

  /** All nodes in the order in which the ring offers them to a partition. */
  order(partition: number): Uint16Array {
    this.orders[partition] ??= this.ring.walk(partitionToken(partition));
    return this.orders[partition];
  }

  /** The place of a node in the order of a partition. */
  rank(partition: number, node: number): number {
    let ranks = this.ranks[partition];
    if (ranks === undefined) {
      ranks = new Uint16Array(this.nodes.length);
      for (const [place, id] of this.order(partition).entries()) ranks[id] = place;
      this.ranks[partition] = ranks;
    }
    return ranks[node]!;
  }

  /** Whether the voters would be in fewer zones with `to` in the place of `from`. */
  losesZone(partition: number, from: number, to: number): boolean {
    let others = false;
    let doubled = false;
    for (const node of this.voters[partition]!) {
      if (node === from) continue;
      if (this.zone(node) === this.zone(from)) others = true;
      if (this.zone(node) === this.zone(to)) doubled = true;
    }
    return doubled && !others;
  }

  partitionsOf(node: number): ReadonlySet<number> {
    return this.held[node]!;
  }

  zone(node: number): string {
    return this.nodes[node]!.zone;
  }

  zoneCount(nodes: readonly number[]): number {
    return new Set(nodes.map((node) => this.zone(node))).size;
  }

  hasRoom(node: number): boolean {
    return this.load[node]! < this.capacity[node]!;
  }

  fill(node: number): number {
    return this.load[node]! / this.capacity[node]!;
  }

  add(partition: number, node: number): void {
    this.voters[partition]!.push(node);
    this.count(partition, node);
  }

  remove(partition: number, node: number): void {
    const voters = this.voters[partition]!;
    voters.splice(voters.indexOf(node), 1);
    this.discount(partition, node);
  }

  replace(partition: number, from: number, to: number): void {
    const voters = this.voters[partition]!;
    voters[voters.indexOf(from)] = to;
    this.discount(partition, from);
    this.count(partition, to);
  }

  private count(partition: number, node: number): void {
    this.load[node]! += 1;
    this.held[node]!.add(partition);
  }

  private discount(partition: number, node: number): void {
    this.load[node]! -= 1;
    this.held[node]!.delete(partition);
  }

  /** The next voter for a partition that has `chosen`: least used zone first, then room, then ring order. -1: no node is left. */
  next(partition: number, chosen: readonly number[]): number {
    const use = new Map<string, number>();
    for (const node of chosen) use.set(this.zone(node), (use.get(this.zone(node)) ?? 0) + 1);
    let best = -1;
    let bestUse = Number.POSITIVE_INFINITY;
    // In ring order, so that of equals the first stays.
    for (const node of this.order(partition)) {
      if (chosen.includes(node)) continue;
      const used = use.get(this.zone(node)) ?? 0;
      if (used > bestUse || (used === bestUse && !this.isBetter(node, best))) continue;
      best = node;
      bestUse = used;
    }
    return best;
  }

  /** Of two in zones that are used alike, `other` first in the ring's order: one with room, else the emptiest. */
  private isBetter(node: number, other: number): boolean {
    if (this.hasRoom(other)) return false;
    return this.hasRoom(node) || this.fill(node) < this.fill(other);
  }

  /** The voter that a partition misses least: of a zone that has others, of a full node, late in the ring's order. */
  leastNeeded(partition: number): number {
    const voters = this.voters[partition]!;
    const order = this.order(partition);
    const zonesLeft = (node: number): number => this.zoneCount(voters.filter((other) => other !== node));
    return voters.reduce((best, node) => {
      const by = zonesLeft(node) - zonesLeft(best) || this.fill(node) - this.fill(best);
      return by > 0 || (by === 0 && order.indexOf(node) > order.indexOf(best)) ? node : best;
    });
  }
}

function votersOf(input: PlacementInput): number {
  return Math.min(input.replicationFactor, input.nodes.length);
}

/** Gives a partition voters until it has `count`; returns the new ones. */
function fillUp(board: Board, partition: number, count: number): number[] {
  const voters = board.voters[partition]!;
  const added: number[] = [];
  while (voters.length < count) {
    const node = board.next(partition, voters);
    board.add(partition, node);
    added.push(node);
  }
  return added;
}

/** Moves one voter from `from` to `to` where the ring likes `to` best and no zone spread is lost; null if nowhere. */
function moveOne(board: Board, from: number, to: number): number | null {
  let best: number | null = null;
  let bestRank = Number.POSITIVE_INFINITY;
  const sameZone = board.zone(from) === board.zone(to);
  for (const partition of board.partitionsOf(from)) {
    const voters = board.voters[partition]!;
    const rank = board.rank(partition, to);
    if (rank > bestRank || (rank === bestRank && partition > best!)) continue;
    if (voters.includes(to) || (!sameZone && board.losesZone(partition, from, to))) continue;
    best = partition;
    bestRank = rank;
  }
  if (best !== null) board.replace(best, from, to);
  return best;
}

/** Relieves nodes above their capacity, and fills nodes below their least share, from the fullest to the emptiest. */
function level(board: Board, moved: (partition: number, from: number, to: number) => void): void {
  const { load, least, capacity } = board;
  const isOver = (node: number): boolean => load[node]! > capacity[node]!;
  const isShort = (node: number): boolean => load[node]! < least[node]!;
  const mayGo = (from: number, to: number): boolean => {
    if (!isOver(from) && (!isShort(to) || load[from]! <= least[from]!)) return false;
    return board.hasRoom(to) && load[from]! > load[to]! + 1;
  };
  const byFill = (): number[] =>
    board.nodes
      .map((_, node) => node)
      .sort((a, b) => board.fill(a) - board.fill(b) || (board.nodes[a]!.id < board.nodes[b]!.id ? -1 : 1));
  const step = (): boolean => {
    const ascending = byFill();
    for (const from of ascending.toReversed()) {
      for (const to of ascending) {
        if (!mayGo(from, to)) continue;
        const partition = moveOne(board, from, to);
        if (partition === null) continue;
        moved(partition, from, to);
        return true;
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
  const board = new Board(
    input,
    Array.from({ length: input.partitions }, () => []),
  );
  for (let partition = 0; partition < input.partitions; partition += 1)
    fillUp(board, partition, votersOf(input));
  level(board, () => {});
  const ids = input.nodes.map(({ id }) => id);
  const voters = board.voters.map((set) => set.map((node) => ids[node]!));
  return { voters, leaders: spreadLeaders(voters, ids) };
}

/** Plans the moves of one partition after the other, then those that level the nodes. */
class Planner {
  readonly moves: VoterMove[] = [];
  readonly stuck: StuckVoter[] = [];
  private readonly board: Board;
  private readonly ids: readonly string[];
  private readonly count: number;

  constructor(current: readonly (readonly string[])[], input: PlacementInput) {
    const places = new Map(input.nodes.map(({ id }, place) => [id, place]));
    const kept = current.map((voters) => voters.map((id) => places.get(id)).filter((at) => at !== undefined));
    this.board = new Board(input, kept);
    this.ids = input.nodes.map(({ id }) => id);
    this.count = votersOf(input);
    for (const [partition, voters] of current.entries()) {
      const gone = voters.filter((id) => !places.has(id));
      this.suit(partition, gone, input.replicationFactor);
      this.spread(partition);
    }
    level(this.board, (partition, from, to) => this.move(partition, this.ids[from]!, this.ids[to]!));
  }

  private move(partition: number, from: string | null, to: string | null): void {
    this.moves.push({ partition, from, to });
  }

  /** Voters whose nodes are gone, too few voters, too many. */
  private suit(partition: number, gone: readonly string[], wanted: number): void {
    const { board } = this;
    const added = fillUp(board, partition, this.count);
    // Of those that should go, as many as can be spared; where there are too few nodes, the others stay: nobody is there to take over.
    const spared = Math.max(0, board.voters[partition]!.length + gone.length - wanted);
    const open = gone.slice(0, spared);
    for (const node of added) this.move(partition, open.shift() ?? null, this.ids[node]!);
    for (const node of open) this.move(partition, node, null);
    for (const node of gone.slice(spared)) this.stuck.push({ partition, node });
    while (board.voters[partition]!.length > wanted) {
      const node = board.leastNeeded(partition);
      board.remove(partition, node);
      this.move(partition, this.ids[node]!, null);
    }
  }

  /** Moves voters that share a zone although another has none. */
  private spread(partition: number): void {
    const { board } = this;
    for (;;) {
      const voters = board.voters[partition]!;
      const zones = board.zoneCount(voters);
      if (zones === voters.length) return;
      const crowded = board.leastNeeded(partition);
      const others = voters.filter((node) => node !== crowded);
      const to = board.next(partition, others);
      if (to === crowded || board.zoneCount([...others, to]) <= zones) return;
      board.replace(partition, crowded, to);
      this.move(partition, this.ids[crowded]!, this.ids[to]!);
    }
  }
}

/**
 * Returns what to do so that `current` (node ids by partition) suits `input`: voters on nodes that are not listed are replaced,
 * partitions with too few or too many voters get what is wanted, voters that share a zone without need are moved apart, nodes
 * above their bound are relieved, and nodes far below their share filled. Nothing else moves.
 */
export function planMoves(current: readonly (readonly string[])[], input: PlacementInput): PlacementPlan {
  assert(current.length === input.partitions, 'one entry per partition');
  const { moves, stuck } = new Planner(current, input);
  return { moves: composeMoves(moves), stuck };
}

/**
 * Makes one move of those that follow each other: what goes to a node and on from there goes straight on, and what comes back to where it was
 * does not move at all. Carried out one by one, a way and its way back would take turns for ever.
 */
export function composeMoves(moves: readonly VoterMove[]): VoterMove[] {
  const composed: VoterMove[] = [];
  const ends = new Map<string, number>();
  for (const move of moves) {
    const { partition, from, to } = move;
    const at = from === null ? undefined : ends.get(`${partition} ${from}`);
    if (at === undefined) {
      if (to !== null) ends.set(`${partition} ${to}`, composed.length);
      composed.push(move);
      continue;
    }
    ends.delete(`${partition} ${from}`);
    composed[at] = { partition, from: composed[at]!.from, to };
    if (to !== null) ends.set(`${partition} ${to}`, at);
  }
  return composed.filter(({ from, to }) => from !== to);
}

/** A node with more voters than its share allows. */
export interface NodeLoad {
  readonly node: string;
  readonly voters: number;
  /** The most by its share. */
  readonly bound: number;
}

/** Returns the nodes with more voters than the load bound allows: they alone have the zones that partitions need. */
export function overfullNodes(current: readonly (readonly string[])[], input: PlacementInput): NodeLoad[] {
  const board = boardOf(current, input);
  return board.nodes
    .map(({ id }, node) => ({ node: id, voters: board.load[node]!, bound: board.capacity[node]! }))
    .filter(({ voters, bound }) => voters > bound);
}

/** The voters as they are, without those on nodes that are not listed. */
function boardOf(current: readonly (readonly string[])[], input: PlacementInput): Board {
  const places = new Map(input.nodes.map(({ id }, place) => [id, place]));
  const kept = current.map((voters) => voters.map((id) => places.get(id)).filter((at) => at !== undefined));
  return new Board(input, kept);
}

/**
 * Returns the nodes in the order in which the ring offers them to a partition, down to the last of its voters, and how each of
 * them stands to it as of now; then the voters on nodes that are not listed in `input`. Why a voter came to a node that the ring
 * does not offer first, nobody has written down: it is said what that can be.
 */
export function explainPartition(
  partition: number,
  current: readonly (readonly string[])[],
  input: PlacementInput,
): NodeChoice[] {
  const board = boardOf(current, input);
  const voters = board.voters[partition]!;
  const offered = ringChoice(board, partition, votersOf(input));
  const open = new Set(voters);
  const choices: NodeChoice[] = [];
  for (const node of board.order(partition)) {
    if (open.size === 0) break;
    const { id } = board.nodes[node]!;
    const votes = open.delete(node);
    const reason = votes
      ? reasonToVote(board, node, offered.includes(node))
      : reasonNotTo(board, node, offered.includes(node), voters);
    choices.push({ node: id, votes, reason });
  }
  const listed = new Set(input.nodes.map(({ id }) => id));
  for (const id of current[partition]!)
    if (!listed.has(id))
      choices.push({ node: id, votes: true, reason: 'not to stay: it leaves, or is lost' });
  return choices;
}

/** The voters that the ring and the zones alone would choose, on nodes without a bound. */
function ringChoice(board: Board, partition: number, count: number): number[] {
  const chosen: number[] = [];
  while (chosen.length < count) {
    const use = (node: number): number =>
      chosen.filter((other) => board.zone(other) === board.zone(node)).length;
    const open = [...board.order(partition)].filter((node) => !chosen.includes(node));
    chosen.push(open.reduce((best, node) => (use(node) < use(best) ? node : best)));
  }
  return chosen;
}

function loadText({ load, capacity }: Board, node: number): string {
  return `${load[node]} of at most ${capacity[node]} replicas`;
}

function zoneText(board: Board, node: number): string {
  return `zone ${board.zone(node) || '(none)'}`;
}

function reasonToVote(board: Board, node: number, isOffered: boolean): string {
  const load = loadText(board, node);
  if (isOffered) return `next on the ring in ${zoneText(board, node)}, ${load}`;
  return `kept, since nothing asks for a move: put here to level the nodes, by a repair, or when the nodes were others; ${load}`;
}

function reasonNotTo(board: Board, node: number, isOffered: boolean, voters: readonly number[]): string {
  const load = loadText(board, node);
  const offer = isOffered ? 'next on the ring, but ' : '';
  const neighbour = voters.find((other) => board.zone(other) === board.zone(node));
  if (neighbour !== undefined)
    return `${offer}${board.nodes[neighbour]!.id} votes in its ${zoneText(board, node)}`;
  if (!board.hasRoom(node)) return `${offer}full: ${load}`;
  return `${offer}nothing asks for a move: the others are kept; ${load}`;
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
