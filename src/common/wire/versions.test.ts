import { describe, expect, it } from 'vitest';
import { PROTOCOL_MAX } from '../limits.ts';
import type { PeerMessage, Scrub } from './messages.ts';
import { spokenAt } from './versions.ts';

const NOTHING: Scrub = { index: 0, hash: '', damaged: false, underWay: 0, rows: 0, bytes: 0 };

function message(scrub: Partial<Scrub>): PeerMessage {
  const head = { partition: 1, from: 'r1', to: 'r2', epoch: 3 };
  return { ...head, body: 'scrub', scrub: { ...NOTHING, ...scrub } };
}

const HASHED = message({ index: 9, hash: 'ab', rows: 4, bytes: 700 });
const VERDICT = message({ index: 9, hash: 'ab', damaged: true });
const DAMAGED = message({ index: 9, damaged: true, rows: 4, bytes: 700 });
const UNDER_WAY = message({ underWay: 9, rows: 4, bytes: 700 });

describe('where version 1 is spoken', () => {
  it('a replica tells its hash, and not what it has read for it', () => {
    expect(spokenAt(1, HASHED)).toEqual(message({ index: 9, hash: 'ab' }));
  });

  it('a leader tells its verdict as ever', () => {
    expect(spokenAt(1, VERDICT)).toEqual(VERDICT);
  });

  it('nothing is told that a leader would take for a hash: neither damage nor how far it is', () => {
    expect(spokenAt(1, DAMAGED)).toBeNull();
    expect(spokenAt(1, UNDER_WAY)).toBeNull();
  });

  it('everything else is as it is', () => {
    const confirm: PeerMessage = { ...message({}), body: 'confirm', confirm: { round: 2, commitIndex: 8 } };
    const { scrub: _, ...alone } = confirm;
    expect(spokenAt(1, alone)).toBe(alone);
  });
});

it('where the present version is spoken, messages are as they are', () => {
  for (const each of [HASHED, VERDICT, DAMAGED, UNDER_WAY]) expect(spokenAt(PROTOCOL_MAX, each)).toBe(each);
});
