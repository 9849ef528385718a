/**
 * Splits of the network: which processes do not hear each other, for each of the usual shapes. Nothing that was sent is lost
 * by TCP while a connection lives; the ends that notice (keepalive, heartbeats) break theirs.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import {
  type ActiveFault,
  ANYWHERE,
  type FaultContext,
  type FaultDriver,
  pickNode,
  pickSome,
} from '../fault.ts';
import type { Flow } from '../link-proxy.ts';
import { eventually } from '../process.ts';

const CONFIRM_MS = 5_000;
const QUIET_MS = 150;

/** Resolves when something waits in the flows and nothing of it arrives. */
async function silent(flows: readonly Flow[]): Promise<string> {
  const held = (): number => flows.reduce((sum, flow) => sum + flow.held, 0);
  const delivered = (): number => flows.reduce((sum, flow) => sum + flow.delivered, 0);
  const before = delivered();
  await eventually(
    'bytes that wait at the cut',
    (missing) => (held() > 0 ? true : missing('none')),
    CONFIRM_MS,
  );
  await delay(QUIET_MS);
  const crossed = delivered() - before;
  if (crossed > 0) throw new RingkeepError('NOT_READY', `${crossed} bytes have crossed the cut`);
  return `${held()} bytes wait, none has crossed`;
}

function active(target: string, cutOff: readonly string[], flows: readonly Flow[]): ActiveFault {
  const confirmed = silent(flows);
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    for (const flow of flows) flow.set({ cut: false });
  };
  return { target, cutOff, confirmed, undo };
}

function cutSides(context: FaultContext, sides: readonly (readonly string[])[]): ActiveFault {
  const { cluster, links } = context;
  const quorum = Math.floor(cluster.nodes.length / 2) + 1;
  const nodesOf = (side: readonly string[]): string[] => side.filter((name) => name !== cluster.router.name);
  const cutOff = sides.filter((side) => nodesOf(side).length < quorum).flatMap(nodesOf);
  return active(sides.map((side) => side.join(' ')).join(' | '), cutOff, links.split(sides));
}

/** Node by node, the busiest ones first: as many as are fewer than a quorum. */
async function minorityOf(context: FaultContext): Promise<string[]> {
  const { cluster, random } = context;
  const first = (await pickNode(context)).name;
  const others = cluster.nodes.map(({ name }) => name).filter((name) => name !== first);
  const most = Math.max(1, Math.floor((cluster.nodes.length - 1) / 2));
  return [first, ...pickSome(random, others, random.integer(most))];
}

function without(context: FaultContext, names: readonly string[]): string[] {
  return context.cluster.nodes.map(({ name }) => name).filter((name) => !names.includes(name));
}

const one: FaultDriver = {
  kind: 'split-one',
  family: 'links',
  group: 'split',
  text: 'one node hears nobody and is heard by nobody',
  missing: ANYWHERE,
  inject: async (context) => {
    const { name } = await pickNode(context);
    return cutSides(context, [[name], [...without(context, [name]), context.cluster.router.name]]);
  },
};

const majority: FaultDriver = {
  kind: 'split-majority',
  family: 'links',
  group: 'split',
  text: 'two sides; the router is with the majority of the nodes',
  missing: ANYWHERE,
  inject: async (context) => {
    const few = await minorityOf(context);
    return cutSides(context, [few, [...without(context, few), context.cluster.router.name]]);
  },
};

const minority: FaultDriver = {
  kind: 'split-minority',
  family: 'links',
  group: 'split',
  text: 'two sides; the router is with the minority of the nodes',
  missing: ANYWHERE,
  inject: async (context) => {
    const few = await minorityOf(context);
    return cutSides(context, [[...few, context.cluster.router.name], without(context, few)]);
  },
};

/** The processes in a circle, the router among them. */
function circle({ cluster, random }: FaultContext): string[] {
  const names = cluster.processes.map(({ name }) => name);
  return pickSome(random, names, names.length);
}

const ring: FaultDriver = {
  kind: 'split-ring',
  family: 'links',
  group: 'split',
  text: 'every process hears two others only, its neighbours in a ring',
  missing: (cluster) => (cluster.nodes.length < 3 ? 'a ring needs three nodes' : null),
  inject: async (context) => {
    const order = circle(context);
    const apart = (a: number, b: number): boolean => {
      const steps = Math.abs(a - b);
      return steps > 1 && steps < order.length - 1;
    };
    const flows = context.links.all.filter(({ from, to }) => apart(order.indexOf(from), order.indexOf(to)));
    return active(`ring ${order.join(' ')}`, [], context.links.change(flows, { cut: true }));
  },
};

const bridge: FaultDriver = {
  kind: 'split-bridge',
  family: 'links',
  group: 'split',
  text: 'two sides that only one process hears both of',
  missing: (cluster) => (cluster.nodes.length < 2 ? 'a bridge needs two nodes' : null),
  inject: async (context) => {
    const [middle, ...rest] = circle(context) as [string, ...string[]];
    const half = Math.ceil(rest.length / 2);
    const sides = [rest.slice(0, half), rest.slice(half)];
    const target = `${sides[0]!.join(' ')} | ${sides[1]!.join(' ')}, ${middle} hears both`;
    return active(target, [], context.links.split(sides));
  },
};

const oneWay: FaultDriver = {
  kind: 'split-one-way',
  family: 'links',
  group: 'split',
  text: 'one process is heard by nobody, or hears nobody; the other way all is well',
  missing: ANYWHERE,
  inject: async (context) => {
    const { links, random } = context;
    const { name } = await pickNode(context);
    const mute = random.next() < 0.5;
    const flows = links.around(name).filter(({ from, to }) => (mute ? from === name : to === name));
    return active(`${name} is ${mute ? 'mute' : 'deaf'}`, [], links.change(flows, { cut: true }));
  },
};

const flap: FaultDriver = {
  kind: 'split-flap',
  family: 'links',
  group: 'split',
  text: 'one node is cut off and heard again, several times a second',
  missing: ANYWHERE,
  inject: async (context) => {
    const { links, random } = context;
    const { name } = await pickNode(context);
    const flows = links.around(name);
    let ended = false;
    let times = 0;
    const lane = (async () => {
      while (!ended) {
        links.change(flows, { cut: times % 2 === 0 });
        times += 1;
        await delay(100 + random.next() * 500);
      }
      links.change(flows, { cut: false });
    })();
    const confirmed = eventually('cuts and heals', (missing) =>
      times >= 4 ? `${Math.ceil(times / 2)} cuts` : missing(`${times} changes`),
    );
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      ended = true;
      await lane;
    };
    return { target: name, cutOff: [], confirmed, undo };
  },
};

/** Every shape of split. */
export const SPLITS: readonly FaultDriver[] = [one, majority, minority, ring, bridge, oneWay, flap];
