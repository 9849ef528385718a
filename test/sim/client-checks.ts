/**
 * What clients may see: acknowledged writes are in the committed log exactly once, `not applied` is true, counters
 * count, and reads are linearizable per key. The ghost is the order: a read or an acknowledged write has a position in
 * its partition's log, and positions never go back in real time. (Sufficient since every
 * operation has one key; that a batch is one is the ghost's to say, which every replica is compared with.)
 * It keeps the history of all operations for checkers that know nothing of logs.
 */
import { toLatin1 } from '../../src/common/bytes.ts';
import type { ErrorCode } from '../../src/common/errors.ts';
import { partitionOf } from '../../src/common/hash.ts';
import type { HistoryOutput } from '../../src/common/history.ts';
import type {
  Condition,
  GetOperation,
  Receipt,
  Reply,
  Request,
  Value,
} from '../../src/common/wire/messages.ts';
import { decodeEntry } from '../../src/node/core/entry.ts';
import { userKey } from '../../src/node/core/layout.ts';
import { type GhostPartition, type KeyState, requestName } from './ghost.ts';
import type { Invariants } from './invariants.ts';
import { isSpread, type Pin, SpreadChecks } from './spread-checks.ts';
import type { World } from './world.ts';

/** By how much an acknowledgement tells. */
const ACK_RANK = { leader: 0, quorum: 1, all: 2 } as const;

/** One operation of a batch. */
export interface Item {
  readonly key: string;
  readonly kind: 'put' | 'delete' | 'increment' | 'check';
  readonly condition: Condition | null;
  readonly ttlMs: number;
}

/** What a client wants done. */
export interface Wish {
  readonly key: string;
  readonly kind: 'get' | 'put' | 'delete' | 'increment' | 'touch' | 'batch' | 'check';
  readonly ack: 'leader' | 'quorum' | 'all';
  /** Of puts and deletes; null: none. */
  readonly condition: Condition | null;
  /** Time to live that it gives, ms; 0: none. */
  readonly ttlMs: number;
  /** Of gets. */
  readonly level: ReadLevel;
  /** Of stale reads; 0: any. */
  readonly maxStalenessMs: number;
  /** Of batches. */
  readonly items: readonly Item[];
  /** Idempotency key; empty: none. */
  readonly once: string;
  /** Of increments; and whether the counter is not asked for. */
  readonly delta: number;
  readonly unread: boolean;
}

/** How a client reads. */
export type ReadLevel = 'linearizable' | 'quorum' | 'session' | 'stale';

/** One operation of a client, from call to return. Times are virtual ms. */
export interface Operation extends Wish {
  readonly client: string;
  readonly partition: number;
  /** The value to put or the delta, as text. */
  readonly input: string;
  /** Name of the request id, known at the end at the latest; empty for reads. */
  request: string;
  readonly call: number;
  /** Position in the log that every operation finished before the call had reached. */
  readonly floor: number;
  /** Of session reads: what their session had seen at the call; else null. */
  readonly seen: GetOperation | null;
  /** Null while it is open. */
  end: number | null;
  /** What the client was told; null while it is open. */
  result: HistoryOutput | null;
  /** Of batches: their operations, each as one by itself. */
  readonly parts: readonly Operation[];
  /** Of increments of spread counters: where they were sent, known at the end at the latest. */
  readonly pins: Pin[];
}

/** The slowest clock of a node, to the time of the world. */
const SLOWEST_CLOCK = 0.95;

/** Codec tag of everything that simulated clients put. */
export const CODEC_BYTES = 1;

const INITIAL: KeyState = { index: 0, kind: 'absent', content: '', expiresAt: 0 };

/** What is called. */
type Asked = Omit<Operation, 'call' | 'floor' | 'end' | 'result' | 'parts' | 'pins'>;

/** Counts by way of ending. */
export interface OperationCounts {
  applied: number;
  /** Their condition did not hold. */
  refused: number;
  /** An earlier operation with their idempotency key was decided. */
  repeated: number;
  notApplied: number;
  unknown: number;
  reads: number;
}

/** The client checks of one simulation. */
export class ClientChecks {
  readonly history: Operation[] = [];
  readonly counts: OperationCounts = {
    applied: 0,
    refused: 0,
    repeated: 0,
    notApplied: 0,
    unknown: 0,
    reads: 0,
  };
  /** Writes acknowledged at `leader`. */
  private readonly early: Operation[] = [];
  private readonly world: World;
  private readonly ghosts: readonly GhostPartition[];
  private readonly invariants: Invariants;
  readonly spread: SpreadChecks;
  /** What sessions were told to be lost. */
  private readonly losses = new Set<string>();
  /** Per key: the highest position of a finished operation. */
  private readonly floors = new Map<string, number>();
  /** ... and when it rose. */
  private readonly raised = new Map<string, { readonly at: number; readonly position: number }[]>();

  constructor(world: World, ghosts: readonly GhostPartition[], invariants: Invariants) {
    this.world = world;
    this.ghosts = ghosts;
    this.invariants = invariants;
    this.spread = new SpreadChecks(world, ghosts);
  }

  /** Starts an operation; `inputs`: those of a batch. */
  call(asked: Asked, inputs: readonly string[] = []): Operation {
    const parts = asked.items.map((item, at) =>
      this.start({ ...asked, ...item, input: inputs[at]!, items: [] }, []),
    );
    return this.start(asked, parts);
  }

  /** A batch is in the history by its parts; the checker that looks at it knows single keys. */
  private start(asked: Asked, parts: Operation[]): Operation {
    const floor = this.floors.get(asked.key) ?? 0;
    const started = { ...asked, call: this.world.now, floor, end: null, result: null, parts, pins: [] };
    if (isSpread(asked.key)) {
      this.spread.called(started);
      return started;
    }
    if (asked.kind !== 'batch' && asked.kind !== 'check') this.history.push(started);
    return started;
  }

  /** Ends a write with a receipt. */
  acknowledged(operation: Operation, receipt: Receipt): void {
    this.world.check(
      receipt.conditionFailed || ACK_RANK[receipt.durability] >= ACK_RANK[operation.ack],
      () => `${describe(operation)} is acknowledged at ${receipt.durability}`,
    );
    if (isSpread(operation.key)) {
      this.counts.applied += 1;
      this.end(operation, { result: 'ok' });
      return this.spread.ended(operation, 'applied');
    }
    if (receipt.repeated) return this.repeated(operation, receipt);
    if (receipt.conditionFailed) this.counts.refused += 1;
    else this.counts.applied += 1;
    if (!receipt.conditionFailed && receipt.durability === 'leader') this.early.push(operation);
    if (operation.kind !== 'batch') return this.ended(operation, receipt);
    this.end(operation, { result: 'ok', version: receipt.version, durability: receipt.durability });
    const { items } = receipt;
    const isFailed = items.some(({ conditionFailed }) => conditionFailed);
    this.world.check(
      isFailed === receipt.conditionFailed,
      () => `${describe(operation)} does not say what has failed`,
    );
    for (const [at, part] of operation.parts.entries()) {
      const item = items[at] ?? { conditionFailed: false, version: receipt.version, counter: 0 };
      if (receipt.conditionFailed && !item.conditionFailed) this.end(part, { result: 'not_applied' });
      else if (part.kind === 'check' && !item.conditionFailed) this.shown(part, item.version, null);
      else if (item.conditionFailed) this.ended(part, { ...receipt, ...item });
      else this.ended(part, { ...receipt, counter: item.counter });
    }
  }

  /** Ends a write of one key. */
  private ended(operation: Operation, receipt: Receipt): void {
    const { version, durability } = receipt;
    if (receipt.conditionFailed) {
      this.end(operation, { result: 'ok', applied: false, version, durability });
      this.shown(operation, version, null);
      return;
    }
    const counter = operation.kind === 'increment' ? { value: Number(receipt.counter) } : {};
    this.end(operation, { result: 'ok', version, durability, ...counter });
    if (durability === 'leader') return;
    this.world.check(
      version > operation.floor,
      () => `invariant 10: ${describe(operation)} has version ${version}, floor ${operation.floor}`,
    );
    this.raise(operation.key, version);
  }

  /** An earlier operation is what took effect, before this one is answered. */
  private repeated(operation: Operation, receipt: Receipt): void {
    this.counts.repeated += 1;
    this.world.check(operation.once !== '', () => `${describe(operation)} repeats nothing`);
    for (const one of [operation, ...operation.parts]) {
      this.end(one, { result: 'not_applied' });
      const isWrite = one.kind !== 'batch' && one.kind !== 'check';
      if (isWrite && !receipt.conditionFailed) this.raise(one.key, receipt.version);
    }
  }

  /** Ends a write or read without a result. */
  failed(operation: Operation, outcome: 'applied' | 'not_applied' | 'unknown', code: ErrorCode): void {
    if (isSpread(operation.key)) return this.spreadFailed(operation, outcome, code);
    const { kind, partition, request } = operation;
    // An earlier operation with its idempotency key is what took effect, and may not have been enough voters.
    const ghost = this.ghost(partition);
    const isApplied = outcome === 'applied' && ghost.effectOf(request) !== undefined;
    const isRepeat = outcome === 'applied' && !isApplied && ghost.repeatOf(request) !== undefined;
    const result = isRepeat ? 'not_applied' : outcome;
    for (const one of [operation, ...operation.parts]) this.end(one, { result, code });
    if (kind === 'get') return;
    if (outcome === 'unknown') this.counts.unknown += 1;
    if (outcome === 'applied') {
      this.counts.applied += 1;
      this.world.check(
        isApplied || isRepeat,
        () => `${describe(operation)} was told applied and is not committed`,
      );
    }
    if (outcome === 'not_applied') {
      this.counts.notApplied += 1;
      ghost.deny(request);
    }
  }

  private spreadFailed(
    operation: Operation,
    outcome: 'applied' | 'not_applied' | 'unknown',
    code: ErrorCode,
  ): void {
    this.end(operation, { result: outcome, code });
    if (operation.kind === 'get') return;
    this.counts[outcome === 'not_applied' ? 'notApplied' : outcome] += 1;
    this.spread.ended(operation, outcome);
    if (outcome !== 'not_applied') return;
    for (const { partition, request } of operation.pins) this.ghost(partition).deny(request);
  }

  /** A session is told that what it was acknowledged early in an epoch is lost: that must be true. */
  lossTold(operation: Operation, epoch: number, asked: GetOperation | null): void {
    // Without a question it is of too many writes at `leader` that some may be lost.
    this.world.check(
      epoch > 0 || asked === null,
      () => `${describe(operation)} is told that what is committed is not there`,
    );
    this.losses.add(lossOf(operation, epoch));
    const mark = asked?.early.find((early) => early.epoch === epoch);
    if (mark === undefined) return;
    const entry = this.ghost(operation.partition).at(mark.index)?.entry;
    this.world.check(
      entry?.epoch !== epoch,
      () => `${describe(operation)} is told that ${mark.index} of epoch ${epoch} is lost, which is committed`,
    );
  }

  /** Ends a read: it must be at or above everything finished at its start, or what its session had seen by then. */
  read(operation: Operation, value: Value): void {
    const content = value.found ? contentOf(value) : null;
    const shown = content === null ? {} : { version: value.version, value: content };
    this.end(operation, { result: 'ok', found: value.found, ...shown });
    this.counts.reads += 1;
    if (isSpread(operation.key)) return this.spread.read(operation, Number(content ?? 0), value.stalenessMs);
    const version = value.found ? value.version : 0;
    const text = content === null ? null : String(content);
    const { level, seen } = operation;
    if (level === 'stale') return this.checkAge(operation, value.stalenessMs, version, text);
    if (level !== 'session') return this.shown(operation, version, text);
    const marks = seen!.early.map(({ index }) => index);
    this.positionOf({ ...operation, floor: Math.max(seen!.sessionIndex, ...marks) }, version, text);
    for (const { index, epoch } of seen!.early) {
      if (this.losses.has(lossOf(operation, epoch))) continue;
      const entry = this.ghost(operation.partition).at(index)?.entry;
      this.world.check(
        entry?.epoch === epoch,
        () => `${describe(operation)} does not tell that ${index} is lost`,
      );
    }
  }

  /** The version that was last shown of a key to anybody; 0: none. */
  versionOf(key: string): number {
    return this.floors.get(key) ?? 0;
  }

  /** An operation was shown a version of its key, 0 for absent: at or above everything finished at its start. */
  private shown(operation: Operation, version: number, content: string | null): void {
    this.raise(operation.key, this.positionOf(operation, version, content));
  }

  /** Returns the earliest position at or after the floor at which that was what the key held. */
  private positionOf(operation: Operation, version: number, content: string | null): number {
    const ghost = this.ghost(operation.partition);
    const key = toLatin1(userKey('', Buffer.from(operation.key)));
    const states = [INITIAL, ...ghost.history(key)];
    const position =
      version > 0 ? this.foundAt(operation, version, content, states) : absentAt(states, operation.floor);
    this.world.check(
      position !== null,
      () =>
        `invariant 10: ${describe(operation)} returns absent, floor ${operation.floor}, history ${list(states)}`,
    );
    return position;
  }

  /** Returns the writes that were acknowledged at `leader` and are not committed; call once everything is. */
  lost(): Operation[] {
    return this.early.filter(
      ({ partition, request }) => this.ghost(partition).effectOf(request) === undefined,
    );
  }

  /** A node answers a request. Checked when the reply leaves: a later commit is no excuse. */
  replied(node: string, request: Request, clientId: Uint8Array, reply: Reply): void {
    if (reply.result !== 'receipt' || reply.receipt == null || request.operation === 'salt') return;
    const { receipt } = reply;
    const ghost = this.ghost(receipt.partition);
    const name = requestName(toLatin1(clientId), request.sequence);
    const what = `${node} acknowledges ${receipt.durability} ${name} as p${receipt.partition}/${receipt.version}`;
    const partition = request.saltSet ? request.saltIn! - 1 : partitionOf(request.key, this.ghosts.length);
    this.world.check(receipt.partition === partition, () => `${what}: the key is in p${partition}`);
    if (receipt.durability === 'leader') {
      this.checkLeaderAck(node, receipt, request.sequence, what);
      return;
    }
    const repeat = ghost.repeatOf(name);
    this.world.check(
      receipt.repeated === (repeat !== undefined),
      () => `invariant 11: ${what} as ${receipt.repeated ? '' : 'not '}repeated`,
    );
    if (receipt.conditionFailed) {
      const refusal = repeat ?? ghost.refusalOf(name);
      const told = versions(receipt.items);
      if (request.saltSet) this.world.count('sub-counter was closed');
      const isSame = request.saltSet ? told === '' : versions(refusal?.items ?? []) === told;
      this.world.check(
        refusal?.version === receipt.version && isSame,
        () =>
          `invariant 11: ${what} (${told}) as refused, which was ${refusal?.version} at ${refusal?.index}`,
      );
      return;
    }
    const index = repeat?.index ?? ghost.effectOf(name);
    this.world.check(index === receipt.version, () => `invariant 6: ${what}, committed is ${index}`);
    const { epoch } = ghost.at(receipt.version)!.entry;
    const epochKnown = receipt.epoch === epoch || (receipt.duplicate && receipt.epoch === 0);
    this.world.check(epochKnown, () => `${what} in epoch ${receipt.epoch}, committed in ${epoch}`);
    const counted = (key: Uint8Array, counter: number | bigint): void => {
      const { content } = ghost.stateAt(toLatin1(userKey(request.keyspace, key)), receipt.version);
      const told = String(counter);
      this.world.check(content === told, () => `invariant 11: ${what}: counter ${told}, is ${content}`);
    };
    if (request.saltSet) this.world.count('sub-counter incremented');
    if (request.increment?.unread)
      this.world.check(receipt.counter === 0, () => `${what}: counter ${receipt.counter} is told`);
    else if (request.operation === 'increment') counted(request.key, receipt.counter);
    for (const [at, item] of (request.batch?.items ?? []).entries()) {
      if (item.operation === 'increment') counted(item.key, receipt.items[at]!.counter);
    }
    if (receipt.durability === 'all') this.checkAll(receipt, epoch, what);
  }

  /** A stale read shows all that was acknowledged longer before its call than the bound that it tells. */
  private checkAge(operation: Operation, stalenessMs: number, version: number, content: string | null): void {
    const { key, call, maxStalenessMs } = operation;
    const told = () => `${describe(operation)} is told ${stalenessMs} ms, may be ${maxStalenessMs}`;
    this.world.check(maxStalenessMs === 0 || stalenessMs <= maxStalenessMs, told);
    const since = call - stalenessMs / SLOWEST_CLOCK;
    const floor = this.raised.get(key)?.findLast(({ at }) => at < since)?.position ?? 0;
    this.positionOf({ ...operation, floor }, version, content);
  }

  private checkLeaderAck(node: string, receipt: Receipt, sequence: number, what: string): void {
    const entry = this.invariants.durableLog(node, receipt.partition)?.at(receipt.version);
    const found = entry === undefined ? null : decodeEntry(entry.payload).requestId;
    this.world.check(found?.sequence === sequence, () => `${what}, which is not durable there`);
  }

  private checkAll(receipt: Receipt, epoch: number, what: string): void {
    const record = this.invariants.record(receipt.partition);
    const holders = (record?.voters ?? []).filter(({ node, id }) => {
      const log = this.invariants.durableLog(node, receipt.partition);
      if (log?.meta?.replica !== id || this.invariants.isDead(id)) return true;
      return receipt.version < log.base || log.epochAt(receipt.version) === epoch;
    });
    // A record of a later epoch may name voters that this leader never had: those say nothing. Nor does what
    // a restored store remembers.
    const comparable = record?.epoch === epoch && !this.invariants.isBehind(receipt.partition);
    this.world.check(
      !comparable || holders.length === record?.voters.length,
      () => `${what}, only ${holders.map(({ node }) => node).join(' ')} hold it durably`,
    );
  }

  private foundAt(
    operation: Operation,
    version: number,
    content: string | null,
    states: readonly KeyState[],
  ): number {
    const state = states.find(({ index }) => index === version);
    this.world.check(
      state !== undefined && state.kind !== 'absent' && (content === null || state.content === content),
      () =>
        `invariant 10: ${describe(operation)} returns ${content} version ${version}, history ${list(states)}`,
    );
    const next = states.find(({ index }) => index > version);
    this.world.check(
      next === undefined || next.index > operation.floor,
      () => `invariant 10: ${describe(operation)} returns version ${version}, floor ${operation.floor}`,
    );
    return Math.max(version, operation.floor);
  }

  private end(operation: Operation, result: HistoryOutput): void {
    this.world.check(operation.end === null, () => `${describe(operation)} ends twice`);
    operation.end = this.world.now;
    operation.result = result;
    this.world.trace(`${describe(operation)} ends: ${Object.values(result).join(' ')}`);
  }

  private raise(key: string, position: number): void {
    if (position <= (this.floors.get(key) ?? 0)) return;
    this.floors.set(key, position);
    const raised = this.raised.get(key) ?? [];
    this.raised.set(key, raised);
    raised.push({ at: this.world.now, position });
  }

  private ghost(partition: number): GhostPartition {
    const ghost = this.ghosts[partition];
    this.world.check(ghost !== undefined, () => `partition ${partition} does not exist`);
    return ghost;
  }
}

function lossOf({ client, partition }: Operation, epoch: number): string {
  return `${client} p${partition} e${epoch}`;
}

/** What a client reads: a counter comes as digits. */
function contentOf({ codec, value }: Value): string | number {
  return codec === CODEC_BYTES ? toLatin1(value) : Number(toLatin1(value));
}

/** The earliest position at or after `floor` at which the key was absent; null if there is none. */
function absentAt(states: readonly KeyState[], floor: number): number | null {
  for (const [at, state] of states.entries()) {
    const next = states[at + 1];
    if (state.kind === 'absent' && (next === undefined || next.index > floor))
      return Math.max(state.index, floor);
  }
  return null;
}

function list(states: readonly KeyState[]): string {
  return states
    .slice(-12)
    .map((state) => `${state.index}:${state.kind} ${state.content}`)
    .join(', ');
}

function versions(items: readonly { readonly version: number }[]): string {
  return items.map(({ version }) => version).join(' ');
}

function describe(operation: Operation): string {
  const { client, kind, key, input, ack, request, call, condition, ttlMs } = operation;
  const asked = condition === null ? input : `${input} if ${condition.kind.slice(10)} ${condition.version}`;
  return `${client} ${kind} ${key} ${asked} ${ttlMs === 0 ? '' : `ttl ${ttlMs} `}${kind === 'get' ? `${operation.level} ` : `${ack} ${request} `}(called ${call.toFixed(0)})`;
}
