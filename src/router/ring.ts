/**
 * The placement ring: every node owns vnodes at pseudo-random tokens; a partition sits at the hash of its number and
 * belongs to the nodes met clockwise from there. Owns the geometry only: load bounds and zones are `placement.ts`.
 * INVARIANT: a pure function of the node ids, weights and vnode count, the same on every machine; adding a node changes
 * only the order in which others are met after its own tokens.
 * Source: Karger et al., Consistent Hashing and Random Trees, STOC 1997.
 */
import { assert } from '../common/errors.ts';
import { hashBytes } from '../common/hash.ts';

/** A node on the ring. `weight` (default 1) multiplies its vnodes and its fair share. */
export interface RingNode {
  readonly id: string;
  readonly zone: string;
  readonly weight?: number;
}

/** Vnodes of a node of weight 1: arcs then differ by about 9% (1/sqrt of it) from their mean. */
export const VNODES_DEFAULT = 128;

const encoder = new TextEncoder();

function hashText(text: string): bigint {
  return hashBytes(encoder.encode(text));
}

/** Returns the token of a partition, in [0, 2^64). */
export function partitionToken(partition: number): bigint {
  return hashText(`partition/${partition}`);
}

/** The sorted vnodes of all nodes. */
export class Ring {
  private readonly tokens: BigUint64Array;
  /** Of each token, the place of its node in the list. */
  private readonly owners: Uint16Array;
  private readonly nodeCount: number;
  /** Scratch of a walk. */
  private readonly met: Uint8Array;

  constructor(nodes: readonly RingNode[], vnodes: number = VNODES_DEFAULT) {
    assert(Number.isInteger(vnodes) && vnodes >= 1, 'at least one vnode');
    assert(new Set(nodes.map((node) => node.id)).size === nodes.length, 'node ids on the ring are distinct');
    assert(nodes.length < 2 ** 16, 'places of nodes fit in two bytes');
    const points: { token: bigint; owner: number }[] = [];
    for (const [owner, node] of nodes.entries()) {
      const count = Math.max(1, Math.round(vnodes * (node.weight ?? 1)));
      for (let vnode = 0; vnode < count; vnode += 1)
        points.push({ token: hashText(`${node.id}#${vnode}`), owner });
    }
    points.sort((a, b) => {
      if (a.token !== b.token) return a.token < b.token ? -1 : 1;
      return nodes[a.owner]!.id < nodes[b.owner]!.id ? -1 : 1;
    });
    this.tokens = BigUint64Array.from(points, (point) => point.token);
    this.owners = Uint16Array.from(points, (point) => point.owner);
    this.met = new Uint8Array(nodes.length);
    this.nodeCount = nodes.length;
  }

  /**
   * Returns all nodes in the order in which they are met clockwise from `token` (inclusive), each once, as their places in
   * the list that the ring was made of.
   */
  walk(token: bigint): Uint16Array {
    const { owners, met } = this;
    const order = new Uint16Array(this.nodeCount);
    met.fill(0);
    let found = 0;
    for (let at = this.firstAtOrAfter(token); found < order.length; at += 1) {
      const owner = owners[at % owners.length]!;
      if (met[owner] === 1) continue;
      met[owner] = 1;
      order[found++] = owner;
    }
    return order;
  }

  private firstAtOrAfter(token: bigint): number {
    let low = 0;
    let high = this.tokens.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.tokens[middle]! < token) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
