import { describe, expect, it } from 'vitest';
import { decodeValue } from '../../client/codec.ts';
import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import type { EncodedValue } from '../values.ts';
import { type BadLine, NOTHING_DONE } from './checkpoint.ts';
import { Importer, type ImporterOptions } from './importer.ts';
import { type Line, LineSplitter } from './line-splitter.ts';

/** A store whose writes end when the test says so. */
class SlowStore {
  readonly rows = new Map<string, unknown>();
  readonly open: { readonly key: string; finish(): void; fail(code: ErrorCode): void }[] = [];
  openMax = 0;

  readonly put = (key: string, { bytes, codec }: EncodedValue): Promise<void> =>
    new Promise((resolve, reject) => {
      expect(this.open.some((write) => write.key === key)).toBe(false);
      const leave = () => this.open.splice(this.open.indexOf(write), 1);
      const write = {
        key,
        finish: () => {
          leave();
          this.rows.set(key, decodeValue(codec, bytes));
          resolve();
        },
        fail: (code: ErrorCode) => {
          leave();
          reject(new RingkeepError(code, 'refused by the test'));
        },
      };
      this.open.push(write);
      this.openMax = Math.max(this.openMax, this.open.length);
    });
}

async function* lines(text: string): AsyncGenerator<Line> {
  const splitter = new LineSplitter(200);
  yield* splitter.push(Buffer.from(text, 'utf8'));
  yield* splitter.finish();
}

interface Run {
  readonly importer: Importer;
  readonly badLines: BadLine[];
  readonly result: Promise<boolean>;
}

function start(
  text: string | AsyncIterable<Line>,
  store: SlowStore,
  more: Partial<ImporterOptions> = {},
): Run {
  const badLines: BadLine[] = [];
  const importer = new Importer({
    keyField: 'id',
    codec: 'json',
    concurrency: 4,
    errorsMax: 100,
    done: NOTHING_DONE,
    put: store.put,
    onBadLine: (line) => badLines.push(line),
    onEnding: () => {},
    ...more,
  });
  const result = importer.run(typeof text === 'string' ? lines(text) : text);
  result.catch(() => {});
  return { importer, badLines, result };
}

/** Lets everything that can go on without the store go on. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Finishes open writes, the newest first, until the import has ended. */
async function finishAll(run: Run, store: SlowStore): Promise<boolean> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  run.result.then(end, end);
  while (!ended) {
    store.open.at(-1)?.finish();
    await settle();
  }
  return run.result;
}

function record(id: string, n = 0): string {
  return `${JSON.stringify({ id, n })}\n`;
}

describe('Importer', () => {
  it('imports every record, whatever order the writes end in, within the concurrency', async () => {
    const store = new SlowStore();
    const text = Array.from({ length: 50 }, (_, n) => record(`k${n}`, n)).join('');
    const run = start(text, store);
    expect(await finishAll(run, store)).toBe(true);
    expect(store.rows.size).toBe(50);
    expect(store.rows.get('k49')).toEqual({ id: 'k49', n: 49 });
    expect(store.openMax).toBe(4);
    expect(run.importer.counts).toEqual({ imported: 50, blank: 0, bad: 0 });
    expect(run.importer.position).toMatchObject({ number: 50, end: Buffer.byteLength(text) });
  });

  it('writes the records of one key one after the other, so that the last one wins', async () => {
    const store = new SlowStore();
    const run = start([1, 2, 3].map((n) => record('same', n) + record(`other${n}`)).join(''), store);
    expect(await finishAll(run, store)).toBe(true);
    expect(store.rows.get('same')).toEqual({ id: 'same', n: 3 });
  });

  it('takes numbers as keys, stores a line byte for byte, and leaves blank lines out', async () => {
    const store = new SlowStore();
    const stored: string[] = [];
    const put = (key: string, { bytes }: EncodedValue) => {
      stored.push(`${key}=${Buffer.from(bytes).toString('utf8')}`);
      return Promise.resolve();
    };
    const run = start('\n  \n{ "id": 7, "big": 12345678901234567890, "x": 1.0 }\n', store, { put });
    expect(await run.result).toBe(true);
    expect(stored).toEqual(['7={ "id": 7, "big": 12345678901234567890, "x": 1.0 }']);
    expect(run.importer.counts).toEqual({ imported: 1, blank: 2, bad: 0 });
  });

  it('reports bad lines with their numbers and goes on', async () => {
    const store = new SlowStore();
    const bad = ['not json', '[1]', '"text"', '{"no":1}', '{"id":null}', '{"id":{}}', 'x'.repeat(300)];
    const run = start(`${record('a')}${bad.join('\n')}\n${record('b')}`, store);
    expect(await finishAll(run, store)).toBe(true);
    expect(run.badLines.map(({ line }) => line)).toEqual([2, 3, 4, 5, 6, 7, 8]);
    expect(run.badLines.at(-1)?.code).toBe('VALUE_TOO_LARGE');
    expect([...store.rows.keys()].sort()).toEqual(['a', 'b']);
    expect(run.importer.position.number).toBe(9);
  });

  it('counts a record that the store refuses for what it is as a bad line', async () => {
    const store = new SlowStore();
    const run = start(record('a') + record('b'), store);
    await settle();
    store.open.find(({ key }) => key === 'a')?.fail('VALUE_TOO_LARGE');
    expect(await finishAll(run, store)).toBe(true);
    expect(run.badLines).toEqual([{ line: 1, code: 'VALUE_TOO_LARGE', message: 'refused by the test' }]);
    expect(run.importer.counts).toEqual({ imported: 1, blank: 0, bad: 1 });
  });

  it('gives up at too many bad lines, with the ones it put up with done', async () => {
    const store = new SlowStore();
    const run = start(`${record('a')}bad\nbad\nbad\n${record('b')}`, store, { errorsMax: 2 });
    await expect(finishAll(run, store)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(run.importer.position.number).toBe(3);
    expect(store.rows.has('b')).toBe(false);
  });

  it('gives up at the first error that is not the line’s own, and never passes that line', async () => {
    const store = new SlowStore();
    const text = Array.from({ length: 20 }, (_, n) => record(`k${n}`)).join('');
    const run = start(text, store);
    await settle();
    expect(store.open).toHaveLength(4);
    store.open.find(({ key }) => key === 'k1')?.fail('DEADLINE_EXCEEDED');
    await expect(finishAll(run, store)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(run.importer.position.number).toBe(1);
    expect([...store.rows.keys()].sort()).toEqual(['k0', 'k2', 'k3']);
  });

  it('ends what is open when it is told to stop, and a second run from there has every record', async () => {
    const store = new SlowStore();
    const text = Array.from({ length: 20 }, (_, n) => record(`k${n}`, n)).join('');
    const first = start(text, store);
    await settle();
    store.open.find(({ key }) => key === 'k0')?.finish();
    store.open.find(({ key }) => key === 'k2')?.finish();
    await settle();
    first.importer.stop();
    expect(await finishAll(first, store)).toBe(false);
    const { position } = first.importer;
    expect(position.number).toBe(6);
    const rest = new LineSplitter(200, position);
    const second = start(
      (async function* () {
        yield* rest.push(Buffer.from(text, 'utf8').subarray(position.end));
      })(),
      store,
      { done: first.importer.done },
    );
    expect(await finishAll(second, store)).toBe(true);
    expect(second.importer.counts.imported).toBe(14);
    expect(store.rows.size).toBe(20);
    expect(second.importer.position).toMatchObject({ number: 20, end: Buffer.byteLength(text) });
  });

  it('goes on with the bad lines of the run before: none is forgotten, none counted twice', async () => {
    const store = new SlowStore();
    const text = `bad\n${record('a')}${record('b')}bad\n${record('c')}bad\n`;
    const first = start(text, store, { concurrency: 2 });
    await settle();
    store.open.find(({ key }) => key === 'b')?.finish();
    await settle();
    // The bad lines 4 and 6 were met, but line 2 before them is not done.
    expect(first.importer.counts.bad).toBe(3);
    first.importer.abort(new Error('ENOSPC'));
    store.open.find(({ key }) => key === 'a')?.fail('DEADLINE_EXCEEDED');
    await expect(finishAll(first, store)).rejects.toThrow('ENOSPC');
    const { done } = first.importer;
    expect(done).toMatchObject({ number: 1, bad: 1, badLines: [{ line: 1, code: 'INVALID_ARGUMENT' }] });
    const rest = new LineSplitter(200, done);
    const lines = async function* () {
      yield* rest.push(Buffer.from(text, 'utf8').subarray(done.end));
    };
    const second = start(lines(), store, { done, errorsMax: 2 });
    await expect(finishAll(second, store)).rejects.toThrow(/more than 2 bad lines, the last one is line 6/);
    expect(second.importer.counts.bad).toBe(3);
    expect(second.importer.done).toMatchObject({ number: 5, bad: 2 });
    expect(second.importer.done.badLines.map(({ line }) => line)).toEqual([1, 4]);
  });

  it('ends a wait for input when it is told to stop', async () => {
    const store = new SlowStore();
    let close: () => void = () => {};
    const closed = new Promise<never>((_, reject) => {
      close = () => reject(new Error('premature close'));
    });
    async function* forever(): AsyncGenerator<Line> {
      yield* lines(record('a'));
      await closed;
    }
    const run = start(forever(), store, { onEnding: () => close() });
    await settle();
    store.open[0]?.finish();
    await settle();
    run.importer.stop();
    expect(await run.result).toBe(false);
    expect(run.importer.position.number).toBe(1);
  });

  it('fails with what it was aborted with, after what is open has ended', async () => {
    const store = new SlowStore();
    const run = start(record('a') + record('b'), store, { concurrency: 1 });
    await settle();
    run.importer.abort(new Error('ENOSPC'));
    await expect(finishAll(run, store)).rejects.toThrow('ENOSPC');
    expect([...store.rows.keys()]).toEqual(['a']);
  });

  it('fails when the input cannot be read, after what is open has ended', async () => {
    const store = new SlowStore();
    async function* broken(): AsyncGenerator<Line> {
      yield* lines(record('a'));
      throw new Error('EIO');
    }
    const run = start(broken(), store);
    await expect(finishAll(run, store)).rejects.toThrow('EIO');
    expect(store.rows.has('a')).toBe(true);
  });
});
