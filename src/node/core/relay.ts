/**
 * Messages between the leaders of two partitions whose nodes do not reach each other, while both partitions are well: any voter that hears both
 * passes them on, once. Who gets one decides by what it says, as ever; the way that it came proves nothing.
 * INVARIANT: what was passed on is not passed on again.
 */
import { parseReplicaId } from '../../common/replica-id.ts';
import type { PartitionRecord, Replica as ReplicaName } from '../../common/topology.ts';
import type { PeerMessage } from '../../common/wire/messages.ts';

/** Of tries to reach a leader, from the third on every second one goes by another voter. */
const DIRECT_TRIES = 2;

/** Returns whom an order to a partition's leader is sent to at its `tries`th repetition, from 0; null: nobody is known. */
export function targetOf(
  record: PartitionRecord | undefined,
  self: string,
  tries: number,
): ReplicaName | null {
  const { leader, voters = [] } = record ?? {};
  const others = voters.filter(({ node }) => node !== self && node !== leader?.node);
  const isRelayed = tries >= DIRECT_TRIES && tries % 2 === 0 && others.length > 0;
  if (isRelayed) return others[(tries / 2) % others.length]!;
  return leader ? { id: leader.replica, node: leader.node } : null;
}

/** Whether the answer of a replica has come from its own node. */
export function isDirect({ id, node }: ReplicaName): boolean {
  return parseReplicaId(id)?.node === node;
}

/** Returns an order as a follower passes it on to its leader; null: it is none that is passed on. */
export function passedOrder(message: PeerMessage, leader: ReplicaName | null): PeerMessage | null {
  const isOrder = message.body === 'copyOrder' || message.body === 'counterOrder';
  if (!isOrder || message.relayed === true || leader === null) return null;
  return { ...message, to: leader.id, relayed: true };
}

/** Returns the node to which an answer is passed on that is for a replica elsewhere; null: it is none that is passed on. */
export function nodeOfAnswer(message: PeerMessage, home: PartitionRecord | undefined): string | null {
  const isAnswer = message.body === 'copyReply' || message.body === 'counterReply';
  const leader = home?.leader;
  return isAnswer && message.relayed !== true && leader?.replica === message.to ? leader.node : null;
}
