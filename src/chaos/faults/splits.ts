/**
 * Splits of the network, made by the proxies of its links. Nothing that was sent is lost by TCP while a connection lives; the ends
 * that notice (keepalive, heartbeats) break theirs. Which processes do not hear each other is chosen in split-shapes.ts.
 */
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
import { deliveredBy, type Flow } from '../link-proxy.ts';
import { eventually } from '../process.ts';
import { SPLIT_SHAPES, type SplitShape } from './split-shapes.ts';

const CONFIRM_MS = 5_000;
const QUIET_MS = 150;

/** Resolves when something waits in the flows and nothing of it arrives. */
async function silent(flows: readonly Flow[]): Promise<string> {
  const held = (): number => flows.reduce((sum, flow) => sum + flow.held, 0);
  const before = deliveredBy(flows);
  await eventually(
    'bytes that wait at the cut',
    (missing) => (held() > 0 ? true : missing('none')),
    CONFIRM_MS,
  );
  await delay(QUIET_MS);
  const crossed = deliveredBy(flows) - before;
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

/** A shape of split, made by the proxies. */
function onProxies({ choose, ...shape }: SplitShape): FaultDriver {
  const inject = async (context: FaultContext): Promise<ActiveFault> => {
    const { target, cutOff, ways } = await choose(context);
    const links = linksOf(context.cluster);
    const flows = ways.map(({ from, to }) => links.flow(from, to));
    return active(target, cutOff, links.change(flows, { cut: true }));
  };
  return { ...shape, family: 'links', group: 'split', inject };
}

const flap: FaultDriver = {
  kind: 'split-flap',
  family: 'links',
  group: 'split',
  text: 'one node is cut off and heard again, several times a second',
  missing: ANYWHERE,
  inject: async (context) => {
    const { cluster, random } = context;
    const links = linksOf(cluster);
    const { name } = await pickNode(context);
    const flows = links.around(name);
    let ended = false;
    /** Cuts at which something waited, and those that were healed again. */
    let cuts = 0;
    let heals = 0;
    const lane = (async () => {
      while (!ended) {
        links.change(flows, { cut: true });
        await delay(100 + random.next() * 500);
        const held = flows.some((flow) => flow.held > 0);
        links.change(flows, { cut: false });
        if (held) cuts += 1;
        const before = deliveredBy(flows);
        await delay(100 + random.next() * 500);
        if (deliveredBy(flows) > before) heals += 1;
      }
    })();
    const confirmed = eventually('cuts and heals', (missing) =>
      cuts >= 2 && heals >= 2
        ? `${cuts} cuts with bytes that waited, ${heals} times bytes went through again`
        : missing(`${cuts} cuts that held something, ${heals} heals that let something through`),
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
export const SPLITS: readonly FaultDriver[] = [...SPLIT_SHAPES.map(onProxies), flap];
