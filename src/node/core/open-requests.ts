/**
 * The client requests that this node holds open, over all connections: their number and bytes are bounded (G9), each is
 * answered once, and one that was cancelled or whose connection is gone is answered no more.
 * INVARIANT: a request is its handle, not its id: an id that is used again after a cancel gets no answer of its past.
 */
import { assert } from '../../common/errors.ts';
import type { RequestHandle } from './host.ts';

/** Requests by connection and id. */
export class OpenRequests {
  private readonly connections = new Map<number, Map<number, RequestHandle>>();
  private readonly countMax: number;
  private readonly bytesMax: number;
  private count = 0;
  private bytes = 0;

  constructor(countMax: number, bytesMax: number) {
    this.countMax = countMax;
    this.bytesMax = bytesMax;
  }

  get size(): number {
    return this.count;
  }

  /** Opens a request; false when a bound would be passed or the id is in use on that connection. */
  open(handle: RequestHandle): boolean {
    const { connection, id, bytes } = handle;
    if (this.count >= this.countMax || this.bytes + bytes > this.bytesMax) return false;
    let requests = this.connections.get(connection);
    if (requests === undefined) {
      requests = new Map();
      this.connections.set(connection, requests);
    }
    if (requests.has(id)) return false;
    requests.set(id, handle);
    this.count++;
    this.bytes += bytes;
    return true;
  }

  /** The open request with an id, if there is one. */
  find(connection: number, id: number): RequestHandle | undefined {
    return this.connections.get(connection)?.get(id);
  }

  /** Closes a request; false when it is not open any more. */
  close(handle: RequestHandle): boolean {
    const requests = this.connections.get(handle.connection);
    if (requests === undefined || requests.get(handle.id) !== handle) return false;
    requests.delete(handle.id);
    if (requests.size === 0) this.connections.delete(handle.connection);
    this.count--;
    this.bytes -= handle.bytes;
    assert(this.count >= 0 && this.bytes >= 0, 'open requests are counted once');
    return true;
  }

  /** Forgets everything of a connection. */
  closeConnection(connection: number): void {
    const requests = this.connections.get(connection);
    if (requests === undefined) return;
    for (const { bytes } of requests.values()) this.bytes -= bytes;
    this.count -= requests.size;
    this.connections.delete(connection);
  }
}
