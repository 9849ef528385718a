/**
 * Spreads leaderships: which partitions to hand over so that the numbers of leaders per node differ by at most one, and, as far as
 * that leaves a choice, so that the nodes take about as many requests.
 * Pure graph work, used for the first leaders of a cluster and by the controller's balancer; it moves nothing itself.
 * A single hand-over from the fullest to the emptiest node is not always possible (they may share no partition), so
 * moves are found as shortest paths over "leads a partition that the other votes on" (augmenting paths, as in flow).
 */

/** A partition that may be handed over: its leader's node and the nodes that could lead it instead. */
export interface Leadership {
  readonly partition: number;
  readonly leader: string;
  readonly candidates: readonly string[];
}

/** One whose leader takes so many requests per second. */
export interface LoadedLeadership extends Leadership {
  readonly load: number;
}

/** Hand `partition` over from one node to another. */
export interface LeaderMove {
  readonly partition: number;
  readonly from: string;
  readonly to: string;
}

/** Counts leaders per node; every node of `nodes` has an entry. */
export function countLeaders(
  nodes: readonly string[],
  leaderships: readonly { leader: string }[],
): Map<string, number> {
  const counts = new Map<string, number>(nodes.map((node) => [node, 0]));
  for (const { leader } of leaderships) {
    const count = counts.get(leader);
    if (count !== undefined) counts.set(leader, count + 1);
  }
  return counts;
}

/**
 * Returns the moves of one improvement: together they take one leader from a node that has at least two more than the
 * node that gets one. Empty when the spread is at most one, or when no chain of hand-overs can improve it.
 * `counts` holds the nodes that may lead; it may count leaderships that are not listed (and so cannot move).
 */
export function findLeaderMoves(
  counts: ReadonlyMap<string, number>,
  leaderships: readonly Leadership[],
): LeaderMove[] {
  const edges = new Map<string, LeaderMove[]>();
  for (const { partition, leader, candidates } of leaderships) {
    for (const to of candidates) {
      if (to === leader || !counts.has(to) || !counts.has(leader)) continue;
      const list = edges.get(leader);
      if (list === undefined) edges.set(leader, [{ partition, from: leader, to }]);
      else list.push({ partition, from: leader, to });
    }
  }
  const sources = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const fewest = Math.min(...counts.values());
  for (const [source, count] of sources) {
    if (count < fewest + 2) break;
    const path = shortestPath(source, count - 2, counts, edges);
    if (path.length > 0) return path;
  }
  return [];
}

/** Breadth-first from `source` to the node with the fewest leaders at the least distance, at most `targetCountMax`. */
function shortestPath(
  source: string,
  targetCountMax: number,
  counts: ReadonlyMap<string, number>,
  edges: ReadonlyMap<string, readonly LeaderMove[]>,
): LeaderMove[] {
  const arrivedBy = new Map<string, LeaderMove | null>([[source, null]]);
  let level = [source];
  while (level.length > 0) {
    const next: string[] = [];
    for (const node of level) {
      for (const move of edges.get(node) ?? []) {
        if (arrivedBy.has(move.to)) continue;
        arrivedBy.set(move.to, move);
        next.push(move.to);
      }
    }
    const ends = next.filter((node) => counts.get(node)! <= targetCountMax);
    ends.sort((a, b) => counts.get(a)! - counts.get(b)! || (a < b ? -1 : 1));
    if (ends[0] !== undefined) return unwind(ends[0], arrivedBy);
    level = next;
  }
  return [];
}

function unwind(end: string, arrivedBy: ReadonlyMap<string, LeaderMove | null>): LeaderMove[] {
  const path: LeaderMove[] = [];
  let move = arrivedBy.get(end);
  while (move !== null && move !== undefined) {
    path.unshift(move);
    move = arrivedBy.get(move.from);
  }
  return path;
}

/** A node may take so much more than the mean before leaders are handed over for it, and a hand-over has to gain so much of the mean. */
const EXCESS = 0.2;
const GAIN = 0.1;

/**
 * Returns one hand-over, or two that swap leaders between two nodes, that take most of a node that takes more than its share of requests,
 * without giving any node more than that; empty when none takes too much, or nothing helps (one partition that takes it all).
 * The numbers of leaders still differ by at most one. `least`: requests per second that a hand-over is worth.
 */
export function findLoadMoves(
  counts: ReadonlyMap<string, number>,
  leaderships: readonly LoadedLeadership[],
  least: number,
): LeaderMove[] {
  const loads = new Map([...counts.keys()].map((node) => [node, 0]));
  const led = new Map<string, LoadedLeadership[]>([...counts.keys()].map((node) => [node, []]));
  for (const leadership of leaderships) {
    const { leader, load } = leadership;
    if (!loads.has(leader)) continue;
    loads.set(leader, loads.get(leader)! + load);
    led.get(leader)!.push(leadership);
  }
  const mean = [...loads.values()].reduce((sum, load) => sum + load, 0) / loads.size;
  const busiest = [...loads].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  for (const [node, load] of busiest) {
    if (load <= mean * (1 + EXCESS)) break;
    const moves = bestRelief(node, { counts, loads, led }, Math.max(least, mean * GAIN));
    if (moves.length > 0) return moves;
  }
  return [];
}

interface LoadView {
  readonly counts: ReadonlyMap<string, number>;
  readonly loads: ReadonlyMap<string, number>;
  readonly led: ReadonlyMap<string, readonly LoadedLeadership[]>;
}

/** What lowers the larger of two nodes' loads most, one of them `from`, by at least `gain`. */
function bestRelief(from: string, { counts, loads, led }: LoadView, gain: number): LeaderMove[] {
  let best: LeaderMove[] = [];
  let lowest = loads.get(from)! - gain;
  const consider = (to: string, shift: number, moves: () => LeaderMove[]): void => {
    const after = Math.max(loads.get(from)! - shift, loads.get(to)! + shift);
    if (after > lowest || (after === lowest && best.length > 0)) return;
    lowest = after;
    best = moves();
  };
  for (const given of led.get(from)!) {
    for (const to of given.candidates) {
      if (to === from || !counts.has(to)) continue;
      const give = { partition: given.partition, from, to };
      if (counts.get(from)! > counts.get(to)!) consider(to, given.load, () => [give]);
      for (const taken of led.get(to)!) {
        if (!taken.candidates.includes(from)) continue;
        const take = { partition: taken.partition, from: to, to: from };
        consider(to, given.load - taken.load, () => [give, take]);
      }
    }
  }
  return best;
}
