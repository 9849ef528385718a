/**
 * The client's end of gRPC: one channel per connection, with the options that the design rests on, and calls as plain
 * callbacks. It knows nothing of handshakes; connections.ts does.
 * INVARIANT: whoever gets a channel closes it; a client that is dropped without `close()` leaks its connection.
 * INVARIANT: `onEnd` of a call comes exactly once, and no `onMessage` after it.
 */
import {
  type CallOptions,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  Metadata,
  type ServiceError,
  status as Status,
  type StatusObject,
} from '@grpc/grpc-js';
import { type ErrorCode, type Outcome, RingkeepError } from '../errors.ts';
import { fromFailure } from '../failure.ts';
import {
  CLIENT_WINDOW_BYTES,
  KEEPALIVE_MS,
  KEEPALIVE_TIMEOUT_MS,
  MESSAGE_BYTES_MAX,
  RECONNECT_MS_MAX,
  RECONNECT_MS_MIN,
} from '../limits.ts';
import { formatAddress, parseAddress } from './address.ts';
import { channelCredentials } from './credentials.ts';
import { failureCodec, type Method } from './schema.ts';

/** Name of the trailer that carries an encoded Failure. */
export const FAILURE_TRAILER = 'ringkeep-failure-bin';

const CHANNEL_OPTIONS: ChannelOptions = {
  // The one retry loop is the client's.
  'grpc.enable_retries': 0,
  'grpc.initial_reconnect_backoff_ms': RECONNECT_MS_MIN,
  'grpc.max_reconnect_backoff_ms': RECONNECT_MS_MAX,
  'grpc.dns_min_time_between_resolutions_ms': 1_000,
  'grpc.enable_http_proxy': 0,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  // A stopped process shows only by a missing pong. grpc-js gives up at the first timeout, so the timeout itself is
  // two intervals long: a single late pong is an event-loop stall, here or there.
  'grpc.keepalive_time_ms': KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc-node.flow_control_window': CLIENT_WINDOW_BYTES,
  'grpc.default_compression_algorithm': 0,
  // One TCP connection per channel: windows, back-off and pings are not shared with strangers.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.service_config_disable_resolution': 1,
};

/** What happens to a call. */
export interface CallEvents<Response> {
  onMessage(message: Response): void;
  /** `undefined`: the other side ended it in good order. */
  onEnd(error: RingkeepError | undefined): void;
}

export interface SendingCall<Request> {
  /** Queues a message; `taken` is called when the transport has passed it on. */
  write(message: Request, taken: () => void): void;
  cancel(): void;
}

const CODES: Partial<Record<Status, ErrorCode>> = {
  [Status.INVALID_ARGUMENT]: 'INVALID_ARGUMENT',
  [Status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  // Ours carry a Failure; a bare one comes from the transport's own limits.
  [Status.RESOURCE_EXHAUSTED]: 'MESSAGE_TOO_LARGE',
  // The other side does not know the method: not a Ringkeep of this protocol.
  [Status.UNIMPLEMENTED]: 'VERSION_MISMATCH',
};

/**
 * Converts a gRPC status that is not OK. The Failure in its trailer counts, if there is one; everything that the
 * transport itself can say is UNAVAILABLE.
 */
export function fromStatus(status: StatusObject, outcome: Outcome): RingkeepError {
  const trailer = status.metadata?.get(FAILURE_TRAILER)[0];
  if (Buffer.isBuffer(trailer)) {
    try {
      return fromFailure(failureCodec.deserialize(trailer));
    } catch (cause) {
      return new RingkeepError('UNAVAILABLE', 'the reply cannot be read', outcome, { cause });
    }
  }
  const code = CODES[status.code] ?? 'UNAVAILABLE';
  return new RingkeepError(code, `${Status[status.code]}: ${status.details}`, outcome);
}

/** One connection to one address. Opens lazily, with the first call. */
export class Channel {
  readonly #client: Client;

  /** @throws RingkeepError INVALID_ARGUMENT for a malformed address */
  constructor(address: string) {
    const target = formatAddress(parseAddress(address));
    this.#client = new Client(`dns:${target}`, channelCredentials(), CHANNEL_OPTIONS);
  }

  /** Opens a stream both ways. */
  openStream<Request, Response>(
    method: Method<Request, Response>,
    events: CallEvents<Response>,
  ): SendingCall<Request> {
    const call: ClientDuplexStream<Request, Response> = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      new Metadata(),
      {},
    );
    listen(call, events);
    return {
      write: (message, taken) => {
        call.write(message, taken);
      },
      cancel: () => call.cancel(),
    };
  }

  /** Sends one request and receives a stream. */
  openDownload<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    events: CallEvents<Response>,
  ): { cancel(): void } {
    const call: ClientReadableStream<Response> = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new Metadata(),
      {},
    );
    listen(call, events);
    return { cancel: () => call.cancel() };
  }

  /** Makes one call. Rejects with RingkeepError; without a reply the outcome is `unknown`. */
  unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    timeoutMs: number,
  ): Promise<Response> {
    const options: CallOptions = { deadline: Date.now() + timeoutMs };
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, response?: Response): void => {
        if (error !== null) reject(fromStatus(error, 'unknown'));
        else if (response === undefined) reject(new RingkeepError('UNAVAILABLE', 'no reply', 'unknown'));
        else resolve(response);
      };
      this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        options,
        done,
      );
    });
  }

  /** Closes the connection; cancel its calls first. Idempotent. */
  close(): void {
    this.#client.close();
  }
}

function listen<Response>(call: ClientReadableStream<Response>, events: CallEvents<Response>): void {
  let ended = false;
  call.on('data', (message: Response) => {
    if (!ended) events.onMessage(message);
  });
  // Told again as 'status'; without a listener it would be thrown.
  call.on('error', () => {});
  call.on('status', (status: StatusObject) => {
    if (ended) return;
    ended = true;
    events.onEnd(status.code === Status.OK ? undefined : fromStatus(status, 'unknown'));
  });
}
