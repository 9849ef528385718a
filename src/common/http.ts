/**
 * The small HTTP port of a process: `GET /metrics` for Prometheus, `GET /healthz` for whoever restarts processes, and pages of its owner's.
 * It serves nothing else and takes no request bodies.
 * INVARIANT: it listens beyond loopback only where the gRPC port may (`insecure`).
 */
import {
  createServer as createHttp,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { RingkeepError } from './errors.ts';
import type { Registry } from './metrics.ts';
import { formatAddress, parseAddress } from './wire/address.ts';
import { assertListenAllowed } from './wire/credentials.ts';

/** What `/healthz` answers: 200 when `healthy`, else 503; all of it as JSON. */
export interface Health {
  readonly healthy: boolean;
  readonly [detail: string]: string | number | boolean;
}

export interface HttpOptions {
  /** HOST:PORT; port 0 takes a free one. */
  readonly listen: string;
  readonly insecure: boolean;
  readonly registry: Registry;
  readonly health: () => Health;
  /** Further pages, JSON on one line, by path. */
  readonly pages?: Readonly<Record<string, () => Promise<string>>>;
}

export interface HttpServer {
  /** HOST:PORT as bound. */
  readonly address: string;
  /** Closes the port and every connection. Idempotent. */
  stop(): Promise<void>;
}

const HEADER_TIMEOUT_MS = 5_000;

async function answer(
  options: HttpOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pages = {} } = options;
  const path = (request.url ?? '').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
  } else if (path === '/metrics') {
    const text = await options.registry.metrics();
    response.writeHead(200, { 'content-type': options.registry.contentType }).end(text);
  } else if (path === '/healthz') {
    const health = options.health();
    const type = { 'content-type': 'application/json' };
    response.writeHead(health.healthy ? 200 : 503, type).end(`${JSON.stringify(health)}\n`);
  } else if (path !== undefined && Object.hasOwn(pages, path)) {
    const text = await pages[path]!();
    response.writeHead(200, { 'content-type': 'application/json' }).end(`${text}\n`);
  } else {
    const known = ['/metrics', '/healthz', ...Object.keys(pages)].join(', ');
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`GET one of ${known}\n`);
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const where = formatAddress({ host, port });
      const taken = cause.code === 'EADDRINUSE';
      reject(
        taken
          ? new RingkeepError('ADDRESS_IN_USE', `${where} is taken by another process`, 'not_applied', {
              cause,
            })
          : new RingkeepError(
              'INVALID_ARGUMENT',
              `cannot listen on ${where} (${cause.code})`,
              'not_applied',
              {
                cause,
              },
            ),
      );
    });
    server.listen({ host, port }, () => {
      const bound = server.address();
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port);
    });
  });
}

/**
 * Starts the HTTP port. `health` and the registry are asked at every request.
 * @throws RingkeepError INVALID_ARGUMENT, INSECURE_LISTEN, ADDRESS_IN_USE
 */
export async function createHttpServer(options: HttpOptions): Promise<HttpServer> {
  const where = parseAddress(options.listen, { listen: true });
  assertListenAllowed(where, options.insecure);
  const server = createHttp({ headersTimeout: HEADER_TIMEOUT_MS, requestTimeout: HEADER_TIMEOUT_MS });
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    request.resume();
    answer(options, request, response).catch(() => response.destroy());
  });
  const port = await listen(server, where.host, where.port);
  let stopping: Promise<void> | undefined;
  return {
    address: formatAddress({ host: where.host, port }),
    stop: () => {
      stopping ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return stopping;
    },
  };
}
