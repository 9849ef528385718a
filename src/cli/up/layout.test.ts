import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Layout, openLayout, readRunning, type WantedShape, wantNodes } from './layout.ts';

let root: string;
let directory: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
  directory = join(root, 'data');
});
afterEach(() => rmSync(root, { recursive: true }));

/** Opens, looks, closes. */
async function look<T>(wanted: WantedShape, see: (layout: Layout) => T): Promise<T> {
  const layout = await openLayout(directory, wanted);
  try {
    return see(layout);
  } finally {
    await layout.close();
  }
}

async function form(wanted: WantedShape): Promise<void> {
  await look(wanted, (layout) => layout.save({ router: '127.0.0.1:7400', n1: '127.0.0.1:7500' }, true));
}

describe('openLayout', () => {
  it('makes a new directory with the default shape, or as many copies as there are nodes', async () => {
    expect(await look({}, ({ shape, existed }) => ({ ...shape, existed }))).toEqual({
      nodes: 3,
      replicationFactor: 3,
      partitions: 12,
      existed: false,
    });
    expect(await look({ nodes: 1 }, ({ shape }) => shape.replicationFactor)).toBe(1);
    expect(await look({ nodes: 2 }, ({ shape }) => shape.replicationFactor)).toBe(2);
    await expect(look({ nodes: 2, replicationFactor: 3 }, () => {})).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  it('keeps the shape and the addresses of a cluster whose nodes were started', async () => {
    await form({ nodes: 4, partitions: 8 });
    const again = await look({}, ({ shape, existed, addresses }) => ({ shape, existed, addresses }));
    expect(again).toEqual({
      shape: { nodes: 4, replicationFactor: 3, partitions: 8 },
      existed: true,
      addresses: { router: '127.0.0.1:7400', n1: '127.0.0.1:7500' },
    });
  });

  it('takes more nodes, and refuses to leave nodes out or to change the rest', async () => {
    await form({ nodes: 3, partitions: 8 });
    expect(await look({ nodes: 3 }, (layout) => layout.nodeNames())).toEqual(['n1', 'n2', 'n3']);
    expect(await look({ nodes: 5 }, ({ shape }) => shape.nodes)).toBe(5);
    for (const wanted of [{ nodes: 2 }, { partitions: 16 }, { replicationFactor: 1 }]) {
      await expect(look(wanted, () => {})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });

  it('takes what `scale` asks of it once, and forgets what was asked of an earlier one', async () => {
    await form({ nodes: 3 });
    expect(readRunning(directory)).toEqual({ nodes: 3, router: expect.any(String) });
    wantNodes(directory, 4);
    expect(await look({}, (layout) => layout.takeWanted())).toBeNull();
    const taken = await look({}, (layout) => {
      wantNodes(directory, 5);
      return [layout.takeWanted(), layout.takeWanted()];
    });
    expect(taken).toEqual([5, null]);
    const same = await look({}, (layout) => {
      wantNodes(directory, 3);
      return layout.takeWanted();
    });
    expect(same).toBeNull();
  });

  it('lets a shape change as long as no node was started', async () => {
    await look({ nodes: 5 }, () => {});
    expect(await look({ nodes: 3 }, ({ shape }) => shape.nodes)).toBe(3);
  });

  it('refuses a directory that somebody else fills, and leaves no trace in it', async () => {
    mkdirSync(directory);
    writeFileSync(join(directory, 'letter.txt'), 'dear');
    await expect(look({}, () => {})).rejects.toThrow(/INVALID_ARGUMENT.*letter\.txt/);
    expect(readdirSync(directory)).toEqual(['letter.txt']);
  });

  it('refuses a file in the place of the directory', async () => {
    writeFileSync(directory, '');
    await expect(look({}, () => {})).rejects.toThrow(/INVALID_ARGUMENT.*a file in its place/);
    directory = join(directory, 'below');
    await expect(look({}, () => {})).rejects.toThrow(/INVALID_ARGUMENT.*a file in the place of one/);
  });

  it.skipIf(!existsSync('/proc/self'))(
    'refuses a place where no directory can be made, and ends',
    async () => {
      for (directory of ['/proc/ringkeep', '/proc/ringkeep/below']) {
        await expect(look({}, () => {})).rejects.toThrow(/INVALID_ARGUMENT.*no directory can be made there/);
      }
    },
  );

  it('refuses a newer format and a damaged file, and changes neither', async () => {
    await form({});
    const path = join(directory, 'up.json');
    const saved = JSON.parse(readFileSync(path, 'utf8'));
    for (const [text, code] of [
      [JSON.stringify({ ...saved, format: 2 }), 'FORMAT_TOO_NEW'],
      ['{"format":1', 'DAMAGED'],
      ['null', 'DAMAGED'],
      ['{"format":1,"nodes":0}', 'DAMAGED'],
    ] as const) {
      writeFileSync(path, text);
      await expect(
        look({}, () => {}),
        text,
      ).rejects.toMatchObject({ code });
      expect(readFileSync(path, 'utf8')).toBe(text);
    }
  });

  it('is held by one at a time', async () => {
    const layout = await openLayout(directory, {});
    await expect(openLayout(directory, {})).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
    await layout.close();
    await look({}, () => {});
  });

  it('removes a temporary directory when it is closed', async () => {
    const layout = await openLayout(null, { nodes: 1 });
    writeFileSync(layout.logOf('n1'), 'log');
    expect(existsSync(layout.directory)).toBe(true);
    await layout.close();
    expect(existsSync(layout.directory)).toBe(false);
  });
});
