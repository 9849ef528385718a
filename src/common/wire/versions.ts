/**
 * What the protocol versions differ in, for the one place where a node sends to another: a connection carries what was known to
 * the version that its two sides have agreed upon, whatever the build at either end knows.
 *
 *     1   everything but the following
 *     2   Admin.Scrub; of the peers' Scrub: under_way, rows, bytes, and from a follower `damaged`, which has no hash;
 *         ControllerMessage.address_check, which is not cut here: to version 1 it is a message without parts, and passed over
 *     3   PeerMessage.copy_order, copy_reply, counter_order and counter_reply, which are not sent to others
 *
 * A version that is added here gets a number in limits.ts, and its predecessor stays, behind `--protocol-max` (docs/UPGRADES.md).
 * INVARIANT: a leader that speaks version 1 takes whatever names its round for a hash, so nothing without one is sent to it: equal
 * empty hashes of two damaged replicas would be a quorum against the good one.
 */
import { SALT_PROTOCOL, SCRUB_PROTOCOL } from '../limits.ts';
import type { PeerMessage } from './messages.ts';

const SALT_BODIES: ReadonlySet<PeerMessage['body']> = new Set([
  ...(['copyOrder', 'copyReply', 'counterOrder', 'counterReply'] as const),
]);

/** Returns what is sent in the place of a message where `protocol` is spoken: itself, something less, or null for nothing. */
export function spokenAt(protocol: number, message: PeerMessage): PeerMessage | null {
  if (SALT_BODIES.has(message.body) && protocol < SALT_PROTOCOL) return null;
  if (protocol >= SCRUB_PROTOCOL || message.body !== 'scrub' || !message.scrub) return message;
  const { index, hash, damaged } = message.scrub;
  if (hash === '') return null;
  return { ...message, scrub: { index, hash, damaged, underWay: 0, rows: 0, bytes: 0 } };
}
