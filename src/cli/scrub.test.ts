import { describe, expect, it } from 'vitest';
import { blankScrub } from '../common/scrub.ts';
import type { PartitionScrub, ScrubState } from '../common/wire/admin-messages.ts';
import { isOver, scrubStatus, scrubText, showScrubs } from './scrub.ts';

const N2 = { id: 'n2.r', node: 'n2' };
const N3 = { id: 'n3.r', node: 'n3' };

function scrub(partition: number, state: ScrubState, more: Partial<PartitionScrub> = {}): PartitionScrub {
  return { ...blankScrub(partition), state, index: 7, rows: 1_000, bytes: 2_048, voters: 3, ...more };
}

function statusOf(...states: ScrubState[]): number {
  return scrubStatus(showScrubs(states.map((state, partition) => scrub(partition, state))));
}

describe('the exit status of scrub', () => {
  it('is 0 only if all agree, 1 as soon as anything was found, and else 3', () => {
    expect(statusOf('SCRUB_AGREED', 'SCRUB_AGREED')).toBe(0);
    for (const found of ['SCRUB_DAMAGED', 'SCRUB_DIFFERS', 'SCRUB_NO_QUORUM'] as const) {
      expect(statusOf('SCRUB_AGREED', found)).toBe(1);
      expect(statusOf('SCRUB_UNDECIDED', found)).toBe(1);
    }
    for (const open of ['SCRUB_UNDECIDED', 'SCRUB_UNAVAILABLE', 'SCRUB_RUNNING'] as const)
      expect(statusOf('SCRUB_AGREED', open)).toBe(3);
  });

  it('is 1 also for what was repaired since', () => {
    const repaired = scrub(0, 'SCRUB_DAMAGED', { damaged: [N2], repaired: true });
    expect(scrubStatus(showScrubs([repaired]))).toBe(1);
  });
});

describe('what scrub waits for', () => {
  it('is the repair of what the others can replace', () => {
    const found = scrub(0, 'SCRUB_DAMAGED', { damaged: [N2] });
    expect(isOver(scrub(0, 'SCRUB_RUNNING'), false)).toBe(false);
    expect(isOver(scrub(0, 'SCRUB_AGREED'), true)).toBe(true);
    expect(isOver(found, true)).toBe(false);
    expect(isOver(found, false)).toBe(true);
    expect(isOver({ ...found, repaired: true }, true)).toBe(true);
    expect(isOver({ ...found, voters: 1 }, true)).toBe(true);
    expect(isOver({ ...found, differing: [N3] }, true)).toBe(true);
    expect(isOver(scrub(0, 'SCRUB_NO_QUORUM'), true)).toBe(true);
  });
});

describe('the text of scrub', () => {
  it('has a line for every partition that is not fine, and a summary', () => {
    const text = scrubText(
      showScrubs([
        scrub(3, 'SCRUB_DIFFERS', { differing: [N3], reason: 'no answer from n2; 2 of 3 compared' }),
        scrub(0, 'SCRUB_AGREED'),
        scrub(1, 'SCRUB_DAMAGED', { damaged: [N2], repaired: true }),
        scrub(2, 'SCRUB_UNAVAILABLE', { reason: 'it has no leader', index: 0 }),
      ]),
    );
    expect(text.split('\n')).toEqual([
      'partition 1 at 7: damaged: n2 met a row that fails its checksum; replaced from the others',
      'partition 2: unavailable: it has no leader',
      'partition 3 at 7: differs: n3 differs from a quorum of the others; no answer from n2; 2 of 3 compared; not replaced yet',
      '4 partitions: 1 agreed, 1 damaged, 1 differs, 1 unavailable; 4,000 rows, 8.0 KiB compared; 1 of 2 bad replicas replaced',
    ]);
  });

  it('is one line if all is fine', () => {
    expect(scrubText(showScrubs([scrub(0, 'SCRUB_AGREED')]))).toBe(
      '1 partition: 1 agreed; 1,000 rows, 2.0 KiB compared',
    );
  });
});
