/** Deliberate bugs in salted counters (10, 11). */
import type { Mutant } from './mutant.ts';

const HOME = 'src/node/core/home-counters.ts';
const SUMS = 'src/node/core/counter-sums.ts';
const EFFECTS = 'src/node/core/salt-effects.ts';
const ENGINE = 'src/client/engine.ts';

export const COUNTER_MUTANTS: readonly Mutant[] = [
  {
    name: 'a closed sub-counter takes increments',
    seed: 12,
    breaks: '11',
    file: 'src/node/core/sub-rows.ts',
    from: "    { kind: 'check', key: row, condition: { kind: 'exists' } },\n",
    to: '',
    caught: /invariant 11/,
  },
  {
    name: 'what sub-counters have come to is added twice',
    breaks: '11',
    file: EFFECTS,
    from: 'if (set?.counter?.id !== command.id) return NOTHING;',
    to: 'if (set?.counter && set.counter.id !== command.id) return NOTHING;',
    caught: /takes effect once, though its entry were appended twice/,
    suite: 'src/node/core/counters.test.ts',
  },
  {
    name: 'what sub-counters have come to is added before all are closed',
    breaks: '11',
    file: HOME,
    from: "salted.phase === 'closing' && finals.size === set.partitions.length",
    to: "salted.phase === 'closing' && finals.size > 0",
    caught: /goes on at the next leader, which finds a closed sub-counter/,
    suite: 'src/node/core/counters.test.ts',
  },
  {
    name: 'a sub-counter is opened again by an order that comes late',
    breaks: '11',
    file: EFFECTS,
    from: 'if (counting !== null || ended !== null) return NOTHING;',
    to: 'if (counting !== null) return NOTHING;',
    also: [
      {
        file: 'src/node/core/sub-counters.ts',
        from: "if (action === 'open') return open !== null || closed !== null;",
        to: "if (action === 'open') return open !== null;",
      },
    ],
    caught: /is not opened again by an order that comes late/,
    suite: 'src/node/core/counters.test.ts',
  },
  {
    name: 'the retry of an increment goes home, wherever the first attempt went',
    breaks: '11',
    file: ENGINE,
    from: '        this.#park(operation, now + verdict.delayMs, verdict.wakeable);',
    to: `        if (operation.saltSet > 0) this.#startOver(operation);
        else this.#park(operation, now + verdict.delayMs, verdict.wakeable);`,
    caught: /sends a retry to the part where the first attempt may have counted/,
    suite: 'src/client/spread-increments.test.ts',
  },
  {
    name: 'a router sends an increment home that a sub-counter may have taken',
    breaks: '11',
    file: 'src/router/proxy.ts',
    from: 'if (isOfCopy(forward) && forward.owner !== null',
    to: 'if (forward.request.saltIn && forward.owner !== null',
    caught: /sends increments of sub-counters where their clients have pinned them/,
    suite: 'src/router/salted-reads.test.ts',
  },
  {
    name: 'sums of mixed deltas are told as linearizable',
    breaks: '10',
    file: SUMS,
    from: 'if (!weak && set.counter.delta === 0n) {',
    to: 'if (!weak && set.counter.delta === null) {',
    caught: /of mixed deltas is not read linearizably/,
    suite: 'src/node/core/counters.test.ts',
  },
  {
    name: 'a sum is of two sets',
    seed: 9,
    breaks: '10',
    file: SUMS,
    from: 'if (machine.salts.subSetOf(key)?.counter.id !== set.counter.id) return reader.again();',
    to: '',
    caught: /invariant 10: \w+ reads/,
  },
  {
    name: 'a sub-counter is told by a leader that is not confirmed',
    breaks: '10',
    file: 'src/node/core/sub-counters.ts',
    from: "if (order.kind === 'COUNTER_LOOK') reads.confirm(() => this.look(asker, order));",
    to: "if (order.kind === 'COUNTER_LOOK' && reads) this.look(asker, order);",
    caught: /is not told by a leader that is deposed and does not know it/,
    suite: 'src/node/core/counters.test.ts',
  },
  {
    name: 'a read joins a round of sums that has begun',
    seed: 9,
    breaks: '10',
    file: SUMS,
    from: '    summed.waiting.push(reader);\n    this.begin(summed);',
    to: `    if (summed.round !== null) summed.round.readers.push(reader);
    else summed.waiting.push(reader);
    this.begin(summed);`,
    caught: /invariant 10: \w+ reads/,
  },
  {
    name: 'a follower shows the part of a salted counter that is at home',
    seed: 9,
    breaks: '10',
    file: 'src/node/core/shared-gets.ts',
    from: 'if (set !== null) return this.sum(key, set, all);',
    to: 'if (set !== null && this.replica.leadership !== null) return this.sum(key, set, all);',
    caught: /invariant 10: \w+ reads/,
  },
  {
    name: 'a session does not see the sub-counters that it has used',
    breaks: 'G6',
    file: ENGINE,
    from: '      if (operation.saltSet > 0) session?.applied(operation.homePartition, operation.saltIndex);\n      else session?.wrote(receipt);',
    to: '      session?.wrote(receipt);',
    caught: /lets a session see the home since it has the sub-counters/,
    suite: 'src/client/spread-increments.test.ts',
  },
];
