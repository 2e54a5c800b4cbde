// Which units are on over a span of the text, and what a unit does to what comes next.
"use strict";

const SHOWN = 8; // rows of a list

/** The units that tell the span from the rest best. */
function Matches({ layer, quantity, found, span, token, unit, threshold, id, choose }) {
  const [first, last] = span?.custom ?? [token, token];
  const best = useMemo(() => found && [...found].sort((a, b) => rank(b) - rank(a)).slice(0, SHOWN), [found]);
  return html`<div class="controls">
      <${Choice} id=${id("span")} label="span" value=${span?.key ?? ""} onChange=${(key) => choose({ span: key === "own" ? [first, last] : key || null, sort: key ? "span" : "time" })}
        options=${[["", "none"], ...data.spans.map(([name], k) => [String(k), name]), ["own", span?.custom ? `tokens ${first + 1} to ${last + 1}` : "this token"]]}/>
      <span><button type="button" class="key wide" onClick=${() => choose({ span: [token, Math.max(token, last)], sort: "span" })}>from here</button>
        ${" "}<button type="button" class="key wide" onClick=${() => choose({ span: [Math.min(token, first), token], sort: "span" })}>to here</button></span>
      <span class="choice"><label for=${id("threshold")}>on above</label> <input id=${id("threshold")} type="number" min="0" max="0.95" step="0.05"
        value=${threshold} onChange=${(event) => choose({ threshold: Math.max(0, Math.min(0.95, +event.target.value || 0)) })}/>
        of the way from a unit's least ${quantity.name} to its largest</span>
    </div>
    ${best ? html`<table class="matches"><thead><tr><th scope="col">unit</th><th scope="col">its ${quantity.name} is</th>
        <th scope="col">in the span</th><th scope="col">elsewhere</th></tr></thead>
      <tbody>${best.map((row) => html`<tr key=${row.unit}><th scope="row"><button type="button" class="key" aria-current=${row.unit === unit}
          aria-label=${`go to unit ${row.unit}`} onClick=${() => choose({ unit: row.unit })}>${row.unit}</button></th>
        <td>${row.inSpan < row.without ? "below" : "above"} ${shown(row.limit)}${row.grows && html` <small>grows with the text</small>`}</td>
        ${[row.inSpan, row.without].map((share) => html`<td>${percent(row.inSpan < row.without ? 1 - share : share)}</td>`)}</tr>`)}</tbody></table>`
    : html`<p class="hint">Choose a span, or drag over the text: the units stand here that are on in it and off elsewhere, or the other way round.</p>`}`;
}

/** The most likely next tokens, and what becomes of them without the unit, or with the number that is set. */
function Next({ layer, token, unit, other, choose }) {
  const h = other ? other[layer.emitted][token] : 0;
  const [p, without] = useMemo(() => next(layer, token, unit, h), [layer, token, unit, h]);
  const most = useMemo(() => matters(layer, unit, 3), [layer, unit]);
  const { vocabulary } = layer.readout;
  const order = [...p.keys()].sort((a, b) => p[b] - p[a]);
  const changed = [...p.keys()].sort((a, b) => Math.abs(without[b] - p[b]) - Math.abs(without[a] - p[a])).slice(0, 3);
  const rows = [...new Set([...order.slice(0, SHOWN - 3), ...changed])].sort((a, b) => p[b] - p[a]);
  const came = token < bounds(layer, token)[1] ? data.tokens[token + 1] : undefined;
  const bar = (x) => html`<td><span class="amount-bar" style=${`width:${(100 * x).toFixed(1)}%`}></span><data value=${x}>${percent(x)}</data></td>`;
  return html`<table class="next"><thead><tr><th scope="col">next</th><th scope="col">probability</th>
      <th scope="col">if h of unit ${unit} were ${shown(h)}</th></tr></thead>
    <tbody>${rows.map((k) => html`<tr key=${k} class=${vocabulary[k] === came ? "came" : ""}><th scope="row"><span class="here">${visible(vocabulary[k])}</span>
      ${vocabulary[k] === came && html` <small>came</small>`}</th>${bar(p[k])}${bar(without[k])}</tr>`)}</tbody></table>
    ${most.length > 0 && html`<p class="hint">Unit ${unit} matters most behind ${most.map(({ token: k, moved }) => html`<span class="most"><button type="button" class="key"
      aria-label=${`go to ${spoken(k)}`} onClick=${() => choose({ token: k })}>${visible(data.tokens[k])}</button> ${k + 1}: without it ${percent(moved)} of
      the probability is elsewhere</span>`)}</p>`}`;
}
