/**
 * The command `up`: a cluster on this machine, until it is told to stop. Says what happens, as text or as JSON lines
 * (`ready` once, then `ended` and `restarted`, and of `scale`: `joined`, `left` and `failed`); the processes are cluster.ts, the directory is layout.ts.
 * INVARIANT: it ends within STOP_MS_MAX of the first signal, with status 0 if the cluster ended in order.
 */
import { relative } from 'node:path';
import { type Command, Option } from 'commander';
import type { Ack } from '../../client/index.ts';
import { PARTITIONS_MAX, REPLICATION_FACTOR_MAX } from '../../common/limits.ts';
import { LOG_LEVELS, type LogLevel } from '../../common/log.ts';
import { count, URL_DEFAULT, withJson } from '../common-options.ts';
import { EXIT, note, print, printJson, surviveClosedOutput } from '../output.ts';
import { newClusterAckOption } from '../service-commands.ts';
import { Cluster, type ReadyCluster } from './cluster.ts';
import { type Layout, openLayout } from './layout.ts';
import type { ProcessReporter } from './supervised.ts';

interface UpFlags {
  readonly nodes?: number;
  readonly replicationFactor?: number;
  readonly partitions?: number;
  readonly ack?: Ack;
  readonly data?: string;
  readonly ephemeral: boolean;
  readonly port: number;
  readonly startTimeout: number;
  readonly logLevel?: LogLevel;
  readonly json: boolean;
}

const DATA_DEFAULT = './ringkeep-data';
const NODES_MAX = 64;
const START_MS = 120_000;
/** The last resort, should ending in good order hang: the children end by themselves when this process is gone. */
const STOP_MS_MAX = 7_500;

/** Resolves with the first signal to stop; further ones call `again`. */
function whenTold(again: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let told = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (told) again();
      told = true;
      resolve(signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    process.on('SIGHUP', onSignal);
  });
}

function reporter(json: boolean): ProcessReporter {
  if (json) {
    return {
      ended: (id, pid, reason, restartInMs) =>
        void printJson({ event: 'ended', id, pid, reason, restartInMs }),
      restarted: (id, { address, http, pid }, reason) =>
        void printJson({ event: 'restarted', id, address, http, pid, reason }),
      joined: (id, { address, http, pid }) => void printJson({ event: 'joined', id, address, http, pid }),
      left: (id) => void printJson({ event: 'left', id }),
      failed: (id, reason) => void printJson({ event: 'failed', id, reason }),
    };
  }
  return {
    ended: (name, _pid, reason, restartMs) =>
      note(`${name} ${reason}; starting it again in ${restartMs / 1_000} s`),
    restarted: (name, { pid, address }) => note(`${name} runs again (pid ${pid}, ${address})`),
    joined: (name, { pid, address }) => note(`${name} runs as well (pid ${pid}, ${address})`),
    left: (name) => note(`${name} has left`),
    failed: (name, reason) => note(`${name} does not start: ${reason}`),
  };
}

function shortPath(path: string): string {
  const short = relative(process.cwd(), path);
  return short === '' || short.startsWith('..') ? path : `./${short}`;
}

function greeting(layout: Layout, ready: ReadyCluster): string {
  const { nodes, partitions, replicationFactor } = layout.shape;
  const url = ready.url === URL_DEFAULT ? '' : ` --url ${ready.url}`;
  const kept = layout.ephemeral
    ? 'removed when this ends'
    : 'kept when this ends; --ephemeral for a throw-away';
  const copies = replicationFactor === 1 ? 'on one node, without a copy' : `on ${replicationFactor} nodes`;
  const counted = nodes === 1 ? '1 node' : `${nodes} nodes`;
  return [
    '',
    `Ringkeep is ready: ${counted}, ${partitions} partitions, each ${copies}.`,
    '',
    `  URL    ${ready.url}`,
    `  Data   ${shortPath(layout.directory)} (${kept})`,
    `  Logs   ${shortPath(`${layout.directory}/logs`)}`,
    '',
    'Try in another terminal:',
    `  npx ringkeep put user:1 '{"name":"Ada"}'${url}`,
    `  npx ringkeep get user:1${url}`,
    `  npx ringkeep status${url}`,
    '',
    'Or in Node.js:',
    "  import { connect } from 'ringkeep';",
    `  const db = connect('${ready.url}');`,
    "  await db.put('user:1', { name: 'Ada' });",
    "  console.log(await db.get('user:1'));",
    '',
    'Ctrl-C ends it.',
    '',
  ].join('\n');
}

async function run(layout: Layout, flags: UpFlags): Promise<void> {
  const { port, json, logLevel, startTimeout, ack } = flags;
  if (!json && layout.existed && ack !== undefined)
    note('--ack is for a new cluster; this one has what `ringkeep ack` tells');
  const cluster = new Cluster(layout, { port, logLevel, startMs: startTimeout, ack }, reporter(json));
  const told = whenTold(() => cluster.kill());
  try {
    if (!json) note(layout.existed ? `starting the cluster in ${shortPath(layout.directory)}` : 'starting');
    const starting = cluster.start();
    // Once it was told to stop, what becomes of the start matters no more.
    starting.catch(() => {});
    const started = await Promise.race([starting, told]);
    if (typeof started === 'object') {
      if (json) {
        const { directory: data, ephemeral } = layout;
        await printJson({ event: 'ready', ...started, data, ephemeral });
      } else await print(greeting(layout, started));
      const signal = await told;
      if (!json) note(`${signal}: stopping; once more to stop at once`);
    }
  } finally {
    setTimeout(() => process.exit(EXIT.FAILED), STOP_MS_MAX).unref();
    await cluster.stop();
  }
}

/** Adds the command `up`. `done` is told its exit status. */
export function addUpCommand(program: Command, done: (status: number) => void): void {
  const logLevel = new Option('--log-level <level>', 'what the processes log').choices(LOG_LEVELS);
  const command = program.command('up').description('run a cluster on this machine');
  withJson(command)
    .option('--nodes <n>', 'storage nodes (default: 3)', count(1, NODES_MAX))
    .option(
      '--replication-factor <n>',
      'nodes that hold each partition (default: 3, or as many as there are)',
      count(1, REPLICATION_FACTOR_MAX),
    )
    .option('--partitions <n>', 'partitions of a new cluster (default: 12)', count(1, PARTITIONS_MAX))
    .addOption(newClusterAckOption())
    .option('--data <dir>', `data directory, kept (default: ${DATA_DEFAULT})`)
    .option('--ephemeral', 'use a temporary directory, removed at the end', false)
    .option('--port <n>', 'port for clients; 0 takes a free one', count(0, 65_535), 7400)
    .option('--start-timeout <ms>', 'give up when it takes no writes by then', count(1, 3_600_000), START_MS)
    .addOption(logLevel.env('RINGKEEP_LOG'))
    .addHelpText(
      'after',
      '\nExamples:\n  ringkeep up\n  ringkeep up --nodes 1 --ephemeral --port 0\n  ringkeep up --nodes 5 --data ./five\n',
    )
    .action(async (flags: UpFlags) => {
      if (flags.ephemeral && flags.data !== undefined) {
        command.error("error: options '--ephemeral' and '--data <dir>' exclude each other");
      }
      surviveClosedOutput();
      const { nodes, replicationFactor, partitions } = flags;
      const layout = await openLayout(flags.ephemeral ? null : (flags.data ?? DATA_DEFAULT), {
        ...(nodes === undefined ? {} : { nodes }),
        ...(replicationFactor === undefined ? {} : { replicationFactor }),
        ...(partitions === undefined ? {} : { partitions }),
      });
      try {
        await run(layout, flags);
      } finally {
        await layout.close();
      }
      done(EXIT.OK);
    });
}
