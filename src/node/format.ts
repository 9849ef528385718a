/**
 * The FORMAT file of a node's data directory: whose directory it is and how often a process has started on
 * it. Two lines of text, so that a person can read it:
 *
 *     {"format":1,"cluster":"c-7f3a","node":"n1","incarnation":"5be0…","boot":12,
 *      "admitted":{"boot":11,"run":"77d1…"},"runs":["c04e…"],"logEnd":4711}  (one line)
 *     crc32c 1a2b3c4d                                (of the first line without its end)
 *
 * INVARIANT: boot and run are durable before they are returned: no two process starts share a run, and none share a boot
 * unless the directory is an old copy.
 * INVARIANT: cluster and node never change once written; the incarnation changes when the directory has turned out to be an
 * old copy, and then has never been used before.
 * Does not lock the directory: take `lockDirectory` before.
 */
import { crc32c } from '../common/crc32c.ts';
import { type Disk, DiskError } from '../common/disk.ts';
import { assert, RingkeepError } from '../common/errors.ts';
import { LOCK_NAME } from '../common/node-disk.ts';

/** Version of the data directory's layout that this build writes and reads. */
export const FORMAT_VERSION = 1;

const FORMAT_NAME = 'FORMAT';
/** What may lie in a directory that still counts as empty. */
const IGNORED = new Set([LOCK_NAME, `${FORMAT_NAME}.tmp`, 'lost+found']);

interface FormatFields {
  readonly format: number;
  readonly cluster: string;
  readonly node: string;
  readonly incarnation: string;
  readonly boot: number;
  readonly admitted: { readonly boot: number; readonly run: string };
  readonly runs: readonly string[];
  /** Absent: the last start was admitted, or has not come as far as its WAL. */
  readonly logEnd?: number;
  /** Absent: nothing is known to be damaged for good. */
  readonly damaged?: string;
}

/** Starts since the last admitted one that a directory remembers. */
const RUNS_MAX = 1_024;

/** An opened data directory's identity. */
export interface Format {
  /** Empty until the node has joined a cluster. */
  readonly clusterId: string;
  readonly nodeId: string;
  /** As of this start. */
  readonly incarnation: string;
  /** This process start, from 1. */
  readonly boot: number;
  /** The last start that was admitted, as far as the directory knows; boot 0: none. */
  readonly admittedBoot: number;
  /** Random ids of that start and of those since, this one last. */
  readonly runs: readonly string[];
  /** The directory was empty before. */
  readonly created: boolean;
  /**
   * Binds the directory to a cluster, durably. The same id again is fine; WRONG_CLUSTER if it has another
   * one.
   */
  setClusterId(clusterId: string): void;
  /** Notes, durably, that this start was admitted. */
  admit(): void;
  /**
   * Notes, durably, where the WAL ended that this start has found, before anything is written to it. The first of the starts
   * since the admitted one counts.
   */
  noteLogEnd(lsn: number): void;
  /**
   * What controllers are told of a WAL that is durable up to `durableLsn`. Until a start is admitted, what it and those before
   * it have added proves nothing: a copy of the directory would have added the same.
   */
  toldLogEnd(durableLsn: number): number;
  /** Notes, durably, what is damaged so that the node cannot go on with this directory: it is not opened again. */
  condemn(damaged: string): void;
  /** Gives the directory another incarnation, durably; the next start goes by it. */
  renew(incarnation: string): void;
}

/** The end of what is said of a directory that cannot be used any more. */
const WIPE = 'wipe the directory and let the node join anew';

function encode(fields: FormatFields): Uint8Array {
  const line = JSON.stringify(fields);
  const sum = crc32c(Buffer.from(line)).toString(16).padStart(8, '0');
  return Buffer.from(`${line}\ncrc32c ${sum}\n`);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 1;
}

function decode(bytes: Uint8Array): FormatFields {
  const damaged = (why: string, cause?: unknown) =>
    new RingkeepError('DAMAGED', `${FORMAT_NAME} ${why}; ${WIPE}`, 'not_applied', { cause });
  const text = Buffer.from(bytes).toString('utf8');
  const line = text.slice(0, text.indexOf('\n'));
  const sum = crc32c(Buffer.from(line)).toString(16).padStart(8, '0');
  if (text !== `${line}\ncrc32c ${sum}\n`) throw damaged('does not match its checksum');
  let fields: Partial<FormatFields>;
  try {
    fields = JSON.parse(line) as Partial<FormatFields>;
  } catch (cause) {
    throw damaged('cannot be parsed', cause);
  }
  const { format, cluster, node, incarnation, boot, admitted, runs, logEnd, damaged: found } = fields;
  if (!isCount(format)) throw damaged('names no version');
  if (format > FORMAT_VERSION) {
    throw new RingkeepError(
      'FORMAT_TOO_NEW',
      `data format ${format}, this build knows up to ${FORMAT_VERSION}`,
    );
  }
  if (typeof cluster !== 'string' || typeof node !== 'string') throw damaged('lacks cluster or node');
  if (typeof incarnation !== 'string' || !isCount(boot)) throw damaged('lacks incarnation or boot');
  if (!Array.isArray(runs) || typeof admitted?.run !== 'string') throw damaged('lacks runs');
  return {
    format,
    cluster,
    node,
    incarnation,
    boot,
    admitted,
    runs,
    ...(logEnd === undefined ? {} : { logEnd }),
    ...(found === undefined ? {} : { damaged: found }),
  };
}

function readFields(disk: Disk): FormatFields | null {
  try {
    return decode(disk.readSync(FORMAT_NAME));
  } catch (error) {
    if (error instanceof DiskError && error.code === 'ENOENT') return null;
    throw error;
  }
}

function requireCluster(found: string, wanted: string): void {
  if (found === wanted) return;
  throw new RingkeepError('WRONG_CLUSTER', `the directory belongs to cluster ${found}, not ${wanted}`);
}

/** Throws unless the directory is empty, or this node's and this cluster's. */
function requireOwn(disk: Disk, found: FormatFields | null, nodeId: string, clusterId: string): void {
  if (found === null) {
    const foreign = disk.listSync('').filter((name) => !IGNORED.has(name));
    if (foreign.length > 0) {
      const names = foreign.slice(0, 3).join(', ');
      throw new RingkeepError(
        'WRONG_NODE',
        `the directory has no ${FORMAT_NAME} but is not empty (${names})`,
      );
    }
  } else {
    if (found.node !== nodeId) {
      throw new RingkeepError('WRONG_NODE', `the directory belongs to node ${found.node}, not ${nodeId}`);
    }
    if (found.cluster !== '' && clusterId !== '') requireCluster(found.cluster, clusterId);
  }
}

/**
 * Opens the directory at the root of `disk` for node `nodeId`, creating FORMAT if the directory is empty, and
 * counts the boot durably. `clusterId` empty or absent accepts any; `newId` makes the random ids of a new directory and of
 * this start. Throws RingkeepError WRONG_NODE (also for a directory with foreign files), WRONG_CLUSTER,
 * FORMAT_TOO_NEW, DAMAGED; DiskError when the disk refuses.
 */
export function openFormat(
  disk: Disk,
  options: { readonly nodeId: string; readonly clusterId?: string; readonly newId: () => string },
): Format {
  const { nodeId, clusterId = '', newId } = options;
  assert(nodeId !== '', 'a node has an id');
  const found = readFields(disk);
  requireOwn(disk, found, nodeId, clusterId);
  if (found?.damaged !== undefined) throw new RingkeepError('DAMAGED', `${found.damaged}; ${WIPE}`);
  let fields: FormatFields = {
    format: FORMAT_VERSION,
    cluster: found?.cluster || clusterId,
    node: nodeId,
    incarnation: found?.incarnation ?? newId(),
    boot: (found?.boot ?? 0) + 1,
    admitted: found?.admitted ?? { boot: 0, run: '' },
    runs: [...(found?.runs ?? []), newId()].slice(-RUNS_MAX),
    ...(found?.logEnd === undefined ? {} : { logEnd: found.logEnd }),
  };
  disk.replaceSync(FORMAT_NAME, encode(fields));
  const save = (changed: FormatFields): void => {
    disk.replaceSync(FORMAT_NAME, encode(changed));
    fields = changed;
  };
  return {
    nodeId,
    incarnation: fields.incarnation,
    boot: fields.boot,
    admittedBoot: fields.admitted.boot,
    runs: [fields.admitted.run, ...fields.runs],
    created: found === null,
    get clusterId() {
      return fields.cluster;
    },
    setClusterId(wanted: string): void {
      assert(wanted !== '', 'a cluster has an id');
      if (fields.cluster !== '') {
        requireCluster(fields.cluster, wanted);
        return;
      }
      save({ ...fields, cluster: wanted });
    },
    admit(): void {
      if (fields.runs.length === 0) return;
      const { logEnd: _, ...rest } = fields;
      save({ ...rest, admitted: { boot: fields.boot, run: fields.runs.at(-1)! }, runs: [] });
    },
    noteLogEnd(lsn: number): void {
      if (fields.logEnd === undefined) save({ ...fields, logEnd: lsn });
    },
    toldLogEnd(durableLsn: number): number {
      return fields.logEnd ?? durableLsn;
    },
    condemn(damaged: string): void {
      save({ ...fields, damaged });
    },
    renew(wanted: string): void {
      assert(wanted !== fields.incarnation, 'a renewed directory has another incarnation');
      const { logEnd: _, ...rest } = fields;
      save({ ...rest, incarnation: wanted, admitted: { boot: 0, run: '' }, runs: [] });
    },
  };
}
