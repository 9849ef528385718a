/** Deliberate bugs in the WAL, checkpoints and snapshots: what is durable, and what a copy holds. */
import { COPIES, type Mutant, REPAIRS, RESTLESS, SPLITS } from './mutant.ts';

export const STORAGE_MUTANTS: readonly Mutant[] = [
  {
    name: 'a group of the WAL is durable without an fsync',
    seed: 4,
    breaks: '5',
    file: 'src/node/wal/segment-files.ts',
    from: `      file.sync((syncError) => {
        if (syncError === null) segment.bytes += length;
        done(syncError, true);
      });`,
    to: `      segment.bytes += length;
      done(null, true);`,
    caught: /invariant 5: .* recovered something else/,
    options: { faults: { crash: 20 } },
  },
  {
    name: 'an fsync counts for what was appended while it was under way',
    seed: 1,
    breaks: '5',
    file: 'src/node/wal/writer.ts',
    from: 'if (group.callerLsn !== 0) this.#listener.durable(group.callerLsn);',
    to: 'if (group.callerLsn !== 0) this.#listener.durable(this.#building.callerLsn || group.callerLsn);',
    caught: /invariant 5: .* recovered something else/,
    options: { ...RESTLESS, faults: { crash: 40 } },
  },
  {
    name: 'the head of the WAL goes before what was written again is durable',
    seed: 29,
    breaks: '5',
    file: 'src/node/wal/writer.ts',
    from: 'if (cut === null || this.#durableLsn < cut.lsn) return;',
    to: 'if (cut === null) return;',
    caught: /invariant 5: .* recovered something else/,
    options: { ...RESTLESS, faults: { crash: 40 } },
  },
  {
    // The places of copies count once they are durable, so that the cut alone would stop at the originals.
    name: 'the head of the WAL goes before the copies of its entries are durable',
    breaks: '5',
    file: 'src/node/wal/writer.ts',
    from: 'if (cut === null || this.#durableLsn < cut.lsn) return;',
    to: 'if (cut === null) return;',
    also: [
      {
        file: 'src/node/wal/writer.ts',
        from: 'const segment = firstNeeded(this.#logs, cut.floors, cut.segment);',
        to: 'const { segment } = cut;',
      },
    ],
    caught: /at any event between the call and the end of the cut loses nothing/,
    suite: 'src/node/wal/copies.test.ts',
  },
  {
    name: 'a replay begins a log anew at the first copy of a run',
    breaks: '5',
    file: 'src/node/wal/replay.ts',
    from: '    const isNext = header.index',
    to: `    if (run === null) log.reset(header.index, header.epoch);
    const isNext = header.index`,
    caught: /at any event between the call and the end of the cut loses nothing/,
    suite: 'src/node/wal/copies.test.ts',
  },
  {
    name: 'the manifest does not say that the copies were durable',
    breaks: '5',
    file: 'src/node/wal/segment-files.ts',
    from: 'this.#writeManifest(kept, durableLsn);',
    to: 'this.#writeManifest(kept, 0);',
    caught: /every flipped bit of the only copies/,
    suite: 'src/node/wal/damage.test.ts',
  },
  {
    name: 'the head of the WAL is dropped without a sync of the store',
    seed: 9,
    breaks: 'G1',
    file: 'src/node/core/checkpoints.ts',
    from: `    this.host.store({
      kind: 'sync',
      done: (error) => {
        if (error !== null) throw error;
        this.finish(handed);
      },
    });`,
    to: '    this.finish(handed);',
    caught: /is found damaged, but nothing has damaged it/,
    options: { ...RESTLESS, faults: { crash: 20 } },
  },
  {
    name: 'a snapshot is switched to without a sync of the store',
    seed: 3,
    breaks: 'G1',
    file: 'src/node/core/snapshot-receiver.ts',
    from: `    this.host.store({
      kind: 'sync',
      done: (error) => {`,
    to: `    this.host.store({
      kind: 'openView',
      done: (error) => {`,
    caught: /is found damaged, but nothing has damaged it/,
    options: { ...REPAIRS, faults: { ...REPAIRS.faults, crash: 60 } },
  },
  {
    name: 'a chunk of a snapshot is lost',
    seed: 7,
    breaks: '9',
    file: 'src/node/core/snapshot-receiver.ts',
    from: '      batch,\n      done: (error) => {',
    to: '      batch: chunk.cursor.byteLength === 0 ? batch : batch.slice(1),\n      done: (error) => {',
    caught: /at \d+ has|rows of/,
    options: REPAIRS,
  },
  {
    name: 'a snapshot does not raise the promise of its receiver',
    seed: 2,
    breaks: '5',
    file: 'src/node/core/replica.ts',
    from: 'if (epoch !== this.meta.promiseEpoch || this.leadership !== null) return;',
    to: 'if (epoch < this.meta.promiseEpoch || this.leadership !== null) return;',
    also: [
      {
        // The append that does not fit has brought the promise along.
        file: 'src/node/core/follower.ts',
        from: '      replica.adopt(epoch, append);',
        to: `      if (append.prevIndex > replica.log.lastIndex)
        return this.noteMismatch(leader, epoch, append.sentAt, replica.log.lastIndex);
      replica.adopt(epoch, append);`,
      },
      {
        file: 'src/node/core/replica.ts',
        from: `    assert(
      this.meta.promiseEpoch >= mark.epoch,
      'the promise is at or above every entry, snapshots included',
    );
`,
        to: '',
      },
    ],
    caught: /invariant 5: .* holds an entry of/,
    options: REPAIRS,
  },
  {
    name: 'a snapshot puts back the promise of when it was offered',
    seed: 25,
    breaks: '5',
    file: 'src/node/core/replica.ts',
    from: 'this.setMeta({ ...this.meta, generation, baseIndex: mark.index, baseEpoch: mark.epoch });',
    to: `const { promiseEpoch } = receiver as unknown as { promiseEpoch: number };
    this.setMeta({ ...this.meta, promiseEpoch, generation, baseIndex: mark.index, baseEpoch: mark.epoch });`,
    also: [
      {
        file: 'src/node/core/snapshot-receiver.ts',
        from: '    this.generation = host.nextGeneration();',
        to: `    this.generation = host.nextGeneration();
    Object.assign(this, { promiseEpoch: replica.meta.promiseEpoch });`,
      },
      {
        file: 'src/node/core/replica.ts',
        from: "    assert(meta.promiseEpoch >= this.meta.promiseEpoch, 'a promise never decreases');\n",
        to: '',
      },
    ],
    caught: /invariant 5: .* lowers its promise/,
    options: {
      faultEveryMs: 300,
      faultMs: 6_000,
      shape: { nodes: 4, replicationFactor: 3, partitions: 1 },
      faults: { ...SPLITS.faults, split: 0, overtake: 40 },
    },
  },
  {
    name: 'deduplication is lost in a snapshot',
    seed: 3,
    breaks: '11',
    file: 'src/node/core/snapshot-receiver.ts',
    from: '    this.sessions = sessions;',
    to: '    this.sessions = sessions === null ? null : new Sessions(this.replica.sessionLimits);',
    // The scrub may be first: the rows of the receiver differ from those of a quorum.
    caught: /at \d+ has|invariant 6|invariant 11|is found damaged, but nothing has damaged it/,
    options: REPAIRS,
  },
  {
    name: 'the deduplication table is lost at a restart',
    seed: 2,
    breaks: '11',
    file: 'src/node/core/replica-set.ts',
    from: '    this.add(partition, meta, log, state);',
    to: '    this.add(partition, meta, log, { ...state, sessions: new Sessions(this.limits()) });',
    caught: /at \d+ has|invariant 6|invariant 11/,
    options: RESTLESS,
  },
  {
    name: 'an old copy of a directory is admitted',
    seed: 3,
    breaks: '9',
    file: 'src/router/controller/runs.ts',
    from: 'if (last === undefined || register.runs.includes(last.run) || last.boot < register.admittedBoot)',
    to: 'if (last === undefined || register.runs.length > 0)',
    caught: /invariant 9: damaged or wiped/,
    options: COPIES,
  },
  {
    name: 'an old copy of a directory is admitted that ends before the log that was heard of',
    seed: 1,
    breaks: '9',
    file: 'src/router/controller/nodes.ts',
    from: 'durableLsn < lsn ?',
    to: 'lsn < 0 ?',
    caught: /invariant 9: damaged or wiped/,
    options: COPIES,
  },
  {
    name: 'the log end that a node tells leaves out what the WAL writes on its own account',
    seed: 24,
    breaks: '9',
    file: 'src/node/wal/writer.ts',
    from: 'return this.#durableLsn;',
    to: 'return this.#durableLsn - this.#ownRecords;',
    caught: /invariant 9: damaged or wiped|invariant 9: nobody has noticed/,
    options: COPIES,
  },
  {
    name: 'the log end that a node tells counts what it has written before it was admitted',
    breaks: '9',
    file: 'src/node/format.ts',
    from: 'return fields.logEnd ?? durableLsn;',
    to: 'return durableLsn;',
    caught: /a copy of a directory tells of a shorter log/,
    suite: 'src/node/format.test.ts',
  },
  {
    name: 'every start notes anew where the log ended',
    breaks: '9',
    file: 'src/node/format.ts',
    from: 'if (fields.logEnd === undefined) save(',
    to: 'save(',
    caught: /a copy of a directory tells of a shorter log/,
    suite: 'src/node/format.test.ts',
  },
  {
    name: 'an old copy of a directory is admitted at its second start',
    seed: 47,
    breaks: '9',
    file: 'src/router/controller/runs.ts',
    from: 'if (last === undefined || register.runs.includes(last.run) || last.boot < register.admittedBoot)',
    to: 'if (last === undefined || register.runs.includes(last.run) || register.runs.length > 2)',
    caught: /invariant 9: damaged or wiped/,
    options: COPIES,
  },
  {
    name: 'what an old copy of a directory held counts on after it was found out',
    seed: 1,
    breaks: '9',
    file: 'src/node/core/replica-set.ts',
    from: 'this.foreignProblem(meta) ?? restoreProblem',
    to: 'restoreProblem',
    caught: /invariant 9: damaged or wiped/,
    options: COPIES,
  },
  {
    // A controller that knows the stored runs asks no old copy, and the simulated ones learn of them too soon to do otherwise.
    name: 'a node answers Seals before it is admitted',
    breaks: '9',
    file: 'src/node/core/node-core.ts',
    from: 'if (this.admitted) this.replicas.byPartition.get(seal.partition)?.onSeal(seal);',
    to: 'this.replicas.byPartition.get(seal.partition)?.onSeal(seal);',
    caught: /promises nothing before it is admitted/,
    suite: 'src/node/core/replica.test.ts',
  },
  {
    name: 'a node answers its peers before it is admitted',
    seed: 17,
    breaks: '9',
    file: 'src/node/core/node-core.ts',
    from: 'if (!this.admitted) return;',
    to: '',
    caught: /invariant 9: damaged or wiped/,
    options: COPIES,
  },
  {
    name: 'a directory does not remember the runs since the one that it knows to be admitted',
    seed: 73,
    breaks: '13',
    file: 'src/node/format.ts',
    from: 'runs: [...(found?.runs ?? []), newId()].slice(-RUNS_MAX),',
    to: 'runs: [newId()],',
    caught: /n\d is rejected: /,
    options: COPIES,
  },
];
