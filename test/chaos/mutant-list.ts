/**
 * Deliberate bugs that a run of `ringkeep chaos` must catch: one for each guarantee, and for sessions, bounds of staleness and
 * recovery. They are in what is tested, nodes, router and client, and not in what tests it.
 */
import type { Guarantee } from '../../src/chaos/workload/workbench.ts';

/** A change of one place: `from` is in the file, relative to the repository, exactly once. */
export interface Patch {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** A deliberate bug, the run that catches it, and what its report has to say. */
export interface ChaosMutant extends Patch {
  readonly guarantee: Guarantee;
  readonly name: string;
  /** Further places, where a second rule would make up for the one that is broken. */
  readonly also?: readonly Patch[];
  readonly faults: string;
  readonly rounds: number;
  /** A key that is named as the one that shows it. */
  readonly key: RegExp;
}

export const CHAOS_MUTANTS: readonly ChaosMutant[] = [
  {
    guarantee: 'G1',
    name: 'a write at quorum is acknowledged once its leader has it',
    file: 'src/node/core/write-path.ts',
    from: `      ack === 'leader' && timestamp - id.sessionTime`,
    to: `      isBlind(command) && timestamp - id.sessionTime`,
    also: [
      { file: 'src/node/core/write-path.ts', from: "durability: 'leader',", to: 'durability: waiter.ack,' },
    ],
    faults: 'split-one',
    rounds: 2,
    key: /^(insert|hasty)-\d+$/,
  },
  {
    guarantee: 'G2',
    name: 'a quorum read is answered by one voter',
    file: 'src/node/core/quorum-reads.ts',
    from: 'if (round.granted.size < quorumSize(round.voters.length)) return;',
    to: 'if (round.granted.size < 1) return;',
    faults: 'split-one',
    rounds: 2,
    key: /^register-\d+-\d+$/,
  },
  {
    guarantee: 'G3',
    name: 'writes at leader that are lost are not counted',
    file: 'src/node/core/follower.ts',
    from: "if (entry.ack === 'leader' && !survived(entry)) lost++;",
    to: '',
    faults: 'split-one',
    rounds: 2,
    key: /^early-\d+$/,
  },
  {
    guarantee: 'G4',
    name: 'deduplication is off',
    file: 'src/node/core/sessions.ts',
    from: "if (seen !== undefined) return { kind: 'seen', index: Math.floor(seen / 2), stored: seen % 2 === 1 };",
    to: '',
    faults: 'reset',
    rounds: 1,
    key: /^repeat-\d+-\d+$/,
  },
  {
    guarantee: 'G5',
    name: 'a write that may have been applied is reported as not applied',
    file: 'src/client/operation.ts',
    from: "return this.maybeApplied ? 'unknown' : 'not_applied';",
    to: "return 'not_applied';",
    faults: 'delay',
    rounds: 1,
    key: /^hasty-\d+$/,
  },
  {
    guarantee: 'G6',
    name: 'a read is served without the confirmation of a quorum',
    file: 'src/node/core/read-path.ts',
    from: 'if (round.grants.size < this.leadership.quorum) return;',
    to: '',
    faults: 'split-one',
    rounds: 1,
    key: /^(lonely|register)-\d+-\d+$/,
  },
  {
    guarantee: 'G7',
    name: 'a planned change asks the old leader neither to pause nor for what it has',
    file: 'src/router/controller/planner.ts',
    from: 'const late = now - plan.startedAt >= context.options.prepareMs;',
    to: 'const late = now >= plan.startedAt;',
    also: [
      {
        file: 'src/router/controller/failover.ts',
        from: '    const node = context.nodes.get(replica.node);\n    if (node === undefined || !node.attached) continue;\n    // It would not answer.',
        to: `    const node = context.nodes.get(replica.node);
    if (node === undefined || !node.attached || replica.id === state.plan?.leader.replica) continue;`,
      },
      {
        file: 'src/router/controller/failover.ts',
        from: 'if (plan === null || plan.unplanned || replies.has(plan.leader.replica)) return false;',
        to: 'if (plan === null || plan.epoch > 0) return false;',
      },
    ],
    faults: 'rolling-restart',
    rounds: 1,
    key: /^early-\d+$/,
  },
  {
    guarantee: 'G8',
    name: 'a bit of a value is flipped before its checksum is made',
    file: 'src/node/core/layout.ts',
    from: '  buffer.set(stored.value, VALUE_HEADER_BYTES);\n',
    to: `  buffer.set(stored.value, VALUE_HEADER_BYTES);
  if (stored.kind === 'value' && stored.version % 50 === 0) buffer[buffer.byteLength - 1]! ^= 1;
`,
    faults: 'flip-wal',
    rounds: 1,
    key: /^(insert|hasty|early)-\d+$/,
  },
  {
    guarantee: 'G9',
    name: 'what is refused with OVERLOADED is handed on all the same',
    file: 'src/common/wire/server-session.ts',
    from: "if (refusal !== '') this.#end(request.id, overloaded(refusal));",
    to: `if (refusal !== '') {
        this.#end(request.id, overloaded(refusal));
        accepted.push(request);
      }`,
    also: [
      {
        file: 'src/common/wire/session-requests.ts',
        from: 'resumed.late.push(id);',
        to: 'resumed.late.push(id);\n        resumed.requests.push({ ...request, timeLeftMs: 0 });',
      },
    ],
    faults: 'flood',
    rounds: 1,
    key: /^\{?(flood|opening)/,
  },
  {
    guarantee: 'G10',
    name: 'a node answers only while it hears a router',
    file: 'src/node/node.ts',
    from: 'reply: (connection, replies) => this.sessions.reply(connection, replies),',
    to: `reply: (connection, replies) => {
        if (this.controllers?.attached === true) this.sessions.reply(connection, replies);
      },`,
    faults: 'kill-router',
    rounds: 1,
    key: /./,
  },
  {
    guarantee: 'session',
    name: 'a session read does not wait for what the session has seen',
    file: 'src/node/core/local-reads.ts',
    from: 'waits.length > 0 || sessionIndex > machine.decidedIndex',
    to: 'waits.length > 0',
    faults: 'delay',
    rounds: 1,
    key: /^session-\d-\d$/,
  },
  {
    guarantee: 'stale',
    name: 'the bound of a stale read is told in seconds',
    file: 'src/node/core/freshness.ts',
    from: 'return now - this.at;',
    to: 'return (now - this.at) / 1_000;',
    faults: 'delay',
    rounds: 1,
    key: /^seen-\d+-\d+$/,
  },
  {
    guarantee: 'recovery',
    name: 'a follower leaves out one entry in a hundred',
    file: 'src/node/core/follower.ts',
    from: 'log.append(head.epoch, bytes, entry);',
    to: "log.append(head.epoch, bytes, index % 100 === 0 ? { ...entry, command: { kind: 'tick' } } : entry);",
    faults: 'jitter',
    rounds: 1,
    key: /^(insert|hasty|early)-\d+$/,
  },
];
