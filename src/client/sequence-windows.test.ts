import { describe, expect, it } from 'vitest';
import { SESSION_SEQUENCES_MAX } from '../common/limits.ts';
import type { Operation } from './operation.ts';
import { SequenceWindows } from './sequence-windows.ts';

const WHOLE = Buffer.alloc(16, 7);

/** As much of a write as the windows look at. */
function write(ack: 'ACK_QUORUM' | 'ACK_ALL' = 'ACK_QUORUM'): Operation {
  return {
    partition: 3,
    sequence: 0,
    sequences: null,
    state: 'parked',
    spec: { ack },
  } as unknown as Operation;
}

/** Ends a write as the engine does. */
function end(windows: SequenceWindows, operation: Operation): void {
  operation.state = 'ended';
  if (!windows.release(operation)) return;
  for (let next = windows.next(operation); next !== null; next = windows.next(operation)) windows.admit(next);
}

describe('sequence windows', () => {
  it('are not held back by a write that waits for every voter', () => {
    const windows = new SequenceWindows(WHOLE);
    const slow = write('ACK_ALL');
    expect(windows.admit(slow)).toBe(true);
    for (let n = 0; n < 3 * SESSION_SEQUENCES_MAX; n += 1) {
      const quick = write();
      expect(windows.admit(quick), `write ${n}`).toBe(true);
      end(windows, quick);
    }
    expect(Buffer.from(slow.sequences!.clientId).equals(WHOLE)).toBe(true);
    const quick = write();
    windows.admit(quick);
    expect(quick.sequences!.clientId).toHaveLength(0);
  });

  it('hand sequences on in order, and keep no writes that have ended while they waited', () => {
    const windows = new SequenceWindows(WHOLE);
    const held = Array.from({ length: SESSION_SEQUENCES_MAX / 2 }, () => write());
    for (const operation of held) expect(windows.admit(operation)).toBe(true);
    const patient = [write(), write()];
    for (const operation of patient) expect(windows.admit(operation)).toBe(false);
    for (let n = 0; n < 20_000; n += 1) {
      const late = write();
      expect(windows.admit(late)).toBe(false);
      end(windows, late);
    }
    expect(windows.waiting).toBeLessThan(5_000);
    end(windows, held[0]!);
    expect(patient.map(({ sequence }) => sequence)).toEqual([SESSION_SEQUENCES_MAX / 2 + 1, 0]);
    end(windows, held[1]!);
    expect(patient[1]!.sequence).toBe(SESSION_SEQUENCES_MAX / 2 + 2);
  });
});
