/**
 * Stops reading a server stream without reading ahead. Node's object streams decode up to 16 messages ahead of a
 * paused reader, which at 16 MiB each is no bound; this gate sits below them, where single reads are asked for, so
 * that behind a closed gate HTTP/2 flow control holds the sender back.
 * INVARIANT: behind a closed gate at most one message that was already asked for still arrives.
 */
import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { assert } from '../errors.ts';

/** Opens and closes the reading side of one stream. Starts open. */
export interface ReadGate {
  readonly closed: boolean;
  open(): void;
  close(): void;
}

/** A call and its handler share nothing public but the metadata object. */
const gates = new WeakMap<Metadata, ReadGate>();

class GatedCall extends ServerInterceptingCall implements ReadGate {
  #closed = false;
  #readWanted = false;

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }

  open(): void {
    if (!this.#closed) return;
    this.#closed = false;
    if (!this.#readWanted) return;
    this.#readWanted = false;
    // A message that waits would otherwise be handled inside the call that opened the gate.
    queueMicrotask(() => this.startRead());
  }

  override start(listener: Parameters<ServerInterceptingCall['start']>[0]): void {
    super.start({
      onReceiveMetadata: (metadata: Metadata) => {
        gates.set(metadata, this);
        listener.onReceiveMetadata(metadata);
      },
      onReceiveMessage: (message: unknown) => listener.onReceiveMessage(message),
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      onCancel: () => listener.onCancel(),
    });
  }

  override startRead(): void {
    if (this.#closed) this.#readWanted = true;
    else super.startRead();
  }
}

/** Makes a server interceptor that gives every stream that clients write to a gate. */
export function readGates(): ServerInterceptor {
  return (method, call) => (method.requestStream ? new GatedCall(call) : new ServerInterceptingCall(call));
}

/** Returns the gate of a stream, found by its handler's `call.metadata`. */
export function gateOf(metadata: Metadata): ReadGate {
  const gate = gates.get(metadata);
  assert(gate !== undefined, 'the stream was opened without the read-gate interceptor');
  return gate;
}
