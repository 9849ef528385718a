import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openInput } from './input.ts';
import { type Line, START } from './line-splitter.ts';

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
  path = join(directory, 'records.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true }));

async function read(resumeAt: Line | null): Promise<{ readonly from: number; readonly lines: Line[] }> {
  const input = await openInput(path, resumeAt, 1_000);
  const lines: Line[] = [];
  for await (const line of input.lines) lines.push(line);
  return { from: input.position.number, lines };
}

describe('openInput', () => {
  it('goes on after every line of a file, also one that has grown since', async () => {
    writeFileSync(path, '\ufeffone\r\ntwo\nthree\n');
    const { lines } = await read(null);
    expect(lines).toHaveLength(3);
    writeFileSync(path, '\ufeffone\r\ntwo\nthree\nfour');
    const grown = (await read(null)).lines;
    for (const line of lines) {
      const rest = await read(line);
      expect(rest.from).toBe(line.number);
      expect(rest.lines).toEqual(grown.slice(line.number));
    }
  });

  it('starts anew when the file has changed before the place, or is shorter', async () => {
    writeFileSync(path, 'one\ntwo\nthree\n');
    const second = (await read(null)).lines[1]!;
    for (const text of ['one\ntwx\nthree\n', 'one\n', '']) {
      writeFileSync(path, text);
      expect((await read(second)).from).toBe(START.number);
    }
  });

  it('rejects for a missing file and for a directory', async () => {
    await expect(openInput(path, null, 1_000)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(openInput(directory, null, 1_000)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
