/**
 * Disks that fail, are slow or full, without privileges: the system calls of a running node are made to fail (strace), or its
 * files may not grow any further (prlimit). Every one is met on the way of a write; a failed fsync or write ends the process, which has
 * to recover what it had promised.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, type FaultContext, type FaultDriver, pickNode } from '../fault.ts';
import { type ClusterProcess, eventually } from '../process.ts';
import { limitOf, setLimit } from '../resource-limits.ts';
import { TamperedCalls, type Tampering } from '../system-calls.ts';
import { missingPrograms, missingTracing } from '../tools.ts';

const CONFIRM_MS = 15_000;
/** What the write-ahead log is written by; the store's own files are written by `write`, like sockets. */
const WRITES = ['pwrite64', 'pwritev', 'pwritev2'];
const SYNCS = ['fsync', 'fdatasync'];
/** How EFBIG is told, by the log and by the store. */
const TOO_LARGE = /EFBIG|File too large/;
const LAST_LINES = 40;

/** Starts it if it has ended. That it cannot start is for whoever waits for a whole cluster. */
async function startAgain(node: ClusterProcess): Promise<void> {
  if (!node.running) await node.start().catch(() => {});
}

/** Tampers with the calls of one node. `proof` tells what shows the effect. */
async function tamper(
  context: FaultContext,
  tampering: Tampering,
  proof: (
    node: ClusterProcess,
    calls: TamperedCalls,
    missing: (text: string) => null,
  ) => Promise<string | null>,
): Promise<ActiveFault> {
  const node = await pickNode(context);
  if (!node.running) throw new RingkeepError('NOT_READY', `${node.name} does not run`);
  const calls = await TamperedCalls.attach(node.pid, tampering);
  const confirmed = eventually(
    `${tampering.how} in ${node.name}`,
    (missing) => (calls.count === 0 ? missing('no call') : proof(node, calls, missing)),
    CONFIRM_MS,
  );
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    await calls.detach();
    await startAgain(node);
  };
  return { target: node.name, cutOff: [], confirmed, undo };
}

/** The process has to end by itself. */
async function ended(
  node: ClusterProcess,
  { example }: TamperedCalls,
  missing: (text: string) => null,
): Promise<string | null> {
  return node.running ? missing('it runs on') : `${example}; ${node.name} has ended by itself`;
}

const failedSync: FaultDriver = {
  kind: 'fsync-fails',
  family: 'disk',
  group: 'calls',
  text: 'every fsync of one node fails with EIO: it ends by itself, and is started again',
  missing: missingTracing,
  inject: (context) => tamper(context, { calls: SYNCS, how: 'error=EIO' }, ended),
};

const failedWrite: FaultDriver = {
  kind: 'write-fails',
  family: 'disk',
  group: 'calls',
  text: 'every write to one node’s log fails with EIO: it ends by itself, and is started again',
  missing: missingTracing,
  inject: (context) => tamper(context, { calls: WRITES, how: 'error=EIO' }, ended),
};

const slow: FaultDriver = {
  kind: 'slow-disk',
  family: 'disk',
  group: 'calls',
  text: 'every fsync of one node takes 200 to 800 ms longer',
  missing: missingTracing,
  inject: (context) => {
    const ms = 200 + context.random.integer(600);
    return tamper(
      context,
      { calls: SYNCS, how: `delay_enter=${ms * 1_000}` },
      async (_, { count }, missing) =>
        count < 2 ? missing('one call') : `${count} calls were held for ${ms} ms each`,
    );
  },
};

const full: FaultDriver = {
  kind: 'disk-full',
  family: 'disk',
  group: 'calls',
  text: 'one node’s log finds no space: it refuses writes with DISK_FULL, reads go on, and it recovers by itself',
  missing: missingTracing,
  inject: async (context) => {
    const before = new Map<ClusterProcess, number>();
    for (const node of context.cluster.nodes) before.set(node, (await node.logged('disk_full')).length);
    const tampering = { calls: [...WRITES, 'fallocate'], how: 'error=ENOSPC' };
    return tamper(context, tampering, async (node, { example }, missing) =>
      (await node.logged('disk_full')).length > before.get(node)!
        ? `${example}; ${node.name} says disk_full`
        : missing('it has not noticed'),
    );
  },
};

/** How far the newest file of the log is written: it grows ahead by zeroes. */
async function endOfLog({ data }: ClusterProcess): Promise<number> {
  const folder = join(data, 'wal');
  const newest = (await readdir(folder))
    .filter((name) => name.endsWith('.wal'))
    .sort()
    .at(-1);
  if (newest === undefined) throw new RingkeepError('NOT_READY', 'there is no log');
  const file = await open(join(folder, newest));
  try {
    const bytes = await file.readFile();
    let end = bytes.length;
    while (end > 0 && bytes[end - 1] === 0) end -= 1;
    return end;
  } finally {
    await file.close();
  }
}

const short: FaultDriver = {
  kind: 'short-write',
  family: 'disk',
  group: 'calls',
  text: 'one node’s files may grow no further: a write is cut short and the next fails, it ends by itself and is started again',
  missing: () => missingPrograms('prlimit'),
  inject: async (context) => {
    const node = await pickNode(context);
    const { pid } = node;
    if (pid === 0) throw new RingkeepError('NOT_READY', `${node.name} does not run`);
    const before = await limitOf(pid, 'fsize');
    const log = (await stat(node.logPath)).size;
    // It is told of its end in a file as well.
    const most = Math.max((await endOfLog(node)) + 1 + context.random.integer(8_192), log + 65_536);
    await setLimit(pid, 'fsize', `${most}`);
    const confirmed = eventually(
      `an end of ${node.name}`,
      async (missing) => {
        if (node.pid === pid) return missing('it runs on');
        // Another fault may have ended it.
        if (!TOO_LARGE.test(await node.logTail(LAST_LINES)))
          return missing('it has ended, and names no EFBIG');
        return `${node.name} has ended by itself at ${most} bytes, by EFBIG`;
      },
      CONFIRM_MS,
    );
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      if (node.pid === pid) await setLimit(pid, 'fsize', before);
      await startAgain(node);
    };
    return { target: node.name, cutOff: [], confirmed, undo };
  },
};

/** Faults of disks that are made without privileges, where strace and prlimit are installed. */
export const DISK_CALL_FAULTS: readonly FaultDriver[] = [failedSync, failedWrite, slow, full, short];
