/** Deliberate bugs in failover, reconfiguration and the identity of replicas: invariants 1, 3, 8, 9 and 13. */
import { ISOLATION, type Mutant, REPAIRS, RESTLESS, RESTORED, SPLITS, STRANDED } from './mutant.ts';

/** A learner is called level whatever it holds. */
const LEVEL_WITHOUT_ANYTHING = [
  {
    file: 'src/node/core/report.ts',
    from: "levelTarget: leadership?.levelTarget() ?? '',",
    to: "levelTarget: leadership?.pauseTarget ?? '',",
  },
  {
    file: 'src/node/core/leadership.ts',
    from: 'if (progress.votes || progress.match + LEVEL_ENTRIES < this.replica.log.commitIndex) continue;',
    to: 'if (progress.votes) continue;',
  },
  {
    file: 'src/node/core/leadership.ts',
    from: 'if (progress.match < Math.max(1, progress.copyUntil)) continue;',
    to: '',
  },
];

export const CONTROLLER_MUTANTS: readonly Mutant[] = [
  {
    name: 'an unknown outcome of the topology store counts as a success',
    seed: 6,
    breaks: '1',
    file: 'src/router/controller/store-view.ts',
    from: "if (outcome !== 'ok') {",
    to: "if (outcome === 'conflict') {",
    caught: /invariant 1/,
    options: { faultEveryMs: 80, faults: { store: 20 } },
  },
  {
    name: 'the winner is chosen by index alone',
    seed: 7,
    breaks: '3',
    file: 'src/router/controller/failover.ts',
    from: 'return a.lastEpoch - b.lastEpoch || a.lastIndex - b.lastIndex;',
    to: 'return a.lastIndex - b.lastIndex;',
    caught: /invariant [38]/,
    options: { ...ISOLATION, faults: { ...ISOLATION.faults, crash: 12 } },
  },
  {
    name: 'one answer to the Seals is enough',
    seed: 2,
    breaks: '3',
    file: 'src/router/controller/failover.ts',
    from: 'if (set.length === 0 || have >= quorumSize(set.length)) continue;',
    to: 'if (set.length === 0 || have >= 1) continue;',
    caught: /invariant 3/,
    options: SPLITS,
  },
  {
    name: 'the previous voters are not needed for a failover',
    seed: 10,
    breaks: '3',
    file: 'src/router/controller/failover.ts',
    from: "['previous voters', record.previousVoters],",
    to: "['previous voters', []],",
    caught: /invariant 3/,
    options: STRANDED,
  },
  {
    name: 'a learner that has nothing becomes a voter, and previousVoters is cleared before anything is committed',
    seed: 5,
    breaks: '8',
    file: 'src/node/core/report.ts',
    from: `    established: leadership?.serving ?? false,
    paused: leadership !== null && leadership.pauseTarget !== '',
    levelTarget: leadership?.levelTarget() ?? '',
    levelLearners: leadership?.levelLearners() ?? [],`,
    to: `    established: leadership !== null,
    paused: leadership !== null && leadership.pauseTarget !== '',
    levelTarget: leadership?.pauseTarget ?? '',
    levelLearners: [...(leadership?.progress.values() ?? [])].filter((p) => !p.votes).map((p) => p.replica.id),`,
    caught: /invariant [38]/,
    options: REPAIRS,
  },
  {
    name: 'the previous voters are given up before a failover though those that follow hold nothing of the epoch',
    seed: 119,
    breaks: '8',
    file: 'src/router/controller/failover.ts',
    from: 'report?.durableEpoch === epoch &&',
    to: 'report !== undefined &&',
    caught: /invariant [38]/,
    options: STRANDED,
  },
  {
    name: 'previousVoters is cleared before anything is committed',
    seed: 10,
    breaks: '8',
    file: 'src/router/controller/failover.ts',
    from: 'if (report?.ledEpoch !== record.epoch || !report.established) return false;',
    to: 'if (report?.ledEpoch !== record.epoch) return false;',
    caught: /invariant 8/,
    options: STRANDED,
  },
  {
    // Alone it breaks nothing that was ever met: new voters that are led include a learner that had everything. The
    // sets make that needless for safety, so the bug is tried without it.
    name: 'new voters are not kept with the previous ones',
    seed: 6,
    breaks: '8',
    file: 'src/router/controller/record-rules.ts',
    from: 'return { voters, previousVoters: present, led: false };',
    to: 'return { voters, previousVoters: [], led: false };',
    also: LEVEL_WITHOUT_ANYTHING,
    caught: /invariant [38]/,
    options: REPAIRS,
  },
  {
    name: 'a reverted pair forgets the voters that were led',
    seed: 10,
    breaks: '8',
    file: 'src/router/controller/record-rules.ts',
    from: 'return { voters: previous, previousVoters: led ? present : [], led: true };',
    to: 'return { voters: previous, previousVoters: [], led: true };',
    caught: /invariant 8/,
    options: STRANDED,
  },
  {
    // Controllers give voters up only for the previous ones; other ones could follow by the rules.
    name: 'of two sets before only the last one is remembered',
    breaks: '8',
    file: 'src/router/controller/record-rules.ts',
    from: 'return { voters, previousVoters: previous, led: false };',
    to: 'return { voters, previousVoters: present, led: false };',
    caught: /lets unled voters be replaced while the previous ones stay/,
    suite: 'src/router/controller/record-rules.test.ts',
  },
  {
    name: 'the sets of an epoch are those of its record alone: what the one before it has remembered is forgotten',
    seed: 146,
    breaks: '8',
    file: 'src/router/controller/record-rules.ts',
    from: 'if (sameSet(voters, present)) return { voters: present, previousVoters: previous, led };',
    to: 'if (sameSet(voters, present)) return { voters: present, previousVoters: led ? [] : previous, led };',
    caught: /invariant 8/,
    options: STRANDED,
  },
  {
    name: 'a damaged replica goes on answering',
    seed: 2,
    breaks: '9',
    file: 'src/node/core/replica.ts',
    from: 'return !this.meta.damaged;',
    to: 'return true;',
    caught: /invariant [459]/,
    options: { faults: { damage: 20 } },
  },
  {
    name: 'a damaged replica is levelled in place',
    seed: 1,
    breaks: '9',
    file: 'src/node/core/replica-set.ts',
    from: `    const { partition, meta, lastIndex } = recovered;
    const start = { baseIndex: lastIndex, baseEpoch: 0, lastIndex, commitIndex: lastIndex, logTime: 0 };
    const log = new ReplicaLog(partition, (record) => this.host.appendWal(record), start, []);
    const mark = { ...BLANK, index: lastIndex };
    const replica = this.add(partition, meta, log, { ...this.blank(), mark, checkpointIndex: lastIndex });
    // The WAL has marked what it found damaged itself; that is told here like all other damage.
    if (replica.usable) replica.markDamaged(reason);
    else `,
    to: `    const { partition } = recovered;
    const generation = this.host.nextGeneration();
    const meta = { ...recovered.meta, generation, damaged: false, baseIndex: 0, baseEpoch: 0 };
    const start = { baseIndex: 0, baseEpoch: 0, lastIndex: 0, commitIndex: 0, logTime: 0 };
    this.host.appendWal({ type: 'drop', partition });
    const log = new ReplicaLog(partition, (record) => this.host.appendWal(record), start, []);
    const replica = this.add(partition, meta, log, this.blank());
    replica.setMeta(meta);
    `,
    caught: /invariant 9/,
    options: { faults: { damage: 20 } },
  },
  {
    name: 'a wiped voter comes back empty under its old id',
    seed: 1,
    breaks: '9',
    file: 'src/node/core/replica-set.ts',
    from: `    const neverLed = !record.led && record.previousVoters.length === 0;
    for (const name of neverLed ? [...record.learners, ...record.voters] : record.learners) {
      if (name.node !== nodeId || this.created.has(name.id)) continue;
      if (mayCreateReplica(name.id, run)) return name.id;`,
    to: `    for (const name of [...record.learners, ...record.voters]) {
      if (name.node === nodeId && run.boot > 0 && !this.created.has(name.id)) return name.id;`,
    caught: /invariant 9: .* is used again/,
    options: REPAIRS,
  },
  {
    name: 'any run of a node may create a replica id',
    seed: 3,
    breaks: '9',
    file: 'src/common/replica-id.ts',
    from: 'return made.node === run.node && made.incarnation === run.incarnation && made.boot === run.boot;',
    to: 'return made.node === run.node;',
    caught: /invariant 9: .* is used again/,
    options: REPAIRS,
  },
  {
    name: 'a restarted leader is waited for',
    seed: 7,
    breaks: '13',
    file: 'src/router/controller/failover.ts',
    from: 'if (boot !== leader.boot)\n    return ',
    to: "if (boot !== leader.boot)\n    return '' && ",
    caught: /not within/,
    options: RESTLESS,
  },
  {
    name: 'a rebuilt record reserves the epoch after that of the stored one',
    seed: 1,
    breaks: '1',
    file: 'src/router/controller/rebuild.ts',
    from: 'const epoch = Math.max(state.promiseHeard, ...evidence.map((one) => one.epoch)) + 1;',
    to: 'const epoch = (state.record?.epoch ?? 0) + 1;',
    caught: /invariant 1: .* rebuilt for epoch/,
    options: RESTORED,
  },
  {
    name: 'a rebuild needs one replica of each set that is named',
    seed: 26,
    breaks: '8',
    file: 'src/router/controller/rebuild.ts',
    from: 'if (set.length === 0 || have >= quorumSize(set.length)) continue;',
    to: 'if (set.length === 0 || have >= 1) continue;',
    caught: /invariant (1: .* rebuilt for epoch|[38])/,
    options: RESTORED,
  },
  {
    name: 'a rebuild goes by the stored record while there is one',
    seed: 2,
    breaks: '8',
    file: 'src/router/controller/rebuild.ts',
    from: '[...[...heard.values()].map(ofReport), ...records.map(ofRecord)]',
    to: '(state.record === null ? [...[...heard.values()].map(ofReport), ...records.map(ofRecord)] : [ofRecord(state.record)])',
    caught: /invariant [38]/,
    options: RESTORED,
  },
  {
    name: 'a rebuild forgets the previous voters of a pair',
    seed: 48,
    breaks: '8',
    file: 'src/router/controller/rebuild.ts',
    from: 'const previousVoters = established ? [] : (paired?.previousVoters ?? []);',
    to: 'const previousVoters = established || paired !== undefined ? [] : [];',
    caught: /invariant [38]/,
    options: RESTORED,
  },
  {
    // Mostly a node that has promised an epoch was pushed a record of it as well.
    name: 'neither a promise above the stored record counts nor a record that a node was pushed',
    seed: 2,
    breaks: '3',
    file: 'src/router/controller/failover.ts',
    from: 'if (state.promiseHeard > record.epoch) return true;',
    to: '',
    also: [
      {
        file: 'src/router/controller/failover.ts',
        from: 'return state.hearsay.some((other) => contradicts(other, record));',
        to: 'return false;',
      },
    ],
    caught: /invariant [38]/,
    options: RESTORED,
  },
  {
    name: 'epochs are reserved over a record that was found before its voters are heard',
    seed: 342,
    breaks: '3',
    file: 'src/router/controller/found.ts',
    from: 'const missing = missingOf(context, record);',
    to: "const missing = '';",
    caught: /invariant [38]/,
    options: RESTORED,
  },
];
