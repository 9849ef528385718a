/** Which protocol versions the other nodes speak with this one, as far as they have connected since its start. */
import { PROTOCOL_MAX } from '../../common/limits.ts';

export class PeerProtocols {
  private readonly self: string;
  private readonly spoken = new Map<string, number>();

  constructor(self: string) {
    this.self = self;
  }

  /** A node has connected that speaks this version with us. */
  note(node: string, protocol: number): void {
    this.spoken.set(node, protocol);
  }

  /** The version that a node speaks; the present one while that is not known. */
  of(node: string): number {
    return this.spoken.get(node) ?? PROTOCOL_MAX;
  }

  /** Whether a node is known to speak that version, or a later one; this one is. */
  speaks(node: string, protocol: number): boolean {
    return node === this.self || (this.spoken.get(node) ?? 0) >= protocol;
  }
}
