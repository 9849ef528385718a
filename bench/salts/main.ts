/**
 * `npm run bench:salts`: what copies of hot keys gain, and what a write of such a key costs. Tells its progress on stderr, prints tables on
 * stdout, and writes one JSON document and a page. docs/BENCHMARKS.md has the method. Exit status: 0 when all was measured, whatever the
 * figures are; 1 when something failed to run.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { count } from '#src/cli/common-options.ts';
import { EXIT, note, print } from '#src/cli/output.ts';
import { decimal } from '../options.ts';
import { endWith, noteCircumstances, withQuick, workIn } from '../program.ts';
import { describeMachine, findRoot } from '../servers/machine.ts';
import { measureSalts, type SaltsPace } from './course.ts';
import { createDocument, documentText } from './document.ts';
import { renderSalts } from './page.ts';

interface Flags {
  readonly records: number;
  readonly valueSize: number;
  readonly partitions: number;
  readonly inFlight: number;
  readonly windows: number;
  readonly window: number;
  readonly warmup: number;
  readonly writes: number;
  readonly processes: number;
  readonly mode: SaltsPace['mode'];
  readonly quick: boolean;
  readonly data?: string;
  readonly output?: string;
}

/** What a try takes: that all works. */
const QUICK = { records: 500, windows: 1, window: 1, warmup: 0.3, writes: 10 };

function createCommand(): Command {
  return new Command('bench:salts')
    .description('measure hot keys with and without copies')
    .option('--records <n>', 'records', count(1, 1e7), 100_000)
    .option('--value-size <bytes>', 'bytes of a value', count(1, 1e6), 256)
    .option('--partitions <n>', 'of the cluster', count(5, 4_096), 20)
    .option('--in-flight <n>', 'gets in flight', count(1, 1e5), 256)
    .option('--windows <n>', 'windows of each load, with and without copies each', count(1, 1_000), 4)
    .option('--window <s>', 'seconds that are measured at a time', decimal(600), 6)
    .option('--warmup <s>', 'before each window', decimal(60), 2)
    .option('--writes <n>', 'writes whose cost is told', count(1, 1e6), 300)
    .option('--processes <n>', 'client processes', count(1, 64), 1)
    .addOption(new Option('--mode <mode>', 'of the clients').choices(['direct', 'routed']).default('direct'))
    .option('--quick', 'a try: few records, short windows', false)
    .option('--data <dir>', 'folder on the disk that is meant (default: the one for temporary files)')
    .option('--output <file>', 'the document (default: bench/results/salts.json); the page is beside it');
}

async function measure(flags: Flags, directory: string, stopped: AbortSignal): Promise<number> {
  const {
    records,
    valueSize: valueBytes,
    partitions,
    inFlight,
    windows,
    writes,
    processes,
    mode,
    quick,
  } = flags;
  const pace: SaltsPace = {
    ...{ records, valueBytes, partitions, inFlight, windows, writes, processes, mode, quick },
    ...{ seconds: flags.window, warmUpSeconds: flags.warmup },
  };
  const name = quick ? 'salts-part.json' : 'salts.json';
  const output = resolve(flags.output ?? join(findRoot(), 'bench/results', name));
  mkdirSync(dirname(output), { recursive: true });
  const told = noteCircumstances(directory);
  const results = await measureSalts({ pace, directory, stopped, say: note });
  const document = createDocument(results, pace, { ...told(), machine: describeMachine() });
  writeFileSync(output, `${JSON.stringify(document)}\n`);
  writeFileSync(output.replace(/(\.json)?$/, '.html'), renderSalts(document));
  await print(documentText(document));
  note(`written to ${output}, with a page beside it`);
  return EXIT.OK;
}

const command = createCommand().parse();
const flags = withQuick(command, command.opts<Flags>(), QUICK);
await endWith(workIn(flags.data, 'salts', (directory, stopped) => measure(flags, directory, stopped)));
