/**
 * Faults of disks that are a node's own, as root: a file system without space, and a power cut, after which the bytes that were never
 * synced are gone. For clusters whose data directories are on such file systems (mounts.ts).
 */
import { RingkeepError } from '../../common/errors.ts';
import { type ActiveFault, type FaultDriver, pickNode } from '../fault.ts';
import { type MemoryDisk, missingMemoryDisk, missingPowerDisk, PowerDisk } from '../mounts.ts';
import { type ClusterProcess, eventually } from '../process.ts';

const CONFIRM_MS = 20_000;

function diskOf<T>(disks: ReadonlyMap<string, T>, { name }: ClusterProcess): T {
  const disk = disks.get(name);
  if (disk === undefined) throw new RingkeepError('NOT_READY', `${name} has no disk of its own`);
  return disk;
}

/** Returns the fault of a file system that is full, for nodes whose data directories are in memory. */
export function fullDiskFault(disks: ReadonlyMap<string, MemoryDisk>): FaultDriver {
  const inject: FaultDriver['inject'] = async (context): Promise<ActiveFault> => {
    const node = await pickNode(context);
    const disk = diskOf(disks, node);
    const before = (await node.logged('disk_full')).length;
    const bytes = await disk.fill();
    const confirmed = eventually(
      `${node.name} notices`,
      async (missing) =>
        (await node.logged('disk_full')).length > before
          ? `${bytes} bytes were left; ${node.name} says disk_full`
          : missing('not yet'),
      CONFIRM_MS,
    );
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      await disk.release();
      if (!node.running) await node.start().catch(() => {});
    };
    return { target: node.name, cutOff: [], confirmed, undo };
  };
  const text = 'the file system of one node is full';
  return {
    kind: 'file-system-full',
    family: 'disk',
    group: 'space',
    text,
    missing: missingMemoryDisk,
    inject,
  };
}

/** Returns power cuts of one node, and of all nodes at once, for nodes whose data directories are on such disks. */
export function powerCutFaults(disks: ReadonlyMap<string, PowerDisk>): FaultDriver[] {
  const cut = async (nodes: readonly ClusterProcess[], target: string): Promise<ActiveFault> => {
    const cuts = nodes.map((node) => diskOf(disks, node));
    await PowerDisk.cut(cuts);
    await Promise.all(nodes.map((node) => node.kill('SIGKILL')));
    const confirmed = Promise.all(cuts.map((disk) => disk.restore())).then(
      () => `on ${cuts.length} disks what was synced is there, and what was not is gone`,
    );
    confirmed.catch(() => {});
    const undo = async (): Promise<void> => {
      await confirmed.catch(() => {});
      const ended = nodes.filter(({ running }) => !running);
      await Promise.all(ended.map((node) => node.start()));
    };
    return { target, cutOff: [], confirmed, undo };
  };
  const common = { family: 'disk', group: 'power', missing: missingPowerDisk } as const;
  const one: FaultDriver = {
    ...common,
    kind: 'power-cut',
    text: 'the power of one node is cut: what was not synced is gone',
    inject: async (context) => {
      const node = await pickNode(context);
      return cut([node], node.name);
    },
  };
  const all: FaultDriver = {
    ...common,
    kind: 'power-cut-all',
    text: 'the power of all nodes is cut at once',
    inject: ({ cluster }) => cut(cluster.nodes, 'all nodes'),
  };
  return [one, all];
}
