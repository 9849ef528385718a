/**
 * Histories as JSON Lines, as docs/HISTORIES.md has them: one event per line, in any order. Fields that are not known are
 * ignored, so that recordings may say more; a line that has `event` instead of `op` is a remark and is skipped.
 * INVARIANT: a line that is not understood is an error that names it. What is skipped silently would be a hole in the proof.
 */
import { ERROR_CODES, RingkeepError } from '../common/errors.ts';
import type { HistoryCondition, HistoryEvent, HistoryOutput } from '../common/history.ts';

type Fields = Readonly<Record<string, unknown>>;

const OPERATIONS: readonly unknown[] = ['get', 'put', 'delete', 'increment', 'touch', 'expire'];
/** They may have a condition. */
const CONDITIONAL: readonly unknown[] = ['put', 'delete', 'touch'];
const RESULTS: readonly unknown[] = ['ok', 'applied', 'not_applied', 'unknown'];
const LEVELS: readonly unknown[] = ['linearizable', 'quorum', 'session', 'stale'];
const ACKS: readonly unknown[] = ['leader', 'quorum', 'all'];

/** What a line says against the format; caught where the line's number is known. */
class Malformed extends Error {}

function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Malformed(what);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function oneOf(fields: Fields, name: string, allowed: readonly unknown[]): void {
  const value = fields[name];
  must(value === undefined || allowed.includes(value), `${name} is none of ${allowed.join(', ')}`);
}

function isVersion(value: unknown, least: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

function checkCondition(condition: unknown): asserts condition is HistoryCondition {
  must(isFields(condition), 'condition is no object');
  const { ifAbsent, ifExists, ifVersion } = condition;
  const given = [ifAbsent, ifExists, ifVersion].filter((value) => value !== undefined);
  must(given.length === 1, 'condition has not exactly one of ifAbsent, ifExists and ifVersion');
  const fits = ifVersion === undefined ? given[0] === true : isVersion(ifVersion, 1);
  must(fits, 'ifAbsent and ifExists are true, ifVersion is a whole number from 1');
}

function checkWriteAnswer(event: Fields, output: Fields): void {
  must(output.applied === undefined || typeof output.applied === 'boolean', 'applied is no boolean');
  const refused = output.applied === false;
  const conditional = event.condition !== undefined || event.op === 'touch';
  must(!refused || conditional, 'applied is false without a condition');
  must(
    !refused || isVersion(output.version, 0),
    'a condition that failed tells the version there, 0 for none',
  );
  must(
    refused || output.version === undefined || isVersion(output.version, 1),
    'version is no whole number from 1',
  );
  oneOf(output, 'durability', ACKS);
  if (event.op !== 'increment' || output.value === undefined) return;
  must(Number.isSafeInteger(output.value), 'the value of a counter is no safe integer');
}

function checkOutput(event: Fields, output: unknown): asserts output is HistoryOutput {
  must(isFields(output), 'output is no object');
  must(RESULTS.includes(output.result), `output.result is none of ${RESULTS.join(', ')}`);
  must(output.code === undefined || Object.hasOwn(ERROR_CODES, String(output.code)), 'code is no error code');
  if (output.result !== 'ok') return;
  if (event.op !== 'get') return checkWriteAnswer(event, output);
  must(typeof output.found === 'boolean', 'a read that succeeded has found');
  must(!output.found || output.value !== undefined, 'a read that found something has a value');
  const told = output.found && output.version !== undefined;
  must(!told || isVersion(output.version, 1), 'version is no whole number from 1');
}

function checkTimes({ call, return: end, output }: Fields): void {
  must(Number.isFinite(call), 'call is no time');
  const ended = end !== null && end !== undefined;
  must(ended === (output !== null && output !== undefined), 'return and output are given both or not at all');
  must(
    !ended || (Number.isFinite(end) && (end as number) >= (call as number)),
    'return is no time from call on',
  );
}

/** Checks that a value is an event. Throws Malformed. */
function checkEvent(event: unknown): HistoryEvent {
  must(isFields(event), 'it is no object');
  must(OPERATIONS.includes(event.op), `op is none of ${OPERATIONS.join(', ')}`);
  must(typeof event.client === 'string' && event.client !== '', 'client is no text');
  must(typeof event.key === 'string' && event.key !== '', 'key is no text');
  must(event.keyspace === undefined || typeof event.keyspace === 'string', 'keyspace is no text');
  must(event.op !== 'put' || event.input !== undefined, 'a put has an input');
  must(
    event.op !== 'increment' || Number.isSafeInteger(event.input),
    'the input of an increment is no safe integer',
  );
  if (event.condition !== undefined) {
    must(CONDITIONAL.includes(event.op), `${event.op} has no condition`);
    checkCondition(event.condition);
    must(event.op !== 'touch' || !event.condition.ifAbsent, 'what is absent has no time to live');
  }
  must(event.spread === undefined || event.op === 'increment', `${event.op} is not spread`);
  must(event.spread === undefined || event.spread === true, 'spread is true or missing');
  must(event.ttlMs === undefined || isVersion(event.ttlMs, 1), 'ttlMs is no whole number from 1');
  must(event.op !== 'expire' || !event.output, 'an expire has no output');
  oneOf(event, 'level', LEVELS);
  oneOf(event, 'ack', ACKS);
  checkTimes(event);
  const { keyspace = '', return: end = null, output = null } = event;
  if (output !== null) checkOutput(event, output);
  return {
    ...(event as unknown as HistoryEvent),
    keyspace: keyspace as string,
    return: end as number | null,
    output,
  };
}

function bad(line: number, what: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', `line ${line}: ${what}`);
}

/**
 * Returns the event of a line, or null for an empty line or a remark. `line` is its number from 1.
 * @throws RingkeepError INVALID_ARGUMENT that names the line
 */
export function parseEvent(text: string, line: number): HistoryEvent | null {
  if (text.trim() === '') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad(line, 'it is not JSON');
  }
  if (isFields(value) && value.op === undefined && typeof value.event === 'string') return null;
  try {
    return checkEvent(value);
  } catch (error) {
    if (error instanceof Malformed) throw bad(line, error.message);
    throw error;
  }
}

/**
 * Yields the events of a stream of bytes.
 * @throws RingkeepError INVALID_ARGUMENT that names the line
 */
export async function* readHistory(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<HistoryEvent> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  let line = 0;
  const decode = (chunk?: Uint8Array) => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true });
    } catch {
      throw bad(line + 1, 'there are bytes behind here that are not UTF-8');
    }
  };
  const take = function* (lines: readonly string[]) {
    for (const text of lines) {
      const event = parseEvent(text, ++line);
      if (event !== null) yield event;
    }
  };
  for await (const chunk of chunks) {
    const lines = (rest + decode(chunk)).split('\n');
    rest = lines.pop()!;
    yield* take(lines);
  }
  yield* take([rest + decode()]);
}
