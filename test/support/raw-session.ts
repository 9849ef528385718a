/**
 * One KeyValue.Session as any gRPC client would open it: no keepalive pings, no retries, no reconnecting. For tests that
 * must see every reply of one process, also one that was paused for longer than the SDK would wait for it.
 */
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { MESSAGE_BYTES_MAX } from '../../src/common/limits.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { ClientMessage, Reply, Request, ServerMessage } from '../../src/common/wire/messages.ts';
import { methods } from '../../src/common/wire/schema.ts';

const NO_BYTES = new Uint8Array(0);

/** What the caller of `send` decides; the rest is a read of nothing. */
export type RawRequest = Partial<Request> & Pick<Request, 'operation' | 'key'>;

/** A reply, or the end of the stream without one. */
export type RawReply = Reply | 'ended';

/** A stream of requests and their replies. */
export class RawSession {
  readonly #client: Client;
  readonly #call: ClientDuplexStream<ClientMessage, ServerMessage>;
  readonly #open = new Map<number, (reply: RawReply) => void>();
  #nextId = 1;
  #ended = false;

  constructor(address: string, clientId: Uint8Array) {
    this.#client = new Client(`dns:${address}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    });
    const { path, requestSerialize, responseDeserialize } = methods.session;
    this.#call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.#call.on('data', (message: ServerMessage) => {
      for (const reply of message.replies) this.#settle(reply.id, reply);
    });
    // Told again as 'status'.
    this.#call.on('error', () => {});
    this.#call.on('status', () => {
      this.#ended = true;
      for (const id of [...this.#open.keys()]) this.#settle(id, 'ended');
    });
    this.#write({ hello: makeHello({ role: 'client', clientId }) });
  }

  /** Sends at once; resolves with the reply. */
  send(request: RawRequest): Promise<RawReply> {
    if (this.#ended) return Promise.resolve('ended');
    const id = this.#nextId++;
    const full: Request = {
      id,
      timeLeftMs: 30_000,
      keyspace: '',
      clientId: NO_BYTES,
      sequence: 0,
      lowWater: 0,
      sessionTime: 0,
      attempt: 0,
      ack: 'ACK_QUORUM',
      traceParent: '',
      ...request,
    };
    const replied = new Promise<RawReply>((resolve) => this.#open.set(id, resolve));
    this.#write({ requests: [full] });
    return replied;
  }

  /** Sends complete requests, with ids of their own, as one message; resolves with their replies. */
  sendTogether(requests: Request[]): Promise<RawReply[]> {
    const replied = requests.map(({ id }) => {
      if (this.#ended) return Promise.resolve<RawReply>('ended');
      return new Promise<RawReply>((resolve) => this.#open.set(id, resolve));
    });
    this.#write({ requests });
    return Promise.all(replied);
  }

  close(): void {
    this.#call.cancel();
    this.#client.close();
  }

  #write(part: Partial<ClientMessage>): void {
    this.#call.write({ hello: null, requests: [], cancels: [], credits: [], ...part });
  }

  #settle(id: number, reply: RawReply): void {
    const resolve = this.#open.get(id);
    this.#open.delete(id);
    resolve?.(reply);
  }
}

/**
 * Sends a write, and once more with the log time that the leader tells before it opens a session. Resolves with the
 * reply and the session time that a retry must repeat.
 */
export async function openingWrite(
  session: RawSession,
  request: RawRequest,
): Promise<{ reply: RawReply; sessionTime: number }> {
  const first = await session.send(request);
  if (first === 'ended' || first.failure?.code !== 'SESSION_TIME') return { reply: first, sessionTime: 0 };
  const sessionTime = first.failure.logTime;
  return { reply: await session.send({ ...request, sessionTime }), sessionTime };
}

/** Says what a reply is, for messages and expectations. */
export function nameOf(reply: RawReply): string {
  if (reply === 'ended') return 'ended';
  return reply.failure ? `${reply.failure.code} ${reply.failure.outcome}` : reply.result;
}
