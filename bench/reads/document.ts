/**
 * The results of reads as one JSON document, which is also what its tables and its page are made of. Its shape is described
 * in docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same. Latencies are in ms.
 */
import { formatNumber } from '#src/common/report/chart.ts';
import { GAP_MS_MIN } from '../load/gaps.ts';
import type { Circumstances } from '../program.ts';
import { type Spread, spreadText } from '../report/spread.ts';
import { textTable } from '../report/table.ts';
import { machineWarnings } from '../report/warnings.ts';
import type { Machine } from '../servers/machine.ts';
import {
  CONDITIONS,
  type Condition,
  type DutyCycle,
  describeCondition,
  PENDING_KEYS,
  REQUIRED,
  type ReadPace,
  SLOW,
  WAITED_MS_MIN,
} from './conditions.ts';
import type { Failure, ReadResults } from './course.ts';
import {
  type Cell,
  cellsOf,
  judge,
  type Measured,
  type PendingReads,
  type PendingSummary,
  pendingOf,
  type ReadFigures,
  type Verdict,
} from './figures.ts';

export const FORMAT = 1;

/** One level in one condition in one round. */
export interface ShownMeasurement extends ReadFigures, Omit<Measured, 'figures' | 'latencies'> {}

export interface ReadDocument extends Circumstances {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  readonly options: ReadPace & { readonly slow: DutyCycle; readonly pendingKeys: number };
  /** By condition and level, over the rounds. */
  readonly cells: readonly Cell[];
  /** Null: not measured. */
  readonly pending: PendingSummary | null;
  readonly required: typeof REQUIRED;
  readonly verdicts: readonly Verdict[];
  readonly measurements: readonly ShownMeasurement[];
  readonly failures: readonly Failure[];
  /** Reasons to doubt the figures. */
  readonly warnings: readonly string[];
}

/** Returns the document of what was measured. */
export function createDocument(
  { measured, pending: rounds, failures }: ReadResults,
  pace: ReadPace,
  circumstances: Circumstances & { readonly machine: Machine },
): ReadDocument {
  const cells = cellsOf(measured, pace.levels);
  const pending = pendingOf(rounds);
  return {
    format: FORMAT,
    ...circumstances,
    options: { ...pace, slow: SLOW, pendingKeys: PENDING_KEYS },
    ...{ cells, pending, required: REQUIRED, verdicts: judge(cells, pending) },
    measurements: measured.map(({ figures, latencies, ...what }) => ({ ...what, ...figures })),
    failures,
    warnings: machineWarnings(circumstances),
  };
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;

function showGap(ms: number): string {
  return ms < GAP_MS_MIN ? `<${GAP_MS_MIN}` : formatNumber(ms);
}

/** Head of `rowOf`. */
export const COLUMNS: readonly string[] = [
  ...['read', 'reads/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'longest gap ms', 'errors'],
];

/** Returns figures over the rounds as a row. */
export function rowOf(
  name: string,
  { throughput, p50Ms, p99Ms, p999Ms, gapMs, errors }: PendingSummary['others'],
) {
  return [
    ...[name, spreadText(throughput, formatNumber), spreadText(p50Ms, formatNumber)],
    ...[spreadText(p99Ms, formatNumber), spreadText(p999Ms, formatNumber), spreadText(gapMs, showGap)],
    `${errors}`,
  ];
}

/** Returns the rows of one condition, a level each. */
export function rowsOf({ cells }: Pick<ReadDocument, 'cells'>, condition: Condition): string[][] {
  return cells.filter((cell) => cell.condition === condition).map((cell) => rowOf(cell.level, cell));
}

/** Returns the conditions that were measured. */
export function conditionsOf({ cells }: Pick<ReadDocument, 'cells'>): Condition[] {
  return CONDITIONS.filter((condition) => cells.some((cell) => cell.condition === condition));
}

function together(spreads: readonly (Spread | null)[]): string | null {
  const medians = spreads.flatMap((spread) => spread?.median ?? []);
  return medians.length === 0
    ? null
    : `${formatNumber(Math.min(...medians))} to ${formatNumber(Math.max(...medians))}`;
}

/** Returns what else is known of a condition: how the disturbance really was. */
export function noteOf({ cells }: Pick<ReadDocument, 'cells'>, condition: Condition): string | null {
  const own = cells.filter((cell) => cell.condition === condition);
  const back = together(own.map(({ leaderBackMs }) => leaderBackMs));
  if (back !== null) return `a next leader was established after ${back} ms (medians of the levels)`;
  const stopped = own.flatMap(({ stoppedShare }) => stoppedShare?.median ?? []);
  if (stopped.length === 0) return null;
  return `the follower was stopped for ${percent(Math.min(...stopped))} to ${percent(Math.max(...stopped))} of the time`;
}

/** Returns the reads of keys with a pending write, in lines. */
export function pendingLines({
  reads,
  waited,
  share,
  errors,
  waitedMs,
  quickMs,
  leaderBackMs,
}: PendingSummary): string[] {
  const times = (spread: Spread | null) =>
    spread === null ? 'none' : `median ${spreadText(spread, formatNumber)} ms`;
  return [
    `${waited} of ${reads} reads (${percent(share)}) took more than ${WAITED_MS_MIN} ms: they waited for the next leader; ${errors} errors`,
    `those that waited: ${times(waitedMs)}`,
    `those that did not: ${times(quickMs)}`,
    `a next leader was established after: ${times(leaderBackMs)}`,
  ];
}

/** Returns a verdict in words. */
export function verdictText({ of, p99Ms, gapMs, met }: Verdict): string {
  const what = of === 'paused' ? 'no writes before the pause' : 'other keys written until the pause';
  const figures = `p99 ${formatNumber(p99Ms)} ms, longest gap ${showGap(gapMs)} ms`;
  const bounds = `at most ${REQUIRED.p99MsMax} and ${REQUIRED.gapMsMax} are required`;
  return `quorum reads of keys without a pending write, leader paused, ${what}: ${figures}; ${bounds}: ${met ? 'met' : 'not met'}`;
}

/** Returns what could not be measured, in words. */
export function failureText({ round, level, condition, message }: Failure): string {
  return `failed: ${level} ${condition} in round ${round}: ${message}`;
}

/** Of a column in running text. */
const WIDTH = 16;

/** Returns a row as it is told while reads are measured, `null` for the head. */
export function progressText(one: Measured | PendingReads | null): string {
  const row = (cells: readonly string[]) => cells.map((cell) => cell.padStart(WIDTH)).join('');
  if (one === null) return row(['condition', ...COLUMNS]);
  const isPending = 'others' in one;
  const { throughput, p50Ms, p99Ms, p999Ms, gapMs, errors } = isPending ? one.others : one.figures;
  const figures = [throughput, p50Ms, p99Ms, p999Ms].map(formatNumber);
  const [condition, level] = isPending ? ['pending', 'quorum'] : [one.condition, one.level];
  return row([condition, level, ...figures, showGap(gapMs), `${errors}`]);
}

/** Returns a document as lines for people. */
export function documentText(document: ReadDocument): string {
  const { machine, fileSystem, options, pending, verdicts, failures, warnings } = document;
  const { rounds, seconds, records, mode } = options;
  return [
    `${machine.cpu}, ${machine.cores} cores; data on ${fileSystem}; ${rounds} rounds, ${seconds} s each; ${records} records, ${mode}`,
    'medians of the rounds (lowest–highest)',
    ...conditionsOf(document).flatMap((condition) => {
      const note = noteOf(document, condition);
      const table = textTable([COLUMNS, ...rowsOf(document, condition)]);
      return ['', describeCondition(condition, options), table, ...(note === null ? [] : [note])];
    }),
    ...(pending === null
      ? []
      : [
          ...[
            '',
            `the leader stopped while ${PENDING_KEYS} keys are being written: quorum reads of these keys`,
          ],
          ...pendingLines(pending),
          textTable([COLUMNS, rowOf('quorum, other keys', pending.others)]),
        ]),
    '',
    ...verdicts.map(verdictText),
    ...failures.map(failureText),
    ...warnings.map((text) => `note: ${text}`),
  ].join('\n');
}
