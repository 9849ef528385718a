/**
 * Faults of data directories that need no privileges: a node is killed, something is done to its files, and it is started
 * again. All of them are found out by the node or the controller, and the replica, or all of the node's, come back under new ids.
 */
import { cp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, ANYWHERE, type FaultContext, type FaultDriver, pick, pickNode } from '../fault.ts';
import { type ClusterProcess, eventually } from '../process.ts';

const CONFIRM_MS = 15_000;
const STARTS_MAX = 3;

/** What a node or the router must have said for the fault to have been noticed. */
interface Notice {
  /** Events of the node's log, or of the router's about it. */
  readonly events: readonly string[];
  /** Nothing of the kind is needed: the fault may be without consequence. */
  readonly optional?: boolean;
}

/** Files of a folder with a suffix, the largest first. */
async function filesOf(directory: string, suffix: RegExp): Promise<{ path: string; bytes: number }[]> {
  const names = (await readdir(directory)).filter((name) => suffix.test(name));
  const files = await Promise.all(
    names.map(async (name) => ({
      path: join(directory, name),
      bytes: (await stat(join(directory, name))).size,
    })),
  );
  return files.sort((a, b) => b.bytes - a.bytes);
}

/** Flips one bit of a file. */
async function flipBit(path: string, at: number): Promise<string> {
  const file = await open(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0]! ^= 0x10;
    await file.write(byte, 0, 1, at);
    await file.sync();
  } finally {
    await file.close();
  }
  return `a bit of byte ${at} of ${path.split('/').slice(-2).join('/')}`;
}

async function countOf(processes: readonly ClusterProcess[], events: readonly string[]): Promise<number> {
  let count = 0;
  for (const process of processes) for (const event of events) count += (await process.logged(event)).length;
  return count;
}

/**
 * Starts a node until it keeps running. One that cannot start with what it has is emptied, as docs/GUARANTEES.md (G8) says: it is
 * filled again from the others. Returns whether it was.
 */
async function revive(node: ClusterProcess): Promise<boolean> {
  for (let tries = 0; tries < STARTS_MAX; tries += 1) {
    if (node.running) return false;
    await node.start().catch(() => {});
  }
  if (node.running) return false;
  await rm(node.data, { recursive: true, force: true });
  await node.start();
  return true;
}

/** Kills a node, lets `act` do something to its directory, and starts it again, until it keeps running. */
async function whileDown(
  { cluster }: FaultContext,
  node: ClusterProcess,
  act: (node: ClusterProcess) => Promise<string>,
  { events, optional = false }: Notice,
): Promise<ActiveFault> {
  await node.kill('SIGKILL');
  const what = await act(node);
  const witnesses = [node, cluster.router];
  const before = await countOf(witnesses, events);
  const confirmed = eventually(
    `a notice of ${what}`,
    async (missing) => {
      // It ends by itself at some of them; whoever watches over it starts it again.
      if (!node.running && (await revive(node))) return `${what}: it refuses to start, and is emptied`;
      const now = await countOf(witnesses, events);
      return now > before ? `${what}: ${events.join(' or ')}` : missing('none yet');
    },
    CONFIRM_MS,
  ).catch((error: unknown) => {
    if (optional) return `${what}: nobody has met it yet`;
    throw error;
  });
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    await confirmed.catch(() => {});
    await revive(node);
  };
  return { target: node.name, cutOff: [], confirmed, undo };
}

/** A driver that does something to the directory of a node that was killed. */
function directoryFault(
  fault: Pick<FaultDriver, 'kind' | 'text' | 'destroys'>,
  act: (node: ClusterProcess, context: FaultContext) => Promise<string>,
  notice: Notice,
): FaultDriver {
  const inject = async (context: FaultContext): Promise<ActiveFault> =>
    whileDown(context, await pickNode(context), (node) => act(node, context), notice);
  return { ...fault, family: 'disk', group: 'restart', missing: ANYWHERE, inject };
}

const wipe = directoryFault(
  { kind: 'wipe', destroys: true, text: 'one node is killed and its data directory emptied' },
  async ({ data }) => {
    await rm(data, { recursive: true });
    return 'an empty directory';
  },
  { events: ['learner_added'] },
);

const flipWal = directoryFault(
  { kind: 'flip-wal', destroys: true, text: 'one node is killed and a bit of its write-ahead log flipped' },
  async ({ data }, { random }) => {
    const [file] = await filesOf(join(data, 'wal'), /\.wal$/);
    if (file === undefined) throw new RingkeepError('NOT_READY', 'there is no log');
    // In the older part: the last group cannot be told from a torn write (docs/GUARANTEES.md, G1), and files grow ahead.
    return flipBit(file.path, random.integer(Math.max(1, Math.floor(file.bytes / 8))));
  },
  { events: ['replica_damaged', 'wal_problem'], optional: true },
);

/** The store writes its log into a table when it is opened again. */
async function intoTables(node: ClusterProcess): Promise<void> {
  await node.start();
  await node.kill('SIGTERM');
}

const flipTable = directoryFault(
  {
    kind: 'flip-table',
    destroys: true,
    text: 'one node is killed and a bit of a table of its store flipped, which a read or the scrub finds',
  },
  async (node, { random }) => {
    await intoTables(node);
    const files = await filesOf(join(node.data, 'store'), /\.ldb$/);
    if (files.length === 0) return 'no table yet';
    const { path, bytes } = pick(random, files.slice(0, 3));
    return flipBit(path, random.integer(Math.max(1, Math.floor(bytes * 0.8))));
  },
  { events: ['replica_damaged', 'node_failed'], optional: true },
);

const flipManifest = directoryFault(
  {
    kind: 'flip-manifest',
    destroys: true,
    text: 'one node is killed and a bit of its store’s manifest flipped',
  },
  async (node, { random }) => {
    const [file] = await filesOf(join(node.data, 'store'), /^MANIFEST/);
    if (file === undefined) return 'no manifest';
    return flipBit(file.path, random.integer(file.bytes));
  },
  { events: ['replica_damaged', 'node_failed'], optional: true },
);

const tornTail = directoryFault(
  {
    kind: 'torn-tail',
    text: 'one node is killed, and part of a record added to its log, as a write that a power cut tears leaves it',
  },
  async ({ data }, { random }) => {
    const files = (await filesOf(join(data, 'wal'), /\.wal$/)).sort((a, b) => (a.path < b.path ? 1 : -1));
    const file = await open(files[0]!.path, 'a');
    await file.write(Buffer.from(Array.from({ length: 300 }, () => random.integer(256))));
    await file.close();
    return '300 bytes of a torn record';
  },
  { events: ['node_admitted'] },
);

const lostFile = directoryFault(
  {
    kind: 'lost-file',
    destroys: true,
    text: 'one node is killed, and a file of its store or of its log taken away',
  },
  async (node, { random }) => {
    await intoTables(node);
    const folder = random.next() < 0.5 ? 'store' : 'wal';
    const files = await filesOf(join(node.data, folder), folder === 'wal' ? /\.wal$/ : /\.ldb$/);
    if (files.length === 0) return 'no file yet';
    const { path } = pick(random, files);
    await rm(path);
    return `without ${path.split('/').slice(-2).join('/')}`;
  },
  { events: ['node_failed', 'replica_damaged', 'wal_problem', 'node_rolled_back'], optional: true },
);

const oldCopy: FaultDriver = {
  kind: 'old-copy',
  family: 'disk',
  group: 'restart',
  destroys: true,
  text: 'one node is killed, and an older copy of its data directory put back',
  missing: ANYWHERE,
  inject: async (context) => {
    const node = await pickNode(context);
    const copy = `${node.data}-copy`;
    await node.kill('SIGTERM');
    await rm(copy, { recursive: true, force: true });
    await cp(node.data, copy, { recursive: true });
    await node.start();
    await context.cluster.whenHealthy();
    const putBack = async ({ data }: ClusterProcess): Promise<string> => {
      await rm(data, { recursive: true });
      await rename(copy, data);
      return 'an old copy';
    };
    return whileDown(context, node, putBack, { events: ['node_rolled_back'] });
  },
};

/** Every fault of data directories that needs no privileges. */
export const DIRECTORY_FAULTS: readonly FaultDriver[] = [
  wipe,
  flipWal,
  flipTable,
  flipManifest,
  tornTail,
  lostFile,
  oldCopy,
];
