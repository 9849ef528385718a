/**
 * An in-memory topology store for controller tests: compare-and-swap by revision, outcomes that can be scripted. It
 * checks every write against the record rules and that an epoch has one leader for ever.
 */
import { assert } from '../../src/common/errors.ts';
import type { Leader, PartitionRecord } from '../../src/common/topology.ts';
import { checkRebuilt, sameLeader, transitionProblem } from '../../src/router/controller/record-rules.ts';
import type { CasEffect, CasOutcome, StoreEntry, StoreKey } from '../../src/router/controller/types.ts';

/** What the next compare-and-swaps do; 'lost' and 'landed' both answer "unknown". */
export type Script = 'ok' | 'lost' | 'landed';

export class ScriptedStore {
  entries = new Map<StoreKey, StoreEntry>();
  /** Consulted once per compare-and-swap; default 'ok'. */
  script: (effect: CasEffect) => Script = () => 'ok';
  /** Every write of a partition record that took effect. */
  readonly history: PartitionRecord[] = [];
  private leaders = new Map<string, Leader>();

  cas(effect: CasEffect): CasOutcome {
    const script = this.script(effect);
    if (script === 'lost') return 'unknown';
    const fits = effect.changes.every(
      ({ entry, expectedRevision }) => (this.entries.get(entry.key)?.revision ?? 0) === expectedRevision,
    );
    if (!fits) return script === 'landed' ? 'unknown' : 'conflict';
    for (const { entry } of effect.changes) {
      if (entry.key.startsWith('partition/')) this.check(entry.value as PartitionRecord);
      this.entries.set(entry.key, entry);
    }
    return script === 'landed' ? 'unknown' : 'ok';
  }

  read(keys: readonly StoreKey[]): StoreEntry[] {
    return keys.flatMap((key) => this.entries.get(key) ?? []);
  }

  all(): StoreEntry[] {
    return [...this.entries.values()];
  }

  record(partition: number): PartitionRecord {
    const entry = this.entries.get(`partition/${partition}`);
    assert(entry !== undefined, `partition ${partition} has a record`);
    return entry.value as PartitionRecord;
  }

  records(): PartitionRecord[] {
    return this.all()
      .filter((entry) => entry.key.startsWith('partition/'))
      .map((entry) => entry.value as PartitionRecord);
  }

  /** Loses or restores everything, as an operator's mistake would. */
  restore(entries: readonly StoreEntry[]): void {
    this.entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  private check(next: PartitionRecord): void {
    const entry = this.entries.get(`partition/${next.partition}`);
    const old = entry === undefined ? null : (entry.value as PartitionRecord);
    if (next.revision > (old?.revision ?? 0) + 1) checkRebuilt(old, next);
    else assert(transitionProblem(old, next) === '', `illegal write: ${transitionProblem(old, next)}`);
    if (next.leader !== null) {
      const key = `${next.partition}/${next.epoch}`;
      const known = this.leaders.get(key);
      assert(known === undefined || sameLeader(known, next.leader), `two leaders in epoch ${key}`);
      this.leaders.set(key, next.leader);
    }
    this.history.push(next);
  }
}
