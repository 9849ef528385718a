/**
 * Asks a process's `/healthz` and exits with 0 if it is healthy, else with 1 and the reason on stderr. For container
 * health checks in images without curl: `node healthcheck.mjs http://127.0.0.1:9400/healthz`.
 */
const TIMEOUT_MS = 2_500;

const url = process.argv[2] ?? 'http://127.0.0.1:9400/healthz';
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const details = (await response.text()).trim();
  if (!response.ok) process.stderr.write(`${response.status} ${details}\n`);
  process.exitCode = response.ok ? 0 : 1;
} catch (error) {
  process.stderr.write(`${url}: ${error.cause?.message ?? error.message}\n`);
  process.exitCode = 1;
}
