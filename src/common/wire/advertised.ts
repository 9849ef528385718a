/**
 * The addresses that a process has of its own: those it listens on, and those that it tells others, inside the cluster and outside.
 * They are checked before anything is made for them, for form and sense only: whether an advertised address leads anywhere is found out by who is
 * told it (src/router/address-checks.ts).
 * INVARIANT: nobody is ever told a wildcard.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { RingkeepError } from '../errors.ts';
import { isLoopback, parseAddress } from './address.ts';
import { checkListen } from './credentials.ts';

/** As in the options of a node or a router. */
export interface OwnAddresses {
  readonly listen: string;
  readonly httpListen?: string;
  readonly insecure?: boolean;
  /** What nodes and routers are told, and clients; absent: where it listens. */
  readonly advertise?: string;
  readonly advertiseClient?: string;
}

/** Tells whether the host stands for all addresses of a machine (0.0.0.0, ::): one can listen there, and connect to nothing. */
export function isWildcard(host: string): boolean {
  if (isIPv4(host)) return host === '0.0.0.0';
  return isIPv6(host) && /^\[::(ffff:0:0)?\]$/.test(new URL(`http://[${host}]`).hostname);
}

function checkTold(option: string, address: string): void {
  if (!isWildcard(parseAddress(address).host)) return;
  const text = `${option} ${address}: nobody can connect to a wildcard; name an address that others reach`;
  throw new RingkeepError('INVALID_ARGUMENT', text);
}

/**
 * Checks the form and the sense of all of them. `told`: others are told the listen address if there is no `advertise`.
 * @throws RingkeepError INVALID_ARGUMENT, INSECURE_LISTEN
 */
export function checkOwnAddresses(own: OwnAddresses, told: boolean): void {
  for (const listen of [own.listen, own.httpListen])
    if (listen !== undefined) checkListen(listen, own.insecure ?? false);
  if (own.advertise !== undefined) checkTold('--advertise', own.advertise);
  if (own.advertiseClient !== undefined) checkTold('--advertise-client', own.advertiseClient);
  if (told && own.advertise === undefined && isWildcard(parseAddress(own.listen, { listen: true }).host)) {
    const text = `--listen ${own.listen} is a wildcard, to which nobody can connect; say --advertise HOST:PORT`;
    throw new RingkeepError('INVALID_ARGUMENT', `${text}, by which nodes and routers reach this node`);
  }
}

/**
 * Returns the advertised addresses that only this machine can reach although the process listens for others too: right where ports
 * are published on loopback, a mistake elsewhere.
 */
export function advertisedLoopback({ listen, advertise, advertiseClient }: OwnAddresses): string[] {
  if (isLoopback(parseAddress(listen, { listen: true }).host)) return [];
  return [advertise, advertiseClient].filter(
    (address): address is string => address !== undefined && isLoopback(parseAddress(address).host),
  );
}
