/**
 * Bytes that no client of Ringkeep sends: raw TCP, broken HTTP/2, broken gRPC. Each sender resolves with how the other
 * side ended it, and fails if it does not end in time.
 */
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect as connectTcp } from 'node:net';

const END_MS = 20_000;

/** How an HTTP/2 stream ended. */
export interface StreamResult {
  /** Text of the gRPC status, from the trailers or the headers; null without one. */
  readonly grpcStatus: string | null;
  readonly httpStatus: number | null;
  /** HTTP/2 error of the stream; 0: none. */
  readonly rstCode: number;
  readonly body: Buffer;
}

/** Fails when `end` has not been called in time. */
function deadline(what: string, reject: (error: Error) => void): () => void {
  const timer = setTimeout(() => reject(new Error(`not ended within ${END_MS} ms: ${what}`)), END_MS);
  return () => clearTimeout(timer);
}

function hostPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/**
 * Writes bytes to a port, then ends its side. Resolves with what came back when the other side has closed as well, or
 * reset the connection.
 */
export function sendTcp(address: string, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(hostPort(address));
    const received: Buffer[] = [];
    const met = deadline(`TCP to ${address}`, reject);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.on('close', () => {
      met();
      resolve(Buffer.concat(received));
    });
    socket.end(bytes);
  });
}

/** Writes bytes to a port and resets the connection in the middle. */
export function sendTcpAndReset(address: string, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(hostPort(address));
    const met = deadline(`TCP to ${address}`, reject);
    socket.on('error', () => {});
    socket.on('close', () => {
      met();
      resolve();
    });
    socket.write(bytes, () => socket.resetAndDestroy());
  });
}

/** A gRPC frame: flag, length, body; `length` may lie. */
export function grpcFrame(body: Uint8Array, flag = 0, length: number = body.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

/** The messages of a body, without their frames. */
export function grpcMessages(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(body.subarray(at + 5, end));
    at = end;
  }
  return messages;
}

/** One HTTP/2 connection for many broken calls. */
export class BrokenClient {
  readonly #session: ClientHttp2Session;
  readonly #address: string;

  constructor(address: string) {
    this.#address = address;
    this.#session = connectHttp2(`http://${address}`);
    this.#session.on('error', () => {});
  }

  /** Sends a request with these bytes as its body and ends it. */
  call(path: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<StreamResult> {
    return new Promise((resolve, reject) => {
      const endStream = body.length === 0;
      const head = {
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: path,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...headers,
      };
      const stream = this.#session.request(head, { endStream });
      let grpcStatus: string | null = null;
      let httpStatus: number | null = null;
      const note = (headers: Record<string, unknown>): void => {
        if (headers['grpc-status'] !== undefined) grpcStatus = String(headers['grpc-status']);
        if (headers[':status'] !== undefined) httpStatus = Number(headers[':status']);
      };
      const met = deadline(`${path} on ${this.#address}`, reject);
      stream.on('response', note);
      stream.on('trailers', note);
      stream.on('error', () => {});
      const received: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => received.push(chunk));
      stream.on('close', () => {
        met();
        resolve({ grpcStatus, httpStatus, rstCode: stream.rstCode ?? 0, body: Buffer.concat(received) });
      });
      if (!endStream) stream.end(body);
    });
  }

  close(): void {
    this.#session.destroy();
  }
}
