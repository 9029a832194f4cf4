/** How a report looks: light and dark, at any width, on paper. Colours of text and bars have a contrast of 4.5 to what lies behind. */
export const STYLE = `
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1b1f24; --soft: #57606a; --line: #d4d9df;
  --link: #0a58ca; --track: #e4e8ed; --size: #0a58ca; --warn: #9a3412; }
.t0 { fill: #1d4ed8 } .t1 { fill: #b45309 } .t2 { fill: #15803d } .t3 { fill: #7e22ce } .t4 { fill: #0f766e }
.t5 { fill: #be185d } .t6 { fill: #713f12 } .t7 { fill: #57606a }
@media (prefers-color-scheme: dark) {
  :root { --back: #10141a; --card: #181d25; --text: #e6e9ee; --soft: #a3adba; --line: #343c48;
    --link: #7db4ff; --track: #2a313c; --size: #7db4ff; --warn: #fdba74; }
  .t0 { fill: #7db4ff } .t1 { fill: #fdba74 } .t2 { fill: #6ee79a } .t3 { fill: #d0a5ff } .t4 { fill: #5eead4 }
  .t5 { fill: #f9a8d4 } .t6 { fill: #fde047 } .t7 { fill: #a3adba }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 68rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem }
h4 { font-size: .95rem; margin: 1.25rem 0 .35rem }
p { margin: .35rem 0 } ul { margin: .35rem 0; padding-left: 1.25rem }
a { color: var(--link) }
code { font: .92em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; unicode-bidi: isolate }
h1, h2, td, th, li, dd, p { unicode-bidi: isolate; overflow: clip; overflow-clip-margin: 4px }
.soft, .lead, caption, figcaption { color: var(--soft) }
.lead { margin: .25rem 0 0 }
.warn { color: var(--warn); font-weight: 600 } a.warn { white-space: nowrap }
section { margin-top: 1.75rem; padding: 1.25rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card) }
section.plain { padding: 0; border: 0; background: none }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr); gap: .2rem 1.25rem; margin: .9rem 0 0 }
dt { color: var(--soft) } dd { margin: 0 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .94rem }
caption { text-align: left; padding: 0 0 .35rem }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0; border-top: 1px solid var(--line); font-weight: 400 }
thead th { color: var(--soft); border-top: 0; white-space: nowrap; font-size: .88rem }
th:last-child, td:last-child { padding-right: 0 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { display: block; width: 100%; min-width: 4.5rem; height: .7rem; margin: .3rem 0 .25rem; border-radius: .2rem }
.track { fill: var(--track) } .size { fill: var(--size) }
.shares { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 .9rem; font-size: .9rem }
.key { width: .7rem; height: .7rem; margin-right: .35rem }
details { margin: .6rem 0 }
summary { cursor: pointer; color: var(--link) }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
footer { margin-top: 2rem; color: var(--soft); font-size: .88rem }
@media (max-width: 44rem) {
  body { padding: 1rem .75rem 2rem } section { padding: .9rem }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0 } dd { margin-bottom: .45rem }
  table, tbody, tr, th, td, caption { display: block }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
  tr { padding: .5rem 0; border-top: 1px solid var(--line) }
  tbody tr:first-child { border-top: 0 }
  th, td { border: 0; padding: .1rem 0 }
  td.number { text-align: left; white-space: normal }
  td::before { content: attr(data-label) ": "; color: var(--soft) }
}
@media print {
  :root { color-scheme: light }
  body { max-width: none; padding: 0; font-size: 10pt }
  section { background: none; border-color: #999; padding: .6rem }
  h2, h3, h4, tr, figure { break-inside: avoid; break-after: avoid-page } tr { break-after: auto }
  .bar, .key { print-color-adjust: exact }
  details::details-content { content-visibility: visible; block-size: auto }
}
`;
