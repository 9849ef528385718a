/**
 * Requests to etcd as the bodies of HTTP/2 posts, for a load generator that knows nothing of gRPC. A body is one
 * message; its fields are strings of bytes only:
 *
 *   frame:  0 (not compressed), length of the message (u32, big endian), message
 *   field:  number << 3 | 2 (length-delimited), length (varint), bytes
 *
 * Source: gRPC over HTTP/2, protobuf's encoding, etcd's rpc.proto (PutRequest, RangeRequest: 1 is the key; 2 is the value).
 */

/** Path of etcd's put. */
export const PUT_PATH = '/etcdserverpb.KV/Put';
/** Path of etcd's read; without its field `serializable` it is linearizable. */
export const RANGE_PATH = '/etcdserverpb.KV/Range';

const LENGTH_DELIMITED = 2;
const FRAME_HEAD_BYTES = 5;

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}

function field(number: number, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([varint(number * 8 + LENGTH_DELIMITED), varint(bytes.length), bytes]);
}

function frame(message: Uint8Array): Uint8Array {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Returns the body of a put. */
export function putBody(key: Uint8Array, value: Uint8Array): Uint8Array {
  return frame(Buffer.concat([field(1, key), field(2, value)]));
}

/** Returns the body of a linearizable read of one key. */
export function rangeBody(key: Uint8Array): Uint8Array {
  return frame(field(1, key));
}
