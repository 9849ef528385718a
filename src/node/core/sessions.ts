/**
 * Deduplication (DESIGN.md section 4): which request ids have taken effect. Part of the replicated state: every change
 * is a function of the log alone, so all replicas agree; it lives in memory, is written to the store at checkpoints and
 * in snapshots, and is rebuilt by replay from there.
 * A session keeps the sequences seen at or above the client's low water. It expires by a log entry, never by a clock.
 * INVARIANT: a request takes effect only if its session time is at most one window before the session's first entry
 * (its own, when it opens the session). A told session time is the timestamp of a committed entry, so it is at or below
 * the timestamp of every attempt; a session expires only more than one window after its last use, and a later session
 * of the same client begins after that; hence a retry whose session has expired is refused, also when another request
 * of the client has opened a new one meanwhile, and nothing takes effect twice (G4).
 */
import { Packr } from 'msgpackr';
import { SESSION_SEQUENCES_MAX, SESSIONS_MAX } from '../../common/limits.ts';
import type { Entry, RequestId } from './entry.ts';

const packr = new Packr({ useRecords: false, copyBuffers: true, moreTypes: false });

/** What the table says of a request id. */
export type Lookup =
  | { readonly kind: 'new' }
  /** Took effect (or was decided) at `index`; `stored`: the result is a row in the store. */
  | { readonly kind: 'seen'; readonly index: number; readonly stored: boolean }
  /** Below the low water, or the session is gone and its time is too old: cannot be told. */
  | { readonly kind: 'expired' }
  /** No session, and the request carries no session time. */
  | { readonly kind: 'unknown' }
  /** No room for a further session. */
  | { readonly kind: 'full' };

interface Session {
  lowWater: number;
  lastUse: number;
  /** Timestamp of the entry that opened it. */
  readonly openedAt: number;
  /** sequence → index * 2 + (stored ? 1 : 0) */
  readonly seen: Map<number, number>;
}

/** Bounds; a change of them changes decisions, so all replicas of a cluster must share them. */
export interface SessionLimits {
  readonly windowMs: number;
  readonly sequencesMax: number;
  readonly sessionsMax: number;
}

/** The bounds of all replicas of a node. */
export function sessionLimits({ sessionWindowMs }: { readonly sessionWindowMs: number }): SessionLimits {
  return { windowMs: sessionWindowMs, sequencesMax: SESSION_SEQUENCES_MAX, sessionsMax: SESSIONS_MAX };
}

/** What a session and a remembered request weigh in memory, bytes. */
const SESSION_BYTES = 400;
const REQUEST_BYTES = 40;

/** The deduplication table of one partition. */
export class Sessions {
  private readonly sessions = new Map<string, Session>();
  private readonly limits: SessionLimits;
  private remembered = 0;

  constructor(limits: SessionLimits) {
    this.limits = limits;
  }

  get size(): number {
    return this.sessions.size;
  }

  /** What the table weighs in memory, bytes. */
  get weight(): number {
    return this.sessions.size * SESSION_BYTES + this.remembered * REQUEST_BYTES;
  }

  /** Remembered requests of all sessions. */
  get requests(): number {
    return this.remembered;
  }

  /** Whether the client has a session. */
  has(client: string): boolean {
    return this.sessions.has(client);
  }

  /** Whether this very entry has taken effect here and is still remembered. */
  holds(entry: Entry): boolean {
    const { requestId, index } = entry;
    if (requestId === null) return false;
    const seen = this.sessions.get(requestId.client)?.seen.get(requestId.sequence);
    return seen !== undefined && Math.floor(seen / 2) === index;
  }

  /** Tells what would happen to a request at log time `now`; changes nothing. */
  lookup(id: RequestId, now: number): Lookup {
    const session = this.sessions.get(id.client);
    if (session === undefined) {
      // A request without a time is never let in, with a session or without: a retry of it could not be refused later.
      if (id.sessionTime === 0) return { kind: 'unknown' };
      if (now - id.sessionTime > this.limits.windowMs) return { kind: 'expired' };
      if (this.sessions.size >= this.limits.sessionsMax) return { kind: 'full' };
      return { kind: 'new' };
    }
    const seen = session.seen.get(id.sequence);
    if (seen !== undefined) return { kind: 'seen', index: Math.floor(seen / 2), stored: seen % 2 === 1 };
    if (id.sessionTime === 0) return { kind: 'unknown' };
    if (session.openedAt - id.sessionTime > this.limits.windowMs) return { kind: 'expired' };
    if (id.sequence < session.lowWater) return { kind: 'expired' };
    if (id.sequence - Math.max(session.lowWater, id.lowWater) >= this.limits.sequencesMax * 2)
      return { kind: 'expired' };
    return { kind: 'new' };
  }

  /**
   * Records that a request was decided at `index` and drops what its low water releases. Call only after `lookup` said
   * new. Returns the released sequences whose results are rows in the store.
   */
  record(id: RequestId, index: number, stored: boolean, now: number): number[] {
    let session = this.sessions.get(id.client);
    if (session === undefined) {
      session = { lowWater: 1, lastUse: now, openedAt: now, seen: new Map() };
      this.sessions.set(id.client, session);
    }
    session.lastUse = Math.max(session.lastUse, now);
    session.seen.set(id.sequence, index * 2 + (stored ? 1 : 0));
    this.remembered++;
    return this.raiseLowWater(session, Math.min(id.lowWater, id.sequence));
  }

  private raiseLowWater(session: Session, lowWater: number): number[] {
    const { seen } = session;
    const released: number[] = [];
    const release = (sequence: number): void => {
      const value = seen.get(sequence);
      if (value === undefined) return;
      seen.delete(sequence);
      this.remembered--;
      if (value % 2 === 1) released.push(sequence);
    };
    const from = session.lowWater;
    if (lowWater <= from) return released;
    session.lowWater = lowWater;
    // It mostly moves by little: then only the sequences passed are looked at, and not the whole window for each write.
    if (lowWater - from <= seen.size) {
      for (let sequence = from; sequence < lowWater; sequence++) release(sequence);
    } else {
      for (const sequence of seen.keys()) if (sequence < lowWater) release(sequence);
    }
    return released;
  }

  /** Drops sessions last used before `before`. Returns what they had stored as rows. */
  expire(before: number): { client: string; sequence: number }[] {
    const released: { client: string; sequence: number }[] = [];
    for (const [client, session] of this.sessions) {
      if (session.lastUse >= before) continue;
      this.sessions.delete(client);
      this.remembered -= session.seen.size;
      for (const [sequence, value] of session.seen) if (value % 2 === 1) released.push({ client, sequence });
    }
    return released;
  }

  /** Tells whether a session was last used before `before`. */
  hasIdle(before: number): boolean {
    for (const session of this.sessions.values()) if (session.lastUse < before) return true;
    return false;
  }

  /** Encodes the table as of `index`. */
  encode(index: number): Buffer {
    const rows: unknown[] = [];
    for (const [client, session] of this.sessions) {
      const { lowWater, lastUse, openedAt, seen } = session;
      rows.push([Buffer.from(client, 'latin1'), lowWater, lastUse, openedAt, [...seen].flat()]);
    }
    return Buffer.from(packr.pack([1, index, rows]));
  }

  /** Decodes what `encode` made. */
  static decode(bytes: Uint8Array, limits: SessionLimits): { sessions: Sessions; index: number } {
    const [format, index, rows] = packr.unpack(bytes) as [
      number,
      number,
      [Buffer, number, number, number, number[]][],
    ];
    if (format !== 1) throw new Error(`deduplication table with format ${format}`);
    const sessions = new Sessions(limits);
    for (const [client, lowWater, lastUse, openedAt, flat] of rows) {
      const seen = new Map<number, number>();
      for (let i = 0; i < flat.length; i += 2) seen.set(flat[i]!, flat[i + 1]!);
      sessions.sessions.set(client.toString('latin1'), { lowWater, lastUse, openedAt, seen });
      sessions.remembered += seen.size;
    }
    return { sessions, index };
  }
}
