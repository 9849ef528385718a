/**
 * The data directory of `ringkeep up`:
 *
 *     DIR/up.json     shape of the cluster and the ports it used last
 *     DIR/scale.json  how many nodes `ringkeep scale` wants the running `up` to run
 *     DIR/lock/       held by the running `up`
 *     DIR/router/     DIR/n1/ DIR/n2/ ...     one data directory per process
 *     DIR/logs/       NAME.log and NAME.log.1 of every process
 *
 * INVARIANT: a directory with other people's files is refused, never filled.
 * INVARIANT: partitions and the replication factor of a cluster never change here once its nodes were started, and nodes become fewer
 * only at the word of `scale`, which has seen that nothing is left on them.
 */
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { RingkeepError } from '../../common/errors.ts';
import { PARTITIONS_DEFAULT, REPLICATION_FACTOR_DEFAULT } from '../../common/limits.ts';
import { type DirectoryLock, LOCK_NAME, lockDirectory, makeDirectories } from '../../common/node-disk.ts';

const FORMAT = 1;
const FILE_NAME = 'up.json';
const SCALE_NAME = 'scale.json';

/** What was asked for on the command line; undefined: not said. */
export interface WantedShape {
  readonly nodes?: number;
  readonly replicationFactor?: number;
  readonly partitions?: number;
}

export interface Shape {
  readonly nodes: number;
  readonly replicationFactor: number;
  readonly partitions: number;
}

/** Addresses used last, by process name (`router`, `n1`, ...). */
export type Addresses = Readonly<Record<string, string>>;

interface Saved extends Shape {
  readonly format: number;
  /** Nodes of this shape were started. */
  readonly formed: boolean;
  readonly addresses: Addresses;
}

const NODES_DEFAULT = 3;

function invalid(text: string, cause?: unknown): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', text, 'not_applied', { cause });
}

function newShape(wanted: WantedShape): Shape {
  const { nodes = NODES_DEFAULT, partitions = PARTITIONS_DEFAULT } = wanted;
  const { replicationFactor = Math.min(REPLICATION_FACTOR_DEFAULT, nodes) } = wanted;
  if (replicationFactor > nodes) {
    throw invalid(`replication factor ${replicationFactor} needs as many nodes; there are ${nodes}`);
  }
  return { nodes, replicationFactor, partitions };
}

/** Returns the shape of an existing cluster with what was asked for. */
function keepShape(saved: Saved, wanted: WantedShape): Shape {
  const { nodes = saved.nodes, replicationFactor, partitions } = wanted;
  const fixed = (name: string, is: number, asked: number | undefined) => {
    if (asked !== undefined && asked !== is) {
      throw invalid(`the cluster in this directory has ${name} ${is}; it cannot be changed to ${asked}`);
    }
  };
  fixed('replication factor', saved.replicationFactor, replicationFactor);
  fixed('partitions', saved.partitions, partitions);
  if (nodes < saved.nodes) {
    const text = `the cluster in this directory has ${saved.nodes} nodes; ${nodes} would leave data out`;
    throw invalid(`${text}: start it, and then \`ringkeep scale --nodes ${nodes}\``);
  }
  return { nodes, replicationFactor: saved.replicationFactor, partitions: saved.partitions };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function parse(text: string, path: string): Saved {
  let saved: Partial<Saved>;
  try {
    saved = JSON.parse(text) as Partial<Saved>;
  } catch (cause) {
    throw new RingkeepError('DAMAGED', `${path} cannot be parsed`, 'not_applied', { cause });
  }
  const { format, formed = true, nodes, replicationFactor, partitions, addresses = {} } = saved ?? {};
  if (isCount(format) && format > FORMAT) {
    throw new RingkeepError('FORMAT_TOO_NEW', `${path} has format ${format}, this build knows ${FORMAT}`);
  }
  if (!isCount(format) || !isCount(nodes) || !isCount(replicationFactor) || !isCount(partitions)) {
    throw new RingkeepError('DAMAGED', `${path} lacks a field`);
  }
  return { format, formed, nodes, replicationFactor, partitions, addresses };
}

function readSaved(directory: string): Saved | null {
  const path = join(directory, FILE_NAME);
  const names = readdirSync(directory).filter((name) => name !== LOCK_NAME && name !== 'lost+found');
  if (names.includes(FILE_NAME)) return parse(readFileSync(path, 'utf8'), path);
  const [first] = names;
  if (first === undefined) return null;
  throw invalid(
    `${directory} is not empty and has no ${FILE_NAME} (it has ${first}); name another directory`,
  );
}

/** The open directory of one `up`. */
export class Layout {
  readonly directory: string;
  readonly ephemeral: boolean;
  shape: Shape;
  /** Whether it already held a cluster. */
  readonly existed: boolean;
  readonly addresses: Addresses;
  readonly #lock: DirectoryLock;

  constructor(directory: string, ephemeral: boolean, shape: Shape, saved: Saved | null, lock: DirectoryLock) {
    this.directory = directory;
    this.ephemeral = ephemeral;
    this.shape = shape;
    this.existed = saved?.formed === true;
    this.addresses = saved?.addresses ?? {};
    this.#lock = lock;
  }

  /** Takes what `scale` asks for, once; null: nothing that is not so already. */
  takeWanted(): number | null {
    const path = join(this.directory, SCALE_NAME);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return null;
    }
    rmSync(path);
    const { nodes } = JSON.parse(text) as { readonly nodes: unknown };
    return isCount(nodes) && nodes !== this.shape.nodes ? nodes : null;
  }

  /** Data directory of a process. */
  dataOf(name: string): string {
    return join(this.directory, name);
  }

  /** Log file of a process. */
  logOf(name: string): string {
    return join(this.directory, 'logs', `${name}.log`);
  }

  /** Node names: n1, n2, ... */
  nodeNames(): string[] {
    return Array.from({ length: this.shape.nodes }, (_, index) => `n${index + 1}`);
  }

  /** Writes the shape and the addresses, whole or not at all. `formed`: the shape is not to change any more. */
  save(addresses: Addresses, formed: boolean): void {
    const path = join(this.directory, FILE_NAME);
    const saved: Saved = { format: FORMAT, formed, ...this.shape, addresses };
    writeFileSync(`${path}.tmp`, `${JSON.stringify(saved, null, 2)}\n`, { flush: true });
    renameSync(`${path}.tmp`, path);
  }

  /** Gives the directory free and removes it if it is ephemeral. Every process in it must have ended. */
  async close(): Promise<void> {
    await this.#lock.release();
    if (this.ephemeral) rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** What is told of a directory by the one who reads it while an `up` runs in it. Rejects with RingkeepError. */
export function readRunning(directory: string): { readonly nodes: number; readonly router: string } {
  const saved = readSaved(directory);
  const router = saved?.addresses.router;
  if (saved === null || router === undefined)
    throw invalid(`there is no cluster of \`ringkeep up\` in ${directory}`);
  return { nodes: saved.nodes, router };
}

/** Asks the `up` that runs in a directory for so many nodes. */
export function wantNodes(directory: string, nodes: number): void {
  const path = join(directory, SCALE_NAME);
  writeFileSync(`${path}.tmp`, `${JSON.stringify({ nodes })}\n`, { flush: true });
  renameSync(`${path}.tmp`, path);
}

const WHY: Readonly<Record<string, string>> = {
  EEXIST: 'there is a file in its place',
  ENOTDIR: 'there is a file in the place of one of its parents',
  ENOENT: 'no directory can be made there (ENOENT)',
  EROFS: 'the file system is read-only (EROFS)',
  EACCES: 'permission denied (EACCES)',
};

function makeDirectory(data: string | null): string {
  if (data === null) return mkdtempSync(join(tmpdir(), 'ringkeep-'));
  try {
    makeDirectories(data);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = WHY[code ?? ''] ?? code ?? (cause as Error).message;
    throw invalid(`${data} cannot be the data directory: ${why}`, cause);
  }
  return data;
}

/**
 * Opens or creates the data directory; `data` null makes a temporary one that `close` removes.
 * Rejects with RingkeepError INVALID_ARGUMENT, DIRECTORY_IN_USE, FORMAT_TOO_NEW, DAMAGED, or DiskError.
 */
export async function openLayout(data: string | null, wanted: WantedShape): Promise<Layout> {
  if (data === null) newShape(wanted);
  const directory = makeDirectory(data === null ? null : resolve(data));
  // Before the lock leaves a trace in a directory that is somebody else's.
  readSaved(directory);
  const lock = await lockDirectory(directory);
  try {
    const saved = readSaved(directory);
    const shape = saved?.formed === true ? keepShape(saved, wanted) : newShape(wanted);
    const layout = new Layout(directory, data === null, shape, saved, lock);
    // Asked of an `up` that has ended since: whoever asked has given up.
    rmSync(join(directory, SCALE_NAME), { force: true });
    makeDirectories(join(directory, 'logs'));
    // So that a directory in which `up` is interrupted is known again.
    if (saved === null) layout.save({}, false);
    return layout;
  } catch (error) {
    await lock.release();
    throw error;
  }
}
