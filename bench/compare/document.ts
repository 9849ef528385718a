/**
 * The result of a comparison as one JSON document, which is also what its tables are made of. Its shape is described in
 * docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same. Latencies are in ms.
 */
import type { Circumstances as Made } from '../program.ts';
import { type Spread, spreadOf, spreadText } from '../report/spread.ts';
import { textTable } from '../report/table.ts';
import { machineWarnings } from '../report/warnings.ts';
import type { Machine } from '../servers/machine.ts';
import type { Comparison, RoundFailure } from './course.ts';
import {
  type Figures,
  MEASUREMENTS,
  type Measured,
  OPEN_RATE,
  type Pace,
  RATIOS,
  type RatioResult,
  ratioOver,
  SYSTEMS,
  type SystemName,
  VALUE_BYTES,
} from './measurements.ts';

export const FORMAT = 1;

/** A system that could not take part. */
export interface SkippedSystem {
  readonly system: SystemName;
  readonly missing: readonly string[];
  readonly install: string;
}

export interface ComparedSystem {
  readonly name: SystemName;
  readonly versions: Readonly<Record<string, string>>;
  readonly setting: string;
}

/** A ratio over the rounds, and what it has to be. */
export interface ShownRatio extends RatioResult {
  readonly figure: 'throughput' | 'p50' | 'p99';
  readonly required: { readonly atLeast: number } | { readonly atMost: number };
}

/** The figures of one measurement over the rounds. */
export interface ShownMedian {
  readonly system: SystemName;
  readonly name: string;
  readonly throughput: Spread;
  readonly mean: Spread;
  readonly p50: Spread;
  readonly p99: Spread;
  /** The sum; null: the tool does not tell. */
  readonly errors: number | null;
}

/** What a document says besides what was measured. */
export interface Circumstances extends Made {
  readonly machine: Machine;
  readonly systems: readonly ComparedSystem[];
  readonly skipped: readonly SkippedSystem[];
}

export interface CompareDocument extends Circumstances {
  readonly format: typeof FORMAT;
  readonly options: Pace & { readonly valueBytes: number; readonly openRate: number };
  readonly rounds: number;
  /** Medians of the rounds; null: not measured. */
  readonly ratios: Readonly<Record<string, number | null>>;
  readonly spread: Readonly<Record<string, ShownRatio>>;
  readonly medians: readonly ShownMedian[];
  readonly measurements: readonly (Omit<Measured, 'figures'> & Figures)[];
  readonly failures: readonly RoundFailure[];
  readonly warnings: readonly string[];
}

/** Part of a rate below which an open loop is none of that rate any more. */
const ACHIEVED_MIN = 0.95;

function mediansOf(measured: readonly Measured[]): ShownMedian[] {
  return SYSTEMS.flatMap((system) =>
    MEASUREMENTS[system].flatMap(({ name }) => {
      const figures = measured.filter((one) => one.system === system && one.name === name);
      if (figures.length === 0) return [];
      const of = (pick: (one: Figures) => number) => spreadOf(figures.map((one) => pick(one.figures)));
      const errors = figures.map((one) => one.figures.errors);
      return {
        ...{ system, name },
        throughput: of(({ throughput }) => throughput),
        mean: of(({ mean }) => mean),
        p50: of(({ p50 }) => p50),
        p99: of(({ p99 }) => p99),
        errors: errors.every((one) => one !== null) ? errors.reduce((sum, one) => sum + one, 0) : null,
      };
    }),
  );
}

function warningsOf(measured: readonly Measured[], circumstances: Circumstances): string[] {
  const warnings = measured.flatMap(({ round, system, name, figures }) => {
    const what = `${system} ${name} in round ${round}`;
    const failed = figures.errors ?? 0;
    const rate = MEASUREMENTS[system].find((one) => one.name === name)?.rate ?? null;
    return [
      ...(failed > 0 ? [`${what} had ${failed} errors, which are in no throughput`] : []),
      ...(rate !== null && figures.throughput < ACHIEVED_MIN * rate
        ? [`${what} has achieved ${figures.throughput.toFixed(0)} of ${rate} operations per second`]
        : []),
    ];
  });
  return [...warnings, ...machineWarnings(circumstances)];
}

/** Returns the document of a comparison. */
export function createDocument(
  { measured, failures }: Comparison,
  pace: Pace,
  circumstances: Circumstances,
): CompareDocument {
  const results = RATIOS.map((plan) => ({ plan, result: ratioOver(plan, measured, pace.rounds) }));
  const spread = results.flatMap(({ plan, result }): [string, ShownRatio][] => {
    if (result === null) return [];
    const { name, figure, required } = plan;
    const bound = figure === 'throughput' ? { atLeast: required } : { atMost: required };
    return [[name, { ...result, figure, required: bound }]];
  });
  return {
    format: FORMAT,
    ...circumstances,
    options: { ...pace, valueBytes: VALUE_BYTES, openRate: OPEN_RATE },
    rounds: pace.rounds,
    ratios: Object.fromEntries(results.map(({ plan, result }) => [plan.name, result?.median ?? null])),
    spread: Object.fromEntries(spread),
    medians: mediansOf(measured),
    measurements: measured.map(({ figures, ...what }) => ({ ...what, ...figures })),
    failures,
    warnings: warningsOf(measured, circumstances),
  };
}

const whole = (value: number) => Math.round(value).toLocaleString('en');
const fine = (value: number) => value.toFixed(2);

function medianRows(medians: readonly ShownMedian[]): string[][] {
  return medians.map(({ system, name, throughput, mean, p50, p99, errors }) => [
    `${system} ${name}`,
    spreadText(throughput, whole),
    ...[mean, p50, p99].map((latency) => spreadText(latency, fine)),
    errors === null ? '–' : whole(errors),
  ]);
}

function ratioRows({ spread }: CompareDocument): string[][] {
  return RATIOS.map(({ name }) => {
    const ratio = spread[name];
    if (ratio === undefined) return [name, '–', '', 'not measured'];
    const { required, met } = ratio;
    const bound = 'atLeast' in required ? `>= ${required.atLeast}` : `<= ${required.atMost}`;
    return [name, spreadText(ratio, fine), bound, met ? 'met' : 'not met'];
  });
}

/** Returns how to install what is missing for a system, as a line. */
export function skippedText({ system, missing, install }: SkippedSystem): string {
  return `${system} is skipped: ${missing.join(' and ')} not found; install: ${install}`;
}

/** Returns a document as lines for people. */
export function documentText(document: CompareDocument): string {
  const { machine, fileSystem, options, systems, skipped, failures, warnings } = document;
  return [
    `${machine.cpu}, ${machine.cores} cores; data on ${fileSystem}; ${options.rounds} rounds, ${options.seconds} s each, values of ${options.valueBytes} bytes`,
    ...systems.map(({ name, versions, setting }) => {
      const told = Object.entries(versions).map(([program, version]) => `${program} ${version}`);
      return `${name} (${told.join(', ')}): ${setting}`;
    }),
    '',
    textTable([
      ['median (lowest–highest)', 'operations/s', 'mean ms', 'p50 ms', 'p99 ms', 'errors'],
      ...medianRows(document.medians),
    ]),
    '',
    textTable([['ratio', 'median (lowest–highest)', 'required', ''], ...ratioRows(document)]),
    '',
    ...skipped.map(skippedText),
    ...failures.map(
      ({ round, system, measurement, message }) =>
        `failed: ${system} ${measurement ?? 'start'} in round ${round}: ${message}`,
    ),
    ...warnings.map((text) => `note: ${text}`),
  ].join('\n');
}
