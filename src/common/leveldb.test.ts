import { describe, expect, it } from 'vitest';
import { parseStats } from './leveldb.ts';

const HEAD = `                               Compactions
Level  Files Size(MB) Time(sec) Read(MB) Write(MB)
--------------------------------------------------
`;
const MEBIBYTE = 1024 * 1024;

describe('the statistics of LevelDB', () => {
  it('are added up over the levels; the deepest one that has files is told by itself', () => {
    const text = `${HEAD}  0        3       12         1        0       112
  1        5       38         2      190       181
  3       60      470         9     1500      1499
  4        0        0         1       30        29
`;
    expect(parseStats(text)).toEqual({
      level0Files: 3,
      tableBytes: 520 * MEBIBYTE,
      deepestBytes: 470 * MEBIBYTE,
      tableBytesWritten: 1821 * MEBIBYTE,
    });
  });

  it('of a new database are zero', () => {
    const none = { level0Files: 0, tableBytes: 0, deepestBytes: 0, tableBytesWritten: 0 };
    expect(parseStats(HEAD)).toEqual(none);
  });
});
