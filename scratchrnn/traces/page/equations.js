// The equations of one step, with numbers.
"use strict";

/** Lines: the symbols, the numbers in their place, and what comes out; of one that is asked for that alone. */
function Equations({ lines, quiz, ...view }) {
  const { layer, token, unit, theme } = view;
  const asked = quiz?.line?.target;
  const ended = asked && quiz.of(quiz.line).ended;
  const number = (key) => {
    const x = at(layer, key, token, unit);
    const quantity = layer.quantities.find((q) => q.name === key);
    return html`<data value=${x} title=${x} style=${quantity && tint(strength(x, quantity.range), theme)}>${shown(x)}</data>`;
  };
  const numbers = (terms) => terms.map(([text, key], k) => {
    if (!key) return text.replaceAll(" * ", "\u00a0*\u00a0"); // a line breaks between terms, not in one
    // `-` before a number that is negative: the number in parentheses, as one writes it.
    const negative = k > 0 && /-\s*$/.test(terms[k - 1][0]) && at(layer, key, token, unit) < 0;
    return negative ? html`(${number(key)})` : number(key);
  });
  const result = (line) => html`<span class="result">= ${number(line.key)}</span>`;
  const filled = (line) => html`<span class="symbols"><b>${line.symbol}</b> = ${line.terms.map(([text]) => text)}</span>
    <span class="numbers">${line.terms.some(([, key]) => key) && html`<span>= ${numbers(line.terms)}</span>`}
      ${result(line)}</span>`;
  const isAsked = (line) => asked && line.target === asked;
  return html`<ul class="equations">${lines.map((line) => html`<li data-target=${line.key}>
    ${isAsked(line) && !ended ? null : filled(line)}
    ${isAsked(line) && html`<${Question} ...${view} quiz=${quiz}>${result(line)}<//>`}
    ${layer.words[line.symbol] && html`<small>${layer.words[line.symbol]}</small>`}</li>`)}</ul>`;
}

/** Which tokens the state is made of: the largest amounts first, all others in one row. */
function Contributions({ layer, token, unit, theme, choose }) {
  const { found, start } = useMemo(() => contributions(layer, token, unit), [layer, token, unit]);
  const rows = [...found].sort((a, b) => Math.abs(b.amount) - Math.abs(a.amount)).slice(0, 8);
  const others = found.filter((row) => !rows.includes(row)).reduce((sum, row) => sum + row.amount, 0);
  const most = largest([...rows, start].map((row) => row.amount)) || 1;
  const amount = (x) => html`<td class="amount"><data value=${x} style=${tint(x / most, theme)}>${shown(x)}</data></td>`;
  return html`<table class="contributions">
    <thead><tr><th scope="col">token</th><th scope="col">wrote</th><th scope="col">still there</th>
      <th scope="col">left of it</th></tr></thead>
    <tbody>
      ${rows.map((row) => html`<tr key=${row.token}><th scope="row"><button type="button" class="key"
          aria-label=${`go to ${spoken(row.token)}`} onClick=${() => choose({ token: row.token })}
          >${visible(data.tokens[row.token])}</button> <small>${row.token + 1}</small></th>
        <td>${shown(row.written)}</td><td>${percent(row.left)}</td>${amount(row.amount)}</tr>`)}
      ${found.length > rows.length && html`<tr><th scope="row">${found.length - rows.length} others</th>
        <td></td><td></td>${amount(others)}</tr>`}
      ${start.written !== 0 && html`<tr><th scope="row">state at the start</th>
        <td>${shown(start.written)}</td><td>${percent(start.left)}</td>${amount(start.amount)}</tr>`}
    </tbody>
    <tfoot><tr><th scope="row">sum = ${layer.road.state}</th><td></td><td></td>
      <td class="amount"><data value=${at(layer, layer.road.state, token, unit)}>${
        shown(at(layer, layer.road.state, token, unit))}</data></td></tr></tfoot>
  </table>`;
}

function About({ layer, unit }) {
  const facts = Object.entries(layer.saturation).map(([gate, { range: [low, high], low: atLow, high: atHigh }]) =>
    `${gate} is near ${minus(String(low))} in ${percent(atLow[unit])} of the steps, near ${high} in ${percent(atHigh[unit])}`);
  const tau = layer.road?.timeConstants[unit];
  return html`<ul class="about">
    ${layer.road && html`<li>time constant${ofState(layer)} ${tau === Infinity ? "infinite: it keeps all that it held"
      : `${tau.toFixed(1)} steps: at its mean gate, about a third of what it held is left after so many`}</li>`}
    ${facts.map((fact) => html`<li>${fact}</li>`)}
    ${layer.dead.includes(unit) && html`<li><strong>dead</strong>: what it emits stays at 0</li>`}
    ${layer.stuck.includes(unit) && html`<li><strong>stuck</strong>: what it emits never changes</li>`}
  </ul>`;
}
