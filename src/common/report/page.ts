/**
 * The frame of every report page: one self-contained HTML file, readable in light and in dark, with nothing loaded from
 * anywhere. What is on the page is its caller's.
 * INVARIANT: everything that comes from outside goes through `escapeHtml`.
 */

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Escapes text for elements and quoted attributes. Control characters, which HTML cannot hold, become U+FFFD. */
export function escapeHtml(text: string): string {
  const printable = text.replaceAll(/[\p{Cc}\p{Surrogate}]/gu, (c) => (/\s/.test(c) ? ' ' : '\ufffd'));
  return printable.replaceAll(/[&<>"']/g, (c) => ESCAPES[c]!);
}

/** Colours are variables, so that drawings follow the scheme as well. */
const STYLE = `
:root { color-scheme: light dark; --page: #fbfbfa; --ink: #1d2126; --faint: #6a7178; --line: #d9dcdf; --card: #fff;
  --ok: #1a7f4b; --bad: #c22b2b; --open: #b7791f; --read: #2f6db5; --write: #6b4fb3;
  --line-0: #2f6db5; --line-1: #c2571a; --line-2: #1a7f4b; --line-3: #6b4fb3; --line-4: #b7791f; --line-5: #0f7f8c;
  --line-6: #b53a78; --line-7: #5d6872; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e7ea; --faint: #98a0a8; --line: #343a40;
  --card: #1b1f23; --ok: #4cc38a; --bad: #ff6b6b; --open: #e0a84a; --read: #6aa9ee; --write: #a58be8;
  --line-0: #6aa9ee; --line-1: #f08d55; --line-2: #4cc38a; --line-3: #a58be8; --line-4: #e0a84a; --line-5: #4fc4d1;
  --line-6: #ee7fb4; --line-7: #a3adb7; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .25rem 0 .75rem; overflow-wrap: anywhere; } .faint { color: var(--faint); }
.ok { color: var(--ok); } .illegal { color: var(--bad); } .unknown { color: var(--open); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 500; } td.number { font-variant-numeric: tabular-nums; text-align: right; }
code, .mono { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
svg { display: block; } svg text { font: 12px ui-monospace, monospace; fill: var(--ink); }
svg text.faint { fill: var(--faint); } svg text.mark { fill: var(--bad);
  stroke: var(--card); stroke-width: 3px; paint-order: stroke; }
`;

/** Returns a page. `title` is text, `body` is HTML. */
export function renderPage(title: string, body: string): string {
  const head = [
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="generator" content="ringkeep">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${STYLE}</style>`,
  ];
  return `<!doctype html>\n<html lang="en">\n<head>\n${head.join('\n')}\n</head>\n<body>\n${body}\n</body>\n</html>\n`;
}
