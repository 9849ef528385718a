import { describe, expect, it } from 'vitest';
import {
  PRESETS,
  parseProperties,
  parseProperty,
  presetName,
  readParameters,
  sortNames,
} from './parameters.ts';

const COMMON =
  'recordcount=1000\noperationcount=1000\nworkload=site.ycsb.workloads.CoreWorkload\nreadallfields=true\n';

/** What YCSB's files workloada to workloadf say besides. */
const FILES: Readonly<Record<string, string>> = {
  a: 'readproportion=0.5\nupdateproportion=0.5\nscanproportion=0\ninsertproportion=0\nrequestdistribution=zipfian',
  b: 'readproportion=0.95\nupdateproportion=0.05\nscanproportion=0\ninsertproportion=0\nrequestdistribution=zipfian',
  c: 'readproportion=1\nupdateproportion=0\nscanproportion=0\ninsertproportion=0\nrequestdistribution=zipfian',
  d: 'readproportion=0.95\nupdateproportion=0\nscanproportion=0\ninsertproportion=0.05\nrequestdistribution=latest',
  e: 'readproportion=0\nupdateproportion=0\nscanproportion=0.95\ninsertproportion=0.05\nrequestdistribution=zipfian\nmaxscanlength=100\nscanlengthdistribution=uniform',
  f: 'readproportion=0.5\nupdateproportion=0\nscanproportion=0\ninsertproportion=0\nreadmodifywriteproportion=0.5\nrequestdistribution=zipfian',
};

describe('readParameters', () => {
  it('has every workload of YCSB as a preset: the same as its file, but for the counts', () => {
    expect(Object.keys(PRESETS)).toEqual(Object.keys(FILES));
    for (const [name, text] of Object.entries(FILES)) {
      const { known, other } = sortNames(parseProperties(COMMON + text));
      expect(other).toEqual(['readallfields']);
      const file = readParameters(known);
      expect(file).toMatchObject({ operationCount: 1_000, workload: { recordCount: 1_000 } });
      const preset = readParameters({ ...PRESETS[name], recordcount: '1000' });
      expect(preset.workload).toEqual(file.workload);
      expect(preset.operationCount).toBeNull();
    }
  });

  it('has the defaults of YCSB where it has any', () => {
    const { workload, ...pace } = readParameters({});
    expect(workload).toMatchObject({
      proportions: { READ: 0.95, UPDATE: 0.05, INSERT: 0, SCAN: 0, 'READ-MODIFY-WRITE': 0 },
      ...{ requestDistribution: 'uniform', fieldCount: 10, fieldLength: 100, maxScanLength: 1_000 },
      ...{ insertOrder: 'hashed', table: 'usertable' },
    });
    expect(pace).toEqual({ operationCount: null, maxExecutionTimeS: null, threadCount: null, target: null });
  });

  it('refuses what it does not know and what is out of range, naming it', () => {
    const cases = [
      [{ recordcont: '5' }, /no parameter "recordcont"; there are .*recordcount/],
      [{ readproportion: '2' }, /readproportion must be a number from 0 to 1/],
      [{ recordcount: '1.5' }, /recordcount must be a whole number/],
      [{ requestdistribution: 'gauss' }, /requestdistribution must be one of uniform, zipfian/],
      [{ minscanlength: '10', maxscanlength: '5' }, /minscanlength is above/],
      [{ readproportion: '0', updateproportion: '0' }, /all proportions are 0/],
      [{ dataintegrity: 'yes' }, /dataintegrity must be one of true, false/],
      [{ dataintegrity: 'true', fieldlengthdistribution: 'uniform' }, /fieldlengthdistribution=constant/],
      [{ fieldcount: '1000', fieldlength: '1000000' }, /8388608 bytes/],
    ] as const;
    for (const [properties, text] of cases) expect(() => readParameters(properties)).toThrow(text);
  });
});

describe('parseProperties', () => {
  it('reads property files as Java does, comments and continued lines included', () => {
    const text = '# comment\n! another\n\n a = 1 \nb:2\nc 3\nlong=x\\\n   y\r\nempty=\n';
    expect(parseProperties(text)).toEqual({ a: '1', b: '2', c: '3', long: 'xy', empty: '' });
    expect(parseProperty('a=b=c')).toEqual({ a: 'b=c' });
    expect(() => parseProperty('a')).toThrow(/name=value/);
  });
});

describe('presetName', () => {
  it('knows the names that workloads go by', () => {
    expect(['a', 'workloadb', 'workloads/workloadF'].map(presetName)).toEqual(['a', 'b', 'f']);
    expect(presetName('site.ycsb.workloads.CoreWorkload')).toBeNull();
    expect(() => presetName('g')).toThrow(/no workload "g"; there are a, b, c, d, e, f/);
  });
});
