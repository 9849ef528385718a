#!/usr/bin/env node
/**
 * Starts the command line in ../dist. CommonJS on purpose (bin/package.json says so): Node reads ES modules through
 * libuv's thread pool, whose size is fixed at its first use, so an ES module here would set UV_THREADPOOL_SIZE too
 * late. The syntax is old on purpose too, so that an old Node gets as far as the message about its version.
 */
'use strict';

const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { setFlagsFromString } = require('node:v8');

const NODE_MIN = [20, 19];

const [major, minor] = process.versions.node.split('.').map(Number);
const entry = join(__dirname, '..', 'dist', 'cli', 'main.js');

if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
  process.stderr.write(
    `error: ringkeep needs Node.js ${NODE_MIN.join('.')} or newer; this is ${process.versions.node}\n`,
  );
  process.exitCode = 1;
} else if (!existsSync(entry)) {
  process.stderr.write('error: ringkeep is not built yet; run `npm run build` first\n');
  process.exitCode = 1;
} else {
  // Each fdatasync and each LevelDB call holds a thread while it waits for the disk; libuv's default is four.
  process.env.UV_THREADPOOL_SIZE = process.env.UV_THREADPOOL_SIZE || '8';
  // V8 marks all of a heap again when it has grown by a part of itself, and counts the buffers of messages and values in.
  // Heaps are small here, so with large values that was five times a second: nearly half of the CPU (docs/BENCHMARKS.md).
  setFlagsFromString('--heap-growing-percent=400');
  import('../dist/cli/main.js').then(({ main }) => main(process.argv));
}
