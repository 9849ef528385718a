/**
 * A smoke benchmark: a closed loop of one operation over uniform keys against a running cluster. It tells whether the
 * data path works and roughly how fast; it is no harness (closed loops hide queueing: coordinated omission).
 * Usage: node bench/quick.mjs [--url U] [--mode routed|direct] [--op put|get] [--concurrency N] [--seconds N] [--ack L] [--json]
 */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { connect } from '../dist/client/index.js';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string', default: process.env.RINGKEEP_URL ?? 'ringkeep://127.0.0.1:7400' },
    mode: { type: 'string', default: 'routed' },
    op: { type: 'string', default: 'put' },
    ack: { type: 'string', default: 'quorum' },
    concurrency: { type: 'string', default: '256' },
    seconds: { type: 'string', default: '5' },
    keys: { type: 'string', default: '10000' },
    bytes: { type: 'string', default: '100' },
    json: { type: 'boolean', default: false },
  },
});
const concurrency = Number(options.concurrency);
const keys = Number(options.keys);
const db = connect({ endpoints: options.url.replace('ringkeep://', '').split(','), mode: options.mode });
const space = db.keyspace('bench', { codec: 'bytes' });
const value = Buffer.alloc(Number(options.bytes), 'x');
const key = () => `key-${Math.floor(Math.random() * keys)}`;
const run =
  options.op === 'get' ? () => space.get(key()) : () => space.put(key(), value, { ack: options.ack });

const latencies = [];
const errors = {};
let measuring = false;
let stopped = false;
const loop = async () => {
  while (!stopped) {
    const start = performance.now();
    try {
      await run();
      if (measuring) latencies.push(performance.now() - start);
    } catch (error) {
      errors[error.code] = (errors[error.code] ?? 0) + 1;
    }
  }
};
const loops = Array.from({ length: concurrency }, loop);
await new Promise((resolve) => setTimeout(resolve, 1_500));
measuring = true;
const cpu = process.cpuUsage();
const start = performance.now();
await new Promise((resolve) => setTimeout(resolve, Number(options.seconds) * 1_000));
measuring = false;
const seconds = (performance.now() - start) / 1_000;
const used = process.cpuUsage(cpu);
stopped = true;
await Promise.all(loops);
await db.close();

latencies.sort((a, b) => a - b);
const at = (share) => Number((latencies[Math.floor(latencies.length * share)] ?? Number.NaN).toFixed(2));
const result = {
  op: options.op,
  mode: options.mode,
  ack: options.ack,
  concurrency,
  opsPerSecond: Math.round(latencies.length / seconds),
  p50Ms: at(0.5),
  p99Ms: at(0.99),
  p999Ms: at(0.999),
  clientCpuUsPerOp: Number(((used.user + used.system) / Math.max(1, latencies.length)).toFixed(1)),
  errors,
};
if (options.json) console.log(JSON.stringify(result));
else console.table([{ ...result, errors: JSON.stringify(errors) }]);
