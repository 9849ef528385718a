/**
 * The command `status`: nodes and partitions as the router sees them, as a table or as JSON.
 * The JSON is a contract for scripts (test/e2e/cli.test.ts): fields are added, never renamed or removed. It shows what
 * was last reported; it decides nothing.
 */
import type { Command } from 'commander';
import { RingkeepError } from '../common/errors.ts';
import { formatBytes } from '../common/report/format.ts';
import type { NodeRecord, PartitionRecord, Topology } from '../common/topology.ts';
import type { StatusReply } from '../common/wire/admin-messages.ts';
import type { ReplicaReport } from '../common/wire/messages.ts';
import { SLOW_BATCH_MS, type StorageFigures } from '../node/storage-figures.ts';
import type { RouterFigures } from '../router/index.ts';
import { type ShownAcks, showAcks } from './ack.ts';
import { type ClusterOptions, clusterStatus, count, statusAt, withCluster } from './common-options.ts';
import { askMoves } from './moves.ts';
import { EXIT, print, printJson, table } from './output.ts';
import { movesLines, openMoveText, type ShownMoves, showMoves } from './shown-moves.ts';
import { askSalts, saltsTable, showSalts } from './shown-salts.ts';

/** A node is asked for its figures for no longer than this. */
const NODE_MS = 1_000;

const COLUMNS = `
Of each node since its start: WRITTEN, bytes written to the WAL and to tables per byte of clients, from 1 MiB of these on;
SPACE, bytes in all tables per byte in the deepest level; LEVEL0, files there (8 slow writes, 12 stop them); SLOW, batches
over ${SLOW_BATCH_MS} ms and their time.
`;

interface StatusFlags extends ClusterOptions {
  readonly partitions: boolean;
  readonly explain?: number;
}

/** A node in the output of `status --json`. */
export interface ShownNode {
  readonly id: string;
  readonly address: string;
  readonly clientAddress: string;
  readonly zone: string;
  readonly pid: number;
  readonly boot: number;
  /** The highest protocol version that it speaks; null if it is not attached, or the router does not say. */
  readonly protocol: number | null;
  readonly alive: boolean;
  /** It gives its replicas away, or has done so, and gets none. */
  readonly leaving: boolean;
  /** Why it is thought dead; empty while it is alive. */
  readonly reason: string;
  readonly diskBytes: number;
  readonly diskFull: boolean;
  readonly draining: boolean;
  /** Partitions that it leads, and those it votes on. */
  readonly leads: number;
  readonly votes: number;
  /** What the node itself says of its storage; null if it was not asked or did not answer. */
  readonly storage: StorageFigures | null;
}

/** A partition in the output of `status --json`. Nodes are named by id. */
export interface ShownPartition {
  readonly partition: number;
  readonly epoch: number;
  /** Null while there is none. */
  readonly leader: string | null;
  /** The leader has shown that it can commit. */
  readonly established: boolean;
  readonly voters: readonly string[];
  readonly previousVoters: readonly string[];
  readonly learners: readonly string[];
  /** As the leader told last; 0 if it has told nothing yet. */
  readonly commitIndex: number;
  /** Why it is not served; empty while it is, and if the router did not say. */
  readonly reason: string;
}

export interface ShownStatus {
  readonly clusterId: string;
  readonly replicationFactor: number;
  /** The highest protocol version that the router speaks; null if it does not say. */
  readonly protocol: number | null;
  /** What the controller waits for; empty when it waits for nothing. */
  readonly waitingFor: string;
  /** At which level writes are acknowledged that name none. */
  readonly acks: ShownAcks;
  readonly nodes: readonly ShownNode[];
  readonly partitions: readonly ShownPartition[];
  /** Attached nodes that the router does not reach at the address that they advertise, and what happens there instead. */
  readonly addressTroubles: RouterFigures['addressTroubles'];
}

/** What nodes say of their storage, by id. */
export type StorageByNode = ReadonlyMap<string, StorageFigures>;

/** Returns the figures of the storage in a node's own status; null in one of a router, or of an older node. */
export function storageIn(status: StatusReply): StorageFigures | null {
  if (status.json === '') return null;
  return (JSON.parse(status.json) as { readonly storage?: StorageFigures }).storage ?? null;
}

/** Asks every node that is alive for its storage figures; one that does not answer in time is left out. Never rejects. */
export async function askStorage(
  nodes: readonly Pick<NodeRecord, 'id' | 'clientAddress' | 'alive'>[],
  timeoutMs: number,
): Promise<StorageByNode> {
  const figures = new Map<string, StorageFigures>();
  const ask = async ({ id, clientAddress }: Pick<NodeRecord, 'id' | 'clientAddress'>): Promise<void> => {
    try {
      const storage = storageIn(await statusAt(clientAddress, Math.min(timeoutMs, NODE_MS)));
      if (storage !== null) figures.set(id, storage);
    } catch {
      // The router knows the rest; what only the node can tell is shown as not known.
    }
  };
  await Promise.all(nodes.filter(({ alive }) => alive).map(ask));
  return figures;
}

function showNode(
  node: NodeRecord,
  status: StatusReply,
  records: readonly PartitionRecord[],
  storage: StorageByNode,
  protocol: number | null,
): ShownNode {
  const figures = status.nodes.find(({ id }) => id === node.id);
  const { id, address, clientAddress, zone, pid, boot, alive, reason } = node;
  return {
    ...{ id, address, clientAddress, zone, pid, boot, protocol, alive, reason },
    leaving: node.membership === 'NODE_LEAVING',
    diskBytes: figures?.diskBytes ?? 0,
    diskFull: figures?.diskFull ?? false,
    draining: figures?.draining ?? false,
    leads: records.filter(({ leader }) => leader?.node === id).length,
    votes: records.filter(({ voters }) => voters.some((voter) => voter.node === id)).length,
    storage: storage.get(id) ?? null,
  };
}

/** What a router says of partitions that are not served, of what its controller waits for, and of wrong addresses. */
export interface Obstacles {
  readonly waitingFor: string;
  /** By partition. */
  readonly reasons: ReadonlyMap<number, string>;
  readonly addressTroubles: RouterFigures['addressTroubles'];
}

/** Returns what stands in the figures of a status; nothing of one that is not a router's. */
export function obstaclesIn(status: StatusReply): Obstacles {
  const reasons = new Map<number, string>();
  if (status.json === '') return { waitingFor: '', reasons, addressTroubles: [] };
  const figures = JSON.parse(status.json) as Partial<RouterFigures>;
  for (const { partition, reason } of figures.unavailable ?? []) reasons.set(partition, reason);
  const { waitingFor = '', addressTroubles = [] } = figures;
  return { waitingFor, reasons, addressTroubles };
}

/** What a router says of the protocol versions that it and its nodes speak; nothing in a status of another process. */
function protocolsIn(status: StatusReply): { own: number | null; nodes: ReadonlyMap<string, number> } {
  if (status.json === '') return { own: null, nodes: new Map() };
  const { protocol = null, protocols = [] } = JSON.parse(status.json) as Partial<RouterFigures>;
  return { own: protocol, nodes: new Map(protocols.map((each) => [each.node, each.protocol])) };
}

function showPartition(
  record: PartitionRecord,
  reports: ReadonlyMap<string, ReplicaReport>,
  reasons: ReadonlyMap<number, string>,
): ShownPartition {
  const { partition, epoch, leader, established, voters, previousVoters, learners } = record;
  const nodes = (replicas: PartitionRecord['voters']) => replicas.map(({ node }) => node);
  return {
    partition,
    epoch,
    leader: leader?.node ?? null,
    established,
    voters: nodes(voters),
    previousVoters: nodes(previousVoters),
    learners: nodes(learners),
    commitIndex: leader === null ? 0 : (reports.get(`${partition}/${leader.replica}`)?.commitIndex ?? 0),
    reason: reasons.get(partition) ?? '',
  };
}

const NO_TOPOLOGY: Topology = {
  clusterId: '',
  revision: 0,
  partitions: 0,
  replicationFactor: 0,
  full: true,
  nodes: [],
  records: [],
};

/** Returns what is shown of a status, and of what nodes say of their storage. */
export function showStatus(status: StatusReply, storage: StorageByNode = new Map()): ShownStatus {
  const { clusterId, replicationFactor, records } = status.topology ?? NO_TOPOLOGY;
  // A node that is asked may still remember who was forgotten.
  const nodes = (status.topology ?? NO_TOPOLOGY).nodes.filter(({ membership }) => membership !== 'NODE_GONE');
  const { waitingFor, reasons, addressTroubles } = obstaclesIn(status);
  const protocols = protocolsIn(status);
  const reports = new Map(status.replicas.map((report) => [`${report.partition}/${report.replica}`, report]));
  return {
    clusterId,
    replicationFactor,
    protocol: protocols.own,
    waitingFor,
    acks: showAcks(status.topology?.acks),
    nodes: nodes
      .map((node) => showNode(node, status, records, storage, protocols.nodes.get(node.id) ?? null))
      .sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true })),
    partitions: records
      .map((record) => showPartition(record, reports, reasons))
      .sort((a, b) => a.partition - b.partition),
    addressTroubles,
  };
}

function nodeState(node: ShownNode): string {
  if (!node.alive) return node.reason === '' ? 'down' : `down: ${node.reason}`;
  const leaving = node.leaving ? [node.votes === 0 ? 'drained' : 'leaving'] : [];
  const states = [
    ...leaving,
    ...(node.draining ? ['draining'] : []),
    ...(node.diskFull ? ['disk full'] : []),
  ];
  return states.length === 0 ? 'up' : states.join(', ');
}

/** Returns write and space amplification, files in level 0, and slow batches with their time, as cells. */
export function storageCells(storage: StorageFigures | null): string[] {
  if (storage === null) return ['-', '-', '-', '-'];
  const { writeAmplification, spaceAmplification, level0Files, slowBatches, slowBatchMs } = storage;
  const times = (ratio: number | null) => (ratio === null ? '-' : `${ratio.toFixed(1)}x`);
  const slow = slowBatches === 0 ? '0' : `${slowBatches} in ${(slowBatchMs / 1_000).toFixed(1)} s`;
  return [times(writeAmplification), times(spaceAmplification), `${level0Files}`, slow];
}

const NODE_HEAD = ['NODE', 'ADDRESS', 'PID', 'LEADS', 'VOTES', 'DISK', 'WRITTEN', 'SPACE', 'LEVEL0', 'SLOW'];

function nodeTable(nodes: readonly ShownNode[]): string {
  const rows = nodes.map((node) => [
    ...[node.id, node.address, `${node.pid}`, `${node.leads}`, `${node.votes}`, formatBytes(node.diskBytes)],
    ...storageCells(node.storage),
    nodeState(node),
  ]);
  return table([[...NODE_HEAD, 'STATE'], ...rows]);
}

function partitionTable(partitions: readonly ShownPartition[]): string {
  const rows = partitions.map(({ partition, epoch, leader, voters, commitIndex, established, reason }) => [
    ...[`${partition}`, `${epoch}`, leader ?? '-', voters.join(' '), `${commitIndex}`],
    established && reason === '' ? 'ok' : reason === '' ? 'no leader yet' : reason,
  ]);
  return table([['PARTITION', 'EPOCH', 'LEADER', 'VOTERS', 'COMMIT', 'STATE'], ...rows]);
}

/** Which protocol versions are spoken: of one process after the other while they differ, as they do during an upgrade. */
export function protocolText({ protocol, nodes }: Pick<ShownStatus, 'protocol' | 'nodes'>): string {
  const all = [{ id: 'router', protocol }, ...nodes];
  const highest = all.map((each) => each.protocol);
  if (protocol !== null && highest.every((each) => each === protocol))
    return `All processes speak protocol ${protocol}.`;
  const told = all.map((each) => `${each.id} ${each.protocol ?? 'not known'}`).join(', ');
  return `They speak protocols up to: ${told}.`;
}

function text(status: ShownStatus, withPartitions: boolean): string {
  const { clusterId, replicationFactor, waitingFor, nodes, partitions, addressTroubles } = status;
  const waits = waitingFor === '' ? '' : ` It waits for ${waitingFor}.`;
  const troubles = addressTroubles.map(
    ({ node, address, trouble }) =>
      `Node ${node} cannot be reached at the address that it advertises, ${address}: ${trouble}`,
  );
  if (clusterId === '') return [`The cluster is not formed yet.${waits}`, ...troubles].join('\n');
  const ready = partitions.filter(({ established }) => established).length;
  const summary = `Cluster ${clusterId}: ${ready} of ${partitions.length} partitions take writes, each on ${replicationFactor} nodes.${waits}`;
  const shown = withPartitions ? partitions : partitions.filter(({ established }) => !established);
  const parts = [
    `${summary}\n${protocolText(status)}`,
    ...(troubles.length === 0 ? [] : [troubles.join('\n')]),
    nodeTable(nodes),
  ];
  if (shown.length > 0) parts.push(partitionTable(shown));
  return parts.join('\n\n');
}

async function tellStatus(flags: StatusFlags): Promise<void> {
  const reply = await clusterStatus(flags);
  const status = showStatus(reply, await askStorage(reply.topology?.nodes ?? [], flags.timeout));
  const [moves, salts] = await Promise.all([movesOf(flags), askSalts(flags)]);
  if (flags.json) return printJson({ ...status, moves, salts: showSalts(salts) });
  const salted = salts.length === 0 ? [] : ['', saltsTable(salts)];
  const lines = [text(status, flags.partitions), ...salted, ...(moves === null ? [] : movesLines(moves))];
  return print(lines.join('\n'));
}

/** How the moves stand; null: a node was asked, a router of an earlier version, or the cluster is not formed. */
async function movesOf(flags: StatusFlags): Promise<ShownMoves | null> {
  try {
    return showMoves(await askMoves(flags, { order: 'MOVES_TELL' }));
  } catch (error) {
    if (!(error instanceof RingkeepError)) throw error;
    return null;
  }
}

/** Tells the nodes in the order in which the ring offers them to a partition, and why each votes or does not. */
async function explain(flags: StatusFlags, partition: number): Promise<void> {
  const { choices, moves } = await askMoves(flags, { order: 'MOVES_EXPLAIN', partition });
  const open = moves.filter((move) => move.partition === partition && move.state !== 'done');
  if (flags.json) return printJson({ partition, choices, moves: open });
  const rows = choices.map(({ node, votes, learns, reason }) => [
    ...[node, votes ? 'votes' : learns ? 'learns' : '-', reason],
  ]);
  const text = `Partition ${partition}, in the order of the ring:\n\n${table([['NODE', '', 'WHY'], ...rows])}`;
  return print(open.length === 0 ? text : [text, '', ...open.map(openMoveText)].join('\n'));
}

/** Adds the command `status`. `done` is told its exit status. */
export function addStatusCommand(program: Command, done: (status: number) => void): void {
  withCluster(program.command('status').description('show nodes and partitions'))
    .option('--partitions', 'list every partition, not only those without a leader', false)
    .option(
      '--explain <partition>',
      'say why the replicas of a partition are where they are',
      count(0, 2 ** 31),
    )
    .addHelpText(
      'after',
      `${COLUMNS}\nExamples:\n  ringkeep status --partitions\n  ringkeep status --json | jq .nodes\n`,
    )
    .action(async (flags: StatusFlags) => {
      if (flags.explain === undefined) await tellStatus(flags);
      else await explain(flags, flags.explain);
      done(EXIT.OK);
    });
}
