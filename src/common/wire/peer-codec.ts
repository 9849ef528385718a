/**
 * Codec of PeerBatch, the messages of replication, by hand (see protobuf.ts for why). Field numbers are those of
 * proto/ringkeep.proto; a property test compares it with the generic codec in both directions.
 * Decoded entries, keys and values are views of the received message.
 */
import { PROBE_KEYS_MAX } from '../limits.ts';
import type { Replica } from '../topology.ts';
import { LAST_BODY, readSaltBody, writeSaltBodies } from './copy-codec.ts';
import type {
  Append,
  AppendReply,
  Confirm,
  ConfirmReply,
  PeerBatch,
  PeerMessage,
  Probe,
  ProbeReply,
  Scrub,
  SnapshotChunk,
  SnapshotOffer,
  SnapshotPull,
} from './messages.ts';
import { EMPTY_BYTES, ProtoReader, ProtoWriter } from './protobuf.ts';
import { asBuffer, type GenericCodec, type RareCodecs } from './request-codec.ts';
import { sizeOfPeerMessage } from './sizes.ts';

// ------------------------------------------------------------ writing

function writeReplicas(writer: ProtoWriter, field: number, replicas: readonly Replica[]): void {
  for (const replica of replicas) {
    const mark = writer.begin(field, (replica.id.length + replica.node.length) * 3 + 16);
    writer.text(1, replica.id);
    writer.text(2, replica.node);
    writer.end(mark);
  }
}

function writeAppend(writer: ProtoWriter, append: Append): void {
  writer.uint(1, append.configuration);
  writer.uint(2, append.prevIndex);
  writer.uint(3, append.prevEpoch);
  for (const entry of append.entries) writer.element(4, entry);
  writer.uint(5, append.commitIndex);
  writeReplicas(writer, 6, append.voters);
  writer.uint(7, append.sentAt);
  writeReplicas(writer, 8, append.previousVoters);
  writer.uint(9, append.echo);
  writer.uint(10, append.echoBoot);
}

function writeAppendReply(writer: ProtoWriter, reply: AppendReply): void {
  writer.bool(1, reply.success);
  writer.uint(2, reply.matchIndex);
  writer.uint(3, reply.promiseEpoch);
  writer.uint(4, reply.hintIndex);
  writer.uint(5, reply.sentAt);
  writer.uint(6, reply.appliedIndex);
  writer.bool(7, reply.diskFull);
  writer.uint(8, reply.clock);
  writer.uint(9, reply.boot);
}

function writeProbe(writer: ProtoWriter, probe: Probe): void {
  writer.uint(1, probe.round);
  writer.uint(2, probe.configuration);
  for (const voter of probe.voters) writer.textElement(3, voter);
  for (const key of probe.keys) writer.element(4, key);
}

function writeProbeReply(writer: ProtoWriter, reply: ProbeReply): void {
  writer.uint(1, reply.round);
  writer.bool(2, reply.granted);
  writer.packed(3, reply.newest);
  writer.uint(4, reply.commitIndex);
  writer.uint(5, reply.commitEpoch);
}

function writeSnapshotChunk(writer: ProtoWriter, chunk: SnapshotChunk): void {
  writer.text(1, chunk.snapshot);
  writer.bytes(2, chunk.cursor);
  for (const key of chunk.keys) writer.element(3, key);
  for (const value of chunk.values) writer.element(4, value);
  writer.bytes(5, chunk.next);
  writer.bool(6, chunk.done);
  writer.fixed32(7, chunk.checksum);
  writer.bool(8, chunk.gone);
}

function writeScrub(writer: ProtoWriter, scrub: Scrub): void {
  writer.uint(1, scrub.index);
  writer.text(2, scrub.hash);
  writer.bool(3, scrub.damaged);
  writer.uint(4, scrub.underWay);
  writer.uint(5, scrub.rows);
  writer.uint(6, scrub.bytes);
}

function writeBody(writer: ProtoWriter, message: PeerMessage, bytesMax: number): void {
  if (message.append) {
    const mark = writer.begin(5, bytesMax);
    writeAppend(writer, message.append);
    writer.end(mark);
  }
  if (message.appendReply) {
    const mark = writer.begin(6, bytesMax);
    writeAppendReply(writer, message.appendReply);
    writer.end(mark);
  }
  if (message.confirm) {
    const mark = writer.begin(7, bytesMax);
    writer.uint(1, message.confirm.round);
    writer.uint(2, message.confirm.commitIndex);
    writer.end(mark);
  }
  if (message.confirmReply) {
    const mark = writer.begin(8, bytesMax);
    writer.uint(1, message.confirmReply.round);
    writer.bool(2, message.confirmReply.granted);
    writer.uint(3, message.confirmReply.promiseEpoch);
    writer.end(mark);
  }
  if (message.probe) {
    const mark = writer.begin(13, bytesMax);
    writeProbe(writer, message.probe);
    writer.end(mark);
  }
  if (message.probeReply) {
    const mark = writer.begin(14, bytesMax);
    writeProbeReply(writer, message.probeReply);
    writer.end(mark);
  }
  writeSaltBodies(writer, message, bytesMax);
  if (message.scrub) {
    const mark = writer.begin(12, bytesMax);
    writeScrub(writer, message.scrub);
    writer.end(mark);
  }
  if (message.snapshotOffer) {
    const mark = writer.begin(9, bytesMax);
    writer.text(1, message.snapshotOffer.snapshot);
    writer.uint(2, message.snapshotOffer.index);
    writer.uint(3, message.snapshotOffer.indexEpoch);
    writer.uint(4, message.snapshotOffer.configuration);
    writer.end(mark);
  }
  if (message.snapshotPull) {
    const mark = writer.begin(10, bytesMax);
    writer.text(1, message.snapshotPull.snapshot);
    writer.bytes(2, message.snapshotPull.cursor);
    writer.end(mark);
  }
  if (message.snapshotChunk) {
    const mark = writer.begin(11, bytesMax);
    writeSnapshotChunk(writer, message.snapshotChunk);
    writer.end(mark);
  }
}

function writePeerMessage(writer: ProtoWriter, message: PeerMessage): void {
  const bytesMax = sizeOfPeerMessage(message);
  const mark = writer.begin(3, bytesMax);
  writer.uint(1, message.partition);
  writer.text(2, message.from);
  writer.text(3, message.to);
  writer.uint(4, message.epoch);
  if (message.relayed === true) writer.bool(30, true);
  writeBody(writer, message, bytesMax);
  writer.end(mark);
}

// ------------------------------------------------------------ reading

/** Reads a nested message: `take` reads the field it is given, or returns false for one it does not know. */
function readNested(reader: ProtoReader, take: (field: number) => boolean): void {
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (!take(field)) reader.skip();
  }
  reader.leave(outer);
}

function readReplica(reader: ProtoReader): Replica {
  let id = '';
  let node = '';
  readNested(reader, (field) => {
    if (field === 1) id = reader.text();
    else if (field === 2) node = reader.text();
    else return false;
    return true;
  });
  return { id, node };
}

function readAppend(reader: ProtoReader): Append {
  const voters: Replica[] = [];
  const previousVoters: Replica[] = [];
  const append: Append = {
    configuration: 0,
    prevIndex: 0,
    prevEpoch: 0,
    entries: [],
    commitIndex: 0,
    voters,
    sentAt: 0,
    previousVoters,
    echo: 0,
    echoBoot: 0,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) append.configuration = reader.uint();
    else if (field === 2) append.prevIndex = reader.uint();
    else if (field === 3) append.prevEpoch = reader.uint();
    else if (field === 4) append.entries.push(reader.bytes());
    else if (field === 5) append.commitIndex = reader.uint();
    else if (field === 6) voters.push(readReplica(reader));
    else if (field === 7) append.sentAt = reader.uint();
    else if (field === 8) previousVoters.push(readReplica(reader));
    else if (field === 9) append.echo = reader.uint();
    else if (field === 10) append.echoBoot = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return append;
}

function readAppendReply(reader: ProtoReader): AppendReply {
  const reply: AppendReply = {
    success: false,
    matchIndex: 0,
    promiseEpoch: 0,
    hintIndex: 0,
    sentAt: 0,
    appliedIndex: 0,
    diskFull: false,
    clock: 0,
    boot: 0,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reply.success = reader.bool();
    else if (field === 2) reply.matchIndex = reader.uint();
    else if (field === 3) reply.promiseEpoch = reader.uint();
    else if (field === 4) reply.hintIndex = reader.uint();
    else if (field === 5) reply.sentAt = reader.uint();
    else if (field === 6) reply.appliedIndex = reader.uint();
    else if (field === 7) reply.diskFull = reader.bool();
    else if (field === 8) reply.clock = reader.uint();
    else if (field === 9) reply.boot = reader.uint();
    else reader.skip();
  }
  reader.leave(outer);
  return reply;
}

function readConfirm(reader: ProtoReader): Confirm {
  const confirm: Confirm = { round: 0, commitIndex: 0 };
  readNested(reader, (field) => {
    if (field === 1) confirm.round = reader.uint();
    else if (field === 2) confirm.commitIndex = reader.uint();
    else return false;
    return true;
  });
  return confirm;
}

function readConfirmReply(reader: ProtoReader): ConfirmReply {
  const reply: ConfirmReply = { round: 0, granted: false, promiseEpoch: 0 };
  readNested(reader, (field) => {
    if (field === 1) reply.round = reader.uint();
    else if (field === 2) reply.granted = reader.bool();
    else if (field === 3) reply.promiseEpoch = reader.uint();
    else return false;
    return true;
  });
  return reply;
}

function readProbe(reader: ProtoReader): Probe {
  const voters: string[] = [];
  const probe: Probe = { round: 0, configuration: 0, voters, keys: [] };
  readNested(reader, (field) => {
    if (field === 1) probe.round = reader.uint();
    else if (field === 2) probe.configuration = reader.uint();
    else if (field === 3) voters.push(reader.text());
    else if (field === 4) probe.keys.push(reader.bytes());
    else return false;
    return true;
  });
  return probe;
}

function readProbeReply(reader: ProtoReader): ProbeReply {
  const reply: ProbeReply = { round: 0, granted: false, newest: [], commitIndex: 0, commitEpoch: 0 };
  readNested(reader, (field) => {
    if (field === 1) reply.round = reader.uint();
    else if (field === 2) reply.granted = reader.bool();
    else if (field === 3) reader.uints(reply.newest, PROBE_KEYS_MAX);
    else if (field === 4) reply.commitIndex = reader.uint();
    else if (field === 5) reply.commitEpoch = reader.uint();
    else return false;
    return true;
  });
  return reply;
}

function readScrub(reader: ProtoReader): Scrub {
  const scrub: Scrub = { index: 0, hash: '', damaged: false, underWay: 0, rows: 0, bytes: 0 };
  readNested(reader, (field) => {
    if (field === 1) scrub.index = reader.uint();
    else if (field === 2) scrub.hash = reader.text();
    else if (field === 3) scrub.damaged = reader.bool();
    else if (field === 4) scrub.underWay = reader.uint();
    else if (field === 5) scrub.rows = reader.uint();
    else if (field === 6) scrub.bytes = reader.uint();
    else return false;
    return true;
  });
  return scrub;
}

function readSnapshotOffer(reader: ProtoReader): SnapshotOffer {
  const offer: SnapshotOffer = { snapshot: '', index: 0, indexEpoch: 0, configuration: 0 };
  readNested(reader, (field) => {
    if (field === 1) offer.snapshot = reader.text();
    else if (field === 2) offer.index = reader.uint();
    else if (field === 3) offer.indexEpoch = reader.uint();
    else if (field === 4) offer.configuration = reader.uint();
    else return false;
    return true;
  });
  return offer;
}

function readSnapshotPull(reader: ProtoReader): SnapshotPull {
  const pull: SnapshotPull = { snapshot: '', cursor: EMPTY_BYTES };
  readNested(reader, (field) => {
    if (field === 1) pull.snapshot = reader.text();
    else if (field === 2) pull.cursor = reader.bytes();
    else return false;
    return true;
  });
  return pull;
}

function readSnapshotChunk(reader: ProtoReader): SnapshotChunk {
  const chunk: SnapshotChunk = {
    snapshot: '',
    cursor: EMPTY_BYTES,
    keys: [],
    values: [],
    next: EMPTY_BYTES,
    done: false,
    checksum: 0,
    gone: false,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) chunk.snapshot = reader.text();
    else if (field === 2) chunk.cursor = reader.bytes();
    else if (field === 3) chunk.keys.push(reader.bytes());
    else if (field === 4) chunk.values.push(reader.bytes());
    else if (field === 5) chunk.next = reader.bytes();
    else if (field === 6) chunk.done = reader.bool();
    else if (field === 7) chunk.checksum = reader.fixed32();
    else if (field === 8) chunk.gone = reader.bool();
    else reader.skip();
  }
  reader.leave(outer);
  return chunk;
}

type PartialMessage = Omit<PeerMessage, 'body'> & { body: PeerMessage['body'] | undefined };

function readBody(reader: ProtoReader, field: number, message: PartialMessage): void {
  if (field === 5) {
    message.append = readAppend(reader);
    message.body = 'append';
  } else if (field === 6) {
    message.appendReply = readAppendReply(reader);
    message.body = 'appendReply';
  } else if (field === 7) {
    message.confirm = readConfirm(reader);
    message.body = 'confirm';
  } else if (field === 8) {
    message.confirmReply = readConfirmReply(reader);
    message.body = 'confirmReply';
  } else if (field === 9) {
    message.snapshotOffer = readSnapshotOffer(reader);
    message.body = 'snapshotOffer';
  } else if (field === 10) {
    message.snapshotPull = readSnapshotPull(reader);
    message.body = 'snapshotPull';
  } else if (field === 11) {
    message.snapshotChunk = readSnapshotChunk(reader);
    message.body = 'snapshotChunk';
  } else if (field === 12) {
    message.scrub = readScrub(reader);
    message.body = 'scrub';
  } else if (field === 13) {
    message.probe = readProbe(reader);
    message.body = 'probe';
  } else if (field === 14) {
    message.probeReply = readProbeReply(reader);
    message.body = 'probeReply';
  } else readSaltBody(reader, field, message);
}

/** `before`: the message before, whose replica ids are most likely the same. */
function readPeerMessage(reader: ProtoReader, before: PeerMessage | undefined): PeerMessage {
  const message: PartialMessage = {
    partition: 0,
    from: '',
    to: '',
    epoch: 0,
    relayed: false,
    body: undefined,
  };
  const outer = reader.enter();
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) message.partition = reader.uint();
    else if (field === 2) message.from = reader.text(before?.from);
    else if (field === 3) message.to = reader.text(before?.to);
    else if (field === 4) message.epoch = reader.uint();
    else if (field === 30) message.relayed = reader.bool();
    else if (field >= 5 && field <= LAST_BODY) readBody(reader, field, message);
    else reader.skip();
  }
  reader.leave(outer);
  // A body of a newer version is absent; the receiver ignores such messages.
  return message as PeerMessage;
}

/** Builds the codec of what a node pushes to a subscriber. */
export function peerBatchCodec(rare: RareCodecs): GenericCodec<PeerBatch> {
  return {
    serialize: (batch) => {
      const writer = new ProtoWriter();
      if (batch.welcome) writer.element(1, rare.welcome.serialize(batch.welcome));
      if (batch.failure) writer.element(2, rare.failure.serialize(batch.failure));
      for (const message of batch.messages) writePeerMessage(writer, message);
      return writer.finish();
    },
    deserialize: (bytes) => {
      const batch: PeerBatch = { welcome: null, failure: null, messages: [] };
      const reader = new ProtoReader(bytes);
      let before: PeerMessage | undefined;
      for (let field = reader.next(); field !== 0; field = reader.next()) {
        if (field === 3) {
          before = readPeerMessage(reader, before);
          batch.messages.push(before);
        } else if (field === 1) batch.welcome = rare.welcome.deserialize(asBuffer(reader.bytes()));
        else if (field === 2) batch.failure = rare.failure.deserialize(asBuffer(reader.bytes()));
        else reader.skip();
      }
      return batch;
    },
  };
}
