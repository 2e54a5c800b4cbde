// What is on the page: a part for each panel, and the choice of token, unit and layer that they share.
"use strict";
const { h, render } = preact;
const { useState, useEffect, useLayoutEffect, useMemo, useRef } = preactHooks;
const html = htm.bind(h);

// ------------------------------------------------------------------------------------------------- colours

const SCALES = { // below 0, at 0, above 0
  light: [[178, 80, 10], [246, 246, 244], [22, 88, 160]],
  dark: [[246, 146, 62], [34, 38, 46], [86, 166, 250]],
};

/** Where x stands between 0, pale, and the larger end of the range. */
const strength = (x, [low, high]) => x / Math.max(Math.abs(low), Math.abs(high));

function rgb(share, theme) {
  const [low, middle, high] = SCALES[theme];
  const end = share < 0 ? low : high;
  const s = Math.min(Math.abs(share), 1) || 0;
  return middle.map((m, k) => Math.round(m + s * (end[k] - m)));
}

function tint(share, theme) {
  const color = rgb(share, theme);
  const [r, g, b] = color.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  const ink = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff"; // where black and white are as far apart
  return `background:rgb(${color});color:${ink}`;
}

function useTheme() {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => query.addEventListener("change", (event) => setDark(event.matches)), []);
  return dark ? "dark" : "light";
}

// ----------------------------------------------------------------------------------------------------- parts

function Choice({ id, label, value, options, onChange }) {
  return html`<span class="choice"><label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select></span>`;
}

/** The text, a button for each token; one of them is in the tab order, the arrow keys go on from there. */
function Text({ layer, token, values, range, what, theme, choose }) {
  const row = useRef();
  useLayoutEffect(() => {
    if (row.current.contains(document.activeElement)) row.current.querySelector("[aria-pressed=true]").focus();
  }, [token]);
  const spaced = data.tokens.some((t) => t.length > 2 && !t.startsWith("<"));
  return html`<div class=${`text ${spaced ? "words" : ""}`} role="toolbar" aria-label="Text" ref=${row}
      aria-describedby="keys">
    ${data.tokens.map((t, k) => html`
      ${k > 0 && STARTS.has(k) && html`<span class="break" role="separator"></span>`}
      <button key=${k} class="token" type="button" tabindex=${k === token ? 0 : -1} aria-pressed=${k === token}
        aria-label=${`${spoken(k)}: ${what} ${shown(values[k])}`} title=${`${what} ${shown(values[k])}`}
        style=${tint(strength(values[k], range), theme)} onClick=${() => choose({ token: k })}>${visible(t)}</button>
      ${t.includes("\n") && html`<span class="line-break"></span>`}`)}
  </div>`;
}

function Legend({ range: [low, high], theme }) {
  const colors = [0, 0.25, 0.5, 0.75, 1].map((s) => `rgb(${rgb(strength(low + s * (high - low), [low, high]), theme)})`);
  return html`<span class="legend"><span>${shown(low)}</span><span class="ramp"
    style=${`background:linear-gradient(to right,${colors})`}></span><span>${shown(high)}</span></span>`;
}

/** Lines: the symbols, the numbers in their place, and what comes out. */
function Equations({ lines, layer, token, unit, theme }) {
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
  return html`<ul class="equations">${lines.map((line) => html`<li data-target=${line.key}>
    <span class="symbols"><b>${line.symbol}</b> = ${line.terms.map(([text]) => text)}</span>
    <span class="numbers">${line.terms.some(([, key]) => key) && html`<span>= ${numbers(line.terms)}</span>`}
      <span class="result">= ${number(line.key)}</span></span>
    ${layer.words[line.symbol] && html`<small>${layer.words[line.symbol]}</small>`}</li>`)}</ul>`;
}

function sentence(layer, token, unit) {
  const { state, prev, kept, gate } = layer.road;
  const [now, before, share] = [state, prev, kept].map((key) => at(layer, key, token, unit));
  if (now === undefined) return "";
  const keeping = gate ? `${gate} kept ${percent(share)} of it` : `${percent(share)} of it was kept`;
  return `${state} was ${shown(before)}; ${keeping}, ${shown(share * before)}; this token added `
    + `${shown(now - share * before)}: ${state} = ${shown(now)}.`;
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
      ${rows.map((row) => html`<tr key=${row.token}><th scope="row"><button type="button" class="token"
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

/** Which state is meant, where it could be another. */
const ofState = ({ roads, road }) => (roads.length > 1 ? ` of ${road.state}` : "");

function About({ layer, unit }) {
  const facts = Object.entries(layer.saturation).map(([gate, { range: [low, high], low: atLow, high: atHigh }]) =>
    `${gate} is near ${String(low).replace("-", "−")} in ${percent(atLow[unit])} of the steps, near ${high} in ${percent(atHigh[unit])}`);
  const tau = layer.road?.timeConstants[unit];
  return html`<ul class="about">
    ${layer.road && html`<li>time constant${ofState(layer)} ${tau === Infinity ? "infinite: it keeps all that it held"
      : `${tau.toFixed(1)} steps: at its mean gate, about a third of what it held is left after so many`}</li>`}
    ${facts.map((fact) => html`<li>${fact}</li>`)}
    ${layer.dead.includes(unit) && html`<li><strong>dead</strong>: what it emits stays at 0</li>`}
    ${layer.stuck.includes(unit) && html`<li><strong>stuck</strong>: what it emits never changes</li>`}
  </ul>`;
}

/** Which of `count` equal parts of a length was clicked. */
const part = (offset, length, count) => Math.max(0, Math.min(count - 1, Math.floor((count * offset) / length)));

/** The chosen unit over time: a line for each quantity, told apart by colour and dashes. */
function Chart({ layer, token, unit, quantities, title, choose }) {
  const T = data.tokens.length;
  const series = quantities.filter((q) => unit < layer.tensors[q.name].units).map((q) => ({ ...q,
    values: Array.from({ length: T }, (_, t) => at(layer, q.name, t, unit)) }));
  const [low, most] = extent(series.flatMap((s) => s.values));
  const high = quantities[0].gate ? Math.max(most, 1) : most;
  const x = (t) => (100 * (t + 0.5)) / T;
  const y = (v) => 100 - (100 * (v - low)) / (high - low || 1);
  const line = (values) => values.map((v, t) => !Number.isFinite(v) ? ""
    : `${STARTS.has(t) || !Number.isFinite(values[t - 1]) ? "M" : "L"}${x(t).toFixed(2)} ${y(v).toFixed(2)}`).join("");
  const click = ({ offsetX, currentTarget }) => choose({ token: part(offsetX, currentTarget.clientWidth, T) });
  return html`<figure class="chart"><figcaption>${title}
      ${series.map((s, k) => html`<span class=${`key series${k}`}><svg aria-hidden="true" viewBox="0 0 24 4">
        <path d="M0 2H24"/></svg>${s.name} <data value=${s.values[token]}>${shown(s.values[token])}</data></span>`)}</figcaption>
    <div class="plot"><span class="high">${shown(high)}</span><span class="low">${shown(low)}</span>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" onClick=${click}
        aria-label=${`${title} of unit ${unit} over ${T} tokens`}>
        <path class="zero" d=${`M0 ${y(0)}H100`}/><path class="now" d=${`M${x(token)} 0V100`}/>
        ${series.map((s, k) => html`<path class=${`series${k}`} d=${line(s.values)}/>`)}
      </svg>
      ${T <= 64 && html`<div class="ticks" aria-hidden="true">${data.tokens.map((t) => html`<span>${visible(t)}</span>`)}</div>`}
    </div></figure>`;
}

/** One quantity of all units, a row for each in the given order; painted anew only when layer, order or theme change. */
function Heatmap({ layer, quantity, order, row, token, chosen, theme, choose }) {
  const canvas = useRef();
  const T = data.tokens.length;
  useLayoutEffect(() => {
    const image = new ImageData(T, order.length);
    const pixels = new Uint32Array(image.data.buffer);
    const palette = Uint32Array.from({ length: 511 }, (_, k) => {
      const [r, g, b] = rgb(k / 255 - 1, theme);
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
    const { units, values } = layer.tensors[quantity.name];
    order.forEach((unit, y) => {
      for (let t = 0; t < T && unit < units; t++) {
        const share = Math.max(-1, Math.min(1, strength(values[t * units + unit], quantity.range))) || 0;
        pixels[y * T + t] = palette[Math.round(255 * (share + 1))];
      }
    });
    canvas.current.getContext("2d").putImageData(image, 0, 0);
  }, [layer, quantity, order, theme]);
  const click = ({ offsetX, offsetY, currentTarget: { clientWidth, clientHeight } }) => choose({
    token: part(offsetX, clientWidth, T),
    unit: order[part(offsetY, clientHeight, order.length)],
    quantity: quantity.name,
  });
  return html`<figure class=${`heatmap ${chosen ? "chosen" : ""}`}>
    <figcaption><b>${quantity.name}</b><${Legend} range=${quantity.range} theme=${theme}/>
      <span class="words" title=${layer.words[quantity.name]}>${layer.words[quantity.name]?.split(",")[0]}</span></figcaption>
    <div class="field"><canvas ref=${canvas} width=${T} height=${order.length} role="img" onClick=${click}
        aria-label=${`${quantity.name}: ${order.length} units, ${T} tokens`}></canvas>
      <div class="column" style=${`left:${(100 * token) / T}%;width:${100 / T}%`}></div>
      <div class="row" style=${`top:${(100 * row) / order.length}%;height:${100 / order.length}%`}></div>
    </div></figure>`;
}

// -------------------------------------------------------------------------------------------------- the page

const LEFT = "(left)"; // in the place of a quantity: what is left of what each token wrote
const BENDS = { RNN_TANH: "tanh", RNN_RELU: "relu" }; // what an Elman cell's state goes through at every step
const COLUMNS = [0, 1, 2, 3, 4, 3, 3]; // of maps, by how many there are

/** The page's own words, for who reads one for the first time: those that occur for this layer. */
const meanings = ({ road, roads, saturation, quantities }) => [
  ["h", "what the unit emits, to the layer above and to all units at the next step"],
  ...(quantities.some((q) => q.name === "c") ? [["c", "what an LSTM's unit remembers; o decides how much of it is emitted as h"]] : []),
  ...(roads.length > 1 ? [
    ["state followed", `the one of ${roads.map((r) => r.state).join(", ")}, which all go on past the weights, that what is left and the time constants are told of`],
  ] : []),
  ...(road ? [
    ["what is left", "of what a token wrote into the state, the part that all later tokens have kept"],
    ["time constant", "the number of steps in which what a unit holds falls to about a third"],
  ] : []),
  ...(Object.keys(saturation).length > 0 ? [["saturation", "how often a gate is within 5 % of an end of its range, as good as closed or open"]] : []),
  ["dead", "a unit that emits 0 at every step"],
  ["stuck", "a unit that emits the same number at every step"],
];

function Page() {
  const theme = useTheme();
  const [place, set] = useState(() => {
    const [layer, token] = [data.layers[0], data.tokens.length - 1];
    return { layer: 0, token, unit: layer.road ? remembering(layer, token) : null, quantity: LEFT, sort: "time" };
  });
  const choose = (change) => set((before) => ({ ...before, ...change }));
  const layer = useMemo(() => {
    const all = data.layers[place.layer];
    return { ...all, road: all.roads.find((r) => r.state === place.state) ?? all.road };
  }, [place.layer, place.state]);
  const token = place.token;
  const sort = place.sort === "time" && !layer.road ? "index" : place.sort;
  const order = useMemo(() => sortedUnits(layer, sort), [layer, sort]);
  const unit = place.unit < layer.units && place.unit !== null ? place.unit : order.find((k) => !layer.dead.includes(k)) ?? order[0];
  const row = order.indexOf(unit);
  const names = layer.quantities.map((q) => q.name);
  const usual = layer.road ? layer.road.state : names.at(-1);
  const chosen = names.includes(place.quantity) || (place.quantity === LEFT && layer.road) ? place.quantity : usual;

  const quantity = layer.quantities.find((q) => q.name === chosen);
  const values = quantity
    ? data.tokens.map((_, t) => at(layer, chosen, t, unit))
    : contributions(layer, token, unit).found.reduce((all, c) => ((all[c.token] = c.amount), all), data.tokens.map(() => 0));
  const most = largest(values) || 1;
  const range = quantity?.gate ? quantity.range : [-most, most];

  const onKeyDown = (event) => {
    const moves = {
      ArrowLeft: { token: Math.max(token - 1, 0) }, ArrowRight: { token: Math.min(token + 1, data.tokens.length - 1) },
      Home: { token: 0 }, End: { token: data.tokens.length - 1 },
      ArrowUp: { unit: order[Math.max(row - 1, 0)] }, ArrowDown: { unit: order[Math.min(row + 1, order.length - 1)] },
    };
    if (!moves[event.key] || event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.("input, select")) return;
    event.preventDefault();
    choose(moves[event.key]);
  };
  useLayoutEffect(() => {
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });
  const sorts = [["index", "number"], ...(layer.road ? [["time", `time constant${ofState(layer)}, longest first`]] : []),
    ["saturation", "saturation, most first"]];
  const states = layer.quantities.filter((q) => !q.gate);
  const gates = layer.quantities.filter((q) => q.gate);
  const here = { layer, token, unit, theme, choose };

  return html`<header><h1>${data.title}</h1>
    ${data.notes.map((note) => html`<p class="note">${note}</p>`)}
    <details><summary>How to read this page</summary>
      <p>A recurrent layer reads one token after the other${layer.reverse ? " (this one from the last to the first)" : ""}.
        Each of its ${layer.units} units holds a number, its state, and at every token makes a new one from the old one, from
        the token (x) and from what all units emitted before (h_prev). W and b, weights and biases, were learnt.${" "}
        ${gates.length > 0 && "A gate between 0 and 1 multiplies another number: 0 lets nothing through, 1 everything. "}
        sigmoid brings any number between 0 and 1, tanh between −1 and 1.</p>
      <p>Blue is above 0, orange below; the nearer to 0, the fainter. Choose a token and a unit, in the text or in a map:
        its equations stand below with their numbers.</p>
      <dl>${meanings(layer).map(([name, meaning]) => html`<dt>${name}</dt><dd>${meaning}</dd>`)}</dl></details></header>
  <section class="controls" aria-label="What is shown">
    ${data.layers.length > 1 && html`<${Choice} id="layer" label="layer" value=${String(place.layer)} onChange=${(k) => choose({ layer: +k })}
      options=${data.layers.map((l, k) => [String(k), l.name])}/>`}
    <span class="choice"><label for="unit">unit</label> <input id="unit" type="number" min="0" max=${layer.units - 1} value=${unit}
      onChange=${(event) => choose({ unit: Math.max(0, Math.min(layer.units - 1, Math.round(+event.target.value) || 0)) })}/></span>
    <${Choice} id="sort" label="units sorted by" value=${sort} options=${sorts} onChange=${(by) => choose({ sort: by })}/>
    ${layer.roads.length > 1 && html`<${Choice} id="state" label="state followed" value=${layer.road.state}
      options=${layer.roads.map(({ state }) => [state, state])} onChange=${(state) => choose({ state })}/>`}
    <fieldset><legend>colour of the text</legend>
      ${[...names, ...(layer.road ? [LEFT] : [])].map((name) => html`<label class="chip" title=${layer.words[name]}>
        <input type="radio" name="quantity" value=${name} checked=${name === chosen} onChange=${() => choose({ quantity: name })}/>
        <span>${name === LEFT ? `what is left in ${layer.road.state}` : name}</span></label>`)}
    </fieldset>
  </section>
  <section aria-labelledby="text-title">
    <h2 id="text-title">Text <small>${quantity ? html`${chosen} of unit ${unit} <${Legend} range=${range} theme=${theme}/>`
      : html`what is left, in ${layer.road.state} of unit ${unit} at token ${token + 1}, of what each token wrote
          <${Legend} range=${range} theme=${theme}/>`}</small></h2>
    <${Text} ...${here} values=${values} range=${range} what=${quantity ? chosen : "left"}/>
    <p id="keys" class="hint">← → token, ↑ ↓ unit, Home and End</p>
  </section>
  <div class="columns">
    <section aria-labelledby="equations-title">
      <div aria-live="polite" aria-atomic="true" id="said"><h2 id="equations-title">Unit ${unit} at <span class="token here"
        >${visible(data.tokens[token])}</span> <small>token ${token + 1} of ${data.tokens.length}</small></h2>
        <p>${layer.road ? sentence(layer, token, unit) : `${states[0].name} = ${shown(at(layer, states[0].name, token, unit))}.`}</p></div>
      ${layer.reason && html`<p class="note">The lines of the update cannot be shown: ${layer.reason}</p>`}
      <${Equations} ...${here} lines=${layer.lines}/>
      <h3>before the nonlinearity: from the input and from the state before</h3>
      <${Equations} ...${here} lines=${layer.preActivations}/>
    </section>
    <div>${(!layer.road || at(layer, layer.road.state, token, unit) !== undefined) && html`<section aria-labelledby="why-title">
        <h2 id="why-title">What it remembers, and from where</h2>
        ${layer.road ? html`<p class="hint">Each token wrote something into ${layer.road.state}; every later token kept a share
            of it. <i>still there</i>: the product of those shares. <i>left of it</i>: wrote times still there. The sum of the column is
            ${" "}${layer.road.state}.</p>
          <${Contributions} ...${here}/>`
        : html`<p>All of ${states[0].name} goes through weights and ${BENDS[layer.cell] ?? "a nonlinearity"} at every step, so it
          cannot be read off what is left of one token.</p>`}</section>`}
      <section aria-labelledby="unit-title"><h2 id="unit-title">Unit ${unit} over the whole text</h2>
        <${About} ...${here}/></section></div>
  </div>
  <section aria-labelledby="time-title"><h2 id="time-title">Unit ${unit} over time</h2>
    ${gates.length > 0 && html`<${Chart} ...${here} quantities=${gates} title=${gates.some((q) => q.range[0] < 0) ? "gates and candidate" : "gates"}/>`}
    <${Chart} ...${here} quantities=${states} title=${states.length > 1 ? "states" : "state"}/></section>
  <section aria-labelledby="maps-title"><h2 id="maps-title">All units <small>a row for each unit, a column for each token</small></h2>
    <div class="maps" style=${`--columns:${COLUMNS[layer.quantities.length] ?? 4}`}>
      ${layer.quantities.map((q) => html`<${Heatmap} key=${q.name} ...${here} quantity=${q} order=${order} row=${row}
        chosen=${q.name === chosen}/>`)}</div></section>`;
}

const root = document.getElementById("page");
root.textContent = "";
render(html`<${Page}/>`, root);
