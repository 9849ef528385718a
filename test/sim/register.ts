/** What a simulated node says of itself when it attaches to a controller. */
import type { Register } from '../../src/common/wire/messages.ts';
import type { SimNode } from './sim-node.ts';

/** Where a node stands, and whether it was started to join a cluster that exists. */
export type NodePlace = Pick<Register, 'zone' | 'joins'>;

/** What its directory remembers of its runs. */
interface Remembered extends Pick<Register, 'admittedBoot' | 'runs'> {
  toldLogEnd(durableLsn: number): number;
}

/** Returns the register of a node that runs; `durableLsn`: where its WAL durably ends. */
export function registerOf(
  { id, place, boot }: Pick<SimNode, 'id' | 'place' | 'boot'>,
  format: Remembered,
  durableLsn: number,
): Register {
  const { admittedBoot, runs } = format;
  return {
    ...place,
    address: `${id}:1`,
    clientAddress: `${id}:2`,
    pid: boot,
    admittedBoot,
    runs,
    durableLsn: format.toldLogEnd(durableLsn),
  };
}
