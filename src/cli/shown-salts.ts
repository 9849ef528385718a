/** How salted keys are shown: where their homes are, and which of their copies answer. */
import type { SaltedKeyFigures } from '../client/index.ts';
import { RingkeepError } from '../common/errors.ts';
import { hotFigures } from '../common/hot.ts';
import { keyJson, textOf } from '../common/text.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import { makeHello } from '../common/wire/handshake.ts';
import { atCluster, type ClusterOptions } from './common-options.ts';
import { table } from './output.ts';

/** A salted key in the output of `status --json`; one that is not UTF-8 as its bytes in base64. */
export type ShownSalt = Omit<SaltedKeyFigures, 'key'> & {
  readonly key: string | { readonly $base64: string };
};

function place(node: string, partition: number): string {
  return node === '' ? `partition ${partition}` : `${node} (partition ${partition})`;
}

/** Returns a table of salted keys. */
export function saltsTable(salts: readonly SaltedKeyFigures[]): string {
  const rows = salts.map(({ keyspace, key, partition, node, copies, waitingWrites, automatic }) => {
    const shown = copies.map((copy) => `${place(copy.node, copy.partition)}${copy.held ? '' : ', not now'}`);
    return [
      ...[keyJson(key), keyspace === '' ? '-' : keyspace, place(node, partition)],
      ...[shown.length === 0 ? '-' : shown.join('; '), `${waitingWrites}`, automatic ? 'itself' : 'hand'],
    ];
  });
  return table([['SALTED KEY', 'KEYSPACE', 'HOME', 'COPIES', 'WRITES WAITING', 'BY'], ...rows]);
}

/** Returns salted keys as they stand in JSON. */
export function showSalts(salts: readonly SaltedKeyFigures[]): ShownSalt[] {
  return salts.map((salted) => ({
    ...salted,
    key: textOf(salted.key) ?? { $base64: Buffer.from(salted.key).toString('base64') },
  }));
}

/** Asks for the salted keys; none of a cluster that does not know of any, or does not say. */
export async function askSalts(flags: ClusterOptions): Promise<readonly SaltedKeyFigures[]> {
  try {
    const hello = makeHello({ role: 'client' });
    const reply = await atCluster(flags, (address, ms) => grpcConnector.hot(address, hello, 1, ms));
    return hotFigures(reply).salts;
  } catch (error) {
    if (!(error instanceof RingkeepError)) throw error;
    return [];
  }
}
