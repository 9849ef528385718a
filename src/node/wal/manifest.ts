/**
 * The MANIFEST of a WAL directory: which segments make up the log, in order. It is replaced whole (rename),
 * and is the one switch by which segments come and go; a segment file that it does not list is a leftover of
 * a crash. Two equal lines, each with its checksum, so that one damaged spot cannot take both:
 *
 *     1a2b3c4d {"format":1,"salt":"00…","durableLsn":41,"segments":[[3,1],[4,20]]}
 *
 * INVARIANT: a listed segment was durable, its header and name included, before it was listed.
 * INVARIANT: everything up to `durableLsn` was durable before the manifest was written, and so was everything
 * below the baseLsn (second number) of each listed segment.
 */
import { crc32c } from '../../common/crc32c.ts';
import { RingkeepError } from '../../common/errors.ts';

/** File name of the manifest in a WAL directory. */
export const MANIFEST_NAME = 'MANIFEST';

const MANIFEST_VERSION = 1;

/** A listed segment. */
export interface ListedSegment {
  readonly number: number;
  readonly baseLsn: number;
}

/** The decoded manifest. `segments` ascend in number and baseLsn. */
export interface Manifest {
  /** Random per directory, 8 bytes. */
  readonly salt: Uint8Array;
  readonly durableLsn: number;
  readonly segments: readonly ListedSegment[];
}

function sum(json: string): string {
  return crc32c(Buffer.from(json)).toString(16).padStart(8, '0');
}

/** Encodes a manifest. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const json = JSON.stringify({
    format: MANIFEST_VERSION,
    salt: Buffer.from(manifest.salt).toString('hex'),
    durableLsn: manifest.durableLsn,
    segments: manifest.segments.map(({ number, baseLsn }) => [number, baseLsn]),
  });
  const line = `${sum(json)} ${json}\n`;
  return Buffer.from(line + line);
}

/** Decodes a manifest; null when both copies are damaged. Throws RingkeepError FORMAT_TOO_NEW. */
export function decodeManifest(bytes: Uint8Array): Manifest | null {
  // Halves, not lines: a flipped bit can make or unmake the end of a line.
  const half = Math.floor(bytes.length / 2);
  for (const from of [0, half]) {
    const line = Buffer.from(bytes.subarray(from, from + half - 1)).toString('utf8');
    const json = line.slice(9);
    if (line.slice(0, 9) !== `${sum(json)} `) continue;
    const fields = JSON.parse(json) as {
      format: number;
      salt: string;
      durableLsn: number;
      segments: [number, number][];
    };
    if (fields.format > MANIFEST_VERSION) {
      const known = `this build knows up to ${MANIFEST_VERSION}`;
      throw new RingkeepError('FORMAT_TOO_NEW', `WAL manifest format ${fields.format}, ${known}`);
    }
    return {
      salt: Buffer.from(fields.salt, 'hex'),
      durableLsn: fields.durableLsn,
      segments: fields.segments.map(([number, baseLsn]) => ({ number, baseLsn })),
    };
  }
  return null;
}
