/**
 * Credentials, built in one place. Ringkeep speaks plain text for now, so a server that others could reach must be
 * asked for in so many words; TLS goes in here and nowhere else.
 * INVARIANT: no server listens beyond loopback without `insecure`.
 */
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { RingkeepError } from '../errors.ts';
import { type Address, formatAddress, isLoopback, parseAddress } from './address.ts';

/** Returns the credentials of a connection that this process opens. */
export function channelCredentials(): ChannelCredentials {
  return ChannelCredentials.createInsecure();
}

/** Returns the credentials of a listening port. Call `assertListenAllowed` first. */
export function serverCredentials(): ServerCredentials {
  return ServerCredentials.createInsecure();
}

/**
 * Refuses an address that other machines can reach, unless the operator said `--insecure`.
 * @throws RingkeepError INSECURE_LISTEN
 */
export function assertListenAllowed(address: Address, insecure: boolean): void {
  if (insecure || isLoopback(address.host)) return;
  throw new RingkeepError(
    'INSECURE_LISTEN',
    `${formatAddress(address)} can be reached from other machines and the connection is not encrypted; ` +
      'listen on 127.0.0.1, or say --insecure if the network is trusted',
  );
}

/**
 * Checks a listen address before anything is made for it, so that a refused one leaves no trace.
 * @throws RingkeepError INVALID_ARGUMENT, INSECURE_LISTEN
 */
export function checkListen(listen: string, insecure: boolean): void {
  assertListenAllowed(parseAddress(listen, { listen: true }), insecure);
}
