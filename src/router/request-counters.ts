/**
 * Counts of what the router answered, as plain numbers: the metrics registry reads them when it is asked, so that the
 * hot path pays for an addition and no label lookup.
 * INVARIANT: as many series as operations times known codes, whatever nodes and clients send.
 */
import type { ErrorCode } from '../common/errors.ts';
import { isErrorCode } from '../common/failure.ts';
import type { Reply, Request } from '../common/wire/messages.ts';
import { OPERATIONS } from './forward.ts';

/** Which bound refused a request: requests or bytes in total, of one node, of partitions without a leader. */
export const BOUNDS = ['requests', 'bytes', 'node', 'held'] as const;
export type Bound = (typeof BOUNDS)[number];

/** A result code: OK, or an error's. */
export type ResultCode = 'OK' | ErrorCode;

export class RequestCounters {
  /** Requests that were forwarded once more. */
  forwardedAgain = 0;
  /** Gets that went with another one. */
  sharedReads = 0;
  /** Gets that went to copies of their keys; and of these, the ones that no copy answered. */
  saltedReads = 0;
  saltedReadsHome = 0;
  readonly #byCode = new Map<ResultCode, number[]>();
  readonly #refused = new Map<Bound, number>(BOUNDS.map((bound) => [bound, 0]));

  /** Counts the last reply to a request. */
  count(operation: Request['operation'] | undefined, reply: Reply): void {
    const code = reply.failure?.code;
    const result: ResultCode = code === undefined ? 'OK' : isErrorCode(code) ? code : 'INTERNAL';
    let counts = this.#byCode.get(result);
    if (counts === undefined) {
      counts = new Array<number>(OPERATIONS.length).fill(0);
      this.#byCode.set(result, counts);
    }
    const at = operation === undefined ? -1 : OPERATIONS.indexOf(operation);
    if (at >= 0) counts[at] = (counts[at] ?? 0) + 1;
  }

  /** Counts a refusal with OVERLOADED. */
  refused(bound: Bound): void {
    this.#refused.set(bound, (this.#refused.get(bound) ?? 0) + 1);
  }

  /** Returns the counts of answered requests that are not 0. */
  answered(): { operation: string; code: ResultCode; count: number }[] {
    const rows: { operation: string; code: ResultCode; count: number }[] = [];
    for (const [code, counts] of this.#byCode) {
      for (const [at, count] of counts.entries()) {
        if (count > 0) rows.push({ operation: OPERATIONS[at] ?? '', code, count });
      }
    }
    return rows;
  }

  /** Returns the counts of refusals by bound. */
  refusals(): { bound: Bound; count: number }[] {
    return [...this.#refused].map(([bound, count]) => ({ bound, count }));
  }
}
