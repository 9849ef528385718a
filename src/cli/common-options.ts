/**
 * What several commands share: the options that find a cluster, parsers of option values, a client that is always
 * closed, and the cluster's status over the administration call.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Ack, type ConnectOptions, connect, type RingkeepClient } from '../client/index.ts';
import { assert, RingkeepError } from '../common/errors.ts';
import { describe } from '../common/failure.ts';
import { REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX } from '../common/limits.ts';
import { formatAddress, parseClusterUrl } from '../common/wire/address.ts';
import type { StatusReply } from '../common/wire/admin-messages.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import { makeHello } from '../common/wire/handshake.ts';

/** Where a cluster is looked for when nothing says otherwise. */
export const URL_DEFAULT = 'ringkeep://127.0.0.1:7400';

/** A cluster that cannot be reached at all is reported after this, though a request may take longer. */
export const REACH_MS = 3_000;

/** Levels of acknowledgement, as options name them. */
export const ACK_LEVELS: readonly Ack[] = ['leader', 'quorum', 'all'];

/** Options of every command that talks to a cluster. */
export interface ClusterOptions {
  readonly url: string;
  readonly timeout: number;
  readonly json: boolean;
}

/** Returns a parser of whole numbers in [min, max]. */
export function count(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** Collects the values of an option that may be given several times. */
export function collect(text: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, text];
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON', false);
}

/** Adds `--url`, which finds the cluster. */
export function withUrl(command: Command): Command {
  const url = new Option('--url <url>', 'the cluster, ringkeep://HOST:PORT[,HOST:PORT]');
  return command.addOption(url.env('RINGKEEP_URL').default(URL_DEFAULT));
}

/** Adds the options that find the cluster, and `--json`. */
export function withCluster(command: Command, timeoutMs: number = REQUEST_TIMEOUT_MS): Command {
  return withJson(
    withUrl(command).option(
      '--timeout <ms>',
      'time of one request',
      count(1, REQUEST_TIMEOUT_MS_MAX),
      timeoutMs,
    ),
  );
}

/** The option `--keyspace`; empty is the default keyspace. */
export function withKeyspace(command: Command): Command {
  return command.option('--keyspace <name>', 'named keyspace instead of the default one', '');
}

/** Returns what was met at the address itself: the innermost error, without codes in front. */
function reasonOf(error: RingkeepError): string {
  let innermost = error;
  while (innermost.cause instanceof RingkeepError) innermost = innermost.cause;
  return describe(innermost)
    .replace(/^UNAVAILABLE: /, '')
    .replace(/[\s.]*(Resolution note:)?\s*$/, '');
}

/**
 * Returns the error of a cluster that cannot be reached: what is wrong there, such as a name that is not found, a refused
 * connection or a node in the place of a router, and what to do. Other errors are returned as they are.
 */
export function unreachable(url: string, error: RingkeepError): RingkeepError {
  if (error.code !== 'UNAVAILABLE' && error.code !== 'DEADLINE_EXCEEDED') return error;
  const text = `no cluster answers at ${url}: ${reasonOf(error)}; start one with \`ringkeep up\`, or name it with --url`;
  return new RingkeepError('UNAVAILABLE', text, 'not_applied', { cause: error });
}

/**
 * Runs `use` with a connected client and closes it afterwards.
 * @throws RingkeepError UNAVAILABLE when the cluster cannot be reached, and what `use` throws
 */
export async function withClient<T>(
  options: ClusterOptions,
  use: (client: RingkeepClient) => Promise<T>,
  more: Partial<ConnectOptions> = {},
): Promise<T> {
  const client = connect(options.url, { requestTimeoutMs: options.timeout, ...more });
  try {
    await client.ready({ timeoutMs: Math.min(options.timeout, REACH_MS) });
  } catch (error) {
    client.destroy();
    throw error instanceof RingkeepError ? unreachable(options.url, error) : error;
  }
  try {
    const result = await use(client);
    await client.close();
    return result;
  } catch (error) {
    client.destroy();
    throw error;
  }
}

/** Asks one address for the cluster's status. Rejects with RingkeepError. */
export function statusAt(address: string, timeoutMs: number): Promise<StatusReply> {
  return grpcConnector.adminStatus(address, makeHello({ role: 'client' }), timeoutMs);
}

/** Asks the cluster's addresses, one after the other, until one answers. Rejects with the last RingkeepError. */
export async function atCluster<T>(
  options: ClusterOptions,
  ask: (address: string, timeoutMs: number) => Promise<T>,
): Promise<T> {
  const timeoutMs = Math.min(options.timeout, REACH_MS);
  let failure: unknown;
  for (const address of parseClusterUrl(options.url).map(formatAddress)) {
    try {
      return await ask(address, timeoutMs);
    } catch (error) {
      failure = error;
    }
  }
  assert(failure !== undefined, 'a cluster URL has an address');
  throw failure instanceof RingkeepError ? unreachable(options.url, failure) : failure;
}

/** Asks the cluster's addresses, one after the other, for its status. Rejects with the last RingkeepError. */
export function clusterStatus(options: ClusterOptions): Promise<StatusReply> {
  return atCluster(options, statusAt);
}
