/**
 * The server's ends of TopologyService.Watch, Control.Attach and Replication.Subscribe: handshake, then what the
 * handler pushes, within a bound per stream.
 * INVARIANT: a stream whose reader is slow costs at most its bound: replication and control are refused (`push` and
 * `send` return false; the protocols above send again), a watcher is ended and comes back for the full topology.
 */
import type { ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { RingkeepError } from '../errors.ts';
import type { Topology } from '../topology.ts';
import type {
  AttachSink,
  ControlHandler,
  ControllerPart,
  EndSink,
  ReplicationHandler,
  StreamEnd,
  TopologyHandler,
} from './contract.ts';
import type {
  ControllerMessage,
  Hello,
  NodeMessage,
  PeerBatch,
  PeerMessage,
  TopologyMessage,
} from './messages.ts';
import {
  admit,
  endedWithoutHello,
  greet,
  orRefuse,
  overloaded,
  ServerStream,
  type StreamHost,
} from './server-stream.ts';
import { sizeOfPeerMessage, sizeOfReplicas } from './sizes.ts';
import { spokenAt } from './versions.ts';

function sizeOfTopology(topology: Topology): number {
  let size = 104 + 3 * topology.clusterId.length;
  for (const { keyspace } of topology.acks?.keyspaces ?? []) size += 16 + 3 * keyspace.length;
  for (const node of topology.nodes) {
    const texts = node.id + node.incarnation + node.address + node.clientAddress + node.zone + node.reason;
    size += 100 + 3 * texts.length;
  }
  for (const record of topology.records) {
    size += 140 + 3 * record.reservationId.length;
    size += sizeOfReplicas(record.voters) + sizeOfReplicas(record.previousVoters);
    size +=
      sizeOfReplicas(record.learners) +
      (record.leader === null
        ? 0
        : sizeOfReplicas([{ id: record.leader.replica, node: record.leader.node }]));
  }
  return size;
}

function sizeOfControllerPart(part: ControllerPart): number {
  let size = 16 + (part.topology ? sizeOfTopology(part.topology) : 0);
  for (const seal of part.seals ?? []) {
    size += 80 + 3 * (seal.replica.length + seal.reservationId.length);
    size += sizeOfReplicas(seal.voters) + sizeOfReplicas(seal.previousVoters);
  }
  for (const prepare of part.prepares ?? []) size += 48 + 3 * prepare.target.length;
  if (part.addressCheck)
    size += 16 + 3 * (part.addressCheck.address.length + part.addressCheck.trouble.length);
  return size;
}

/** Tells the end to a sink that may not exist yet. */
function ending(onEnd: () => void, sink: () => EndSink | undefined): () => void {
  return () => {
    onEnd();
    sink()?.onEnd();
  };
}

/** Serves a watcher. `onEnd` is told when the stream is over. @returns the server's handle on it */
export function serveWatch(
  call: ServerWritableStream<Hello, TopologyMessage>,
  host: StreamHost,
  handler: TopologyHandler,
  onEnd: () => void,
): StreamEnd {
  let sink: EndSink | undefined;
  const stream = new ServerStream<Topology, TopologyMessage>({
    call,
    sizeOf: sizeOfTopology,
    compose: (items) => ({ topology: items[0] ?? null, failure: null }),
    composeFailure: (failure) => ({ topology: null, failure }),
    bytesMax: host.limits.pushBytesMax,
    messageItems: 1,
    onEnd: ending(onEnd, () => sink),
  });
  orRefuse(
    () => {
      admit(host, call);
      const { peer } = greet(host, call, call.request);
      sink = handler.onWatch(peer, {
        get bufferedBytes() {
          return stream.bufferedBytes;
        },
        send: (topology) => {
          if (!stream.ended && !stream.push(topology)) stream.abort(overloaded('the watcher does not read'));
        },
        fail: (error) => stream.fail(error),
        close: () => stream.close(),
      });
    },
    (error) => stream.fail(error),
  );
  return stream;
}

/** Serves a node that subscribed to what we have for it. `onEnd` is told when the stream is over. */
export function serveSubscribe(
  call: ServerWritableStream<Hello, PeerBatch>,
  host: StreamHost,
  handler: ReplicationHandler,
  onEnd: () => void,
): StreamEnd {
  let sink: EndSink | undefined;
  const { peerBytesMax } = host.limits;
  const stream = new ServerStream<PeerMessage, PeerBatch>({
    call,
    sizeOf: sizeOfPeerMessage,
    compose: (messages) => ({ welcome: null, failure: null, messages }),
    composeFailure: (failure) => ({ welcome: null, failure, messages: [] }),
    bytesMax: Number.POSITIVE_INFINITY,
    onEnd: ending(onEnd, () => sink),
  });
  orRefuse(
    () => {
      admit(host, call);
      const { peer, welcome } = greet(host, call, call.request);
      stream.writeFirst({ welcome, failure: null, messages: [] });
      sink = handler.onSubscribe(peer, {
        get bufferedBytes() {
          return stream.bufferedBytes;
        },
        push: (messages) => {
          // The bound is looked at once per call: all or none.
          if (stream.ended || stream.bufferedBytes > peerBytesMax) return false;
          for (const message of messages) {
            const spoken = spokenAt(peer.protocol, message);
            if (spoken !== null) stream.push(spoken);
          }
          return true;
        },
        fail: (error) => stream.fail(error),
        close: () => stream.close(),
      });
    },
    (error) => stream.fail(error),
  );
  return stream;
}

const NO_CONTROL: ControllerMessage = {
  welcome: null,
  failure: null,
  topology: null,
  seals: [],
  prepares: [],
  addressCheck: null,
};

/** Serves a node that attached to this controller. `onEnd` is told when the stream is over. */
export function serveAttach(
  call: ServerDuplexStream<NodeMessage, ControllerMessage>,
  host: StreamHost,
  handler: ControlHandler,
  onEnd: () => void,
): StreamEnd {
  let sink: AttachSink | undefined;
  const stream = new ServerStream<ControllerPart, ControllerMessage>({
    call,
    sizeOf: sizeOfControllerPart,
    compose: (items) => ({ ...NO_CONTROL, ...items[0] }),
    composeFailure: (failure) => ({ ...NO_CONTROL, failure }),
    bytesMax: host.limits.pushBytesMax,
    messageItems: 1,
    onEnd: ending(
      () => {
        clearTimeout(helloTimer);
        onEnd();
      },
      () => sink,
    ),
  });
  const helloTimer = setTimeout(() => {
    stream.fail(new RingkeepError('DEADLINE_EXCEEDED', 'no hello came'));
  }, host.limits.helloTimeoutMs);
  orRefuse(
    () => admit(host, call),
    (error) => stream.fail(error),
  );
  const open = (message: NodeMessage): void => {
    clearTimeout(helloTimer);
    const { peer, welcome } = greet(host, call, message.hello);
    if (message.register === null || peer.hello.role !== 'node') {
      throw new RingkeepError('INVALID_ARGUMENT', 'a node registers with its first message');
    }
    stream.writeFirst({ ...NO_CONTROL, welcome });
    const push = {
      get bufferedBytes() {
        return stream.bufferedBytes;
      },
      send: (part: ControllerPart) => stream.push(part),
      fail: (error: RingkeepError) => stream.fail(error),
      close: () => stream.close(),
    };
    const { register, reports, topology } = message;
    sink = handler.onAttach(peer, { register, reports, topology }, push);
  };
  call.on('data', (message: NodeMessage) => {
    if (stream.ended) return;
    if (sink !== undefined) sink.onMessage(message);
    else {
      orRefuse(
        () => open(message),
        (error) => stream.fail(error),
      );
    }
  });
  call.on('end', () => {
    if (sink === undefined) stream.fail(endedWithoutHello());
    else stream.close();
  });
  return stream;
}
