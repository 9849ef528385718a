/**
 * `npm run bench:growth`: how throughput, latency, CPU and memory change when one thing grows: keys, partitions, values, nodes,
 * operations in flight; and a long run that watches the nodes' memory. Tells rows on stderr as it goes, prints tables on stdout,
 * and writes one JSON document and a page. docs/BENCHMARKS.md has the method. Exit status: 0 when all was measured, whatever
 * grows; 1 when something failed to run.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { count } from '#src/cli/common-options.ts';
import { EXIT, note, print } from '#src/cli/output.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { decimal, someOf } from '../options.ts';
import { endWith, messageOf, noteCircumstances, withQuick, workIn } from '../program.ts';
import { describeMachine, findRoot } from '../servers/machine.ts';
import { type Host, Session } from '../session.ts';
import { growAlong } from './course.ts';
import { BASE, DIMENSIONS, type Dimension, PARTS, type Part, pointsOf } from './dimensions.ts';
import {
  type Circumstances,
  type DimensionResult,
  dimensionResult,
  dimensionText,
  FORMAT,
  type GrowthDocument,
  type MemoryResult,
  memoryText,
  mergeDocuments,
  progressText,
} from './document.ts';
import { figuresOf, type MeasuredPoint, worstOf } from './figures.ts';
import { memoryOf } from './memory.ts';
import { renderGrowth } from './page.ts';

interface Flags {
  readonly only: readonly Part[];
  readonly seconds: number;
  readonly warmup: number;
  readonly processes: number;
  readonly keys: number;
  readonly minutes: number;
  readonly quick: boolean;
  readonly data?: string;
  readonly output?: string;
}

/** What a try takes: that all works. */
const QUICK = { seconds: 1, warmup: 0.3, keys: 2_000, minutes: 0.1 };
const HALF = 0.5;

function createCommand(): Command {
  return new Command('bench:growth')
    .description('measure how figures grow with one dimension at a time')
    .option('--only <names>', `these only: ${PARTS.join(',')} (default: all but memory)`, someOf(PARTS))
    .option('--seconds <s>', 'of each run of puts, and of gets', count(1, 3_600), 5)
    .option('--warmup <s>', 'before each run', count(0, 600), 2)
    .option('--processes <n>', 'client processes', count(1, 64), 1)
    .option('--keys <n>', 'most keys: of the dimension, and of memory', count(1_000, 1e8), 5_000_000)
    .option('--minutes <m>', 'of the run for memory', decimal(1_440), 10)
    .option('--quick', 'a try: two small sizes each, short runs', false)
    .option('--data <dir>', 'folder on the disk that is meant (default: the one for temporary files)')
    .option('--output <file>', 'the document (default: bench/results/growth.json); the page is beside it');
}

/** Returns the flags; a try has a pace of its own, unless it is given. */
function flagsOf(command: Command): Flags {
  const flags = { ...command.opts<Flags>(), only: command.opts<Partial<Flags>>().only ?? DIMENSIONS };
  return withQuick(command, flags, QUICK);
}

function outputOf({ output, quick }: Flags): string {
  if (output !== undefined) return resolve(output);
  return join(findRoot(), 'bench/results', quick ? 'growth-quick.json' : 'growth.json');
}

function readEarlier(file: string): GrowthDocument | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  try {
    return JSON.parse(text) as GrowthDocument;
  } catch (error) {
    throw new RingkeepError('INVALID_ARGUMENT', `${file} is not a document of bench:growth`, 'not_applied', {
      cause: error,
    });
  }
}

/** Writes what is new into the document, and the page beside it: after every part, so that none is lost by a later one. */
function save(file: string, fresh: Pick<GrowthDocument, 'dimensions' | 'memory'>): void {
  const machine = describeMachine();
  const document = mergeDocuments(readEarlier(file), { format: FORMAT, machine, ...fresh });
  writeFileSync(file, `${JSON.stringify(document)}\n`);
  writeFileSync(file.replace(/(\.json)?$/, '.html'), renderGrowth(document));
}

/** Notes what a part is measured with; the function that it returns ends the time. */
function circumstances({ quick }: Flags, { pace, directory }: Host): () => Circumstances {
  const told = noteCircumstances(directory);
  return () => ({ ...told(), options: { ...pace, quick } });
}

async function runDimension(dimension: Dimension, flags: Flags, host: Host): Promise<DimensionResult> {
  const told = circumstances(flags, host);
  note(`growth by ${dimension}`);
  note(progressText(null));
  const points: MeasuredPoint[] = [];
  const failures = await growAlong(pointsOf(dimension, flags.keys, flags.quick), host, (_, point) => {
    points.push(point);
    note(progressText(point));
  });
  return dimensionResult(dimension, points, failures, told());
}

/** Loads a cluster, keeps it under full load, and watches the memory of its nodes. */
async function runMemory(flags: Flags, host: Host): Promise<MemoryResult> {
  const told = circumstances(flags, host);
  const size = { ...BASE, records: flags.keys };
  note(`memory: loading ${size.records} records`);
  const session = await Session.open(size, host);
  try {
    const load = await session.load(size);
    note(`memory: loaded in ${load?.seconds.toFixed(0)} s; ${flags.minutes} minutes of load`);
    const run = await session.run(size, HALF, { durationMs: flags.minutes * 60_000 });
    const { minutes } = flags;
    const storage = worstOf([...(await session.storage()).values()]);
    return {
      ...{ ...told(), ...size, minutes, loadSeconds: load?.seconds ?? 0, figures: figuresOf(run), storage },
      byNode: memoryOf(run.servers),
    };
  } finally {
    await session.close();
  }
}

/** Runs the parts one after the other; returns whether all of them were measured. */
async function runParts(flags: Flags, host: Host, output: string): Promise<boolean> {
  let complete = true;
  for (const part of flags.only) {
    if (part === 'memory') {
      try {
        const memory = await runMemory(flags, host);
        save(output, { dimensions: [], memory });
        await print(`${memoryText(memory)}\n`);
      } catch (error) {
        host.stopped.throwIfAborted();
        note(`memory failed: ${messageOf(error)}`);
        complete = false;
      }
    } else {
      const result = await runDimension(part, flags, host);
      save(output, { dimensions: [result], memory: null });
      await print(`${dimensionText(result)}\n`);
      complete &&= result.failures.length === 0;
    }
  }
  return complete;
}

async function run(flags: Flags): Promise<number> {
  const output = outputOf(flags);
  mkdirSync(dirname(output), { recursive: true });
  // A file that is none of its documents is better found now than after the measurements.
  readEarlier(output);
  const { seconds, warmup: warmUpSeconds, processes } = flags;
  const pace = { seconds, warmUpSeconds, processes };
  return workIn(flags.data, 'growth', async (directory, stopped) => {
    const complete = await runParts(flags, { pace, directory, stopped, say: note }, output);
    note(`written to ${output}, with a page beside it`);
    return complete ? EXIT.OK : EXIT.FAILED;
  });
}

const command = createCommand().parse();
await endWith(run(flagsOf(command)));
