/**
 * Addresses as people write them: `HOST:PORT` with host names, IPv4 and bracketed IPv6 literals (`[::1]:7400`), and
 * cluster URLs (`ringkeep://h1:7400,h2:7400`). Pure: it resolves no names.
 * All errors are INVALID_ARGUMENT, not_applied, and repeat what was given.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { RingkeepError } from '../errors.ts';

/** `host` carries no brackets; `port` is 1 to 65535, or 0 where a free port is asked for. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

const SCHEME = 'ringkeep://';
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?$/;

function invalid(text: string, why: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', `address "${text}": ${why}`);
}

function parsePort(text: string, port: string, lowest: 0 | 1): number {
  if (!/^\d{1,5}$/.test(port)) throw invalid(text, `the port must be a number from ${lowest} to 65535`);
  const number = Number(port);
  if (number < lowest || number > 65_535) throw invalid(text, `the port must be from ${lowest} to 65535`);
  return number;
}

/**
 * Parses `HOST:PORT`. Port 0 is refused unless `listen` is set.
 * @throws RingkeepError INVALID_ARGUMENT
 */
export function parseAddress(text: string, options: { readonly listen?: boolean } = {}): Address {
  const lowest = options.listen === true ? 0 : 1;
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    if (end < 0) throw invalid(text, 'the bracket is not closed');
    const host = text.slice(1, end);
    if (!isIPv6(host)) throw invalid(text, 'what is in brackets must be an IPv6 address');
    if (text[end + 1] !== ':') throw invalid(text, 'write [HOST]:PORT');
    return { host, port: parsePort(text, text.slice(end + 2), lowest) };
  }
  const colon = text.lastIndexOf(':');
  if (colon < 0) throw invalid(text, 'write HOST:PORT');
  const host = text.slice(0, colon);
  if (host.includes(':')) throw invalid(text, 'write an IPv6 address in brackets, [::1]:7400');
  if (host === '') throw invalid(text, 'the host is missing');
  const numeric = /^[\d.]+$/.test(host);
  if (numeric ? !isIPv4(host) : !HOST_NAME.test(host)) throw invalid(text, 'this is no host name or address');
  return { host, port: parsePort(text, text.slice(colon + 1), lowest) };
}

/** Writes an address so that `parseAddress` reads it back. */
export function formatAddress(address: Address): string {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/**
 * Parses a cluster URL, or a bare comma-separated list of addresses, into at least one address, duplicates removed.
 * @throws RingkeepError INVALID_ARGUMENT
 */
export function parseClusterUrl(text: string): Address[] {
  if (text.includes('://') && !text.startsWith(SCHEME)) throw invalid(text, `the scheme must be ${SCHEME}`);
  const list = (text.startsWith(SCHEME) ? text.slice(SCHEME.length) : text).replace(/\/$/, '');
  if (list === '') throw invalid(text, 'write ringkeep://HOST:PORT[,HOST:PORT...]');
  const seen = new Map<string, Address>();
  for (const part of list.split(',')) {
    const address = parseAddress(part.trim());
    seen.set(formatAddress(address), address);
  }
  return [...seen.values()];
}

/** Tells whether only this machine can reach the host: `localhost`, 127.0.0.0/8, ::1. Names are not resolved. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true;
  if (isIPv4(host)) return host.startsWith('127.');
  if (!isIPv6(host)) return false;
  const canonical = new URL(`http://[${host}]`).hostname;
  return canonical === '[::1]' || canonical.startsWith('[::ffff:7f');
}
