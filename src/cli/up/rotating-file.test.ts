import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RotatingFile } from './rotating-file.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('RotatingFile', () => {
  it('keeps the newest pieces, whole, in two files of bounded size', () => {
    const path = join(directory, 'n1.log');
    const file = new RotatingFile(path, 100);
    for (let n = 0; n < 1_000; n++) file.write(Buffer.from(`line ${String(n).padStart(4, '0')}\n`));
    file.close();
    expect(readdirSync(directory).sort()).toEqual(['n1.log', 'n1.log.1']);
    const older = readFileSync(`${path}.1`, 'utf8');
    const newer = readFileSync(path, 'utf8');
    expect(statSync(`${path}.1`).size).toBeLessThanOrEqual(100);
    expect(statSync(path).size).toBeLessThanOrEqual(100);
    const lines = (older + newer).trim().split('\n');
    expect(lines).toEqual(
      Array.from(
        { length: lines.length },
        (_, n) => `line ${String(1_000 - lines.length + n).padStart(4, '0')}`,
      ),
    );
    expect(lines.length).toBeGreaterThan(10);
  });

  it('goes on in the file of an earlier run', () => {
    const path = join(directory, 'n1.log');
    for (const text of ['first\n', 'second\n']) {
      const file = new RotatingFile(path, 100);
      file.write(Buffer.from(text));
      file.close();
    }
    expect(readFileSync(path, 'utf8')).toBe('first\nsecond\n');
  });

  it('loses lines, and nothing else, when the file cannot be written', () => {
    const gone = join(directory, 'gone');
    const file = new RotatingFile(join(gone, 'n1.log'), 100);
    expect(() => file.write(Buffer.from('lost\n'))).not.toThrow();
    file.close();
    expect(readdirSync(directory)).toEqual([]);
  });
});
