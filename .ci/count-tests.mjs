/**
 * Prints `PASSED FAILED SKIPPED` of a vitest JSON report, and appends to a summary the failed tests with the first lines of their
 * messages and the files that took longest: `node count-tests.mjs REPORT STATUS SUMMARY`, STATUS being the exit status of the run.
 * INVARIANT: a run that did not succeed, or left no report, has at least one failure.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';

const [path = '', status = '1', summary = '/dev/stderr'] = process.argv.slice(2);
const MESSAGE_LINES = 12;
const SLOWEST = 8;
const SLOW_MS = 20_000;

const lines = [];
const tell = (name, message) => {
  lines.push(`FAILED ${name}`);
  for (const line of String(message).split('\n').slice(0, MESSAGE_LINES))
    lines.push(`    ${line.slice(0, 400)}`);
};

let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  passed = report.numPassedTests;
  skipped = report.numPendingTests + report.numTodoTests;
  for (const file of report.testResults) {
    const name = relative(process.cwd(), file.name);
    const broken = file.assertionResults.filter((test) => test.status === 'failed');
    for (const test of broken) tell(`${name} > ${test.fullName}`, test.failureMessages.join('\n'));
    // A file that could not be loaded, or whose hooks failed, has no failed test of its own.
    if (file.status === 'failed' && broken.length === 0) tell(name, file.message);
    failed += file.status === 'failed' ? Math.max(1, broken.length) : broken.length;
  }
  const slow = report.testResults
    .map((file) => ({ name: relative(process.cwd(), file.name), ms: file.endTime - file.startTime }))
    .filter(({ ms }) => ms >= SLOW_MS)
    .sort((a, b) => b.ms - a.ms);
  for (const { name, ms } of slow.slice(0, SLOWEST)) lines.push(`slow ${name}: ${Math.round(ms / 1000)} s`);
} catch (error) {
  tell('no report of the tests', error.message);
  failed += 1;
}
if (status !== '0' && failed === 0) {
  tell(`exit status ${status} without a failed test`, '');
  failed = 1;
}
if (lines.length > 0) appendFileSync(summary, `${lines.join('\n')}\n`);
process.stdout.write(`${passed} ${failed} ${skipped}\n`);
