/**
 * `npm run bench:moves`: what clients see while a cluster of three nodes becomes one of five and one of three again. Tells its progress
 * on stderr, prints a table on stdout, and writes one JSON document and a page. docs/BENCHMARKS.md has the method. Exit status: 0 when
 * all was measured, whatever the figures are; 1 when something failed to run.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { count } from '#src/cli/common-options.ts';
import { EXIT, note, print } from '#src/cli/output.ts';
import { decimal } from '../options.ts';
import { endWith, noteCircumstances, withQuick, workIn } from '../program.ts';
import { describeMachine, findRoot } from '../servers/machine.ts';
import { type MovesPace, measureMoves } from './course.ts';
import { createDocument, documentText } from './document.ts';
import { renderMoves } from './page.ts';

interface Flags {
  readonly records: number;
  readonly valueSize: number;
  readonly partitions: number;
  readonly puts: number;
  readonly rate?: number;
  readonly window: number;
  readonly warmup: number;
  readonly quietWindows: number;
  readonly processes: number;
  readonly quick: boolean;
  readonly data?: string;
  readonly output?: string;
}

/** What a try takes: that all works. */
const QUICK = { records: 2_000, partitions: 6, rate: 100, window: 1, warmup: 0.3, quietWindows: 1 };

function createCommand(): Command {
  return new Command('bench:moves')
    .description('measure what clients see while replicas move')
    .option('--records <n>', 'records', count(1, 1e8), 1_000_000)
    .option('--value-size <bytes>', 'bytes of a value', count(1, 1e6), 100)
    .option('--partitions <n>', 'of the cluster', count(1, 4_096), 12)
    .option('--puts <share>', 'part of the operations that are puts', decimal(1), 0.5)
    .option('--rate <n>', 'operations per second (default: half of the lower knee)', count(1, 1e6))
    .option('--window <s>', 'seconds that are measured at a time', decimal(600), 5)
    .option('--warmup <s>', 'before the first window of a phase', decimal(60), 2)
    .option('--quiet-windows <n>', 'windows on the quiet cluster at each size', count(1, 1_000), 6)
    .option('--processes <n>', 'client processes', count(1, 64), 1)
    .option('--quick', 'a try: few records, short windows', false)
    .option('--data <dir>', 'folder on the disk that is meant (default: the one for temporary files)')
    .option('--output <file>', 'the document (default: bench/results/moves.json); the page is beside it');
}

async function measure(flags: Flags, directory: string, stopped: AbortSignal): Promise<number> {
  const {
    records,
    valueSize: valueBytes,
    partitions,
    puts: putShare,
    quietWindows,
    processes,
    quick,
  } = flags;
  const pace: MovesPace = {
    ...{ records, valueBytes, partitions, putShare, quietWindows, processes, quick },
    ...{ rate: flags.rate ?? null, seconds: flags.window, warmUpSeconds: flags.warmup },
  };
  const name = quick ? 'moves-part.json' : 'moves.json';
  const output = resolve(flags.output ?? join(findRoot(), 'bench/results', name));
  mkdirSync(dirname(output), { recursive: true });
  const told = noteCircumstances(directory);
  const results = await measureMoves({ pace, directory, stopped, say: note });
  const document = createDocument(results, pace, { ...told(), machine: describeMachine() });
  writeFileSync(output, `${JSON.stringify(document)}\n`);
  writeFileSync(output.replace(/(\.json)?$/, '.html'), renderMoves(document));
  await print(documentText(document));
  note(`written to ${output}, with a page beside it`);
  return EXIT.OK;
}

const command = createCommand().parse();
const flags = withQuick(command, command.opts<Flags>(), QUICK);
await endWith(workIn(flags.data, 'moves', (directory, stopped) => measure(flags, directory, stopped)));
