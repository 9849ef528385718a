/** What readers are told of stored values, and of reads that fail. */
import type { DiskError } from '../../common/disk.ts';
import { RingkeepError } from '../../common/errors.ts';
import { CODEC_COUNTER } from '../../common/text.ts';
import type { StoredValue } from './layout.ts';

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
