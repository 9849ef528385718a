/**
 * The commands `node` and `router`: one process each, for machines of their own; `up` starts the same two.
 * Options are checked for their form here and for their sense where they are used. How such a process lives and ends is
 * service.ts.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Ack } from '../client/index.ts';
import { ACKS } from '../client/options.ts';
import { RingkeepError } from '../common/errors.ts';
import {
  PARTITIONS_MAX,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  REPLICATION_FACTOR_MAX,
  VALUE_BYTES_CEILING,
} from '../common/limits.ts';
import { LOG_LEVELS, type LogLevel } from '../common/log.ts';
import { formatAddress, parseClusterUrl } from '../common/wire/address.ts';
import { ACK_LEVELS, collect, count, withJson } from './common-options.ts';
import { runService } from './service.ts';

const NODES_MAX = 1_000;
/** Sizes of logs: a few records to a terabyte. */
const bytes = count(4_096, 2 ** 40);
/** A second to a month. */
const interval = count(1_000, 31 * 24 * 3_600_000);
const protocol = count(PROTOCOL_MIN, PROTOCOL_MAX);

interface ServiceFlags {
  readonly data: string;
  readonly listen: string;
  readonly httpListen?: string;
  readonly advertiseClient?: string;
  readonly insecure: boolean;
  readonly protocolMax?: number;
  readonly logLevel?: LogLevel;
  readonly parentPid?: number;
  readonly json: boolean;
}

interface NodeFlags extends ServiceFlags {
  readonly id: string;
  readonly advertise?: string;
  readonly router: readonly string[];
  readonly join?: readonly string[];
  readonly peer: ReadonlyMap<string, string>;
  readonly zone?: string;
  readonly valueBytesMax?: number;
  readonly checkpointBytes?: number;
  readonly walRetentionBytes?: number;
  readonly walSegmentBytes?: number;
  readonly scrubIntervalMs?: number;
  readonly scrubBytesPerSecond?: number;
  readonly saltReadsPerSecond?: number;
}

interface RouterFlags extends ServiceFlags {
  readonly id?: string;
  readonly peer: ReadonlyMap<string, string>;
  readonly initialNodes?: number;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly ack?: Ack;
}

/** The fields of `record` that are set: optional options are left out, never undefined. */
type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function given<T extends object>(record: T): Given<T> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Given<T>;
}

function collectPeer(text: string, earlier: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const equals = text.indexOf('=');
  if (equals < 1 || equals === text.length - 1) throw new InvalidArgumentError('Write ID=HOST:PORT.');
  return new Map(earlier).set(text.slice(0, equals), text.slice(equals + 1));
}

function routersAt(url: string): readonly string[] {
  try {
    return parseClusterUrl(url).map(formatAddress);
  } catch (error) {
    if (!(error instanceof RingkeepError)) throw error;
    throw new InvalidArgumentError(error.message);
  }
}

function parseNodeId(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError('Use 1 to 64 letters, digits, dots, dashes and underscores.');
}

function withService(command: Command, listen: string): Command {
  const logLevel = new Option('--log-level <level>', 'what is logged to stderr').choices(LOG_LEVELS);
  const parentPid = new Option('--parent-pid <pid>', 'end with this process');
  return withJson(
    command
      .requiredOption('--data <dir>', 'data directory')
      .option('--listen <host:port>', 'address to listen on; port 0 takes a free one', listen)
      .option('--http-listen <host:port>', 'serve /metrics and /healthz there')
      .option('--advertise-client <host:port>', 'address that clients are told')
      .option('--peer <id=host:port>', 'how to reach a node from here; repeatable', collectPeer, new Map())
      .option('--insecure', 'allow addresses that other machines can reach', false)
      .option(
        '--protocol-max <n>',
        'speak at most this version of the protocol, as before an upgrade',
        protocol,
      )
      .addOption(logLevel.env('RINGKEEP_LOG'))
      .addOption(parentPid.argParser(count(1, 2 ** 31)).hideHelp()),
  );
}

/** Adds the command `node`. `done` is told its exit status. */
export function addNodeCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('node').description('run one storage node');
  withService(command, '127.0.0.1:0')
    .requiredOption('--id <id>', 'name of the node, unique in its cluster for ever', parseNodeId)
    .option('--advertise <host:port>', 'address that nodes and routers are told')
    .option('--router <host:port>', 'a router to attach to; repeatable', collect, [])
    .option('--join <url>', 'a cluster that exists, by its URL: ringkeep://HOST:PORT[,HOST:PORT]', routersAt)
    .option('--zone <zone>', 'failure zone; voters are spread over zones')
    .option('--value-bytes-max <n>', 'longest value in bytes', count(1, VALUE_BYTES_CEILING))
    .option('--checkpoint-bytes <n>', 'log growth between two checkpoints', bytes)
    .option('--wal-retention-bytes <n>', 'log kept for followers that come back', bytes)
    .option('--wal-segment-bytes <n>', 'size of a log file', bytes)
    .option('--scrub-interval-ms <ms>', 'time between two comparisons of the replicas', interval)
    .option('--scrub-bytes-per-second <n>', 'what these read at most, all together', bytes)
    .option(
      '--salt-reads-per-second <n>',
      'salt keys that are read so often; 0: never by itself',
      count(0, 1e9),
    )
    .addHelpText(
      'after',
      '\nExample:\n  ringkeep node --id n1 --data /var/lib/ringkeep --listen 10.0.0.1:7401 \\\n' +
        '    --router 10.0.0.9:7400 --insecure\n' +
        '  ringkeep node --id n4 --data ./n4 --join ringkeep://127.0.0.1:7400\n',
    )
    .action(async (flags: NodeFlags) => {
      const routers = [...flags.router, ...(flags.join ?? [])];
      if (routers.length === 0)
        command.error("error: option '--router <host:port>' or '--join <url>' is needed");
      const { json, logLevel, parentPid } = flags;
      const start = async (log: Parameters<Parameters<typeof runService>[0]['start']>[0]) => {
        // Loaded only where it runs: `get` and its like start in half the time.
        const { startNode } = await import('../node/node.ts');
        const node = await startNode({
          id: flags.id,
          dataDirectory: flags.data,
          listen: flags.listen,
          routers,
          peers: flags.peer,
          insecure: flags.insecure,
          log,
          ...given({
            advertise: flags.advertise,
            advertiseClient: flags.advertiseClient,
            joins: flags.join === undefined ? undefined : true,
            zone: flags.zone,
            httpListen: flags.httpListen,
            protocolMax: flags.protocolMax,
            valueBytesMax: flags.valueBytesMax,
            checkpointBytes: flags.checkpointBytes,
            walRetentionBytes: flags.walRetentionBytes,
            walSegmentBytes: flags.walSegmentBytes,
            scrubIntervalMs: flags.scrubIntervalMs,
            scrubBytesPerSecond: flags.scrubBytesPerSecond,
            saltReadsPerSecond: flags.saltReadsPerSecond,
          }),
        });
        return { service: node, id: node.id, address: node.address, http: node.httpAddress };
      };
      done(await runService({ kind: 'node', json, logLevel, parentPid, start }));
    });
}

/** The option `--ack` of what forms a cluster. */
export function newClusterAckOption(): Option {
  const text = 'when writes of a new cluster are acknowledged that name no level (default: quorum)';
  return new Option('--ack <level>', text).choices(ACK_LEVELS);
}

/** Adds the command `router`. `done` is told its exit status. */
export function addRouterCommand(program: Command, done: (status: number) => void): void {
  const command = program.command('router').description('run a router, with the controller and the topology');
  withService(command, '127.0.0.1:7400')
    .option('--id <id>', 'name of the router', parseNodeId)
    .option('--initial-nodes <n>', 'form a new cluster once this many nodes are here', count(1, NODES_MAX))
    .option('--partitions <n>', 'partitions of a new cluster', count(1, PARTITIONS_MAX))
    .option('--replication-factor <n>', 'voters of each partition', count(1, REPLICATION_FACTOR_MAX))
    .addOption(newClusterAckOption())
    .addHelpText(
      'after',
      '\nExample:\n  ringkeep router --data /var/lib/ringkeep-router --listen 10.0.0.9:7400 \\\n' +
        '    --initial-nodes 3 --insecure\n',
    )
    .action(async (flags: RouterFlags) => {
      const { json, logLevel, parentPid } = flags;
      const start = async (log: Parameters<Parameters<typeof runService>[0]['start']>[0]) => {
        const { startRouter } = await import('../router/router.ts');
        const router = await startRouter({
          dataDirectory: flags.data,
          listen: flags.listen,
          insecure: flags.insecure,
          peers: flags.peer,
          log,
          ...given({
            id: flags.id,
            advertiseClient: flags.advertiseClient,
            httpListen: flags.httpListen,
            protocolMax: flags.protocolMax,
            initialNodes: flags.initialNodes,
            partitions: flags.partitions,
            replicationFactor: flags.replicationFactor,
            ack: flags.ack && ACKS[flags.ack],
          }),
        });
        return { service: router, id: router.id, address: router.address, http: router.httpAddress };
      };
      done(await runService({ kind: 'router', json, logLevel, parentPid, start }));
    });
}
