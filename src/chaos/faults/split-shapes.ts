/**
 * The usual shapes of splits of a network: which processes do not hear which others. Only the choice; what cuts is in splits.ts
 * (proxies) and kernel-links.ts (packets).
 */
import { quorumSize } from '../../common/topology.ts';
import { ANYWHERE, type FaultContext, type FaultDriver, pickNode, pickSome } from '../fault.ts';

/** One direction between two processes, by their names. */
export interface Way {
  readonly from: string;
  readonly to: string;
}

/** A split that was chosen. */
export interface Split {
  /** For people. */
  readonly target: string;
  /** Nodes that reach no quorum of nodes, nor are reached. */
  readonly cutOff: readonly string[];
  /** What does not get through. */
  readonly ways: readonly Way[];
}

type Choice = Pick<FaultContext, 'cluster' | 'random'>;

/** A shape of split. */
export interface SplitShape extends Pick<FaultDriver, 'kind' | 'text' | 'missing'> {
  choose(context: Choice): Promise<Split>;
}

/** Returns every direction between two processes of a cluster. */
export function allWays({ cluster }: Pick<FaultContext, 'cluster'>): Way[] {
  const names = cluster.processes.map(({ name }) => name);
  return names.flatMap((from) => names.filter((to) => to !== from).map((to) => ({ from, to })));
}

/** Returns the directions between a process and all others. */
export function waysAround(context: Pick<FaultContext, 'cluster'>, name: string): Way[] {
  return allWays(context).filter(({ from, to }) => from === name || to === name);
}

/** The directions between different sides. Who is on no side hears everybody. */
function between(context: Choice, sides: readonly (readonly string[])[]): Way[] {
  const sideOf = (name: string): number => sides.findIndex((side) => side.includes(name));
  return allWays(context).filter(({ from, to }) => {
    const [one, other] = [sideOf(from), sideOf(to)];
    return one >= 0 && other >= 0 && one !== other;
  });
}

function sidesApart(context: Choice, sides: readonly (readonly string[])[]): Split {
  const { cluster } = context;
  // Fewer nodes than that hold a quorum of no partition.
  const quorum = quorumSize(cluster.replicationFactor);
  const nodesOf = (side: readonly string[]): string[] => side.filter((name) => name !== cluster.router.name);
  const cutOff = sides.filter((side) => nodesOf(side).length < quorum).flatMap(nodesOf);
  return { target: sides.map((side) => side.join(' ')).join(' | '), cutOff, ways: between(context, sides) };
}

/** Node by node, the busiest ones first: as many as are fewer than a quorum. */
async function minorityOf(context: Choice): Promise<string[]> {
  const { cluster, random } = context;
  const first = (await pickNode(context)).name;
  const others = cluster.nodes.map(({ name }) => name).filter((name) => name !== first);
  const most = Math.max(1, Math.floor((cluster.nodes.length - 1) / 2));
  return [first, ...pickSome(random, others, random.integer(most))];
}

function without({ cluster }: Choice, names: readonly string[]): string[] {
  return cluster.nodes.map(({ name }) => name).filter((name) => !names.includes(name));
}

const one: SplitShape = {
  kind: 'split-one',
  text: 'one node hears nobody and is heard by nobody',
  missing: ANYWHERE,
  choose: async (context) => {
    const { name } = await pickNode(context);
    return sidesApart(context, [[name], [...without(context, [name]), context.cluster.router.name]]);
  },
};

const majority: SplitShape = {
  kind: 'split-majority',
  text: 'two sides; the router is with the majority of the nodes',
  missing: ANYWHERE,
  choose: async (context) => {
    const few = await minorityOf(context);
    return sidesApart(context, [few, [...without(context, few), context.cluster.router.name]]);
  },
};

const minority: SplitShape = {
  kind: 'split-minority',
  text: 'two sides; the router is with the minority of the nodes',
  missing: ANYWHERE,
  choose: async (context) => {
    const few = await minorityOf(context);
    return sidesApart(context, [[...few, context.cluster.router.name], without(context, few)]);
  },
};

/** The processes in a circle, the router among them. */
function circle({ cluster, random }: Choice): string[] {
  const names = cluster.processes.map(({ name }) => name);
  return pickSome(random, names, names.length);
}

const ring: SplitShape = {
  kind: 'split-ring',
  text: 'every process hears two others only, its neighbours in a ring',
  missing: (cluster) => (cluster.nodes.length < 3 ? 'a ring needs three nodes' : null),
  choose: async (context) => {
    const order = circle(context);
    const apart = ({ from, to }: Way): boolean => {
      const steps = Math.abs(order.indexOf(from) - order.indexOf(to));
      return steps > 1 && steps < order.length - 1;
    };
    return { target: `ring ${order.join(' ')}`, cutOff: [], ways: allWays(context).filter(apart) };
  },
};

const bridge: SplitShape = {
  kind: 'split-bridge',
  text: 'two sides that only one process hears both of',
  missing: (cluster) => (cluster.nodes.length < 2 ? 'a bridge needs two nodes' : null),
  choose: async (context) => {
    const [middle, ...rest] = circle(context) as [string, ...string[]];
    const half = Math.ceil(rest.length / 2);
    const sides = [rest.slice(0, half), rest.slice(half)];
    const target = `${sides[0]!.join(' ')} | ${sides[1]!.join(' ')}, ${middle} hears both`;
    return { target, cutOff: [], ways: between(context, sides) };
  },
};

const oneWay: SplitShape = {
  kind: 'split-one-way',
  text: 'one process is heard by nobody, or hears nobody; the other way all is well',
  missing: ANYWHERE,
  choose: async (context) => {
    const { name } = await pickNode(context);
    const mute = context.random.next() < 0.5;
    const ways = waysAround(context, name).filter(({ from, to }) => (mute ? from === name : to === name));
    return { target: `${name} is ${mute ? 'mute' : 'deaf'}`, cutOff: [], ways };
  },
};

/** Every shape of a split that stays as it is. */
export const SPLIT_SHAPES: readonly SplitShape[] = [one, majority, minority, ring, bridge, oneWay];
