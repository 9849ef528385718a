/** An operation in words, on one line: the same ones in the text report and in the timeline. */
import type { HistoryEvent } from '../common/history.ts';
import { toJson } from '../common/text.ts';

const VALUE_LENGTH_MAX = 60;

/** Shortens a value's JSON for people. */
export function shorten(text: string, length = VALUE_LENGTH_MAX): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** Returns what was asked: `put "a" if version 3`. */
export function describeCall(event: HistoryEvent): string {
  const { op, input, condition, ttlMs } = event;
  const living = ttlMs === undefined ? '' : ` for ${ttlMs} ms`;
  const value = `${input === undefined ? '' : ` ${shorten(toJson(input))}`}${living}`;
  if (condition === undefined) return `${op}${value}`;
  if (condition.ifVersion !== undefined) return `${op}${value} if version ${condition.ifVersion}`;
  return `${op}${value} if ${condition.ifAbsent ? 'absent' : 'there'}`;
}

/** Returns what was told: `ok, version 3`. */
export function describeAnswer(event: HistoryEvent): string {
  const { output, op } = event;
  if (output === null) return 'open';
  if (output.result !== 'ok')
    return output.code === undefined ? output.result : `${output.result} (${output.code})`;
  const version = output.version ? `, version ${output.version}` : '';
  if (op === 'get') return output.found ? `${shorten(toJson(output.value))}${version}` : 'absent';
  if (output.applied === false) return `condition failed${version || ', absent'}`;
  const level = output.durability === 'leader' ? ', acknowledged by the leader only' : '';
  return `${op === 'increment' ? toJson(output.value) : 'ok'}${version}${level}`;
}

/** Returns when it ran, in milliseconds after `start`. */
export function describeTimes({ call, return: end }: HistoryEvent, start: number): string {
  const since = (time: number) => ((time - start) / 1_000).toFixed(3);
  return `${since(call)} to ${end === null ? 'the end' : `${since(end)} ms`}`;
}

/** Returns a key for people. */
export function describeKey(keyspace: string, key: string): string {
  return keyspace === '' ? key : `${keyspace}/${key}`;
}

/** Returns a number of things: `1 key`, `2,000 keys`. */
export function describeCount(count: number, thing: string): string {
  return `${count.toLocaleString('en')} ${thing}${count === 1 ? '' : 's'}`;
}
