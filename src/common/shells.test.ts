import { afterEach, describe, expect, it } from 'vitest';
import { RingkeepError } from './errors.ts';
import { createHttpServer, type HttpServer } from './http.ts';
import { createLog, type LogLevel, levelFromEnvironment, silentLog } from './log.ts';
import { boundedLabel, Counter, createRegistry, OTHER_LABEL } from './metrics.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(healthy = true): Promise<HttpServer> {
  const registry = createRegistry({ process: 'node', node: 'n1' });
  new Counter({ name: 'ringkeep_test_total', help: 'h', registers: [registry] }).inc(3);
  const server = await createHttpServer({
    listen: '127.0.0.1:0',
    insecure: false,
    registry,
    health: () => ({ healthy, partitions: 48 }),
  });
  cleanups.push(() => server.stop());
  return server;
}

describe('the HTTP port', () => {
  it('gives metrics with the labels of the process', async () => {
    const server = await serve();
    const response = await fetch(`http://${server.address}/metrics?x=1`);
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toContain('ringkeep_test_total{process="node",node="n1"} 3');
    expect(text).toContain('process_resident_memory_bytes');
  });

  it('tells health by status and as JSON', async () => {
    const good = await fetch(`http://${(await serve(true)).address}/healthz`);
    expect([good.status, await good.json()]).toEqual([200, { healthy: true, partitions: 48 }]);
    const bad = await fetch(`http://${(await serve(false)).address}/healthz`);
    expect([bad.status, await bad.json()]).toEqual([503, { healthy: false, partitions: 48 }]);
  });

  it('answers nothing else', async () => {
    const server = await serve();
    expect((await fetch(`http://${server.address}/`)).status).toBe(404);
    const posted = await fetch(`http://${server.address}/metrics`, {
      method: 'POST',
      body: 'x'.repeat(100_000),
    });
    expect(posted.status).toBe(405);
  });

  it('refuses a taken port and the open network', async () => {
    const server = await serve();
    const registry = createRegistry({ process: 'node', node: 'n2' });
    const options = { insecure: false, registry, health: () => ({ healthy: true }) };
    await expect(createHttpServer({ ...options, listen: server.address })).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
    });
    await expect(createHttpServer({ ...options, listen: '0.0.0.0:0' })).rejects.toMatchObject({
      code: 'INSECURE_LISTEN',
    });
  });

  it('stops with connections open, twice', async () => {
    const server = await serve();
    await (await fetch(`http://${server.address}/healthz`)).text();
    await Promise.all([server.stop(), server.stop()]);
    await expect(fetch(`http://${server.address}/healthz`)).rejects.toThrow();
  });
});

describe('labels', () => {
  it('let so many values through and turn the rest into one', () => {
    const label = boundedLabel(2);
    expect(['a', 'b', 'a', 'c', 'd', 'b'].map(label)).toEqual(['a', 'b', 'a', OTHER_LABEL, OTHER_LABEL, 'b']);
  });
});

describe('the log', () => {
  function lines(level: LogLevel = 'info') {
    const written: string[] = [];
    const log = createLog({
      process: 'node',
      node: 'n1',
      level,
      destination: { write: (line) => written.push(line) },
    });
    return { log, parsed: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) };
  }

  it('writes one JSON line per event', () => {
    const { log, parsed } = lines();
    log.info('leader_established', { partition: 3, epoch: 9 });
    log.with({ partition: 4 }).warn('slow_fsync', { milliseconds: 80 });
    log.debug('not_at_this_level');
    expect(parsed()).toHaveLength(2);
    expect(parsed()[0]).toMatchObject({
      level: 'info',
      process: 'node',
      node: 'n1',
      event: 'leader_established',
      partition: 3,
      epoch: 9,
    });
    expect(Date.parse(String(parsed()[0]?.time))).toBeGreaterThan(1_600_000_000_000);
    expect(parsed()[1]).toMatchObject({ level: 'warn', partition: 4, milliseconds: 80 });
  });

  it('writes operating errors with code and outcome, others with a stack, and their causes', () => {
    const { log, parsed } = lines();
    const cause = new TypeError('inner');
    log.error('write_failed', {
      error: new RingkeepError('DISK_FULL', 'no space', 'not_applied', { cause }),
    });
    expect(parsed()[0]?.error).toMatchObject({
      code: 'DISK_FULL',
      outcome: 'not_applied',
      cause: { name: 'TypeError', message: 'inner' },
    });
  });

  it('takes its level from RINGKEEP_LOG, when that is one', () => {
    expect(levelFromEnvironment({ RINGKEEP_LOG: 'debug' })).toBe('debug');
    expect(levelFromEnvironment({ RINGKEEP_LOG: 'loud' })).toBe('info');
    expect(levelFromEnvironment({})).toBe('info');
    expect(() => silentLog.error('nothing')).not.toThrow();
  });
});
