/**
 * Structure rules that types and Biome do not know: who may import whom, what a pure file may not do, who alone may
 * touch a library, no import cycles, file and function lengths, a docstring on every export. Prints every breach; exits 1.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import ts from 'typescript';

const ROOT = join(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), '..');
const LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;

/** Folder → folders it may import; all but `bench` are in src/. `cli` may import everything there. */
const LAYERS = {
  common: ['common'],
  node: ['node', 'common'],
  router: ['router', 'common'],
  client: ['client', 'common'],
  check: ['check', 'common'],
  chaos: ['chaos', 'check', 'client', 'common'],
  cli: ['cli', 'chaos', 'check', 'client', 'router', 'node', 'common'],
  bench: ['bench', 'cli', 'client', 'common'],
  // Steps of the data path by themselves.
  'bench/micro': ['bench/micro', 'router', 'node', 'common'],
  'bench/sketches': ['bench/sketches', 'bench', 'node', 'common'],
};

/** Pure and synchronous: events in, effects out. */
const PURE = [
  /^src\/node\/core\//,
  /^src\/node\/store\.ts$/,
  /^src\/router\/controller\//,
  /^src\/router\/(ring|placement|routing|failure-detector|leader-balance|topology-store)\.ts$/,
  /^src\/client\/(retry-policy|sequences|sequence-windows|topology-view|routes)\.ts$/,
  /^src\/check\/(model|interpret|plan|search|brute-force|minimize|key-check|describe|timeline)\.ts$/,
  /^src\/chaos\/(plan|figures|wholeness|breaches|verdict|summary|page)\.ts$/,
  /^src\/common\/(errors|batch-items|limits|topology|disk|bytes|crc32c|hash|held-bytes|random|replica-choice|replica-id|salt-hints|failure|scrub|text|history)\.ts$/,
  /^src\/common\/report\//,
  /^src\/common\/wire\/(messages|contract|versions)\.ts$/,
  /^src\/node\/wal\/types\.ts$/,
  /^bench\/workload\//,
  /^bench\/load\/(arrivals|gaps|histogram|recorder)\.ts$/,
  /^bench\/report\//,
  /^bench\/profile\/budget\.ts$/,
  /^bench\/compare\/(document|etcd-requests|h2load-log|measurements|redis-benchmark|resp)\.ts$/,
  /^bench\/growth\/(dimensions|document|figures|memory|page|rules)\.ts$/,
  /^bench\/moves\/(document|page)\.ts$/,
  /^bench\/reads\/(conditions|document|figures|page)\.ts$/,
  /^bench\/servers\/sample\.ts$/,
];
/** Type-only imports of a pure file may name these contracts as well; libraries that are pure functions are fine. */
const PURE_LIBRARIES = new Set(['msgpackr', '@node-rs/crc32', '@node-rs/xxhash', 'hdr-histogram-js']);
const BANNED_IN_PURE = new Set([
  'Date',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'process',
  'Promise',
  'queueMicrotask',
]);

/** Library → the only files that may import it. */
const OWNERS = [
  [/^@grpc\/|^grpc-health-check$/, /^src\/common\/wire\//],
  [
    /^level$|^classic-level$/,
    /^src\/common\/(leveldb|node-disk)\.ts$|^src\/node\/level-store\.ts$|^src\/router\/embedded-topology-store\.ts$/,
  ],
  [
    /^node:fs$|^node:fs\/promises$/,
    /^src\/common\/node-disk\.ts$|^src\/cli\/|^src\/chaos\/(process|local-process|cluster|watch|tools|namespaces|mounts)\.ts$|^src\/chaos\/faults\/|^src\/common\/wire\/schema\.ts$|^bench\/(main|options|program|session|micro\/\w+|profile\/main)\.ts$|^bench\/servers\/|^bench\/compare\/(course|etcd|main|processes|redis|system)\.ts$|^bench\/(growth|moves|reads|salts)\/main\.ts$/,
  ],
  [/^pino$/, /^src\/common\/log\.ts$/],
  [/^prom-client$/, /^src\/common\/metrics\.ts$/],
  [/^hdr-histogram-js$/, /^bench\/load\/histogram\.ts$/],
];

const problems = [];
const say = (file, line, text) => problems.push(`${file}:${line}: ${text}`);

function listFiles(folder) {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return listFiles(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

const files = [...listFiles('src'), ...listFiles('bench')];
/** bench/ names src/ by this: see "imports" in package.json. */
const SOURCE = /^#src\//;
const isTest = (file) => /\.test(-\w+)?\.ts$/.test(file);
const isPure = (file) => PURE.some((pattern) => pattern.test(file));
const graph = new Map();

function lineOf(source, node) {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

function layerOf(file) {
  const [top, folder] = file.split('/');
  if (top === 'src') return folder;
  return `${top}/${folder}` in LAYERS ? `${top}/${folder}` : top;
}

function checkImport(file, source, node) {
  const specifier = node.moduleSpecifier?.text;
  if (specifier === undefined) return;
  const line = lineOf(source, node);
  const typeOnly = node.importClause?.isTypeOnly === true || node.isTypeOnly === true;
  if (!specifier.startsWith('.') && !SOURCE.test(specifier)) {
    for (const [library, owner] of OWNERS) {
      if (library.test(specifier) && !owner.test(file)) say(file, line, `${specifier} is not imported here`);
    }
    if (isPure(file) && !typeOnly && !PURE_LIBRARIES.has(specifier))
      say(file, line, `a pure file imports ${specifier}`);
    return;
  }
  const path = SOURCE.test(specifier) ? specifier.slice(1) : join(dirname(file), specifier);
  const target = relative(ROOT, normalize(join(ROOT, path)));
  if (!files.includes(target)) return;
  const from = layerOf(file);
  const to = layerOf(target);
  if (!LAYERS[from]?.includes(to)) say(file, line, `${from} imports ${to}`);
  if (isPure(file) && !isPure(target) && !typeOnly)
    say(file, line, `a pure file imports ${target}, which is not pure`);
  if (!typeOnly) graph.get(file).push(target);
}

function checkPurity(file, source) {
  const visit = (node) => {
    if (ts.isAwaitExpression(node) || node.modifiers?.some((m) => m.kind === ts.SyntaxKind.AsyncKeyword)) {
      say(file, lineOf(source, node), 'async in a pure file');
    }
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      say(file, lineOf(source, node), 'dynamic import in a pure file');
    }
    const named = ts.isIdentifier(node) && BANNED_IN_PURE.has(node.text);
    const member = named && ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
    const type = named && ts.isTypeReferenceNode(node.parent);
    const declared =
      named &&
      (ts.isPropertySignature(node.parent) || ts.isPropertyAssignment(node.parent)) &&
      node.parent.name === node;
    if (named && !member && !type && !declared)
      say(file, lineOf(source, node), `${node.text} in a pure file`);
    if (ts.isPropertyAccessExpression(node) && node.getText(source) === 'Math.random') {
      say(file, lineOf(source, node), 'Math.random in a pure file');
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}

function checkFunctions(file, source) {
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body !== undefined) {
      const start = lineOf(source, node);
      const end = source.getLineAndCharacterOfPosition(node.end).line + 1;
      if (end - start + 1 > FUNCTION_LINES_MAX) say(file, start, `a function of ${end - start + 1} lines`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}

/** The one exported class of a file is what its head comment describes. */
function checkDocstrings(file, source) {
  const exportedClasses = source.statements.filter(
    (node) =>
      ts.isClassDeclaration(node) && node.modifiers?.some((m) => m.kind === ts.SyntaxKind.ExportKeyword),
  );
  for (const node of source.statements) {
    const exported = node.modifiers?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword);
    if (!exported || ts.isExportDeclaration(node) || ts.isTypeAliasDeclaration(node)) continue;
    if (ts.isClassDeclaration(node) && exportedClasses.length === 1) continue;
    // Interfaces may be named well enough to need nothing but their fields' comments.
    if (ts.isInterfaceDeclaration(node) || ts.isVariableStatement(node)) continue;
    if (ts.getJSDocCommentsAndTags(node).length === 0)
      say(file, lineOf(source, node), 'an export without a docstring');
  }
}

function findCycles() {
  const state = new Map();
  const visit = (file, path) => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      say(file, 1, `import cycle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`);
      return;
    }
    state.set(file, 'open');
    for (const target of graph.get(file) ?? []) visit(target, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
}

for (const file of files) graph.set(file, []);
for (const file of files) {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lines = text.split('\n').length - 1;
  if (lines > LINES_MAX) say(file, 1, `${lines} lines; at most ${LINES_MAX}`);
  if (isTest(file)) continue;
  if (!/^(#!.*\n)?\/\*\*/.test(text)) say(file, 1, 'a file without a head comment');
  for (const node of source.statements) {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) checkImport(file, source, node);
  }
  if (isPure(file)) checkPurity(file, source);
  checkFunctions(file, source);
  checkDocstrings(file, source);
}
for (const file of listFiles('test')) {
  const lines = readFileSync(join(ROOT, file), 'utf8').split('\n').length - 1;
  if (lines > LINES_MAX) say(file, 1, `${lines} lines; at most ${LINES_MAX}`);
}
findCycles();

for (const problem of problems) console.error(problem);
console.error(
  problems.length === 0
    ? `structure: ${files.length} files, no breach`
    : `structure: ${problems.length} breaches`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
