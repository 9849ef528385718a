/** Links that are bad rather than gone: late, uneven, narrow, reset, half open, not read from. All of one node's at once. */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import {
  type ActiveFault,
  ANYWHERE,
  type FaultContext,
  type FaultDriver,
  linksOf,
  pickNode,
} from '../fault.ts';
import { deliveredBy, type Flow, type FlowShape } from '../link-proxy.ts';
import type { Links } from '../links.ts';
import { eventually } from '../process.ts';

const CONFIRM_MS = 5_000;

/** Changes all flows around a node, in both directions. */
async function around(
  context: FaultContext,
  shape: Partial<FlowShape>,
  clear: Partial<FlowShape>,
  proof: (flows: readonly Flow[], missing: (text: string) => null) => string | null,
): Promise<ActiveFault> {
  const links = linksOf(context.cluster);
  const { name } = await pickNode(context);
  const flows = links.around(name);
  // What another fault makes late would prove this one.
  if (!flows.every((flow) => flow.clear))
    throw new RingkeepError('NOT_READY', `${name}’s links are bad already`);
  for (const flow of flows) flow.slowestMs = 0;
  links.change(flows, shape);
  const confirmed = eventually('an effect', (missing) => proof(flows, missing), CONFIRM_MS);
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    links.change(flows, clear);
  };
  return { target: name, cutOff: [], confirmed, undo };
}

function slowest(flows: readonly Flow[]): number {
  return Math.round(flows.reduce((most, flow) => Math.max(most, flow.slowestMs), 0));
}

/** Something has taken as long as that. */
function late(leastMs: number) {
  return (flows: readonly Flow[], missing: (text: string) => null): string | null => {
    const ms = slowest(flows);
    return ms >= leastMs ? `bytes take up to ${ms} ms` : missing(`${ms} ms at most`);
  };
}

const slow: FaultDriver = {
  kind: 'delay',
  family: 'links',
  text: 'everything to and from one node takes 30 to 300 ms',
  missing: ANYWHERE,
  inject: (context) => {
    const delayMs = 30 + context.random.integer(270);
    return around(context, { delayMs }, { delayMs: 0 }, late(delayMs));
  },
};

const jitter: FaultDriver = {
  kind: 'jitter',
  family: 'links',
  text: 'everything to and from one node takes between nothing and 400 ms',
  missing: ANYWHERE,
  inject: (context) => around(context, { jitterMs: 400 }, { jitterMs: 0 }, late(150)),
};

const narrow: FaultDriver = {
  kind: 'bandwidth',
  family: 'links',
  text: 'each of one node’s links carries 20 to 100 KB/s',
  missing: ANYWHERE,
  inject: (context) => {
    const bytesPerSecond = 20_000 + context.random.integer(80_000);
    return around(context, { bytesPerSecond }, { bytesPerSecond: 0 }, late(3));
  },
};

const deaf: FaultDriver = {
  kind: 'deaf',
  family: 'links',
  text: 'nothing is read from one node’s connections, in either direction: buffers fill up',
  missing: ANYWHERE,
  inject: (context) => {
    let before = -1;
    let since = 0;
    return around(context, { deaf: true }, { deaf: false }, (flows, missing) => {
      const delivered = deliveredBy(flows);
      if (delivered !== before) {
        before = delivered;
        since = performance.now();
      }
      const ms = Math.round(performance.now() - since);
      return ms > 400 ? `nothing has arrived for ${ms} ms` : missing('bytes still arrive');
    });
  },
};

/** Does something to all proxies of a node, again and again. */
async function again(
  context: FaultContext,
  everyMs: number,
  act: (proxy: ReturnType<Links['proxiesAround']>[number]) => number,
  text: string,
): Promise<ActiveFault> {
  const links = linksOf(context.cluster);
  const { name } = await pickNode(context);
  const proxies = links.proxiesAround(name);
  let ended = false;
  let count = 0;
  const lane = (async () => {
    while (!ended) {
      for (const proxy of proxies) count += act(proxy);
      await delay(everyMs);
    }
    for (const proxy of proxies) proxy.mend();
  })();
  const confirmed = eventually(
    text,
    (missing) => (count > 0 ? `${count} connections ${text}` : missing('none')),
    CONFIRM_MS,
  );
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    ended = true;
    await lane;
  };
  return { target: name, cutOff: [], confirmed, undo };
}

const reset: FaultDriver = {
  kind: 'reset',
  family: 'links',
  text: 'all connections of one node are reset, every 400 ms',
  missing: ANYWHERE,
  inject: (context) => again(context, 400, (proxy) => proxy.reset(), 'were reset'),
};

const halfOpen: FaultDriver = {
  kind: 'half-open',
  family: 'links',
  text: 'one side of each of a node’s connections goes without the other noticing, every 1.5 s',
  missing: ANYWHERE,
  inject: (context) => again(context, 1_500, (proxy) => proxy.halfOpen(), 'are half open'),
};

/** Every way in which a link is bad. */
export const SLOW_LINKS: readonly FaultDriver[] = [slow, jitter, narrow, deaf, reset, halfOpen];
