/**
 * Processes that are short of something: file descriptors (prlimit, while it runs) or memory (a small heap, from a start on). Such a
 * node works, or it ends and comes back; it never says what is not so.
 */
import { readdir, readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { RingkeepError } from '../../common/errors.ts';
import { parseAddress } from '../../common/wire/address.ts';
import { type ActiveFault, ANYWHERE, type FaultDriver, pickNode } from '../fault.ts';
import { type ClusterProcess, eventually } from '../process.ts';
import { limitOf, setLimit } from '../resource-limits.ts';
import { missingPrograms } from '../tools.ts';

const CONFIRM_MS = 15_000;
/** Descriptors beyond those that are open. */
const SPARE = 3;
const SILENT_MS = 500;
/** MiB of the old space: a node has about 30 when it is idle. */
const HEAP_MIB = [40, 64] as const;

/** How a process takes a new connection: a server of HTTP/2 says something at once. */
function answerTo(address: string): Promise<'answered' | 'refused' | 'silent'> {
  const { host, port } = parseAddress(address);
  return new Promise((resolve) => {
    const socket: Socket = connect({ host, port });
    const end = (how: 'answered' | 'refused' | 'silent'): void => {
      socket.destroy();
      resolve(how);
    };
    socket.setTimeout(SILENT_MS, () => end('silent'));
    socket.on('data', () => end('answered'));
    socket.on('error', () => end('refused'));
    socket.on('close', () => end('refused'));
    // The beginning of HTTP/2 with settings of nothing.
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1');
  });
}

const descriptors: FaultDriver = {
  kind: 'no-descriptors',
  family: 'limits',
  text: 'one node may open no more files and connections than it has',
  missing: () => missingPrograms('prlimit'),
  inject: async (context): Promise<ActiveFault> => {
    const node = await pickNode(context);
    const { pid } = node;
    if (pid === 0) throw new RingkeepError('NOT_READY', `${node.name} does not run`);
    const before = await limitOf(pid, 'nofile');
    const open = (await readdir(`/proc/${pid}/fd`)).map(Number);
    const limit = Math.max(...open) + 1 + SPARE;
    await setLimit(pid, 'nofile', `${limit}`);
    // Numbers below that are free again are used first: connections that stay take them.
    const held: Socket[] = [];
    const { host, port } = parseAddress(node.address);
    for (let count = limit - open.length; count > 0; count -= 1) {
      const socket = connect({ host, port });
      socket.on('error', () => {});
      held.push(socket);
    }
    const confirmed = eventually(
      'a connection that is refused',
      async (missing) => {
        if (node.pid !== pid) return `${node.name} has ended by itself at ${limit} descriptors`;
        const answer = await answerTo(node.address);
        return answer === 'refused' ? `${limit} descriptors; a new connection is not taken` : missing(answer);
      },
      CONFIRM_MS,
    );
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      for (const socket of held.splice(0)) socket.destroy();
      if (node.pid === pid) await setLimit(pid, 'nofile', before);
      if (!node.running) await node.start().catch(() => {});
    };
    return { target: node.name, cutOff: [], confirmed, undo };
  },
};

/** The size of a process's heap and its command line. */
async function heapOf(node: ClusterProcess): Promise<{ command: string; bytes: number }> {
  const response = await fetch(`http://${node.http}/metrics`, { signal: AbortSignal.timeout(CONFIRM_MS) });
  const bytes = Number(/^nodejs_heap_size_total_bytes(?:\{.*\})? (\S+)/m.exec(await response.text())?.[1]);
  return { command: (await readFile(`/proc/${node.pid}/cmdline`, 'utf8')).replaceAll('\0', ' '), bytes };
}

const memory: FaultDriver = {
  kind: 'little-memory',
  family: 'limits',
  group: 'surroundings',
  text: `one node is started again with a heap of ${HEAP_MIB[0]} to ${HEAP_MIB[1]} MiB: it works, or ends and comes back`,
  missing: ANYWHERE,
  inject: async (context): Promise<ActiveFault> => {
    const node = await pickNode(context);
    const mebibytes = HEAP_MIB[0] + context.random.integer(HEAP_MIB[1] - HEAP_MIB[0] + 1);
    const flag = `--max-old-space-size=${mebibytes}`;
    const remove = node.surround((launch) => ({ ...launch, args: [flag, ...launch.args] }));
    // Back to a process without the flag; also where the start has failed.
    let undone = false;
    const undo = async (): Promise<void> => {
      if (undone) return;
      undone = true;
      remove();
      await node.end();
      await node.start().catch(() => {});
    };
    await node.end();
    const { pid } = await node.start().then(
      () => node,
      async (error: unknown) => {
        await undo();
        throw error;
      },
    );
    const confirmed = eventually(
      'a small heap',
      async (missing) => {
        if (node.pid !== pid) return `${node.name} has ended with ${flag}`;
        const { command, bytes } = await heapOf(node).catch(() => ({ command: '', bytes: 0 }));
        if (!command.includes(flag) || !(bytes > 0)) return missing(command);
        return `${flag}; ${Math.round(bytes / 1_048_576)} MiB of heap`;
      },
      CONFIRM_MS,
    );
    confirmed.catch(() => {});
    return { target: node.name, cutOff: [], confirmed, undo };
  },
};

/** Every fault of limits. */
export const LIMIT_FAULTS: readonly FaultDriver[] = [descriptors, memory];
