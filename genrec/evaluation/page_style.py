"""How pages look: one typeface, that of their pictures; light and dark; on paper always light."""

from __future__ import annotations

from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b626b; --paper: #fbfaf7; --line: #dcd9d2;
  --cause: #b3261e; --plain: #8a8f96; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e2; --soft: #a4a9b0; --paper: #17191c;
  --line: #383c42; --cause: #ff8a7a; --plain: #7d838b; --good: #7fd19b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 32px 28px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 "DejaVu Sans", "Bitstream Vera Sans", Verdana, Geneva, sans-serif; }
h1 { font-size: 24px; line-height: 1.3; margin: 0 0 6px; } h2 { font-size: 18px; margin: 40px 0 8px; }
p { max-width: 76ch; } .soft { color: var(--soft); } code, pre { font: inherit; font-size: 13px; }
code { overflow-wrap: anywhere; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 1.4; margin: 12px 0; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px;
  vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: 7px 10px; vertical-align: top; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr.own td { font-weight: 700; } tr.own .soft { font-weight: 400; } table.scores { width: auto; }
table.scores td:first-child, td.name { white-space: nowrap; }
table.settings td:first-child { color: var(--soft); width: 110px; }
@media screen and (min-width: 761px) { table.causes td:first-child { min-width: 250px; } }
.bar { position: relative; height: 9px; width: 130px; background: var(--line); margin-top: 5px; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--plain); } .bar.cause i { background: var(--cause); }
.bar b { position: absolute; top: -4px; bottom: -4px; width: 3px; background: var(--ink); }
.tag { color: var(--soft); } .tag.cause { color: var(--cause); font-weight: 600; }
.numbers { display: flex; gap: 14px 36px; flex-wrap: wrap; margin: 20px 0; }
.numbers div { font-size: 13px; color: var(--soft); }
.numbers strong { display: block; font-size: 24px; color: var(--ink); }
.numbers strong .soft { font-size: 13px; font-weight: 400; }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 18px; } figure { margin: 0; }
.curves { max-width: 700px; } img { display: block; width: 100%; background: #fff; border: 1px solid var(--line); }
details { border-bottom: 1px solid var(--line); padding: 6px 0; } summary { cursor: pointer; padding: 4px 0; }
.case { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 6px 24px; padding: 14px 0 18px;
  border-top: 1px dotted var(--line); font-size: 13px; line-height: 1.45; overflow-wrap: anywhere; }
.case h4 { margin: 0 0 4px; font-size: 12px; color: var(--soft); font-weight: 600; }
.case ol, .case ul { margin: 0; padding-left: 20px; } .truth { color: var(--good); font-weight: 600; }
@media screen and (max-width: 760px) { body { padding: 20px 14px 40px; } .figures, .case { grid-template-columns: 1fr; }
  h1 { font-size: 20px; } th, td { padding: 5px 6px; } table.scores .soft { display: none; }
  .figures figure { overflow-x: auto; } .figures img { width: 560px; } }
@media screen and (max-width: 760px) {
  table.causes, table.causes tbody, table.causes tr, table.causes td { display: block; min-width: 0; }
  table.causes thead { display: none; }
  table.causes tr { border-bottom: 1px solid var(--line); padding: 8px 0; }
  table.causes td { border: 0; padding: 1px 0; text-align: left; }
  table.causes td.number { display: inline-block; margin-right: 14px; }
  table.causes td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); } .bar { width: 100%; } }
@page { margin: 14mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --cause: #b3261e;
    --plain: #777; --good: #1b6e3c; }
  body { max-width: none; padding: 0; font-size: 10pt; } h1 { font-size: 16pt; } h2 { font-size: 12pt; }
  h2, summary, thead { break-after: avoid; } thead { display: table-header-group; }
  figure, tr, .case, .numbers { break-inside: avoid; } p { orphans: 3; widows: 3; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); } .wide { overflow: visible; }
  .case { grid-template-columns: repeat(3, minmax(0, 1fr)); font-size: 8.5pt; padding: 8px 0; }
  table { font-size: 8.5pt; } table.causes td:first-child { min-width: 0; } td, th { padding: 3px 6px; }
  .bar { width: 70px; } .bar, .bar i, .bar b { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def wrap_page(title: str, body: list[str]) -> str:
    """A whole HTML file that works offline: nothing is fetched, the policy forbids it."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
