/**
 * Compares what replicas write to their stores with the ghost: every batch that moves the applied index carries the
 * values that the ghost has at that index, and a whole copy equals the ghost's state at its applied index. So replicas
 * at equal applied indexes have equal rows.
 * It does not look into tables other than values and the applied mark.
 */
import { toLatin1 } from '../../src/common/bytes.ts';
import {
  type AppliedMark,
  decodeApplied,
  decodeValue,
  expiryRow,
  openRow,
  storeRange,
  TABLE_EXPIRIES,
  TABLE_META,
  TABLE_VALUES,
} from '../../src/node/core/layout.ts';
import type { StoreRow, StoreWrite } from '../../src/node/store.ts';
import type { GhostPartition, KeyState } from './ghost.ts';
import type { SimStore } from './sim-store.ts';
import type { World } from './world.ts';

const NO_ROW = new Uint8Array(0);

interface StoreKey {
  readonly partition: number;
  readonly generation: number;
  readonly table: number;
  readonly row: Uint8Array;
}

function parseStoreKey(bytes: Uint8Array): StoreKey {
  const buffer = Buffer.from(bytes);
  return {
    partition: buffer.readUInt32BE(0),
    generation: buffer.readUInt32BE(4),
    table: buffer.readUInt8(8),
    row: buffer.subarray(9),
  };
}

/** The row checks of one simulation. */
export class RowChecks {
  private readonly world: World;
  private readonly ghosts: readonly GhostPartition[];

  constructor(world: World, ghosts: readonly GhostPartition[]) {
    this.world = world;
    this.ghosts = ghosts;
  }

  /** Checks a batch that a core hands to its store. Batches without an applied mark are parts of a snapshot. */
  batch(node: string, batch: readonly StoreWrite[]): void {
    for (const write of batch) {
      const key = parseStoreKey(write.key);
      if (key.table !== TABLE_META || write.value === null) continue;
      const mark = decodeApplied(openRow(key.row, write.value));
      this.checkMark(node, key.partition, mark);
      for (const other of batch) {
        const at = parseStoreKey(other.key);
        if (at.partition !== key.partition || at.generation !== key.generation) continue;
        if (at.table === TABLE_VALUES) this.checkValue(node, at, other.value, mark);
      }
    }
  }

  /** Reads a whole copy of a partition from the store and compares it; `done` is told its applied index. */
  copy(
    node: string,
    store: SimStore,
    partition: number,
    generation: number,
    done: (applied: number) => void,
  ): void {
    const { from, to } = storeRange(partition, generation);
    store.openView((error, view) => {
      if (error !== null || view === undefined) return;
      view.read(from, to, Number.POSITIVE_INFINITY, (failed, result) => {
        if (failed === null && result !== undefined) done(this.checkCopy(node, partition, result.rows));
      });
    });
  }

  private checkCopy(node: string, partition: number, rows: readonly StoreRow[]): number {
    const parsed = rows.map((row) => ({ key: parseStoreKey(row.key), value: row.value }));
    const meta = parsed.find(({ key }) => key.table === TABLE_META);
    if (meta === undefined) return 0;
    const mark = decodeApplied(openRow(NO_ROW, meta.value));
    this.checkMark(node, partition, mark);
    const values = parsed.filter(({ key }) => key.table === TABLE_VALUES);
    for (const { key, value } of values) this.checkValue(node, key, value, mark);
    const ghost = this.ghost(partition);
    const expiries = new Set(
      parsed.filter(({ key }) => key.table === TABLE_EXPIRIES).map(({ key }) => toLatin1(key.row)),
    );
    const expected = ghost.present(mark.index);
    for (const name of expected) {
      const { expiresAt } = ghost.stateAt(name, mark.index);
      const row = expiresAt === 0 ? '' : toLatin1(expiryRow(expiresAt, Buffer.from(name, 'latin1')));
      this.world.check(
        row === '' || expiries.has(row),
        () =>
          `${node} p${partition} at ${mark.index} would never end ${JSON.stringify(name)}, due at ${expiresAt}`,
      );
    }
    this.world.check(values.length === expected.length, () => {
      const found = new Set(values.map(({ key }) => toLatin1(key.row)));
      const missing = expected.filter((key) => !found.has(key)).join(', ');
      return `${node} p${partition} at ${mark.index} has ${values.length} rows of ${expected.length}: without ${missing}`;
    });
    return mark.index;
  }

  private checkMark(node: string, partition: number, mark: AppliedMark): void {
    const ghost = this.ghost(partition);
    this.world.check(
      mark.index <= ghost.length && mark.epoch === ghost.epochAt(mark.index),
      () =>
        `invariant 4: ${node} p${partition} applies ${mark.epoch}:${mark.index}, ` +
        `committed is ${ghost.epochAt(mark.index)}:${mark.index} of ${ghost.length}`,
    );
  }

  private checkValue(node: string, key: StoreKey, value: Uint8Array | null, mark: AppliedMark): void {
    const name = toLatin1(key.row);
    const expected = this.ghost(key.partition).stateAt(name, mark.index);
    const found = value === null ? 'absent' : describeValue(key.row, value);
    this.world.check(
      found === describeState(expected),
      () =>
        `${node} p${key.partition} at ${mark.index} has ${JSON.stringify(name)} = ${found}, ` +
        `committed is ${describeState(expected)}`,
    );
  }

  private ghost(partition: number): GhostPartition {
    const ghost = this.ghosts[partition];
    this.world.check(ghost !== undefined, () => `partition ${partition} does not exist`);
    return ghost;
  }
}

function describeValue(row: Uint8Array, bytes: Uint8Array): string {
  const stored = decodeValue(row, bytes);
  const content =
    stored.kind === 'counter' ? String(Buffer.from(stored.value).readBigInt64LE(0)) : toLatin1(stored.value);
  return `${stored.kind} ${content} version ${stored.version} until ${stored.expiresAt}`;
}

function describeState(state: KeyState): string {
  const { kind, content, index, expiresAt } = state;
  return kind === 'absent' ? 'absent' : `${kind} ${content} version ${index} until ${expiresAt}`;
}
