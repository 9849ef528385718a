/** The codecs of the hot messages, and the checksum. */
import type { Bench } from 'tinybench';
import { crc32c } from '#src/common/crc32c.ts';
import type { PeerMessage, Reply } from '#src/common/wire/messages.ts';
import { methods } from '#src/common/wire/schema.ts';
import { encodeEntry } from '#src/node/core/entry.ts';
import { BATCH, batchOf, keyOf, putRequest, VALUE } from './samples.ts';

const FROM = 'n1.24ad3d409ec9c2c2.1.bd5e5effce0edfc8';
const TO = 'n2.66f252cf823d1fe8.1.5c37c345f599be51';

function entryBytes(index: number): Uint8Array {
  const requestId = { client: 'c'.repeat(16), sequence: index, lowWater: 1, sessionTime: 1 };
  const condition = { kind: 'none' } as const;
  const command = {
    kind: 'put',
    key: keyOf(index),
    codec: 1,
    expiresAt: 0,
    value: VALUE,
    condition,
  } as const;
  return encodeEntry({ epoch: 1, index, timestamp: 1, ack: 'quorum', requestId, command });
}

/** An append of some entries per message. */
function appends(entriesEach: number): PeerMessage[] {
  return Array.from({ length: BATCH / entriesEach }, (_, partition) => ({
    partition,
    from: FROM,
    to: TO,
    epoch: 1,
    body: 'append',
    append: {
      configuration: 1,
      prevIndex: 100,
      prevEpoch: 1,
      entries: Array.from({ length: entriesEach }, (_none, at) => entryBytes(at + 1)),
      commitIndex: 100,
      voters: [],
      previousVoters: [],
      sentAt: 1_000_000,
      echo: 900_000,
      echoBoot: 3,
    },
  }));
}

/** Adds the codecs. */
export function addCodecs(bench: Bench): void {
  const head = { hello: null, cancels: [], credits: [] };
  const requests = { ...head, requests: batchOf(putRequest) };
  const requestBytes = methods.session.requestSerialize(requests);
  bench.add(`encode puts x${BATCH}`, () => void methods.session.requestSerialize(requests));
  bench.add(`decode puts x${BATCH}`, () => void methods.session.requestDeserialize(requestBytes));

  const replies = batchOf((id): Reply => {
    const receipt = {
      partition: 1,
      epoch: 1,
      version: id,
      durability: 'quorum' as const,
      logTime: 1_000_000,
      duplicate: false,
      counter: 0,
      conditionFailed: false,
      index: id,
      items: [],
      repeated: false,
    };
    return { id, end: true, result: 'receipt', receipt };
  });
  const answer = { welcome: null, replies, goaway: false, failure: null };
  const replyBytes = methods.session.responseSerialize(answer);
  bench.add(`encode receipts x${BATCH}`, () => void methods.session.responseSerialize(answer));
  bench.add(`decode receipts x${BATCH}`, () => void methods.session.responseDeserialize(replyBytes));

  for (const each of [2, 16]) {
    const batch = { welcome: null, failure: null, messages: appends(each) };
    const bytes = methods.subscribe.responseSerialize(batch);
    const name = `${each} entries an append, by entry x${BATCH}`;
    bench.add(`encode ${name}`, () => void methods.subscribe.responseSerialize(batch));
    bench.add(`decode ${name}`, () => void methods.subscribe.responseDeserialize(bytes));
  }
  for (const bytes of [40, 160, 4_096]) {
    const data = Buffer.alloc(bytes, 1);
    bench.add(`CRC-32C of ${bytes} bytes`, () => void crc32c(data));
  }
}
