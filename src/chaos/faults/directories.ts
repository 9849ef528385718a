/**
 * Faults of data directories that need no privileges: a node is killed, something is done to its files, and it is started
 * again. All of them are found out by the node or the controller, and the replica, or all of the node's, come back under new ids.
 */
import { cp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RingkeepError } from '../../common/errors.ts';
import {
  type ActiveFault,
  ANYWHERE,
  type FaultContext,
  type FaultDriver,
  missingVoters,
  pick,
  pickNode,
  UNMET,
} from '../fault.ts';
import { type ClusterProcess, eventually, STEP_MS } from '../process.ts';
import { revive } from '../recovery.ts';

const CONFIRM_MS = 15_000;

/** How a node is ended, and what it or the router must have said for the fault to have been noticed. */
interface Notice {
  /** Events of the node's log, or of the router's about it. */
  readonly events: readonly string[];
  /** Nothing of the kind is needed: the fault may be without consequence. */
  readonly optional?: boolean;
  /** How the node is ended; default: SIGKILL. At SIGTERM its store writes all that it holds into tables. */
  readonly signal?: 'SIGKILL' | 'SIGTERM';
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

/** Ends a node, lets `act` do something to its directory, and starts it again, until it keeps running. */
async function whileDown(
  { cluster }: FaultContext,
  node: ClusterProcess,
  act: (node: ClusterProcess) => Promise<string>,
  { events, optional = false, signal = 'SIGKILL' }: Notice,
  destroys: boolean,
): Promise<ActiveFault> {
  // Only who has lost something may be emptied: anybody else has to start with what it has.
  const again = async (): Promise<boolean> => {
    if (destroys) return revive(node);
    if (!node.running) await node.start();
    return false;
  };
  await (signal === 'SIGTERM' ? node.end() : node.kill(signal));
  let what: string;
  try {
    what = await act(node);
  } catch (error) {
    await again();
    throw error;
  }
  const witnesses = [node, cluster.router];
  const before = await countOf(witnesses, events);
  const confirmed = eventually(
    `a notice of ${what}`,
    async (missing) => {
      // It ends by itself at some of them; whoever watches over it starts it again.
      if (!node.running && (await again())) return `${what}: it refuses to start, and is emptied`;
      const now = await countOf(witnesses, events);
      return now > before ? `${what}: ${events.join(' or ')}` : missing('none yet');
    },
    CONFIRM_MS,
  ).catch((error: unknown) => {
    if (optional) return `${what}: ${UNMET}`;
    throw error;
  });
  confirmed.catch(() => {});
  const undo = async (): Promise<void> => {
    await confirmed.catch(() => {});
    await again();
  };
  return { target: node.name, cutOff: [], confirmed, undo };
}

/** A driver that does something to the directory of a node that was killed. */
function directoryFault(
  fault: Pick<FaultDriver, 'kind' | 'text' | 'destroys' | 'damages'>,
  act: (node: ClusterProcess, context: FaultContext) => Promise<string>,
  notice: Notice,
): FaultDriver {
  const inject = async (context: FaultContext): Promise<ActiveFault> =>
    whileDown(
      context,
      await pickNode(context),
      (node) => act(node, context),
      notice,
      fault.destroys === true,
    );
  const missing = fault.destroys === true ? missingVoters : ANYWHERE;
  return { ...fault, family: 'disk', group: 'restart', missing, inject };
}

const wipe = directoryFault(
  { kind: 'wipe', destroys: true, text: 'one node is killed and its data directory emptied' },
  async (node) => {
    await node.wipe();
    return 'an empty directory';
  },
  { events: ['learner_added'] },
);

const flipWal = directoryFault(
  {
    kind: 'flip-wal',
    destroys: true,
    damages: true,
    text: 'one node is killed and a bit of its write-ahead log flipped',
  },
  async ({ data }, { random }) => {
    const [file] = await filesOf(join(data, 'wal'), /\.wal$/);
    if (file === undefined) throw new RingkeepError('NOT_READY', 'there is no log');
    // In the older part: the last group cannot be told from a torn write (docs/GUARANTEES.md, G1), and files grow ahead.
    return flipBit(file.path, random.integer(Math.max(1, Math.floor(file.bytes / 8))));
  },
  { events: ['replica_damaged', 'wal_problem'], optional: true },
);

const flipTable = directoryFault(
  {
    kind: 'flip-table',
    destroys: true,
    damages: true,
    text: 'one node is ended and a bit of a table of its store flipped, which a read or the scrub finds',
  },
  async (node, { random }) => {
    const files = await filesOf(join(node.data, 'store'), /\.ldb$/);
    if (files.length === 0) throw new RingkeepError('NOT_READY', 'there is no table');
    const { path, bytes } = pick(random, files.slice(0, 3));
    return flipBit(path, random.integer(Math.max(1, Math.floor(bytes * 0.8))));
  },
  { events: ['replica_damaged', 'node_failed'], optional: true, signal: 'SIGTERM' },
);

const flipManifest = directoryFault(
  {
    kind: 'flip-manifest',
    destroys: true,
    damages: true,
    text: 'one node is killed and a bit of its store’s manifest flipped',
  },
  async (node, { random }) => {
    const [file] = await filesOf(join(node.data, 'store'), /^MANIFEST/);
    if (file === undefined) throw new RingkeepError('NOT_READY', 'there is no manifest');
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
    damages: true,
    text: 'one node is ended, and a file of its store or of its log taken away',
  },
  async (node, { random }) => {
    const folder = random.next() < 0.5 ? 'store' : 'wal';
    const files = await filesOf(join(node.data, folder), folder === 'wal' ? /\.wal$/ : /\.ldb$/);
    if (files.length === 0) throw new RingkeepError('NOT_READY', 'there is no such file');
    const { path } = pick(random, files);
    await rm(path);
    return `without ${path.split('/').slice(-2).join('/')}`;
  },
  {
    events: ['node_failed', 'replica_damaged', 'wal_problem', 'node_rolled_back'],
    optional: true,
    signal: 'SIGTERM',
  },
);

const oldCopy: FaultDriver = {
  kind: 'old-copy',
  family: 'disk',
  group: 'restart',
  destroys: true,
  text: 'one node is killed, and an older copy of its data directory put back',
  missing: missingVoters,
  inject: async (context) => {
    const node = await pickNode(context);
    const copy = `${node.data}-copy`;
    await node.end();
    await rm(copy, { recursive: true, force: true });
    await cp(node.data, copy, { recursive: true });
    await node.start();
    await context.cluster.whenHealthy(STEP_MS);
    const putBack = async (victim: ClusterProcess): Promise<string> => {
      await victim.wipe();
      await rename(copy, victim.data);
      return 'an old copy';
    };
    return whileDown(context, node, putBack, { events: ['node_rolled_back'] }, true);
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
