/**
 * The options of `ringkeep bench` and what they come to: parameters by YCSB's names, from a preset, files, `-p` and flags of
 * the same names, the later ones counting; and what YCSB does not know.
 */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ClusterOptions, collect, count, withCluster } from '#src/cli/common-options.ts';
import type { Ack, ReadLevel } from '#src/client/index.ts';
import { RingkeepError } from '#src/common/errors.ts';
import { PARTITIONS_MAX, REPLICATION_FACTOR_MAX } from '#src/common/limits.ts';
import { ARRIVALS, type ArrivalKind } from './load/arrivals.ts';
import { READ_LEVELS } from './load/target.ts';
import type { SweepPlan } from './report/knee.ts';
import type { KillPlan } from './servers/failover.ts';
import type { Server } from './servers/sampler.ts';
import { checkSettings, paceOf, type Settings } from './settings.ts';
import { DISTRIBUTIONS } from './workload/choosers.ts';
import {
  checkNames,
  PRESETS,
  type Properties,
  parseProperties,
  parseProperty,
  presetName,
  readParameters,
  sortNames,
} from './workload/parameters.ts';

export interface BenchFlags extends ClusterOptions {
  readonly workload?: string;
  readonly recordcount?: string;
  readonly operationcount?: string;
  readonly maxexecutiontime?: string;
  readonly threadcount?: string;
  readonly target?: string;
  readonly requestdistribution?: string;
  readonly valueSize?: number;
  readonly property: readonly string[];
  readonly properties: readonly string[];
  readonly mode: 'routed' | 'direct';
  readonly ack: Ack;
  readonly read: ReadLevel;
  readonly arrival: ArrivalKind;
  readonly processes: number;
  readonly runs: number;
  readonly warmup: number;
  readonly drain?: number;
  readonly load: boolean;
  readonly spin: boolean;
  readonly seed: number;
  readonly spawn?: number | true;
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly sweep?: readonly number[] | true;
  readonly sweepFactor: number;
  readonly sweepRefine: number;
  readonly p99Limit?: number;
  readonly kill?: KillPlan;
  readonly prometheus: readonly string[];
  readonly html?: string;
  readonly hgrm?: string;
}

const NODES_MAX = 64;
const SWEEP_FROM = 1_000;
const SWEEP_ACHIEVED_MIN = 0.95;
const VALUE_BYTES_MAX = 8 * 1024 * 1024;

function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a number from ${min} to ${max}.`);
  };
}

function rates(text: string): number[] {
  const list = text.split(',').map(Number);
  const rising = list.every((rate, at) => rate > (list[at - 1] ?? 0));
  if (rising && list.every(Number.isFinite)) return list;
  throw new InvalidArgumentError('It must be rising rates such as 1000,2000,4000.');
}

function killPlan(text: string): KillPlan {
  const found = /^([^@\s]+)@(\d+(?:\.\d+)?)s?$/.exec(text);
  if (found === null) throw new InvalidArgumentError('It must be NODE@SECONDS such as leader@10s or n2@10s.');
  return { who: found[1]!, second: Number(found[2]) };
}

/** Returns a parser of a number above 0, at most `max`. */
export function decimal(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && value > 0 && value <= max) return value;
    throw new InvalidArgumentError(`It must be a number above 0, at most ${max}.`);
  };
}

/** Parses names with commas between them; returns them in the order of `all`. */
export function someOf<Name extends string>(all: readonly Name[]): (text: string) => Name[] {
  return (text) => {
    const wanted = text.split(',');
    const unknown = wanted.find((name) => !all.some((known) => known === name));
    if (unknown === undefined) return all.filter((name) => wanted.includes(name));
    throw new InvalidArgumentError(`There is no "${unknown}"; there are ${all.join(', ')}.`);
  };
}

/** Adds all options. */
export function addOptions(command: Command): Command {
  const choice = <T extends string>(flags: string, text: string, choices: readonly T[], value: T) =>
    new Option(flags, text).choices(choices).default(value);
  return withCluster(command)
    .option('--workload <name>', 'YCSB workload, a to f (default: a)')
    .option('--recordcount <n>', 'records that are loaded (default: 10000)')
    .option('--operationcount <n>', 'end after this many operations')
    .option('--maxexecutiontime <s>', 'seconds of the measured part (default: 10)')
    .option('--threadcount <n>', 'operations in flight (default: 64; 4096 per process in an open loop)')
    .option('--target <n>', 'operations per second: an open loop; without it, a closed loop')
    .option('--requestdistribution <name>', `choice of the records: ${DISTRIBUTIONS.join(', ')}`)
    .option('--value-size <bytes>', 'bytes of a value (default: 1000)', count(0, VALUE_BYTES_MAX))
    .option('-p, --property <name=value>', 'any parameter of YCSB; repeatable', collect, [])
    .option('-P, --properties <file>', 'parameters from a file, as YCSB has them; repeatable', collect, [])
    .addOption(choice('--mode <mode>', 'way to the cluster', ['routed', 'direct'] as const, 'routed'))
    .addOption(
      choice('--ack <level>', 'acknowledgement of writes', ['leader', 'quorum', 'all'] as const, 'quorum'),
    )
    .addOption(choice('--read <level>', 'level of reads', READ_LEVELS, 'linearizable'))
    .addOption(choice('--arrival <kind>', 'times of an open loop', ARRIVALS, 'poisson'))
    .option('--processes <n>', 'client processes', count(1, 256), 1)
    .option('--runs <n>', 'repeated runs', count(1, 1_000), 1)
    .option('--warmup <s>', 'seconds before the measured part', number(0, 86_400), 3)
    .option(
      '--drain <s>',
      'seconds after it for what is waiting (default: the time of a request)',
      number(0, 3_600),
    )
    .option('--no-load', 'do not write the records first')
    .option('--spin', 'start operations to the microsecond, for a core of each process', false)
    .option('--seed <n>', 'of all random choices', count(0, 2 ** 31), 1)
    .option('--spawn [nodes]', 'start a throw-away cluster for it (default: 3 nodes)', count(1, NODES_MAX))
    .option('--partitions <n>', 'partitions of a spawned cluster', count(1, PARTITIONS_MAX))
    .option('--replication-factor <n>', 'copies in a spawned cluster', count(1, REPLICATION_FACTOR_MAX))
    .option('--kill <node@s>', 'kill a node of a spawned cluster then, such as leader@10s', killPlan)
    .option('--sweep [rates]', 'raise the rate to the knee, or over these: 1000,2000,4000', rates)
    .option('--sweep-factor <n>', 'each rate to the one before', number(1.01, 100), 1.5)
    .option('--sweep-refine <n>', 'rates between the last good one and the first bad one', count(0, 20), 2)
    .option('--p99-limit <ms>', 'the knee is also where p99 is above this', number(0, 3_600_000))
    .option('--prometheus <name=url>', 'sample this server over HTTP; repeatable', collect, [])
    .option('--html <file>', 'write a page with charts')
    .option('--hgrm <dir>', 'write percentile files of HdrHistogram');
}

const BY_FLAG = [
  ...(['recordcount', 'operationcount', 'maxexecutiontime', 'threadcount'] as const),
  ...(['target', 'requestdistribution'] as const),
] as const;

/** Returns the parameters that were given, and the names of those in files that mean nothing here. */
function gather(flags: BenchFlags): { readonly properties: Properties; readonly ignored: string[] } {
  const properties: Record<string, string> = {};
  const ignored: string[] = [];
  for (const file of flags.properties) {
    const { known, other } = sortNames(parseProperties(readFileSync(file, 'utf8')));
    Object.assign(properties, known);
    ignored.push(...other);
  }
  for (const text of flags.property) {
    const property = parseProperty(text);
    checkNames(sortNames(property).other);
    Object.assign(properties, property);
  }
  for (const name of BY_FLAG) if (flags[name] !== undefined) properties[name] = flags[name];
  if (flags.valueSize !== undefined) {
    Object.assign(properties, { fieldcount: '1', fieldlength: `${flags.valueSize}` });
  }
  return { properties, ignored };
}

/** Returns the preset: the one named, `a` if nothing is named at all, else none, as YCSB has it. */
function chosenPreset(flags: BenchFlags, properties: Properties): string | null {
  const named = flags.workload ?? properties.workload;
  if (named !== undefined) return presetName(named);
  return flags.properties.length === 0 ? 'a' : null;
}

function serverOf(text: string): Server {
  const at = text.indexOf('=');
  const metricsUrl = text.slice(at + 1);
  if (at < 1 || !URL.canParse(metricsUrl)) {
    throw new RingkeepError('INVALID_ARGUMENT', `--prometheus takes NAME=URL, not "${text}"`);
  }
  return { name: text.slice(0, at), pid: null, metricsUrl };
}

function sweepOf(flags: BenchFlags, target: number | null): SweepPlan | null {
  if (flags.sweep === undefined) return null;
  return {
    rates: flags.sweep === true ? [] : flags.sweep,
    from: target ?? SWEEP_FROM,
    factor: flags.sweepFactor,
    refinements: flags.sweepRefine,
    achievedMin: SWEEP_ACHIEVED_MIN,
    p99MsMax: flags.p99Limit ?? Number.POSITIVE_INFINITY,
  };
}

function shapeOf({ spawn, partitions, replicationFactor }: BenchFlags): Settings['spawn'] {
  if (spawn === undefined && (partitions !== undefined || replicationFactor !== undefined)) {
    throw new RingkeepError('INVALID_ARGUMENT', '--partitions and --replication-factor are for --spawn');
  }
  return {
    ...(typeof spawn === 'number' ? { nodes: spawn } : {}),
    ...(partitions === undefined ? {} : { partitions }),
    ...(replicationFactor === undefined ? {} : { replicationFactor }),
  };
}

/**
 * Returns the settings that options come to, and the parameters of files that were left out.
 * @throws RingkeepError INVALID_ARGUMENT, or an error of the system for a file that cannot be read
 */
export function readSettings(
  flags: BenchFlags,
  urlGiven: boolean,
): { readonly settings: Settings; readonly ignored: readonly string[] } {
  const { properties, ignored } = gather(flags);
  const preset = chosenPreset(flags, properties);
  const parameters = readParameters({ ...(preset === null ? {} : PRESETS[preset]), ...properties });
  if (flags.spawn !== undefined && urlGiven) {
    throw new RingkeepError('INVALID_ARGUMENT', '--spawn and --url exclude each other');
  }
  const { mode, ack, read, arrival, processes, runs, load, spin, seed, kill, timeout } = flags;
  const settings = checkSettings({
    url: flags.spawn === undefined ? flags.url : null,
    spawn: shapeOf(flags),
    workload: parameters.workload,
    workloadName: preset,
    ...{ mode, ack, read, arrival, processes, runs, load, spin, seed },
    ...paceOf(parameters, processes, flags.sweep !== undefined),
    warmUpMs: flags.warmup * 1_000,
    requestTimeoutMs: timeout,
    drainMs: flags.drain === undefined ? timeout : flags.drain * 1_000,
    sweep: sweepOf(flags, parameters.target),
    kill: kill ?? null,
    servers: flags.prometheus.map(serverOf),
  });
  return { settings, ignored };
}
