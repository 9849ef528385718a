/**
 * The entry of a worker thread of the checker: one job after the other. Apart from job.ts because importing it listens to
 * whoever started the thread; nothing imports it.
 */
import { parentPort } from 'node:worker_threads';
import { assert } from '../common/errors.ts';
import { type Job, runJob } from './job.ts';

assert(parentPort !== null, 'a worker is a thread');
const port = parentPort;
port.on('message', (job: Job) => port.postMessage(runJob(job)));
