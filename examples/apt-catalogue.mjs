/**
 * Turns the package catalogue of a Debian or Ubuntu machine into JSON Lines, one record per package version: real
 * records of real sizes to load into a cluster.
 *
 *     apt-get update
 *     node examples/apt-catalogue.mjs > packages.jsonl
 *     ringkeep import packages.jsonl --key id --keyspace packages
 *
 * `id` is NAME_VERSION_ARCHITECTURE and occurs once, even if several sources offer the same package. Field names are
 * those of the catalogue in lower case; sizes are numbers; relations to other packages are arrays.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const NUMBERS = new Set(['size', 'installed-size']);
const LISTS = new Set([
  ...['depends', 'pre-depends', 'recommends', 'suggests', 'enhances'],
  ...['provides', 'conflicts', 'breaks', 'replaces', 'tag'],
]);

function fieldValue(name, text) {
  if (NUMBERS.has(name)) return Number(text);
  if (!LISTS.has(name)) return text;
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Yields one record per stanza of `apt-cache dumpavail`; `lines` is any iterable of its lines. */
export async function* catalogueRecords(lines) {
  const seen = new Set();
  let fields = new Map();
  let last = '';
  const record = () => {
    const id = ['package', 'version', 'architecture'].map((name) => fields.get(name) ?? '').join('_');
    if (fields.size === 0 || seen.has(id)) return null;
    seen.add(id);
    const named = [...fields].map(([name, text]) => [name, fieldValue(name, text)]);
    return { id, ...Object.fromEntries(named) };
  };
  for await (const line of lines) {
    if (line === '') {
      const whole = record();
      fields = new Map();
      if (whole !== null) yield whole;
    } else if (line.startsWith(' ') || line.startsWith('\t')) {
      // A folded field goes on.
      fields.set(last, `${fields.get(last)}\n${line.slice(1)}`);
    } else {
      const colon = line.indexOf(':');
      last = line.slice(0, colon).toLowerCase();
      fields.set(last, line.slice(colon + 1).trim());
    }
  }
  const whole = record();
  if (whole !== null) yield whole;
}

async function main() {
  const source = spawn('apt-cache', ['dumpavail'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(source, 'close');
  for await (const record of catalogueRecords(createInterface({ input: source.stdout }))) {
    if (!process.stdout.write(`${JSON.stringify(record)}\n`)) await once(process.stdout, 'drain');
  }
  const [status] = await ended;
  if (status !== 0) throw new Error(`apt-cache ended with status ${status}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
