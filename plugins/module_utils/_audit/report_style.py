# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The style sheet of the evidence report: for screens, light and dark, for phones, and for A4."""

from __future__ import annotations

#: Fonts are those of the reader's system, so nothing is loaded. Colour never stands alone: each
#: verdict is a word, too.
STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --panel: #f4f3ee; --ink: #1b1e23; --soft: #5a616b; --rule: #dcdad2;
  --good: #1d6b45; --warn: #8a5a00; --bad: #b3261e;
  --good-bg: #e6f1ea; --warn-bg: #f8eed8; --bad-bg: #fae5e2; --link: #1f5a8a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --panel: #1c1f25; --ink: #e8e8e4; --soft: #a3aab4; --rule: #343941;
    --good: #86d1a7; --warn: #e6be6a; --bad: #f4978f;
    --good-bg: #17301f; --warn-bg: #362a10; --bad-bg: #431d1a; --link: #8fc1ea;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; max-width: 68rem; padding: 3.5rem 2rem 5rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial,
  sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
h1, h2, h3, h4 { line-height: 1.2; font-weight: 650; text-wrap: balance; margin: 0; }
h1 { font-size: 2.5rem; letter-spacing: -.02em; }
h2 { font-size: 1.6rem; letter-spacing: -.01em; margin: 4.5rem 0 .6rem; }
h3 { font-size: 1.15rem; margin: 2.5rem 0 .4rem; }
h4 { font-size: .95rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0; max-width: 44rem; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: .15em; }
code { overflow-wrap: anywhere; font: .86em/1.5 ui-monospace, "SF Mono", Consolas,
  "DejaVu Sans Mono", monospace; }
.over { color: var(--soft); font-size: .9rem; margin: 0 0 .6rem; }
.soft, small { color: var(--soft); }
small { font-size: .86rem; }
.verdict { margin: 2rem 0; padding: 1.1rem 1.4rem; border-left: .4rem solid; border-radius: .2rem; }
.verdict strong { display: block; font-size: 1.45rem; line-height: 1.3; }
.verdict p { margin: .15rem 0 0; color: var(--ink); }
.whole { color: var(--good); } .incomplete { color: var(--warn); } .broken { color: var(--bad); }
.verdict.whole { background: var(--good-bg); }
.verdict.incomplete { background: var(--warn-bg); }
.verdict.broken { background: var(--bad-bg); }
.chip { font-size: .8rem; font-weight: 600; padding: .1em .6em; border-radius: 1em;
  white-space: nowrap; }
.chip.whole { background: var(--good-bg); }
.chip.incomplete { background: var(--warn-bg); }
.chip.broken { background: var(--bad-bg); }
.claim { color: var(--warn); font-style: italic; white-space: nowrap; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr));
  margin: 2rem 0;
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.totals div { padding: 1rem 1rem 1rem 0; }
.totals dt { color: var(--soft); font-size: .9rem; }
.totals dd { margin: 0; font-size: 1.9rem; font-weight: 600; line-height: 1.25; }
dl.facts { display: grid; grid-template-columns: 11rem minmax(0, 1fr); margin: .6rem 0;
  font-size: .93rem; }
dl.facts dt, dl.facts dd { margin: 0; padding: .32rem 0; border-top: 1px solid var(--rule); }
dl.facts dt { color: var(--soft); padding-right: 1rem; }
nav ul { columns: 2; padding: 0; margin: .6rem 0; list-style: none; max-width: 44rem; }
nav li { padding: .15rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.45; }
caption { text-align: left; color: var(--soft); padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1rem .5rem 0;
  border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { white-space: nowrap; color: var(--soft); font-weight: 600;
  border-bottom: 2px solid var(--rule); vertical-align: bottom; }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 9rem; }
tbody th small { font-weight: 400; }
#keys tbody th { min-width: 15rem; }
a, h3, h4, dd, li, p, td[colspan],
#deviations td, #problems td, #runs td { overflow-wrap: anywhere; }
.n { text-align: right; }
.w { white-space: nowrap; }
.key { border-top: 2px solid var(--rule); margin-top: 2.4rem; padding-top: 1.2rem; }
.key h3 { margin: 0; display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; }
.key h3 + p { margin-top: .2rem; }
ol.life { list-style: none; margin: .8rem 0 1.2rem .35rem; padding: 0;
  border-left: 2px solid var(--rule); }
ol.life li { position: relative; padding: .2rem 0 .2rem 1.3rem; display: grid;
  grid-template-columns: 12.5rem minmax(0, 1fr) auto; gap: 0 1rem; font-size: .93rem; }
ol.life li::before { content: ""; position: absolute; left: -.36rem; top: .72em; width: .58rem;
  height: .58rem;
  border-radius: 50%; background: var(--paper); border: 2px solid var(--soft); }
.control { margin: 1.4rem 0 2rem; }
.control h4 + p { margin-top: 0; color: var(--soft); }
.control ul { margin: .5rem 0; padding-left: 1.1rem; max-width: 52rem; }
.control li { margin: .3rem 0; }
.control .theirs { color: var(--soft); list-style-type: circle; }
@media screen { .key { content-visibility: auto; contain-intrinsic-size: auto 34rem; } }
@media (max-width: 44rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.9rem; } h2 { margin-top: 3rem; }
  nav ul { columns: 1; }
  dl.facts { grid-template-columns: 1fr; }
  dl.facts dd { border: 0; padding-top: 0; }
  ol.life li { grid-template-columns: 1fr; padding-bottom: .6rem; }
  table { min-width: 30rem; }
  #keys table { min-width: 46rem; }
}
@page { size: A4; margin: 18mm 16mm 20mm;
  @bottom-left { content: "Evidence of keys"; font: 8pt sans-serif; color: #666; }
  @bottom-right { content: counter(page) " / " counter(pages); font: 8pt sans-serif; color: #666;
  } }
@media print {
  html { font-size: 9.5pt; }
  :root { color-scheme: light;
    --paper: #fff; --panel: #f4f3ee; --ink: #000; --soft: #4a4f57; --rule: #c9c7c0;
    --good: #14512f; --warn: #6b4600; --bad: #8c1d17;
    --good-bg: #e6f1ea; --warn-bg: #f8eed8; --bad-bg: #fae5e2; --link: #000; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; line-height: 1.45; }
  h1 { font-size: 24pt; } h2 { font-size: 16pt; margin-top: 18pt; }
  .part > h2 { margin-top: 0; }
  .totals { grid-template-columns: repeat(6, 1fr); }
  a { text-decoration: none; }
  nav { display: none; }
  .part { break-before: page; }
  h2, h3, h4, section > p { break-after: avoid; }
  thead { display: table-header-group; }
  tr, .verdict, .totals, ol.life li, dl.facts dd, .control { break-inside: avoid; }
  .scroll { overflow: visible; }
  table, #keys table { font-size: 8pt; min-width: 0; }
  #keys tbody th { min-width: 60mm; }
  th, td { padding: 3pt 6pt 3pt 0; }
  dl.facts, ol.life li { font-size: 8.5pt; }
  dl.facts { grid-template-columns: 32mm minmax(0, 1fr); }
  dl.facts dt, dl.facts dd { padding: 1.5pt 0; }
  .key { margin-top: 14pt; padding-top: 8pt; }
  ol.life li { grid-template-columns: 40mm minmax(0, 1fr) auto; padding-top: 1pt;
  padding-bottom: 1pt; }
}
"""
