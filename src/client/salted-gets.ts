/**
 * What a client knows of the copies of hot keys, and which of its gets go by that: linearizable ones, the first time that they are sent.
 * Whoever has failed once goes home, where the answer certainly is.
 */
import { toLatin1 } from '../common/bytes.ts';
import type { RingkeepError } from '../common/errors.ts';
import { isHomeward, SaltHints } from '../common/salt-hints.ts';
import type { Value } from '../common/wire/messages.ts';
import type { Operation } from './operation.ts';

const NOWHERE: readonly number[] = [];

/** The salted keys of one client. Times are monotonic ms. */
export class SaltedGets {
  private readonly hints = new SaltHints();

  /** Marks a get of a key that is known to be salted; returns whether it was not marked before. */
  mark(operation: Operation, now: number): boolean {
    if (this.hints.size === 0 || operation.isSalted || !isLinearizableGet(operation)) return false;
    operation.isSalted = this.hints.of(nameOf(operation), now).length > 0;
    return operation.isSalted;
  }

  /** Returns the partitions with copies that an operation may be sent to. */
  copiesFor(operation: Operation, now: number): readonly number[] {
    return operation.attempt > 0 ? NOWHERE : this.hints.of(nameOf(operation), now);
  }

  /** Takes note of the answer of a key's home, or of a router. */
  note(asked: Operation, value: Value, now: number): void {
    if (asked.saltIn > 0 || (this.hints.size === 0 && !value.salts) || !isLinearizableGet(asked)) return;
    this.hints.note(nameOf(asked), value.salts?.partitions ?? NOWHERE, now);
  }

  /** Takes note of what became of an attempt at a copy; returns whether the get goes home at once. */
  isHomeward(asked: Operation, error: RingkeepError): boolean {
    if (asked.saltIn === 0 || !isLinearizableGet(asked) || !isHomeward(error.code)) return false;
    this.hints.strike(nameOf(asked), asked.saltIn - 1);
    return true;
  }
}

function isLinearizableGet({ spec, isAnywhere }: Operation): boolean {
  return spec.kind === 'get' && !isAnywhere;
}

function nameOf({ spec: { keyspace, key } }: Operation): string {
  return `${keyspace}\0${toLatin1(key)}`;
}
