/**
 * What a client's command does to the value of its key: a pure function of the command, its place in the log and the current value,
 * so that every replica decides the same.
 */
import { assert, type ErrorCode } from '../../common/errors.ts';
import { CODEC_COUNTER, isInt64, parseCounter } from '../../common/text.ts';
import type { Command } from './entry.ts';
import type { StoredValue } from './layout.ts';

/** A command that works on one key. */
export type KeyCommand = Extract<Command, { readonly key: Uint8Array }>;

/** What a command comes to. */
export type Outcome =
  /** The key holds `stored` from now on; null: nothing. `counter`: what an increment has made. */
  | { readonly kind: 'write'; readonly stored: StoredValue | null; readonly counter: bigint | null }
  /** The condition does not hold; `version` is the current one, 0 when absent. */
  | { readonly kind: 'condition'; readonly version: number }
  | { readonly kind: 'refused'; readonly code: ErrorCode };

/**
 * Decides a command at its place in the log. `current` is what its key holds, null when absent; it is looked at only for commands
 * that `neededKeys` names a key for, and its bytes only for those of `needsBytes`.
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
      const content: Content = codec === CODEC_COUNTER ? counterOf(value) : { kind: 'value', codec, value };
      return { kind: 'write', stored: { ...content, ...written, expiresAt }, counter: null };
    }
    case 'delete':
      return { kind: 'write', stored: null, counter: null };
    case 'touch': {
      const { expiresAt } = command;
      return { kind: 'write', stored: { ...current!, ...written, expiresAt }, counter: null };
    }
    case 'increment': {
      if (current !== null && current.kind !== 'counter') return { kind: 'refused', code: 'NOT_A_COUNTER' };
      const sum = (current === null ? 0n : Buffer.from(current.value).readBigInt64LE(0)) + command.delta;
      if (!isInt64(sum)) return { kind: 'refused', code: 'COUNTER_OVERFLOW' };
      const expiresAt = current === null ? command.expiresAt : current.expiresAt;
      return { kind: 'write', stored: { ...counter(sum), ...written, expiresAt }, counter: sum };
    }
  }
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

type Content = Pick<StoredValue, 'kind' | 'codec' | 'value'>;

function counter(sum: bigint): Content {
  const value = Buffer.alloc(8);
  value.writeBigInt64LE(sum);
  return { kind: 'counter', codec: 0, value };
}

/** What a put of a counter stores; its digits were checked before they came into the log. */
function counterOf(digits: Uint8Array): Content {
  const sum = parseCounter(digits);
  assert(sum !== null, 'a counter that is put has digits');
  return counter(sum);
}

/** Whether the decision needs the bytes of the value, too: it keeps them. */
export function needsBytes(command: Command): boolean {
  return command.kind === 'touch';
}

const NO_KEYS: readonly Uint8Array[] = [];

/** The user keys whose current values a command's decision depends on; none for a blind write. */
export function neededKeys(command: Command): readonly Uint8Array[] {
  switch (command.kind) {
    case 'increment':
    case 'touch':
      return [command.key];
    case 'put':
    case 'delete':
      return command.condition.kind === 'none' ? NO_KEYS : [command.key];
    case 'expireKeys':
      return command.due.map(({ key }) => key);
    default:
      return NO_KEYS;
  }
}
