/**
 * Faults of the network: whole and one-way splits of all the shapes that have broken such systems before (majority,
 * ring, bridge), links that flap, links that are clogged one by one and opened in another order, lossy links.
 */
import type { Injection } from './injection.ts';

/** A direction between two places. */
export type Link = readonly [from: string, to: string];

/** Cuts directions; they are mended after a while or when the nemesis heals. Returns false if there are none. */
export function cutFor(
  injection: Injection,
  what: string,
  links: readonly Link[],
  durationMs: number,
): boolean {
  const { network } = injection.cluster;
  injection.trace(`${what}: cuts ${links.map(([from, to]) => `${from}>${to}`).join(' ')}`);
  for (const [from, to] of links) network.cut(from, to);
  injection.unlessHealed(durationMs, () => {
    for (const [from, to] of links) network.mend(from, to);
  });
  return links.length > 0;
}

/** Both directions between two places. */
export function both(left: string, right: string): Link[] {
  return [
    [left, right],
    [right, left],
  ];
}

/** Nodes, controllers and routers. */
function servers(injection: Injection): string[] {
  const { nodes, controllers, routers } = injection.cluster;
  return [...nodes, ...controllers, ...routers].map(({ id }) => id);
}

/** Cuts a node off: one way or both, from some places or all; often its clients go on reaching it. */
export function split(injection: Injection): boolean {
  const node = injection.victim();
  const inward = injection.chance(0.7);
  const outward = !inward || injection.chance(0.6);
  const reach = injection.between(0.3, 1.5);
  const clients = injection.chance(0.5) ? injection.cluster.clients.map(({ id }) => id) : [];
  const links: Link[] = [];
  for (const place of [...servers(injection), ...clients]) {
    if (place === node.id || !injection.chance(reach)) continue;
    if (inward) links.push([place, node.id]);
    if (outward) links.push([node.id, place]);
  }
  return cutFor(injection, `split of ${node.id}`, links, injection.between(50, 2_000));
}

/** Cuts a node off from everybody but the clients: a leader that does not know that it is none any more. */
export function isolate(injection: Injection): boolean {
  const node = injection.victim();
  const links = servers(injection)
    .filter((place) => place !== node.id)
    .flatMap((place) => both(place, node.id));
  return cutFor(injection, `isolation of ${node.id}`, links, injection.between(800, 2_500));
}

/**
 * Cuts a leader and what followers it can have without a quorum off from everybody but the clients, and often ends the
 * next leader as well: when the cut is mended, followers meet a leader that knows nothing of what they hold, nor where
 * it begins.
 */
export function minority(injection: Injection): boolean {
  const { invariants, ghosts, nodes } = injection.cluster;
  const { partition } = injection.pick(ghosts);
  const before = invariants.record(partition);
  if (before?.leader == null) return false;
  const leader = before.leader.node;
  const others = before.voters.map(({ node }) => node).filter((node) => node !== leader);
  const inside = [leader, ...injection.shuffle(others).slice(0, Math.ceil(others.length / 2) - 1)];
  const links = servers(injection)
    .filter((place) => !inside.includes(place))
    .flatMap((place) => inside.flatMap((cut) => both(cut, place)));
  const durationMs = injection.between(400, 2_500);
  cutFor(injection, `minority of ${inside.join(' ')}`, links, durationMs);
  if (injection.chance(0.3)) return true;
  const until = injection.cluster.world.now + durationMs;
  const poll = (): void => {
    const record = invariants.record(partition);
    if (injection.healed || injection.cluster.world.now >= until || record === null) return;
    const next = nodes.find(({ id }) => id === record.leader?.node);
    if (record.epoch === before.epoch || !record.established) injection.later(10, poll);
    else if (next?.running) injection.restart(next, 'process', 300);
  };
  poll();
  return true;
}

/** Divides nodes, controllers and routers into two groups that do not hear each other. */
export function halves(injection: Injection): boolean {
  const places = injection.shuffle(servers(injection));
  const size = 1 + Math.floor(injection.between(0, places.length - 1));
  const links = places
    .slice(0, size)
    .flatMap((left) => places.slice(size).flatMap((right) => both(left, right)));
  return cutFor(injection, 'two halves', links, injection.between(100, 2_000));
}

/** Lets every node hear its two neighbours only: each has a quorum, and no two the same. */
export function ring(injection: Injection): boolean {
  const nodes = injection.shuffle(injection.cluster.nodes.map(({ id }) => id));
  const links: Link[] = [];
  for (const [at, left] of nodes.entries()) {
    for (const [other, right] of nodes.entries()) {
      const apart = Math.abs(at - other);
      // Of three nodes all are neighbours: there the ring turns one way only.
      if (nodes.length === 3 ? (at + 1) % 3 === other : apart > 1 && apart < nodes.length - 1)
        links.push([left, right]);
    }
  }
  return cutFor(injection, 'ring', links, injection.between(100, 2_000));
}

/** Two halves that only one node reaches both of. */
export function bridge(injection: Injection): boolean {
  const [, ...others] = injection.shuffle(injection.cluster.nodes.map(({ id }) => id));
  const size = Math.floor(others.length / 2);
  const links = others
    .slice(0, size)
    .flatMap((left) => others.slice(size).flatMap((right) => both(left, right)));
  return cutFor(injection, 'bridge', links, injection.between(100, 2_000));
}

/** A link that breaks and comes back, again and again. */
export function flap(injection: Injection): boolean {
  const [left, right] = injection.shuffle(servers(injection));
  const links = injection.chance(0.5) ? both(left!, right!) : [[left!, right!] as const];
  const times = 2 + Math.floor(injection.between(0, 8));
  const again = (count: number): void => {
    if (count === 0 || injection.healed) return;
    cutFor(injection, 'flap', links, injection.between(10, 200));
    injection.later(injection.between(20, 400), () => again(count - 1));
  };
  again(times);
  return true;
}

/** Stops links one by one, and opens them again in another order (swizzle-clogging, FoundationDB). */
export function swizzle(injection: Injection): boolean {
  const { network } = injection.cluster;
  const places = servers(injection);
  const links: Link[] = places.flatMap((from) =>
    places.filter((to) => to !== from && injection.chance(0.5)).map((to) => [from, to] as const),
  );
  injection.trace(`swizzles ${links.length} links`);
  let at = 0;
  for (const [from, to] of injection.shuffle(links)) {
    at += injection.between(1, 40);
    injection.unlessHealed(at, () => network.cut(from, to));
  }
  at += injection.between(20, 500);
  for (const [from, to] of injection.shuffle(links)) {
    at += injection.between(1, 60);
    injection.unlessHealed(at, () => network.mend(from, to));
  }
  return links.length > 0;
}

/** Makes all links slow and lossy. */
export function loss(injection: Injection): boolean {
  const { network, calm } = injection.cluster;
  network.profile = {
    ...calm,
    delayMsMax: calm.delayMsMax * injection.between(1, 20),
    breakChance: injection.between(0, 0.02),
    dropChance: injection.between(0, 0.3),
    duplicateChance: injection.between(0, 0.3),
  };
  injection.unlessHealed(injection.between(50, 1_500), () => {
    network.profile = calm;
  });
  return true;
}
