/** What readers are told of stored values, and of reads that fail. */
import { NO_BYTES } from '../../common/bytes.ts';
import type { DiskError } from '../../common/disk.ts';
import { RingkeepError } from '../../common/errors.ts';
import { CODEC_COUNTER } from '../../common/text.ts';
import type { Value } from '../../common/wire/messages.ts';
import type { RequestHandle } from './host.ts';
import type { StoredValue } from './layout.ts';
import type { Replica } from './replica.ts';

/** The bytes and codec that a reader is shown. */
export function shown(stored: StoredValue): { value: Uint8Array; codec: number } {
  if (stored.kind === 'value') return { value: stored.value, codec: stored.codec };
  const count = Buffer.from(stored.value).readBigInt64LE(0);
  return { value: Buffer.from(String(count)), codec: CODEC_COUNTER };
}

/** Stored bytes that a client asked for are bad. */
export function damagedRead(partition: number): RingkeepError {
  return new RingkeepError('DAMAGED', 'a stored value failed its checksum', 'not_applied', { partition });
}

/** Only EIO says that bytes are bad; anything else is this node's trouble of the moment. */
export function failedRead(partition: number, error: DiskError | null): RingkeepError {
  if (error?.code === 'EIO') return damagedRead(partition);
  const message = 'the store cannot be read now';
  return new RingkeepError('UNAVAILABLE', message, 'not_applied', { partition, retryAfterMs: 20 });
}

/** Answers a get from the replica's state of now. `stalenessMs`: the age of that, which a stale read is told. */
export function answerGet(replica: Replica, handle: RequestHandle, key: Uint8Array, stalenessMs = 0): void {
  const { partition, host, machine } = replica;
  const wanted = (): boolean => host.isOpen(handle);
  machine.read(key, wanted, (error, stored) => {
    if (error !== null) return host.fail(handle, failedRead(partition, error));
    // What was read is as new as when it was asked for, perhaps newer, and not newer than what is decided by now.
    const seenIndex = machine.decidedIndex;
    if (stored === null) {
      const value = { ...ABSENT, partition, seenIndex, stalenessMs };
      return host.reply(handle, { result: 'value', value });
    }
    const { version, epoch, expiresAt } = stored;
    const { value: bytes, codec } = shown(stored);
    const where = { version, epoch, partition, expiresAt, seenIndex, stalenessMs };
    const value: Value = { found: true, value: bytes, codec, ...where };
    host.reply(handle, { result: 'value', value });
  });
}

const ABSENT = { found: false, value: NO_BYTES, codec: 0, version: 0, epoch: 0, expiresAt: 0 };
