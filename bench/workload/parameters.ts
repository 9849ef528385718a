/**
 * YCSB's parameters: their names, defaults and ranges, property files, and the workloads A to F as presets. What has no
 * meaning here is named and left out, what is unknown is refused, so that a misspelt name is not a silent default.
 */
import { RingkeepError } from '#src/common/errors.ts';
import { DISTRIBUTIONS, LENGTH_DISTRIBUTIONS } from './choosers.ts';
import { INSERT_ORDERS } from './records.ts';
import { KINDS, valueBytesMax, type Workload } from './workload.ts';

export type Properties = Readonly<Record<string, string>>;

/** A workload, and the parameters that say how long and how hard it is run. Null: not said. */
export interface Parameters {
  readonly workload: Workload;
  readonly operationCount: number | null;
  readonly maxExecutionTimeS: number | null;
  readonly threadCount: number | null;
  /** Operations per second. */
  readonly target: number | null;
}

/** What YCSB's workload files say, apart from their counts: those are small, and a run by time says more. */
export const PRESETS: Readonly<Record<string, Properties>> = {
  a: { readproportion: '0.5', updateproportion: '0.5', requestdistribution: 'zipfian' },
  b: { readproportion: '0.95', updateproportion: '0.05', requestdistribution: 'zipfian' },
  c: { readproportion: '1', updateproportion: '0', requestdistribution: 'zipfian' },
  d: {
    ...{ readproportion: '0.95', updateproportion: '0', insertproportion: '0.05' },
    requestdistribution: 'latest',
  },
  e: {
    ...{ readproportion: '0', updateproportion: '0', scanproportion: '0.95', insertproportion: '0.05' },
    ...{ requestdistribution: 'zipfian', maxscanlength: '100', scanlengthdistribution: 'uniform' },
  },
  f: {
    ...{ readproportion: '0.5', updateproportion: '0', readmodifywriteproportion: '0.5' },
    requestdistribution: 'zipfian',
  },
};

/** Every parameter that counts, with its default; empty: none. Those of YCSB's core workload unless noted. */
const DEFAULTS = {
  workload: '',
  // YCSB has none.
  recordcount: '10000',
  operationcount: '',
  maxexecutiontime: '',
  threadcount: '',
  target: '',
  readproportion: '0.95',
  updateproportion: '0.05',
  insertproportion: '0',
  scanproportion: '0',
  readmodifywriteproportion: '0',
  requestdistribution: 'uniform',
  hotspotdatafraction: '0.2',
  hotspotopnfraction: '0.8',
  // Not of YCSB.
  zipfianconstant: '0.99',
  hotkeyfraction: '1',
  fieldcount: '10',
  fieldlength: '100',
  minfieldlength: '1',
  fieldlengthdistribution: 'constant',
  minscanlength: '1',
  maxscanlength: '1000',
  scanlengthdistribution: 'uniform',
  dataintegrity: 'false',
  insertorder: 'hashed',
  zeropadding: '1',
  table: 'usertable',
} as const;

type Name = keyof typeof DEFAULTS;

/** Parameters of YCSB that change nothing here: a record is one value, and the output has options of its own. */
const WITHOUT_EFFECT =
  /^(?:readallfields|writeallfields|measurementtype|measurement\..*|hdrhistogram\..*|histogram\..*|status.*|exporter.*|exportfile|reportlatencyforeacherror|latencytrackederrors)$/;

/** Values that `-p workload=` may have besides the presets: the class that YCSB's files name. */
const CORE_WORKLOAD = /^(?:site\.ycsb|com\.yahoo\.ycsb)\.workloads\.CoreWorkload$/;

const BOOLEANS = ['true', 'false'] as const;
const FIELD_COUNT_MAX = 1_000;
const COUNT_MAX = 1e12;
/** A value is at most this long in any cluster. */
const VALUE_BYTES_MAX = 8 * 1024 * 1024;

function invalid(text: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', text);
}

/** Returns the properties of a file in the form of Java's property files. */
export function parseProperties(text: string): Properties {
  const properties: Record<string, string> = {};
  for (const line of text.replaceAll(/\\\r?\n[ \t]*/g, '').split(/\r?\n/)) {
    if (/^\s*(?:[#!]|$)/.test(line)) continue;
    const found = /^\s*([^\s=:]+)\s*(?:[=:]\s*|\s)?(.*?)\s*$/.exec(line);
    if (found !== null) properties[found[1]!] = found[2]!;
  }
  return properties;
}

/** Returns the one property of `name=value`. */
export function parseProperty(text: string): Properties {
  const at = text.indexOf('=');
  if (at < 1) throw invalid(`-p takes name=value, not "${text}"`);
  return { [text.slice(0, at).trim()]: text.slice(at + 1).trim() };
}

function isName(name: string): name is Name {
  return Object.hasOwn(DEFAULTS, name);
}

/** Returns what is known of `properties` and the names of the rest. */
export function sortNames(properties: Properties): { readonly known: Properties; readonly other: string[] } {
  const names = Object.keys(properties);
  return {
    known: Object.fromEntries(names.filter(isName).map((name) => [name, properties[name]!])),
    other: names.filter((name) => !isName(name)),
  };
}

/** @throws RingkeepError INVALID_ARGUMENT for a name that no parameter has, with those that there are. */
export function checkNames(names: readonly string[]): void {
  for (const name of names) {
    if (WITHOUT_EFFECT.test(name)) continue;
    throw invalid(`there is no parameter "${name}"; there are ${Object.keys(DEFAULTS).sort().join(', ')}`);
  }
}

/** Returns the name of the preset that is meant by `a`, `workloada` and the like, or null for YCSB's core workload. */
export function presetName(text: string): string | null {
  if (CORE_WORKLOAD.test(text)) return null;
  const name = text.toLowerCase().replace(/^.*workload/, '');
  if (Object.hasOwn(PRESETS, name)) return name;
  throw invalid(`there is no workload "${text}"; there are ${Object.keys(PRESETS).join(', ')}`);
}

class Reader {
  readonly #properties: Properties;

  constructor(properties: Properties) {
    this.#properties = properties;
  }

  text(name: Name): string {
    return this.#properties[name] ?? DEFAULTS[name];
  }

  number(name: Name, min: number, max: number): number {
    const text = this.text(name);
    const value = Number(text);
    if (text !== '' && value >= min && value <= max) return value;
    throw invalid(`${name} must be a number from ${min} to ${max}, not "${text}"`);
  }

  count(name: Name, min: number, max: number = COUNT_MAX): number {
    const value = this.number(name, min, max);
    if (Number.isInteger(value)) return value;
    throw invalid(`${name} must be a whole number, not "${this.text(name)}"`);
  }

  /** Null if it is not said; in YCSB, 0 says the same. */
  optional(name: Name, read: () => number): number | null {
    return this.text(name) === '' || Number(this.text(name)) === 0 ? null : read();
  }

  choice<T extends string>(name: Name, choices: readonly T[]): T {
    const text = this.text(name);
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw invalid(`${name} must be one of ${choices.join(', ')}, not "${text}"`);
    return found;
  }
}

function checkWorkload(workload: Workload): Workload {
  const { minFieldLength, fieldLength, minScanLength, maxScanLength, proportions } = workload;
  if (workload.dataIntegrity && workload.fieldLengthDistribution !== 'constant') {
    throw invalid('dataintegrity needs fieldlengthdistribution=constant');
  }
  if (minScanLength > maxScanLength) throw invalid('minscanlength is above maxscanlength');
  if (minFieldLength > fieldLength) throw invalid('minfieldlength is above fieldlength');
  if (valueBytesMax(workload) > VALUE_BYTES_MAX) {
    throw invalid(`a value of fieldcount times fieldlength bytes may have ${VALUE_BYTES_MAX} bytes`);
  }
  if (!KINDS.some((kind) => proportions[kind] > 0)) throw invalid('all proportions are 0');
  return workload;
}

function readWorkload(reader: Reader): Workload {
  const share = (name: Name) => reader.number(name, 0, 1);
  const fieldLength = reader.count('fieldlength', 0);
  return checkWorkload({
    recordCount: reader.count('recordcount', 1),
    proportions: {
      READ: share('readproportion'),
      UPDATE: share('updateproportion'),
      INSERT: share('insertproportion'),
      SCAN: share('scanproportion'),
      'READ-MODIFY-WRITE': share('readmodifywriteproportion'),
    },
    requestDistribution: reader.choice('requestdistribution', DISTRIBUTIONS),
    hotspotDataFraction: share('hotspotdatafraction'),
    hotspotRequestFraction: share('hotspotopnfraction'),
    zipfianConstant: reader.number('zipfianconstant', 0.1, 5),
    hotKeyFraction: share('hotkeyfraction'),
    fieldCount: reader.count('fieldcount', 1, FIELD_COUNT_MAX),
    fieldLength,
    minFieldLength: Math.min(reader.count('minfieldlength', 0), fieldLength),
    fieldLengthDistribution: reader.choice('fieldlengthdistribution', LENGTH_DISTRIBUTIONS),
    minScanLength: reader.count('minscanlength', 1),
    maxScanLength: reader.count('maxscanlength', 1, 1e6),
    scanLengthDistribution: reader.choice('scanlengthdistribution', LENGTH_DISTRIBUTIONS),
    dataIntegrity: reader.choice('dataintegrity', BOOLEANS) === 'true',
    insertOrder: reader.choice('insertorder', INSERT_ORDERS),
    zeroPadding: reader.count('zeropadding', 1, 100),
    table: reader.text('table'),
  });
}

/**
 * Returns what properties say, those that are not named by their defaults.
 * @throws RingkeepError INVALID_ARGUMENT for a value out of its range, or an unknown name
 */
export function readParameters(properties: Properties): Parameters {
  checkNames(sortNames(properties).other);
  const reader = new Reader(properties);
  return {
    workload: readWorkload(reader),
    operationCount: reader.optional('operationcount', () => reader.count('operationcount', 0)),
    maxExecutionTimeS: reader.optional('maxexecutiontime', () => reader.number('maxexecutiontime', 0, 1e6)),
    threadCount: reader.optional('threadcount', () => reader.count('threadcount', 0, 1e6)),
    target: reader.optional('target', () => reader.number('target', 0, 1e9)),
  };
}
