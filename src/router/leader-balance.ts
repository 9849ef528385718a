/**
 * Spreads leaderships: which partitions to hand over so that the numbers of leaders per node differ by at most one.
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
