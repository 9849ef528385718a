/**
 * What a client's command does to the value of its key: a pure function of the command, its place in the log and the current value,
 * so that every replica decides the same.
 */
import { assert, type ErrorCode } from '../../common/errors.ts';
import { CODEC_COUNTER, isInt64, parseCounter } from '../../common/text.ts';
import { type Command, type KeyCommand, keyCommands } from './entry.ts';
import type { StoredValue } from './layout.ts';
import type { ItemResult, WriteResult } from './result.ts';
import { isSaltCommand, saltKeys } from './sub-rows.ts';

/** What a command comes to. */
export type Outcome =
  /** The key holds `stored` from now on; null: nothing. `counter`: what an increment has made. */
  | { readonly kind: 'write'; readonly stored: StoredValue | null; readonly counter: bigint | null }
  /** Nothing changes; `version` is the current one, 0 when absent. */
  | { readonly kind: 'keep'; readonly version: number }
  /** The condition does not hold; `version` is the current one, 0 when absent. */
  | { readonly kind: 'condition'; readonly version: number }
  | { readonly kind: 'refused'; readonly code: ErrorCode };

/**
 * Decides a command at its place in the log. `current` is what its key holds, null when absent; it is looked at only for commands
 * that `depends` on it, and its bytes only for those that `needsOf` wants whole.
 */
export function execute(
  command: KeyCommand,
  index: number,
  epoch: number,
  current: StoredValue | null,
): Outcome {
  if ('condition' in command && !holds(command, current)) {
    return { kind: 'condition', version: current?.version ?? 0 };
  }
  const written = { version: index, epoch };
  switch (command.kind) {
    case 'put': {
      const { codec, expiresAt, value } = command;
      if (codec === CODEC_COUNTER) return write({ ...counterOfDigits(value), ...written, expiresAt });
      // The usual write, by one plain literal.
      return write({ kind: 'value', codec, value, version: index, epoch, expiresAt });
    }
    case 'delete':
      return write(null);
    case 'check':
      return { kind: 'keep', version: current?.version ?? 0 };
    case 'touch': {
      const { expiresAt } = command;
      return write({ ...current!, ...written, expiresAt });
    }
    case 'increment': {
      if (current !== null && current.kind !== 'counter') return { kind: 'refused', code: 'NOT_A_COUNTER' };
      const sum = countOf(current) + command.delta;
      if (!isInt64(sum)) return { kind: 'refused', code: 'COUNTER_OVERFLOW' };
      const expiresAt = current === null ? command.expiresAt : current.expiresAt;
      return { kind: 'write', stored: { ...counterOf(sum), ...written, expiresAt }, counter: sum };
    }
  }
}

function write(stored: StoredValue | null): Outcome {
  return { kind: 'write', stored, counter: null };
}

function holds(command: Extract<KeyCommand, { condition: unknown }>, current: StoredValue | null): boolean {
  const { condition } = command;
  // Only what is there can be given another time.
  if (command.kind === 'touch' && current === null) return false;
  switch (condition.kind) {
    case 'none':
      return true;
    case 'absent':
      return current === null;
    case 'exists':
      return current !== null;
    case 'version':
      return current !== null && current.version === condition.version;
  }
}

/** What a counter has come to; null: it is not there. */
export function countOf(stored: StoredValue | null): bigint {
  return stored === null ? 0n : Buffer.from(stored.value).readBigInt64LE(0);
}

type Content = Pick<StoredValue, 'kind' | 'codec' | 'value'>;

/** What a counter stores. `sum`: of 64 bits. */
export function counterOf(sum: bigint): Content {
  const value = Buffer.alloc(8);
  value.writeBigInt64LE(sum);
  return { kind: 'counter', codec: 0, value };
}

/** What a put of a counter stores; its digits were checked before they came into the log. */
function counterOfDigits(digits: Uint8Array): Content {
  const sum = parseCounter(digits);
  assert(sum !== null, 'a counter that is put has digits');
  return counterOf(sum);
}

/** The result of a write of one key. */
export function resultOf(outcome: Outcome, index: number, epoch: number): WriteResult {
  if (outcome.kind === 'refused') return outcome;
  if (outcome.kind === 'condition') return { kind: 'condition', index, version: outcome.version };
  return { kind: 'applied', index, epoch, counter: outcome.kind === 'write' ? outcome.counter : null };
}

/** The result of a batch: applied only if no condition fails and nothing is refused. */
export function resultOfBatch(
  items: readonly KeyCommand[],
  outcomes: readonly Outcome[],
  index: number,
  epoch: number,
): WriteResult {
  if (outcomes.some(({ kind }) => kind === 'condition')) {
    const results = outcomes.map((outcome): ItemResult => {
      const failed = outcome.kind === 'condition';
      return { failed, version: failed ? outcome.version : 0, counter: null };
    });
    return { kind: 'condition', index, version: 0, items: results };
  }
  const refused = outcomes.find((outcome) => outcome.kind === 'refused');
  if (refused !== undefined) return refused;
  const applied = { kind: 'applied', index, epoch, counter: null } as const;
  if (!items.some(depends)) return applied;
  return { ...applied, items: outcomes.map((outcome) => itemOf(outcome, index)) };
}

function itemOf(outcome: Outcome, index: number): ItemResult {
  if (outcome.kind !== 'write') {
    assert(outcome.kind === 'keep', 'every command of the batch has been carried out');
    return { failed: false, version: outcome.version, counter: null };
  }
  return { failed: false, version: outcome.stored === null ? 0 : index, counter: outcome.counter };
}

/** A value that has to be known for a decision; `whole`: with its bytes. */
export interface Need {
  readonly key: Uint8Array;
  readonly whole: boolean;
}

const NO_NEEDS: readonly Need[] = [];

/** Whether what a command on one key does depends on the value that is there. */
export function depends(command: KeyCommand): boolean {
  return command.kind === 'increment' || command.kind === 'touch' || command.condition.kind !== 'none';
}

/** The current values that a command's decision depends on; none for a blind write. */
export function needsOf(command: Command): readonly Need[] {
  if (command.kind === 'expireKeys') return command.due.map(({ key }) => ({ key, whole: false }));
  if (isSaltCommand(command)) return saltKeys(command).map((key) => ({ key, whole: false }));
  if (command.kind === 'once') return [{ key: command.record, whole: true }, ...needsOf(command.write)];
  if (command.kind === 'batch') return command.items.flatMap(needsOf);
  if (!('key' in command) || !depends(command)) return NO_NEEDS;
  // What is given another time to live is written anew, whole.
  return [{ key: command.key, whole: command.kind === 'touch' }];
}

/** Whether a command's result is known when it is appended. */
export function isBlind(command: Command): boolean {
  if ('key' in command) return !depends(command);
  return command.kind !== 'once' && !keyCommands(command).some(depends);
}
