/**
 * Upper estimates of encoded sizes, for closing messages and for counting unsent bytes. Cheaper than encoding twice.
 * INVARIANT: never less than the encoding (a test compares), so that a message that fits here fits the transport.
 */
import { NO_BYTES } from '../bytes.ts';
import type { Replica } from '../topology.ts';
import type { Credit, PeerMessage, Reply, Request, Rows, Salts, Value } from './messages.ts';

/** A varint of at most ten bytes and its tag. */
const NUMBER = 12;
/** Tag and length of a nested field. */
const NESTED = 8;

/** UTF-16 units to UTF-8 bytes, at most. */
function text(value: string): number {
  return value.length === 0 ? 0 : value.length * 3 + NESTED;
}

function bytes(value: Uint8Array): number {
  return value.length === 0 ? 0 : value.length + NESTED;
}

/** Returns at least the encoded bytes of a request within its message. */
export function sizeOfRequest(request: Request): number {
  let size =
    160 + text(request.keyspace) + bytes(request.key) + bytes(request.clientId) + text(request.traceParent);
  if (request.get) size += request.get.early.length * (NESTED + 2 * NUMBER);
  if (request.condition) size += NESTED + 2 * NUMBER;
  if (request.put) size += bytes(request.put.value) + 2 * NUMBER;
  if (request.scan) size += bytes(request.scan.cursor) + 3 * NUMBER;
  if (request.batch) {
    for (const { key, put } of request.batch.items)
      size += bytes(key) + 3 * NESTED + 6 * NUMBER + bytes(put?.value ?? NO_BYTES);
  }
  if (request.idempotencyKey !== undefined) size += bytes(request.idempotencyKey);
  return size;
}

/** Returns at least the encoded bytes of a credit within its message. */
export function sizeOfCredit(_credit: Credit): number {
  return NESTED + 2 * NUMBER;
}

function sizeOfRows(rows: Rows): number {
  let size = bytes(rows.cursor);
  for (const row of rows.rows) {
    size += NESTED + 2 * NUMBER + text(row.keyspace) + bytes(row.key) + bytes(row.value);
  }
  return size;
}

function sizeOfSalts({ partitions }: Salts): number {
  return 2 * NESTED + (3 + partitions.length) * NUMBER;
}

function sizeOfValue({ value, salts }: Value): number {
  return bytes(value) + 9 * NUMBER + (salts ? sizeOfSalts(salts) : 0);
}

/** Returns at least the encoded bytes of a reply within its message. */
export function sizeOfReply(reply: Reply): number {
  let size = 2 * NESTED + 2 * NUMBER;
  if (reply.value) size += sizeOfValue(reply.value);
  if (reply.receipt) size += 11 * NUMBER + 12 + reply.receipt.items.length * (NESTED + 3 * NUMBER);
  if (reply.receipt?.salts) size += sizeOfSalts(reply.receipt.salts);
  if (reply.failure) {
    const failure = reply.failure;
    size +=
      text(failure.code) + text(failure.outcome) + text(failure.message) + text(failure.leader) + 4 * NUMBER;
  }
  if (reply.rows) size += sizeOfRows(reply.rows);
  return size;
}

/** Returns at least the encoded bytes of replicas. */
export function sizeOfReplicas(replicas: readonly Replica[]): number {
  let size = 0;
  for (const replica of replicas) size += NESTED + text(replica.id) + text(replica.node);
  return size;
}

function sizeOfAll(list: readonly Uint8Array[]): number {
  let size = 0;
  // Empty elements of a repeated field are encoded too.
  for (const item of list) size += item.length + NESTED;
  return size;
}

/** Returns at least the encoded bytes of a replication message within its batch. */
export function sizeOfPeerMessage(message: PeerMessage): number {
  let size = 2 * NESTED + 2 * NUMBER + text(message.from) + text(message.to);
  if (message.append) {
    size += 7 * NUMBER + sizeOfAll(message.append.entries);
    size += sizeOfReplicas(message.append.voters) + sizeOfReplicas(message.append.previousVoters);
  } else if (message.snapshotChunk) {
    const chunk = message.snapshotChunk;
    size += text(chunk.snapshot) + bytes(chunk.cursor) + bytes(chunk.next) + 3 * NUMBER;
    size += sizeOfAll(chunk.keys) + sizeOfAll(chunk.values);
  } else if (message.probe) {
    size += 2 * NUMBER + sizeOfAll(message.probe.keys);
    for (const voter of message.probe.voters) size += text(voter);
  } else if (message.probeReply) {
    size += NESTED + (4 + message.probeReply.newest.length) * NUMBER;
  } else if (message.snapshotPull) {
    size += text(message.snapshotPull.snapshot) + bytes(message.snapshotPull.cursor);
  } else if (message.scrub) {
    size += text(message.scrub.hash) + 5 * NUMBER;
  } else if (message.copyOrder) {
    const { key, token, value } = message.copyOrder;
    size += bytes(key) + text(token) + 5 * NUMBER + (value ? NESTED + sizeOfValue(value) : 0);
  } else if (message.counterOrder) {
    size += bytes(message.counterOrder.key) + 6 * NUMBER;
  } else if (message.copyReply) {
    size += text(message.copyReply.token) + 5 * NUMBER;
  } else if (message.snapshotOffer) {
    size += text(message.snapshotOffer.snapshot) + 3 * NUMBER;
  } else {
    size += 9 * NUMBER;
  }
  return size;
}
