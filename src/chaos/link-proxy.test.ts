/** Each thing that a flow can do takes effect on real sockets, and is undone. */
import { once } from 'node:events';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRandom } from '../common/random.ts';
import { CLEAR, Flow, LinkProxy } from './link-proxy.ts';
import { eventually, freePort } from './process.ts';

/** A server that answers every byte with itself, behind a proxy. */
class Echo {
  readonly there = new Flow('a', 'b', createRandom(1));
  readonly back = new Flow('b', 'a', createRandom(2));
  readonly sockets = new Set<Socket>();
  received = 0;
  port = 0;
  proxy!: LinkProxy;
  private server!: Server;

  async start(): Promise<void> {
    this.server = createServer((socket) => {
      this.sockets.add(socket);
      socket.on('data', (chunk: Buffer) => {
        this.received += chunk.byteLength;
        socket.write(chunk);
      });
      socket.on('error', () => {});
      socket.on('close', () => this.sockets.delete(socket));
    });
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    const { port } = this.server.address() as { port: number };
    this.proxy = new LinkProxy({ host: '127.0.0.1', port }, this.there, this.back);
    this.port = await freePort(new Set());
    await this.proxy.listen(this.port);
  }

  stop(): void {
    this.proxy.close();
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

/** A client of it. */
class Caller {
  readonly socket: Socket;
  text = '';
  ended = false;
  error: NodeJS.ErrnoException | null = null;

  constructor(port: number) {
    this.socket = dial({ port, host: '127.0.0.1' });
    this.socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
    });
    this.socket.on('error', (error) => {
      this.error = error;
    });
    this.socket.on('close', () => {
      this.ended = true;
    });
  }

  async hears(text: string): Promise<void> {
    await eventually(`"${text}"`, (missing) => (this.text === text ? true : missing(this.text)), 5_000);
  }
}

let echo: Echo;
let caller: Caller;
beforeEach(async () => {
  echo = new Echo();
  await echo.start();
  caller = new Caller(echo.port);
  caller.socket.write('one');
  await caller.hears('one');
});
afterEach(() => {
  caller.socket.destroy();
  echo.stop();
});

describe('a flow', () => {
  it('that is cut delivers nothing, and after the heal all of it in order', async () => {
    echo.there.set({ cut: true });
    const before = echo.received;
    for (const part of ['two', 'three', 'four']) caller.socket.write(part);
    await eventually('it to be held', () => (echo.there.held === 12 ? true : null), 5_000);
    expect(echo.received).toBe(before);
    echo.there.set(CLEAR);
    await caller.hears('onetwothreefour');
    expect(echo.there.held).toBe(0);
  });

  it('is cut one way only', async () => {
    echo.back.set({ cut: true });
    caller.socket.write('two');
    await eventually('it to be heard', () => (echo.received === 6 ? true : null), 5_000);
    expect(caller.text).toBe('one');
    echo.back.set(CLEAR);
    await caller.hears('onetwo');
  });

  it('that is cut keeps new connections waiting, and ends from the other side', async () => {
    echo.there.set({ cut: true });
    echo.back.set({ cut: true });
    const late = new Caller(echo.port);
    late.socket.write('late');
    caller.socket.end('end');
    await eventually('it to be held', () => (echo.there.held === 7 ? true : null), 5_000);
    for (const socket of echo.sockets) expect(socket.readableEnded).toBe(false);
    echo.there.set(CLEAR);
    echo.back.set(CLEAR);
    await late.hears('late');
    await caller.hears('oneend');
    await eventually('the end', () => (caller.ended ? true : null), 5_000);
    late.socket.destroy();
  });

  it('takes its time, and keeps the order under jitter', async () => {
    echo.there.set({ delayMs: 150, jitterMs: 100 });
    const start = performance.now();
    for (let part = 0; part < 20; part += 1) {
      caller.socket.write(String.fromCharCode(97 + part));
      await delay(5);
    }
    await caller.hears('oneabcdefghijklmnopqrst');
    expect(performance.now() - start).toBeGreaterThan(200);
  });

  it('carries no more than its bandwidth', async () => {
    echo.there.set({ bytesPerSecond: 100_000 });
    const start = performance.now();
    caller.socket.write(Buffer.alloc(50_000, 'x'));
    await eventually('all of it', () => (echo.received === 50_003 ? true : null), 10_000);
    expect(performance.now() - start).toBeGreaterThan(400);
  });

  it('that is deaf fills the buffers of the sender, and holds a bounded part', async () => {
    echo.there.set({ deaf: true });
    const chunk = Buffer.alloc(1024 * 1024, 'x');
    for (let sent = 0; sent < 32; sent += 1) caller.socket.write(chunk);
    await delay(300);
    expect(caller.socket.writableLength).toBeGreaterThan(16 * 1024 * 1024);
    expect(echo.there.held).toBeLessThan(1024 * 1024);
    echo.there.set(CLEAR);
    await eventually('all of it', () => (echo.received === 32 * 1024 * 1024 + 3 ? true : null), 20_000);
  });

  it('that is cut holds a bounded part', async () => {
    echo.there.set({ cut: true });
    caller.socket.write(Buffer.alloc(8 * 1024 * 1024, 'x'));
    await delay(300);
    expect(echo.there.held).toBeLessThan(1.2 * 1024 * 1024);
  });
});

describe('a proxy', () => {
  it('resets connections: both sides notice', async () => {
    expect(echo.proxy.reset()).toBe(1);
    await eventually('the end', () => (caller.ended && echo.sockets.size === 0 ? true : null), 5_000);
    expect(caller.error?.code).toBe('ECONNRESET');
    const next = new Caller(echo.port);
    next.socket.write('next');
    await next.hears('next');
    next.socket.destroy();
  });

  it('leaves connections half open: one side notices nothing until they are mended', async () => {
    expect(echo.proxy.halfOpen()).toBe(1);
    await eventually('the end of one side', () => (echo.sockets.size === 0 ? true : null), 5_000);
    caller.socket.write('lost');
    await delay(200);
    expect(caller.ended).toBe(false);
    expect(echo.received).toBe(3);
    echo.proxy.mend();
    await eventually('the end', () => (caller.ended ? true : null), 5_000);
  });

  it('passes the end of either side on', async () => {
    for (const socket of echo.sockets) socket.end();
    await once(caller.socket, 'end');
    await eventually('the end', () => (echo.proxy.connections === 0 ? true : null), 5_000);
  });

  it('refuses what its target refuses, and forgets it', async () => {
    echo.stop();
    const proxy = new LinkProxy({ host: '127.0.0.1', port: echo.port }, echo.there, echo.back);
    const port = await freePort(new Set());
    await proxy.listen(port);
    const refused = new Caller(port);
    await eventually('the end', () => (refused.ended && proxy.connections === 0 ? true : null), 5_000);
    proxy.close();
  });
});
