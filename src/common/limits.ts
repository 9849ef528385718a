/**
 * Every limit and default in one place, with unit, range and reason. Numbers that a test or an operator may want to
 * change travel in the option objects that name these as defaults; the rest are protocol constants.
 */

/** Protocol versions this build speaks, inclusive; what each adds is in wire/versions.ts. */
export const PROTOCOL_MIN = 1;
export const PROTOCOL_MAX = 3;
/** The first version with scrubs on demand. */
export const SCRUB_PROTOCOL = 2;
/** The first version that knows salts. */
export const SALT_PROTOCOL = 3;
/** Copies that a hot key can have. */
export const SALT_COPIES_MAX = 8;
/** A node salts a key by itself that is read so often: below that one processor does more for it alone than several do together. */
export const SALT_READS_PER_SECOND = 10_000;
/** Copies of hot keys of others that one leader holds, and bytes of all that a node holds. */
export const COPIES_HELD_MAX = 256;
export const COPIES_HELD_BYTES_MAX = 32 * 1024 * 1024;
/** Keys whose copies a router or a client remembers, and for how long after the key's home has named them, ms. */
export const SALT_HINTS_MAX = 1_024;
export const SALT_HINT_MS = 3_000;
/** A sub-counter that was added to its home is recognised for so long, ms: an order to open it that comes later is lost. */
export const SUB_KEPT_MS = 24 * 3_600_000;
/** Salted keys of one partition: their names are written with every batch of it. */
export const SALTS_MAX = 16;

/** Key length in bytes, inclusive. */
export const KEY_BYTES_MIN = 1;
export const KEY_BYTES_MAX = 4 * 1024;
/** Keyspace name in UTF-8 bytes; a length byte precedes it in store keys. */
export const KEYSPACE_BYTES_MAX = 64;
/** Keyspaces with a default acknowledgement of their own: all of them are pushed to every node. */
export const ACK_KEYSPACES_MAX = 256;
/** Value length in bytes, inclusive: default and the most that can be configured. */
export const VALUE_BYTES_MAX = 1024 * 1024;
export const VALUE_BYTES_CEILING = 8 * 1024 * 1024;
/** Operations of a batch, and bytes of its keys and values together, inclusive: its log entry goes in one message. */
export const BATCH_OPERATIONS_MAX = 1_024;
export const BATCH_BYTES_MAX = 8 * 1024 * 1024;
/** Operations of a batch that depend on what is there: each has a value read on every replica before the batch is decided. */
export const BATCH_DEPENDING_MAX = 128;
/** Length of an idempotency key in bytes, inclusive, and how long it is kept with its result, ms. */
export const IDEMPOTENCY_KEY_BYTES_MAX = 64;
export const IDEMPOTENCY_MS = 24 * 3_600_000;
/** Tag of a value's codec: one byte. */
export const CODEC_TAG_MAX = 255;
/** Time to live of a value, ms, inclusive: up to ten years of 365 days. */
export const TTL_MS_MAX = 10 * 365 * 24 * 3_600_000;
/**
 * Values that one log entry ends, and bytes of their keys: their versions are read before it is decided, so more of them would hold
 * up what is behind it. A partition ends one such entry per tick at most.
 */
export const EXPIRY_KEYS_MAX = 128;
export const EXPIRY_BYTES_MAX = 64 * 1024;
/** A leader looks for what is due that often, ms, while there is little of it. */
export const EXPIRY_INTERVAL_MS = 100;
/** Writes per partition that a session may have been told of at `leader` in different epochs without having seen them since. */
export const SESSION_MARKS_MAX = 8;
/** Changes of leaders that a partition remembers: a session that was told of a write at `leader` before them is told of a loss. */
export const EPOCH_STARTS_MAX = 1_024;
/** Bound of staleness that a read may ask for, ms: an uint32. */
export const STALENESS_MS_MAX = 4_294_967_295;
/** Bytes of rows after which a page of a scan ends. */
export const SCAN_BYTES_MAX = 1024 * 1024;
/** Quorum reads of one partition that share a round of questions, at most: their keys, and the bytes of these. */
export const PROBE_KEYS_MAX = 1_024;
export const PROBE_BYTES_MAX = 256 * 1024;
/** Longest gRPC message, either way: a value at the ceiling plus a batch around it. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
/**
 * The longest request or reply by itself, in the estimate of wire/sizes.ts; a longer one is refused before it is sent, since the
 * transport would end the stream.
 */
export const ITEM_BYTES_MAX = MESSAGE_BYTES_MAX - 4096;
/** A sender closes a coalesced message at about this size. */
export const MESSAGE_BYTES_TARGET = 256 * 1024;
/** Entries of one append: what a follower takes in without pausing for long. */
export const APPEND_ENTRIES_MAX = 2048;

/** Partitions of a new cluster: 1 to 4096. By measurement (docs/BENCHMARKS.md); four or more per node that is ever expected. */
export const PARTITIONS_DEFAULT = 12;
export const PARTITIONS_MAX = 4096;
export const REPLICATION_FACTOR_DEFAULT = 3;
export const REPLICATION_FACTOR_MAX = 7;
/**
 * Bytes per second of moves, in each direction of a node. With the least, the last of as many moves as a node may take part in waits four
 * seconds for a chunk (SNAPSHOT_CHUNK_BYTES); the most is beyond every disk and network: no bound.
 */
export const MOVE_BYTES_MIN = 1024 * 1024;
export const MOVE_BYTES_MAX = 16 * 1024 ** 3;
/** Moves that a node takes part in at a time. */
export const MOVES_PER_NODE_MAX = 16;
/** A node counts as lost after so long, s: longer than a restart takes, and within reason. */
export const LOST_AFTER_S_MIN = 5;
export const LOST_AFTER_S_MAX = 30 * 86_400;

/** Client ids, exactly; and other ids in a hello, at most. */
export const CLIENT_ID_BYTES = 16;
export const HELLO_ID_LENGTH_MAX = 256;
/** Operations that an SDK client has open, and their keys and values in bytes, unless it is told otherwise; else OVERLOADED. */
export const CLIENT_OPERATIONS_MAX = 32_768;
export const CLIENT_OPERATION_BYTES_MAX = 64 * 1024 * 1024;
/** Requests of one stream that may wait for their end mark (credit told in Welcome). */
export const STREAM_IN_FLIGHT_MAX = 2048;
/** Unread reply bytes of one stream before its requests are no longer read. */
export const STREAM_REPLY_BYTES_MAX = 4 * 1024 * 1024;
/** Period over which what connections have open is averaged, ms (wire/fair-share.ts); what a router counts for. */
export const SHARE_PERIOD_MS = 125;
export const ROUTER_SHARE_WEIGHT = 8;
/** Bytes of one stream's requests that wait for its share before it is no longer read. */
export const STREAM_WAITING_BYTES_MAX = 4 * 1024 * 1024;
/** The same over all streams of a server, before requests are refused with OVERLOADED. */
export const SERVER_WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** Requests and their bytes that one node holds unanswered over all streams, else OVERLOADED. */
export const NODE_REQUESTS_MAX = 16_384;
export const NODE_REQUEST_BYTES_MAX = 64 * 1024 * 1024;
/** Values that a node reads from its store at a time: enough to keep LevelDB's threads busy. */
export const STORE_READS_MAX = 64;
/** The same for a router, and per node behind it. */
export const ROUTER_REQUESTS_MAX = 16_384;
export const ROUTER_REQUEST_BYTES_MAX = 64 * 1024 * 1024;
export const ROUTER_NODE_REQUESTS_MAX = 8_192;
/** Told with OVERLOADED, in ms, before jitter. */
export const OVERLOADED_RETRY_AFTER_MS = 50;

/** Default and longest time of a request. */
export const REQUEST_TIMEOUT_MS = 10_000;
export const REQUEST_TIMEOUT_MS_MAX = 300_000;

/** Deduplication: how long a session is remembered after its last write, in log time; the stated window of G4. */
export const SESSION_WINDOW_MS = 10 * 60_000;
/** Sequences that one client may have unfinished per partition; the other half of the window. */
export const SESSION_SEQUENCES_MAX = 4096;
/** Sessions per partition; a new client beyond gets OVERLOADED. */
export const SESSIONS_MAX = 20_000;

/** Requests that a partition remembers, of all sessions: a snapshot carries its deduplication table in one message. */
export const REQUESTS_REMEMBERED_MAX = 500_000;
/** Deduplication tables of all partitions of a node, bytes, before no further client gets a session: about 140,000 of them. */
export const SESSION_BYTES_MAX = 64 * 1024 * 1024;

/** Node heartbeats to the controller. */
export const HEARTBEAT_MS = 100;
/** Node timer granularity. */
export const TICK_MS = 20;
/** A leader sends an empty append to a silent follower after this. */
export const APPEND_IDLE_MS = 150;
/** A leader without quorum contact for this long stops acknowledging `leader` writes. */
export const LEADER_ACK_LEASE_MS = 1_000;
/** ... and for this long refuses new writes and reads with NO_QUORUM before appending them. */
export const QUORUM_LOST_MS = 2_000;
/**
 * Bytes sent to one follower of one partition without an answer. Many partitions catch up at once when a node returns:
 * together they should fit into PEER_SEND_BYTES_MAX, beyond which messages are dropped and sent again.
 */
export const APPEND_IN_FLIGHT_BYTES_MAX = 2 * 1024 * 1024;
/** Bytes of applied entries kept in memory per node for followers, shared by its replicas; older ones are in the WAL. */
export const LOG_CACHE_BYTES = 32 * 1024 * 1024;
/** WAL bytes per partition kept for followers that come back, else they get a snapshot. */
export const WAL_RETENTION_BYTES = 256 * 1024 * 1024;
/** A learner that lacks less than this of the log is sent the log, however few rows it amounts to. */
export const LOG_COPY_BYTES_MIN = 4 * 1024 * 1024;
/**
 * WAL bytes kept besides, per node, from the moment on at which a snapshot of a replica is opened until who is sent it follows: at 16 MiB/s
 * of copies and of writes, enough for replicas of 4 GiB. From half of it on, writes to the partition are slowed down; beyond it, the
 * replica needs another snapshot.
 */
export const WAL_HELD_BYTES = 4 * 1024 ** 3;
export const WAL_SEGMENT_BYTES = 32 * 1024 * 1024;
/**
 * Entries that hold the WAL's head back and are copied to its end, per checkpoint: an eighth of the growth
 * between two. One partition's alone may be more, since they are copied at once or not: what a leader takes
 * on unapplied, and some.
 */
export const WAL_COPY_BYTES = 8 * 1024 * 1024;
export const WAL_COPY_RUN_BYTES = 40 * 1024 * 1024;
/** How far the file of a WAL segment grows at once; a group with it is written without another thread. */
export const WAL_AHEAD_BYTES = 128 * 1024;
/** WAL growth between two checkpoints (store sync, deduplication checkpoint, truncateHead). */
export const CHECKPOINT_BYTES = 64 * 1024 * 1024;
/** Time between two comparisons of a partition's replicas by hash. */
export const SCRUB_INTERVAL_MS = 6 * 3_600_000;
/** Bytes of rows per second that the scrubs of a node read, all together: 160 GiB in the time between two. */
export const SCRUB_BYTES_PER_SECOND = 8 * 1024 * 1024;
/** What a scrub reads in one go, at least and at most: at a high rate, what is due in a tick. It runs on the event loop. */
export const SCRUB_CHUNK_BYTES_MIN = 64 * 1024;
export const SCRUB_CHUNK_BYTES_MAX = 256 * 1024;
/** Partitions that a leading node scrubs at a time: each holds a view open on every voter. */
export const SCRUB_ROUNDS_MAX = 4;
/** A replica that looks at its rows says so this often; without a word for so long, it is not waited for any more. */
export const SCRUB_NEWS_MS = 2_000;
export const SCRUB_SILENT_MS = 10_000;
/** Keys that a node counts to find the hottest; keys and partitions that are told of at a time, and where nobody says how many. */
export const HOT_KEYS_MAX = 1_024;
export const HOT_TOLD_MAX = 1_000;
export const HOT_TOLD_DEFAULT = 10;
/** Scrubs on demand of which a process can still tell how they stand; of further ones the oldest is forgotten. */
export const SCRUB_RUNS_MAX = 64;
/** Snapshot chunk, and bytes/s that a node sends to replace what was lost, at least: as many as moves may, where these are more. */
export const SNAPSHOT_CHUNK_BYTES = 256 * 1024;
export const SNAPSHOT_BYTES_PER_SECOND = 64 * 1024 * 1024;

/** Failure detector: phi threshold and the shortest silence that can count, against event-loop stalls. */
export const PHI_THRESHOLD = 8;
export const SUSPECT_FLOOR_MS = 700;
/** After a quorum has answered a Seal, how long the others are waited for (G3's grace). */
export const SEAL_GRACE_MS = 150;

/** Graceful stop of a process, in ms, after which it exits anyway. */
export const DRAIN_MS = 5_000;

/** Wire: a stream must be welcomed this long after it was opened (client), its hello must have come (server). */
export const CONNECT_TIMEOUT_MS = 3_000;
export const HELLO_TIMEOUT_MS = 5_000;
/** HTTP/2 pings. The timeout is two intervals: one late pong is an event-loop stall, two are a dead process. */
export const KEEPALIVE_MS = 500;
export const KEEPALIVE_TIMEOUT_MS = 1_000;
/** The same from servers to clients, slower: only so that a vanished client does not hold its streams for ever. */
export const SERVER_KEEPALIVE_MS = 5_000;
/** HTTP/2 receive window of a client, per stream and connection. Servers keep 64 KiB, so bulk is pulled. */
export const CLIENT_WINDOW_BYTES = 8 * 1024 * 1024;
/** Reconnecting: first and longest pause, before jitter. */
export const RECONNECT_MS_MIN = 100;
export const RECONNECT_MS_MAX = 1_000;
/** Streams of one connection, and long-lived streams of one server. */
export const CONNECTION_STREAMS_MAX = 256;
export const SERVER_STREAMS_MAX = 1_024;
/** Unary calls that one server answers at a time. */
export const UNARY_IN_FLIGHT_MAX = 1_024;
/** HTTP/2 session memory of a server, in MB (frames and headers, not message bytes). */
export const SERVER_SESSION_MEMORY_MB = 64;
/** Unsent bytes of one stream before its sender is told no: requests, replication, topology and control. */
export const SESSION_SEND_BYTES_MAX = 64 * 1024 * 1024;
export const PEER_SEND_BYTES_MAX = 64 * 1024 * 1024;
export const PUSH_SEND_BYTES_MAX = 32 * 1024 * 1024;
/** Unsent reply bytes over all sessions of one server; near it, values are answered with OVERLOADED. */
export const SERVER_REPLY_BYTES_MAX = 128 * 1024 * 1024;
/**
 * A stream's expected and unsent reply bytes before its reads wait, and its unsent ones before values are answered with
 * OVERLOADED: so many times STREAM_REPLY_BYTES_MAX, and for a router, which carries many clients, so many times that.
 */
export const STREAM_REPLY_ROOM = 2;
export const STREAM_REPLY_OVERRUN = 4;
export const ROUTER_REPLY_FACTOR = 3;
/** Items that a sender puts into one message, and the most that a receiver takes. */
export const MESSAGE_ITEMS_TARGET = 2_048;
export const MESSAGE_ITEMS_MAX = 16_384;

/**
 * Copies of replicas are taken only while the disk has so many times DISK_RESERVE_BYTES left: a copy that does not fit then ends before
 * the node refuses its clients.
 */
export const COPY_RESERVES = 2;
/** Free disk space below which a node refuses writes, so that neither WAL nor store meets a full disk unprepared. */
export const DISK_RESERVE_BYTES = 192 * 1024 * 1024;
