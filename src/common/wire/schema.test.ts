import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { countItems, methods, PROTO_PATH, packageDefinition } from './schema.ts';

/** Field names per message, read from messages.ts, admin-messages.ts and topology.ts (`readonly` and `?` stripped). */
function declaredShapes(): Map<string, string[]> {
  const shapes = new Map<string, string[]>();
  for (const file of ['./messages.ts', './admin-messages.ts', '../topology.ts']) {
    const source = readFileSync(new URL(file, import.meta.url), 'utf8').replace(/\/\*\*[\s\S]*?\*\//g, '');
    for (const [, name, body] of source.matchAll(/export interface (\w+) \{([\s\S]*?)\n\}/g)) {
      const fields = [...(body ?? '').matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(
        (match) => match[1] ?? '',
      );
      shapes.set(name ?? '', fields);
    }
  }
  return shapes;
}

interface Descriptor {
  field: { name: string }[];
  oneofDecl: { name: string }[];
}

/** What has no interface of its own, and why. */
const WITHOUT_INTERFACE = new Set(['GetOperation', 'DeleteOperation', 'AdminRequest']);

describe('messages.ts', () => {
  const shapes = declaredShapes();
  const messages = Object.entries(packageDefinition).filter(
    ([, definition]) => 'format' in definition && definition.format === 'Protocol Buffer 3 DescriptorProto',
  );

  it.each(messages.map(([name, definition]) => [name.split('.').at(-1) ?? '', definition] as const))(
    'declares every field of %s and no other',
    (name, definition) => {
      if (WITHOUT_INTERFACE.has(name)) return;
      const { type } = definition as unknown as { type: Descriptor };
      // An optional field is its own oneof, by a name that begins so.
      const oneofs = type.oneofDecl.filter(({ name: own }) => !own.startsWith('_'));
      const expected = [...type.field, ...oneofs].map((entry) => entry.name).sort();
      expect([...(shapes.get(name) ?? [])].sort()).toEqual(expected);
    },
  );

  it('finds the schema file beside the package', () => {
    expect(readFileSync(PROTO_PATH, 'utf8')).toContain('package ringkeep.v1;');
    expect(messages.length).toBeGreaterThan(40);
  });

  it('gets absent messages as null, lists as empty, and the oneof by name', () => {
    const bytes = methods.session.requestSerialize({
      hello: null,
      requests: [
        {
          id: 2 ** 53 - 1,
          timeLeftMs: 5,
          keyspace: 'k',
          key: Buffer.from('a'),
          clientId: Buffer.alloc(0),
          sequence: 1,
          lowWater: 1,
          sessionTime: 0,
          attempt: 1,
          ack: 'ACK_ALL',
          traceParent: '',
          operation: 'increment',
          increment: { delta: -5, ttlMs: 0 },
        },
      ],
      cancels: [],
      credits: [],
    });
    const message = methods.session.requestDeserialize(bytes);
    expect(message.hello).toBeNull();
    expect(message.cancels).toEqual([]);
    const request = message.requests[0];
    expect(request?.id).toBe(2 ** 53 - 1);
    expect(request?.operation).toBe('increment');
    expect(request?.increment?.delta).toBe(-5);
    expect(request?.put ?? null).toBeNull();
    expect(request?.ack).toBe('ACK_ALL');
    expect(Buffer.isBuffer(request?.key)).toBe(true);
  });
});

describe('countItems', () => {
  it('counts reports and replies without decoding them', () => {
    const none = { hello: null, register: null, heartbeat: null, reports: [], topology: null };
    const seal = { partition: 1, replica: 'r', boot: 1, epoch: 1, reservationId: '', accepted: true };
    const rest = { promiseEpoch: 0, lastEpoch: 0, lastIndex: 0 };
    const sealReplies = Array.from({ length: 1000 }, () => ({ ...seal, ...rest }));
    const bytes = methods.attach.requestSerialize({ ...none, sealReplies });
    expect(countItems(bytes, 100_000)).toBe(1000);
    expect(countItems(bytes, 10)).toBe(11);
  });

  it('refuses to decode a message of millions of empty reports or requests', () => {
    const bomb = (tag: number): Buffer => Buffer.alloc(4 * 1024 * 1024, Buffer.from([tag, 0]));
    expect(countItems(bomb(0x2a), 16_384)).toBe(16_385);
    expect(() => methods.attach.requestDeserialize(bomb(0x2a))).toThrow('MESSAGE_TOO_LARGE');
    expect(() => methods.session.requestDeserialize(bomb(0x12))).toThrow('MESSAGE_TOO_LARGE');
    // Packed cancels: one byte each.
    const cancels = Buffer.concat([Buffer.from([0x1a, 0x80, 0x80, 0x04]), Buffer.alloc(65_536, 1)]);
    expect(() => methods.session.requestDeserialize(cancels)).toThrow('MESSAGE_TOO_LARGE');
  });

  it('refuses items hidden behind a wrong wire type', () => {
    // A length-delimited field as a varint, which the generic decoder would read all the same.
    expect(countItems(Buffer.from([0x28, 0x00]), 100)).toBe(101);
    expect(() => methods.session.requestDeserialize(Buffer.from([0x10, 0x00]))).toThrow('INVALID_ARGUMENT');
  });
});
