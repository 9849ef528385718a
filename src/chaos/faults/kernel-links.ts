/**
 * Faults of the network in the kernel, for a cluster whose processes are in namespaces of their own: packets are dropped or answered
 * by resets. The shapes of splits are those of the proxies; what is different is that acknowledgements of TCP are lost as well, that
 * connections cannot be made, and that the kernels send again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type ActiveFault, type FaultContext, type FaultDriver, pickNode } from '../fault.ts';
import { Namespaces, type Rules, type Verdict } from '../namespaces.ts';
import { eventually } from '../process.ts';
import { SPLIT_SHAPES, type Split, waysAround } from './split-shapes.ts';

const CONFIRM_MS = 5_000;

/** Packets have met the rules. */
function met(rules: () => readonly Rules[], verb: string): Promise<string> {
  const confirmed = eventually(
    `packets that are ${verb}`,
    async (missing) => {
      const counts = await Promise.all(rules().map((each) => each.count()));
      const packets = counts.reduce((sum, count) => sum + count, 0);
      return packets > 0 ? `${packets} packets ${verb}` : missing('none');
    },
    CONFIRM_MS,
  );
  confirmed.catch(() => {});
  return confirmed;
}

/** Applies one verdict as long as the fault is on. */
async function applied(network: Namespaces, split: Split, verdict: Verdict, part = 1): Promise<ActiveFault> {
  const { target, cutOff, ways } = split;
  const rules = await network.apply(ways, verdict, part);
  const confirmed = met(() => [rules], verdict === 'drop' ? 'dropped' : 'answered by resets');
  const undo = async (): Promise<void> => {
    // What is counted is in the rules.
    await confirmed.catch(() => {});
    await rules.remove();
  };
  return { target, cutOff, confirmed, undo };
}

/** Applies a verdict again and again, for a moment each. */
async function flapping(
  network: Namespaces,
  context: FaultContext,
  verdict: Verdict,
  momentMs: () => number,
): Promise<ActiveFault> {
  const { name } = await pickNode(context);
  const ways = waysAround(context, name);
  let ended = false;
  let packets = 0;
  let times = 0;
  const lane = (async () => {
    while (!ended) {
      const rules = await network.apply(ways, verdict);
      await delay(momentMs());
      packets += await rules.count();
      await rules.remove();
      times += 1;
      await delay(momentMs());
    }
  })();
  lane.catch(() => {});
  const confirmed = eventually(
    'packets that meet the rules',
    (missing) => (packets > 0 && times >= 2 ? `${packets} packets, ${times} times` : missing(`${packets}`)),
    CONFIRM_MS,
  );
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    ended = true;
    await lane;
  };
  return { target: name, cutOff: [], confirmed, undo };
}

/** Returns the faults of links of a cluster whose processes are in the namespaces of `network`. */
export function kernelLinkFaults(network: Namespaces): FaultDriver[] {
  const missing = Namespaces.missing;
  const splits = SPLIT_SHAPES.map(({ choose, ...shape }): FaultDriver => {
    const inject = async (context: FaultContext) => applied(network, await choose(context), 'drop');
    return { ...shape, family: 'links', inject, missing: (cluster) => missing() ?? shape.missing(cluster) };
  });
  const flap: FaultDriver = {
    kind: 'split-flap',
    family: 'links',
    text: 'one node is cut off and heard again, several times a second',
    missing,
    inject: (context) => flapping(network, context, 'drop', () => 100 + context.random.next() * 500),
  };
  const loss: FaultDriver = {
    kind: 'loss',
    family: 'links',
    text: '5 to 30 % of the packets to and from one node are lost',
    missing,
    inject: async (context) => {
      const { name } = await pickNode(context);
      const part = 0.05 + context.random.next() * 0.25;
      const split = {
        target: `${name}, ${Math.round(part * 100)} %`,
        cutOff: [],
        ways: waysAround(context, name),
      };
      return applied(network, split, 'drop', part);
    },
  };
  const reset: FaultDriver = {
    kind: 'reset',
    family: 'links',
    text: 'all connections of one node are reset, and cannot be made for a moment, again and again',
    missing,
    inject: (context) => flapping(network, context, 'reject with tcp reset', () => 200),
  };
  return [...splits, flap, loss, reset];
}
