/**
 * The command `hot`: which keys, partitions and nodes are asked for most. The JSON is a contract for scripts: fields are added, never renamed
 * or removed.
 */
import type { Command } from 'commander';
import { type HotFigures, hotJson } from '../common/hot.ts';
import { HOT_TOLD_DEFAULT, HOT_TOLD_MAX } from '../common/limits.ts';
import { keyJson } from '../common/text.ts';
import { type ClusterOptions, count, withClient, withCluster } from './common-options.ts';
import { EXIT, print, table } from './output.ts';
import { saltsTable } from './shown-salts.ts';

interface HotFlags extends ClusterOptions {
  readonly limit: number;
}

function rate(perSecond: number): string {
  return perSecond >= 100 ? `${Math.round(perSecond)}` : perSecond.toFixed(1);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** Returns what is shown to people. */
export function hotText({ seconds, reads, writes, keys, partitions, nodes, salts }: HotFigures): string {
  const head = `${rate(reads)} reads and ${rate(writes)} writes per second, of about the last ${Math.round(seconds)} s.`;
  const missing = nodes.filter(({ problem }) => problem !== '');
  const lines = [head, ...missing.map(({ node, problem }) => `Without ${node}: ${problem}`)];
  const salted = salts.length === 0 ? [] : [saltsTable(salts)];
  if (keys.length === 0) return [[...lines, 'No key has been asked for.'].join('\n'), ...salted].join('\n\n');
  const figures = (one: { reads: number; writes: number; share: number }): string[] => [
    ...[rate(one.reads), rate(one.writes), percent(one.share)],
  ];
  const rates = ['READS/S', 'WRITES/S', 'SHARE'];
  const keyRows = keys.map((one) => [
    ...[keyJson(one.key), one.keyspace === '' ? '-' : one.keyspace, `${one.partition}`, ...figures(one)],
  ]);
  const partitionRows = partitions.map((one) => [`${one.partition}`, ...figures(one)]);
  const nodeRows = nodes.filter(({ problem }) => problem === '').map((one) => [one.node, ...figures(one)]);
  return [
    lines.join('\n'),
    table([['KEY', 'KEYSPACE', 'PARTITION', ...rates], ...keyRows]),
    table([['PARTITION', ...rates], ...partitionRows]),
    ...(nodeRows.length === 0 ? [] : [table([['NODE', ...rates], ...nodeRows])]),
    ...salted,
  ].join('\n\n');
}

/** Adds the command `hot`. `done` is told its exit status. */
export function addHotCommand(program: Command, done: (status: number) => void): void {
  withCluster(
    program.command('hot').description('show the keys, partitions and nodes that are asked for most'),
  )
    .option('--limit <n>', 'keys and partitions', count(1, HOT_TOLD_MAX), HOT_TOLD_DEFAULT)
    .addHelpText('after', '\nRates are operations per second of about the last half minute.\n')
    .action(async (flags: HotFlags) => {
      const { limit, timeout } = flags;
      const figures = await withClient(flags, (client) => client.admin.hot({ limit, timeoutMs: timeout }));
      await print(flags.json ? hotJson(figures) : hotText(figures));
      done(EXIT.OK);
    });
}
