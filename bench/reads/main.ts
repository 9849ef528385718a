/**
 * `npm run bench:reads`: throughput and latency of the four read levels, on a cluster that is healthy, at its limit, with a slow
 * follower, and with its leader paused. Tells rows on stderr as it goes, prints tables on stdout, and writes one JSON document and
 * a page. docs/BENCHMARKS.md has the method. Exit status: 0 when all was measured, whatever the figures are; 1 when something
 * failed to run.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { count } from '#src/cli/common-options.ts';
import { EXIT, note, print } from '#src/cli/output.ts';
import type { ReadLevel } from '#src/client/index.ts';
import { READ_LEVELS } from '../load/target.ts';
import { decimal, someOf } from '../options.ts';
import { endWith, noteCircumstances, withQuick, workIn } from '../program.ts';
import { describeMachine, findRoot } from '../servers/machine.ts';
import type { ReadPace } from './conditions.ts';
import { measureReads } from './course.ts';
import { createDocument, documentText, progressText } from './document.ts';
import { renderReads } from './page.ts';

interface Flags {
  readonly only: readonly ReadLevel[];
  readonly rounds: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly rate: number;
  readonly records: number;
  readonly processes: number;
  readonly mode: 'routed' | 'direct';
  readonly quick: boolean;
  readonly data?: string;
  readonly output?: string;
}

/** What a try takes: that all works. */
const QUICK = { rounds: 1, seconds: 0.5, warmup: 0.3, rate: 200, records: 500 };

function createCommand(): Command {
  return new Command('bench:reads')
    .description('measure the read levels')
    .option('--only <levels>', `these only: ${READ_LEVELS.join(',')}`, someOf(READ_LEVELS), READ_LEVELS)
    .option('--rounds <n>', 'rounds; each measures everything', count(1, 100), 3)
    .option('--seconds <s>', 'of each measurement, and of a pause', decimal(60), 3)
    .option('--warmup <s>', 'before each measurement', decimal(60), 0.7)
    .option('--rate <n>', 'reads per second of the open loops', count(1, 1e6), 1_000)
    .option('--records <n>', 'records', count(1, 1e7), 10_000)
    .option('--processes <n>', 'client processes', count(1, 64), 1)
    .addOption(
      new Option('--mode <mode>', 'way of the clients').choices(['direct', 'routed']).default('direct'),
    )
    .option('--quick', 'a try: one short round', false)
    .option('--data <dir>', 'folder on the disk that is meant (default: the one for temporary files)')
    .option('--output <file>', 'the document (default: bench/results/reads.json); the page is beside it');
}

/** Returns the file of the document: a part of the levels does not replace all of them. */
function outputOf({ output, only, quick }: Flags): string {
  if (output !== undefined) return resolve(output);
  const part = quick || only.length < READ_LEVELS.length;
  return join(findRoot(), 'bench/results', part ? 'reads-part.json' : 'reads.json');
}

async function measure(flags: Flags, directory: string, stopped: AbortSignal): Promise<number> {
  const {
    only: levels,
    rounds,
    seconds,
    warmup: warmUpSeconds,
    rate,
    records,
    processes,
    mode,
    quick,
  } = flags;
  const pace: ReadPace = { levels, rounds, seconds, warmUpSeconds, rate, records, processes, mode, quick };
  const output = outputOf(flags);
  mkdirSync(dirname(output), { recursive: true });
  const told = noteCircumstances(directory);
  note(progressText(null));
  const results = await measureReads({
    ...{ pace, directory, stopped, say: note },
    measured: (one) => note(progressText(one)),
  });
  const document = createDocument(results, pace, { ...told(), machine: describeMachine() });
  writeFileSync(output, `${JSON.stringify(document)}\n`);
  writeFileSync(output.replace(/(\.json)?$/, '.html'), renderReads(document));
  await print(documentText(document));
  note(`written to ${output}, with a page beside it`);
  return document.failures.length === 0 ? EXIT.OK : EXIT.FAILED;
}

const command = createCommand().parse();
const flags = withQuick(command, command.opts<Flags>(), QUICK);
await endWith(workIn(flags.data, 'reads', (directory, stopped) => measure(flags, directory, stopped)));
