/** Faults of processes: killed, asked to end, paused, stalled; one, all, the router, one after the other. */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, ANYWHERE, type FaultDriver, pickNode } from '../fault.ts';
import { processOf, whenIn } from '../local-process.ts';
import type { ClusterProcess } from '../process.ts';
import { STEP_MS } from '../process.ts';

const CONFIRM_MS = 10_000;
/** How long the event loop stands still at a time, ms. */
const STALL_MS = 900;

/** Lets a process stand still at SIGUSR2: its event loop, not its threads. For `--import`. */
export const STALL_HOOK = `data:text/javascript,process.on("SIGUSR2",()=>{const end=Date.now()+${STALL_MS};while(Date.now()<end);})`;

/** Ends processes and starts them again when the fault is over. */
async function down(
  processes: readonly ClusterProcess[],
  target: string,
  signal: 'SIGKILL' | 'SIGTERM',
): Promise<ActiveFault> {
  const pids = processes.map(({ pid }) => pid);
  // What SIGTERM asks for may take a while, and the fault may be over before.
  const ended = Promise.all(
    processes.map(async (process) => {
      if (signal === 'SIGTERM') return process.end();
      await process.kill(signal);
      return '';
    }),
  );
  const confirmed = ended.then((problems) => {
    const problem = problems.find((text) => text !== '');
    if (problem !== undefined) throw new RingkeepError('NOT_READY', problem);
    return `${signal} has ended ${pids.join(', ')}`;
  });
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    await ended;
    await Promise.all(processes.filter(({ running }) => !running).map((process) => process.start()));
  };
  return { target, cutOff: [], confirmed, undo };
}

const kill: FaultDriver = {
  kind: 'kill',
  family: 'process',
  group: 'restart',
  text: 'SIGKILL to one node, which is started again',
  missing: ANYWHERE,
  inject: async (context) => {
    const node = await pickNode(context);
    return down([node], node.name, 'SIGKILL');
  },
};

const killAll: FaultDriver = {
  kind: 'kill-all',
  family: 'process',
  group: 'restart',
  text: 'SIGKILL to all nodes and the router at once',
  missing: ANYWHERE,
  inject: ({ cluster }) => down(cluster.processes, 'all', 'SIGKILL'),
};

const killRouter: FaultDriver = {
  kind: 'kill-router',
  family: 'process',
  group: 'restart',
  text: 'SIGKILL to the router, with the controller and the topology store',
  missing: ANYWHERE,
  inject: ({ cluster }) => down([cluster.router], cluster.router.name, 'SIGKILL'),
};

const terminate: FaultDriver = {
  kind: 'terminate',
  family: 'process',
  group: 'restart',
  planned: true,
  text: 'SIGTERM to one node, which hands its leaderships over and ends, and is started again',
  missing: ANYWHERE,
  inject: async (context) => {
    const node = await pickNode(context);
    return down([node], node.name, 'SIGTERM');
  },
};

const pause: FaultDriver = {
  kind: 'pause',
  family: 'process',
  text: 'SIGSTOP to one node, then SIGCONT',
  missing: ANYWHERE,
  inject: async (context) => {
    const node = await pickNode(context);
    const process = processOf(node.pid);
    if (process === null) throw new RingkeepError('NOT_READY', `${node.name} does not run`);
    node.signal('SIGSTOP');
    const confirmed = whenIn(process, 'T', `${process.pid} is stopped`, CONFIRM_MS);
    const undo = async (): Promise<void> => node.signal('SIGCONT');
    return { target: node.name, cutOff: [], confirmed, undo };
  },
};

/** Resolves with how long a process takes to answer on its HTTP port. */
async function answerMs(http: string | null): Promise<number> {
  const start = performance.now();
  const response = await fetch(`http://${http}/healthz`, { signal: AbortSignal.timeout(CONFIRM_MS) });
  await response.arrayBuffer();
  return performance.now() - start;
}

async function stalled(node: ClusterProcess, ended: () => boolean): Promise<string> {
  const until = performance.now() + CONFIRM_MS;
  let most = 0;
  while (most < STALL_MS / 3) {
    if (ended() || performance.now() > until)
      throw new RingkeepError('NOT_READY', `${node.name} answers within ${Math.round(most)} ms`);
    most = Math.max(most, await answerMs(node.http));
    await delay(20);
  }
  return `${node.name} answers after ${Math.round(most)} ms`;
}

const stall: FaultDriver = {
  kind: 'stall',
  family: 'process',
  text: `the event loop of one node stands still for ${STALL_MS} ms again and again; its threads run on`,
  missing: ANYWHERE,
  inject: async (context) => {
    const node = await pickNode(context);
    let ended = false;
    const lane = (async () => {
      while (!ended) {
        // Before its hook is there, the signal would end it.
        if (node.ready) node.signal('SIGUSR2');
        await delay(STALL_MS + 100 + context.random.next() * 400);
      }
    })();
    const confirmed = stalled(node, () => ended);
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      ended = true;
      await lane;
    };
    return { target: node.name, cutOff: [], confirmed, undo };
  },
};

const rolling: FaultDriver = {
  kind: 'rolling-restart',
  family: 'process',
  group: 'restart',
  planned: true,
  text: 'SIGTERM to the nodes one after the other, each started again before the next is asked',
  missing: ANYWHERE,
  inject: async ({ cluster }) => {
    const done: string[] = [];
    const lane = (async () => {
      for (const node of cluster.nodes) {
        const { pid } = node;
        await node.end();
        await node.start();
        done.push(`${pid} to ${node.pid}`);
        // Beside a fault that does not let all be well it goes no further.
        const well = await cluster.whenHealthy(STEP_MS).then(
          () => true,
          () => false,
        );
        if (!well) break;
      }
      return `new processes: ${done.join(', ')}`;
    })();
    lane.catch(() => {});
    const undo = async (): Promise<void> => {
      await lane.catch(() => {});
      await Promise.all(cluster.nodes.filter(({ running }) => !running).map((node) => node.start()));
    };
    return { target: 'all nodes in turn', cutOff: [], confirmed: lane, undo };
  },
};

/** Every fault of processes. */
export const PROCESS_FAULTS: readonly FaultDriver[] = [
  kill,
  killAll,
  killRouter,
  terminate,
  pause,
  stall,
  rolling,
];
