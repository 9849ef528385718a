/**
 * `npm run bench:compare`: Ringkeep beside etcd and Redis on this machine, in interleaved rounds. Tells its progress on
 * stderr, prints medians and ratios on stdout, and writes all figures as one JSON document. docs/BENCHMARKS.md has the
 * method. Exit status: 0 when all was measured, whatever the ratios are; 1 when something failed to run.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { count } from '#src/cli/common-options.ts';
import { EXIT, note, print } from '#src/cli/output.ts';
import { someOf } from '../options.ts';
import { endWith, noteCircumstances, workIn } from '../program.ts';
import { describeMachine, findRoot } from '../servers/machine.ts';
import { runComparison } from './course.ts';
import { createDocument, documentText, type SkippedSystem, skippedText } from './document.ts';
import { etcdSystem } from './etcd.ts';
import { estimateSeconds, type Pace, SYSTEMS, type SystemName } from './measurements.ts';
import { redisSystem } from './redis.ts';
import { ringkeepSystem } from './ringkeep.ts';
import { type SystemUnderTest, sortSystems } from './system.ts';

interface Flags {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly records: number;
  readonly only: readonly SystemName[];
  readonly smoke: boolean;
  readonly data?: string;
  readonly output?: string;
}

const ALL: readonly SystemUnderTest[] = [etcdSystem, redisSystem, ringkeepSystem];
/** What a try takes: that all works, not how fast. */
const SMOKE: Pace = { rounds: 1, seconds: 1, warmUpSeconds: 0.2, records: 1_000 };
const MINUTES_MAX = 20;

function createCommand(): Command {
  return new Command('bench:compare')
    .description('compare with etcd and Redis on this machine')
    .option('--rounds <n>', 'rounds; each measures every system', count(1, 100), 3)
    .option('--seconds <s>', 'of each measurement', count(1, 3_600), 8)
    .option('--warmup <s>', 'before each measurement', count(0, 600), 5)
    .option('--records <n>', 'records of Ringkeep and Redis', count(1_000, 1e7), 100_000)
    .option('--only <names>', `these systems only: ${SYSTEMS.join(',')}`, someOf(SYSTEMS), [...SYSTEMS])
    .option('--smoke', 'a try: one short round with few records', false)
    .option('--data <dir>', 'folder on the disk that is meant (default: the one for temporary files)')
    .option('--output <file>', 'the document (default: bench/results/compare.json)');
}

function paceOf({ rounds, seconds, warmup, records, smoke }: Flags): Pace {
  return smoke ? SMOKE : { rounds, seconds, warmUpSeconds: warmup, records };
}

/** Returns the file of the document: a part of a comparison does not replace a whole one. */
function outputOf({ output, only, smoke }: Flags): string {
  if (output !== undefined) return resolve(output);
  const part = smoke || only.length < SYSTEMS.length;
  return join(findRoot(), 'bench/results', part ? 'compare-part.json' : 'compare.json');
}

function tellPlan(systems: readonly SystemUnderTest[], skipped: readonly SkippedSystem[], pace: Pace): void {
  for (const one of skipped) note(skippedText(one));
  const minutes =
    estimateSeconds(
      systems.map(({ name }) => name),
      pace,
    ) / 60;
  note(`${systems.map(({ name }) => name).join(', ')}: about ${minutes.toFixed(1)} minutes`);
  if (minutes > MINUTES_MAX) note(`that is more than ${MINUTES_MAX} minutes: fewer --rounds or --seconds`);
}

async function compare(flags: Flags, directory: string, stopped: AbortSignal): Promise<number> {
  const { systems, skipped } = sortSystems(ALL.filter(({ name }) => flags.only.includes(name)));
  const pace = paceOf(flags);
  const output = outputOf(flags);
  mkdirSync(dirname(output), { recursive: true });
  const told = noteCircumstances(directory);
  const facts = {
    ...{ machine: describeMachine(), skipped },
    systems: systems.map(({ name, setting, versions }) => ({ name, versions: versions(), setting })),
  };
  tellPlan(systems, skipped, pace);
  const comparison = await runComparison({ systems, pace, directory, stopped, say: note });
  const document = createDocument(comparison, pace, { ...told(), ...facts });
  writeFileSync(output, `${JSON.stringify(document, null, 2)}\n`);
  await print(documentText(document));
  note(`written to ${output}`);
  return comparison.failures.length === 0 ? EXIT.OK : EXIT.FAILED;
}

const flags = createCommand().parse().opts<Flags>();
await endWith(workIn(flags.data, 'compare', (directory, stopped) => compare(flags, directory, stopped)));
