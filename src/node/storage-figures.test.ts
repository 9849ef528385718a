import { describe, expect, it } from 'vitest';
import { BatchTimes, SLOW_BATCH_MS, storageFigures } from './storage-figures.ts';

const EMPTY = { level0Files: 0, tableBytes: 0, deepestBytes: 0, tableBytesWritten: 0 };

describe('BatchTimes', () => {
  it('counts all batches, and the time of the slow ones by itself', () => {
    const times = new BatchTimes();
    times.add(10, 1);
    times.add(20, SLOW_BATCH_MS);
    times.add(30, SLOW_BATCH_MS + 1);
    times.add(40, 1_000);
    expect(times.figures).toEqual({
      ...{ batches: 4, batchBytes: 100, slowBatches: 2 },
      ...{ slowBatchMs: SLOW_BATCH_MS + 1_001, longestBatchMs: 1_000 },
    });
  });
});

describe('storageFigures', () => {
  const none = new BatchTimes().figures;

  it('relates what was written to what clients wrote, and all tables to the deepest level', () => {
    const store = { level0Files: 2, tableBytes: 1_200, deepestBytes: 1_000, tableBytesWritten: 2_500 };
    const mib = 1024 * 1024;
    expect(storageFigures(mib, 4 * mib - 2_500, { ...store, ...none })).toEqual({
      ...{ clientBytes: mib, walBytesWritten: 4 * mib - 2_500, ...store, ...none },
      ...{ writeAmplification: 4, spaceAmplification: 1.2 },
    });
  });

  it('knows no ratio to next to nothing', () => {
    const little = storageFigures(1024 * 1024 - 1, 4_000_000, { ...EMPTY, ...none });
    const { writeAmplification, spaceAmplification } = little;
    expect({ writeAmplification, spaceAmplification }).toEqual({
      writeAmplification: null,
      spaceAmplification: null,
    });
  });
});
