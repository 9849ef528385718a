/**
 * The protocol of Redis, as far as its replies to SET, WAIT, INFO and DBSIZE go: RESP 2 without arrays.
 *
 *   +text\r\n    -ERR text\r\n    :number\r\n    $length\r\n bytes \r\n    $-1\r\n
 *
 * INVARIANT: the replies are the same however the stream is cut into chunks.
 * Source: redis.io, Redis serialization protocol specification.
 */

/** An error that the server has answered with: a reply like others. */
export class RedisError extends Error {}

/** Text of simple and bulk strings, numbers, null for no value, errors. */
export type Reply = string | number | null | RedisError;

const CR = 0x0d;
const LINE_END_BYTES = 2;
const EMPTY = Buffer.alloc(0);

/** Takes a connection's replies apart. */
export class RespParser {
  #buffer: Buffer = EMPTY;
  #at = 0;

  /** Returns the replies that are whole with this chunk. @throws Error for what is no reply known here */
  push(chunk: Buffer): Reply[] {
    const rest = this.#buffer.subarray(this.#at);
    this.#buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    this.#at = 0;
    const replies: Reply[] = [];
    for (let reply = this.#next(); reply !== undefined; reply = this.#next()) replies.push(reply);
    return replies;
  }

  /** Returns undefined, and stays where it is, if the next reply is not whole. */
  #next(): Reply | undefined {
    const end = this.#buffer.indexOf(CR, this.#at);
    if (end < 0 || end + LINE_END_BYTES > this.#buffer.length) return undefined;
    const kind = String.fromCharCode(this.#buffer[this.#at]!);
    const line = this.#buffer.toString('utf8', this.#at + 1, end);
    const after = end + LINE_END_BYTES;
    if (kind === '$') return this.#bulk(Number(line), after);
    this.#at = after;
    if (kind === '+') return line;
    if (kind === ':') return Number(line);
    if (kind === '-') return new RedisError(line);
    throw new Error(`a reply of Redis begins with "${kind}"`);
  }

  #bulk(length: number, from: number): Reply | undefined {
    if (length < 0) {
      this.#at = from;
      return null;
    }
    const end = from + length;
    if (end + LINE_END_BYTES > this.#buffer.length) return undefined;
    this.#at = end + LINE_END_BYTES;
    return this.#buffer.toString('utf8', from, end);
  }
}

/** Returns a command as it is sent. The parts are ASCII. */
export function encodeCommand(...parts: readonly (string | number)[]): string {
  const strings = parts.map((part) => {
    const text = String(part);
    return `$${text.length}\r\n${text}\r\n`;
  });
  return `*${parts.length}\r\n${strings.join('')}`;
}

/** Returns whether SET and the WAIT 1 behind it were answered so that the write counts: done, and on a replica too. */
export function isWritten(set: Reply, wait: Reply): boolean {
  return set === 'OK' && typeof wait === 'number' && wait >= 1;
}

/** Returns the fields of a section of INFO. */
export function parseInfo(text: string): ReadonlyMap<string, string> {
  const fields = text.split('\r\n').flatMap((line): [string, string][] => {
    const at = line.indexOf(':');
    return at < 1 || line.startsWith('#') ? [] : [[line.slice(0, at), line.slice(at + 1)]];
  });
  return new Map(fields);
}

/** Returns whether a primary's INFO shows that many replicas, all of them in sync. */
export function areReplicasOnline(info: string, replicas: number): boolean {
  const fields = parseInfo(info);
  const online = [...fields].filter(([name, value]) => /^slave\d+$/.test(name) && /state=online/.test(value));
  return fields.get('connected_slaves') === `${replicas}` && online.length === replicas;
}
