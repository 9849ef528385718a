/** Nodes that join and leave, another replication factor, and plans of moves that are asked for and aborted. */
import { RingkeepError } from '../../src/common/errors.ts';
import type { Controller } from '../../src/router/controller/controller.ts';
import type { Injection } from './injection.ts';

/** Controllers forget what they were asked for when they crash: they are asked again. */
const ASKED_TIMES = 20;
const ASK_EVERY_MS = 100;

/** What an operator asks for may be refused: by a store that was put back there is no such node, or there are fewer. */
function politely(what: (core: Controller, now: number) => void): (core: Controller, now: number) => void {
  return (core, now) => {
    try {
      what(core, now);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
    }
  };
}

/** Asks the controllers until one has stored it. */
function order(
  injection: Injection,
  what: (core: Controller, now: number) => void,
  isDone: () => boolean,
): void {
  let left = ASKED_TIMES;
  const ask = (): void => {
    if (isDone()) return;
    for (const each of injection.cluster.controllers) each.order(politely(what));
    left -= 1;
    if (left > 0) injection.unlessHealed(ASK_EVERY_MS, ask);
  };
  ask();
}

/** Starts a node that was not there yet. */
export function join(injection: Injection): boolean {
  const { nodes, shape, world } = injection.cluster;
  const spare = nodes.slice(shape.nodes).find(({ running, boot }) => !running && boot === 0);
  if (spare === undefined) return false;
  world.trace(`${spare.id}: joins`);
  spare.start();
  return true;
}

/** Takes a node out, or one that leaves back in. Enough members stay for every voter. */
export function leave(injection: Injection): boolean {
  const { nodeRecords, controllers } = injection.cluster;
  const known = [...nodeRecords.values()];
  if (known.length === 0) return false;
  const { id, membership } = injection.pick(known);
  const next = membership === 'NODE_LEAVING' ? 'NODE_MEMBER' : 'NODE_LEAVING';
  const factor = controllers.find(({ running }) => running)?.topology()?.replicationFactor ?? 0;
  const members = known.filter((node) => node.membership !== 'NODE_LEAVING').length;
  if (next === 'NODE_LEAVING' && (factor === 0 || members <= factor)) return false;
  injection.trace(`${id} becomes ${next}`);
  order(
    injection,
    (core, now) => core.moves.setMembership(now, id, next),
    () => nodeRecords.get(id)?.membership === next,
  );
  return true;
}

/** Asks for more or fewer voters of each partition; not fewer than bear what the nemesis does to them. */
export function factor(injection: Injection): boolean {
  const { nodeRecords, controllers, shape } = injection.cluster;
  const now = controllers.find(({ running }) => running)?.topology()?.replicationFactor ?? 0;
  const members = [...nodeRecords.values()].filter((node) => node.membership !== 'NODE_LEAVING').length;
  const least = Math.min(3, shape.replicationFactor);
  const factors = [least, least + 1, least + 2].filter((one) => one !== now && one <= Math.min(5, members));
  if (now === 0 || factors.length === 0) return false;
  const wanted = injection.pick(factors);
  injection.trace(`replication factor ${now} to ${wanted}`);
  order(
    injection,
    (core) => core.moves.configure({ replicationFactor: wanted }),
    () => controllers.find(({ running }) => running)?.topology()?.replicationFactor === wanted,
  );
  return true;
}

/** Asks for a plan, or for the end of the one that runs. */
export function rebalance(injection: Injection): boolean {
  const abort = injection.chance(0.5);
  injection.trace(abort ? 'aborts the moves' : 'asks for moves');
  const asked = injection.cluster.controllers.map((each) =>
    each.order((core) => (abort ? core.moves.abort() : core.moves.run())),
  );
  return asked.includes(true);
}
