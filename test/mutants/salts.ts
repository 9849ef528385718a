/** Deliberate bugs in the copies of hot keys, and in gets that go together (10). */
import type { Mutant, Patch } from './mutant.ts';

const HOME = 'src/node/core/home-salts.ts';
const ORDERS = 'src/node/core/copy-orders.ts';
const HELD = 'src/node/core/held-copies.ts';

/** The assertion that would end the process before anybody is shown anything. */
const UNASSERTED: Patch = {
  file: HOME,
  from: "      assert(isOpen(salted), 'a salted key is written only while no copy of it can answer');\n",
  to: '',
};

export const SALT_MUTANTS: readonly Mutant[] = [
  {
    name: 'a write of a salted key does not wait for its copies',
    seed: 3,
    breaks: '12',
    file: HOME,
    from: '    if (keys.every(isOpen)) return false;\n',
    to: '    if (proposal) return false;\n',
    also: [UNASSERTED],
    caught: /invariant 1[02]/,
  },
  {
    name: 'a copy counts as dropped once that was ordered',
    seed: 15,
    breaks: '12',
    file: ORDERS,
    from: "    for (const copy of salted.copies) if (copy.state !== 'dropped') this.order(salted, copy, 'COPY_DROP');",
    to: `    for (const copy of salted.copies) {
      if (copy.state !== 'dropped') this.order(salted, copy, 'COPY_DROP');
      copy.state = 'dropped';
    }`,
    also: [
      {
        file: HOME,
        from: `    this.waiting.push({
      proposal,
      keys,
      until: Math.min(proposal.handle.deadline, this.leadership.host.now + WAIT_MS),
    });
`,
        to: '',
      },
      { file: HOME, from: '      salted.waitingWrites += 1;\n', to: '' },
      {
        file: HOME,
        from: '      this.orders.dropAll(salted);\n    }\n    return true;',
        to: '      this.orders.dropAll(salted);\n    }\n    return false;',
      },
    ],
    caught: /invariant 1[02]/,
  },
  {
    name: 'a copy is installed under any token',
    breaks: '12',
    file: HELD,
    from: "held !== undefined && token !== '' && held.token === token && value !== null",
    to: 'held !== undefined && token !== null && value !== null',
    caught: /is not installed by an order that was overtaken/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'a new leader takes the copies of earlier ones for dropped',
    seed: 30,
    breaks: '12',
    file: 'src/node/core/salted-key.ts',
    from: "    state: 'unknown',",
    to: "    state: 'dropped',",
    caught: /invariant 1[02]/,
  },
  {
    name: 'what an earlier leader may have installed is dropped without a quorum',
    breaks: '12',
    file: HELD,
    from: 'if (order.confirm) this',
    to: 'if (order.kind === null) this',
    caught: /is not let go by who has led the partition of a copy before/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'a leader installs copies without being confirmed behind their tokens',
    breaks: '12',
    file: HOME,
    from: 'reads.confirm(() => this.read(salted, tokens));',
    to: 'if (reads) this.read(salted, tokens);',
    caught: /is not installed by a home that does not know that it is deposed/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'a copy is read without confirming who holds it',
    breaks: '12',
    file: HELD,
    from: 'this.leadership.reads.read(handle, () => this.serve(handle, key, request, home));',
    to: 'this.serve(handle, key, request, home);',
    caught: /waits for a holder that is cut off/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'a copy counts as dropped where another leader is only named',
    breaks: '12',
    file: ORDERS,
    from: 'record?.established !== true || record.epoch <= copy.epoch',
    to: 'record === undefined || record.epoch <= copy.epoch',
    caught: /waits for a holder that may still lead/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'a leader of an earlier epoch drops copies',
    breaks: '12',
    file: ORDERS,
    from: 'if (asked === undefined || epoch < asked.copy.epoch) return;',
    to: 'if (asked === undefined) return;',
    caught: /is not let go by a leader between/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'an install carries what a write behind it has replaced',
    seed: 9,
    breaks: '12',
    file: HOME,
    from: 'isEnded || seenIndex < salted.touchedAt || !this',
    to: 'isEnded || !this',
    also: [{ file: HOME, from: ' && replica.machine.decidedIndex >= salted.touchedAt;', to: ';' }],
    caught: /invariant 1[02]/,
  },
  {
    name: 'a copy is installed in a partition that is not of the set any more',
    breaks: '12',
    file: HOME,
    from: 'if (isOfSet && copy.state',
    to: 'if (copy.state',
    also: [
      { file: HOME, from: '        const isOfSet = salted.copies.includes(copy);\n', to: '' },
      {
        file: ORDERS,
        from: "    assert(salted.copies.includes(copy), 'a copy is installed in a partition of the set');\n",
        to: '',
      },
    ],
    caught: /is not installed where the key is not salted any more/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'salts are forgotten in a restart',
    seed: 3,
    breaks: '12',
    file: 'src/node/core/machine.ts',
    from: 'this.salts.size === 0 ? NO_BYTES : this.salts.encode()',
    to: 'NO_BYTES',
    caught: /invariant 1[02]/,
  },
  {
    name: 'salts are forgotten by a snapshot',
    breaks: '12',
    file: 'src/node/core/snapshot-receiver.ts',
    from: 'this.salts = SaltSets.decode(behindApplied(bytes));',
    to: 'behindApplied(bytes);',
    caught: /is salted for a replica that was filled by a snapshot as well/,
    suite: 'src/node/core/salts.test.ts',
  },
  {
    name: 'the value of a salted key ends while copies of it can answer',
    seed: 9,
    breaks: '12',
    file: HOME,
    from: '    if (isOpen(salted)) return true;\n',
    to: '    if (salted) return true;\n',
    also: [UNASSERTED],
    caught: /invariant 1[02]/,
  },
];
