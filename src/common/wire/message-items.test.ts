import { describe, expect, it } from 'vitest';
import { MESSAGE_ITEMS_MAX } from '../limits.ts';
import { ProtoWriter } from './protobuf.ts';
import { hotCodecs } from './schema.ts';

describe('items of batches', () => {
  it('are bounded over a whole message, also those that a later batch of a request replaces', () => {
    const message = (perBatch: number, batches: number): Buffer => {
      const writer = new ProtoWriter(1 << 20);
      const request = writer.begin(2, 1 << 20);
      for (let at = 0; at < batches; at++) {
        const batch = writer.begin(19, 1 << 18);
        for (let item = 0; item < perBatch; item++) writer.element(1, Buffer.alloc(0));
        writer.end(batch);
      }
      writer.end(request);
      return writer.finish();
    };
    const half = MESSAGE_ITEMS_MAX / 2;
    // The request itself counts as well.
    expect(hotCodecs.clientMessage.deserialize(message(half - 1, 2)).requests).toHaveLength(1);
    expect(() => hotCodecs.clientMessage.deserialize(message(half, 2))).toThrow();
    expect(() => hotCodecs.clientMessage.deserialize(message(half, 3))).toThrow();
    expect(() => hotCodecs.unaryRequest.deserialize(message(1, 1))).not.toThrow();
  });
});
