/**
 * Prints `PASSED FAILED SKIPPED` of a vitest JSON report: `node count-tests.mjs REPORT STATUS`, STATUS being the exit status
 * of the run. INVARIANT: a run that did not succeed, or left no report, has at least one failure.
 */
import { readFileSync } from 'node:fs';

const [path = '', status = '1'] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  passed = report.numPassedTests;
  skipped = report.numPendingTests + report.numTodoTests;
  for (const file of report.testResults) {
    const broken = file.assertionResults.filter((test) => test.status === 'failed').length;
    // A file that could not be loaded, or whose hooks failed, has no failed test of its own.
    failed += file.status === 'failed' ? Math.max(1, broken) : broken;
  }
} catch (error) {
  process.stderr.write(`no report of the tests: ${error.message}\n`);
  failed += 1;
}
if (status !== '0' && failed === 0) failed = 1;
process.stdout.write(`${passed} ${failed} ${skipped}\n`);
