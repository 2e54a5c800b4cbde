// What is chosen, what follows from it for each trace, and where each panel stands.
"use strict";

const LEFT = "(left)"; // in the place of a quantity: what is left of what each token wrote
const BENDS = { RNN_TANH: "tanh", RNN_RELU: "relu" }; // what an Elman cell's state goes through at every step
const THRESHOLDS = [0.5, 0.3, 0.7]; // of the way from a unit's least number to its largest
const TELLING = 0.6; // from this match on, a unit is said to follow a span, and is opened on
const TRACES = [...new Set(data.layers.map((layer) => layer.trace))];

// ---------------------------------------------------------------------------------------------- what is chosen

/** Where a trace is first looked at: a unit that follows one of the spans, at the end of the longest, or one that remembers. */
function opening(layers) {
  let best = null;
  for (const [index, layer] of layers) {
    const state = layer.quantities.find((q) => q.name === (layer.road?.state ?? layer.emitted));
    for (const [span, [, stretches]] of data.spans.entries()) {
      for (const threshold of THRESHOLDS) {
        const match = matches(layer, state, stretches, threshold).reduce((a, b) => (rank(b) > rank(a) ? b : a));
        if (rank(match) < (best?.score ?? TELLING)) continue;
        const longest = stretches.reduce((a, b) => (b[1] - b[0] > a[1] - a[0] ? b : a));
        best = { score: rank(match), threshold, layer: index, unit: match.unit, token: longest[1], quantity: state.name, sort: "span", span: String(span) };
      }
    }
  }
  const [index, layer] = layers[0];
  const usual = { layer: index, unit: null, token: data.tokens.length - 1, quantity: LEFT, sort: "time", span: null, threshold: THRESHOLDS[0] };
  return best ?? (layer.road ? { ...usual, ...remembering(layer) } : usual);
}

function start() {
  const [first, ...others] = TRACES.map((name) => opening([...data.layers.entries()].filter(([, layer]) => layer.trace === name)));
  const { layer, unit, score, ...shared } = first;
  return { ...shared, views: [{ layer, unit }, ...others.map((o) => ({ layer: o.layer, unit: o.unit }))] };
}

/** The choice as the end of the address, to be kept and sent; and read again, whatever of it makes sense here. */
const written = ({ token, quantity, sort, span, threshold, set, views }) => new URLSearchParams({
  token: token + 1, layer: views.map((v) => v.layer), unit: views.map((v) => v.unit ?? ""), colour: quantity, sort,
  span: Array.isArray(span) ? `${span[0] + 1}-${span[1] + 1}` : span ?? "", on: threshold,
  ...(set ? { if: `${set.name}:${set.value}` } : {}),
  ...Object.fromEntries(["state", "quiz"].filter((of) => views.some((v) => v[of])).map((of) => [of, views.map((v) => v[of] ?? "")])),
}).toString();

function read(fragment, place) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const number = (text, low, high) => (/^\d+$/.test(text ?? "") && +text >= low && +text <= high ? +text : undefined);
  const T = data.tokens.length;
  const [from, to] = (given.get("span") ?? "").split("-").map((text) => number(text, 1, T));
  const views = place.views.map((view, k) => {
    const of = (name) => given.get(name)?.split(",")[k];
    const index = number(of("layer"), 0, data.layers.length - 1);
    const layer = data.layers[index]?.trace === TRACES[k] ? index : view.layer;
    return { layer, unit: number(of("unit"), 0, data.layers[layer].units - 1) ?? view.unit, state: of("state") || view.state, quiz: of("quiz") || null };
  });
  const on = parseFloat(given.get("on"));
  const [name, value] = (given.get("if") ?? "").split(":");
  return {
    ...place, views,
    token: (number(given.get("token"), 1, T) ?? place.token + 1) - 1,
    quantity: given.get("colour") ?? place.quantity,
    sort: given.get("sort") ?? place.sort,
    span: !given.has("span") ? place.span : to ? [from - 1, to - 1].sort((a, b) => a - b)
      : number(given.get("span"), 0, data.spans.length - 1) === undefined ? null : String(+given.get("span")),
    threshold: on >= 0 && on < 1 ? on : place.threshold,
    set: Number.isFinite(parseFloat(value)) ? { name, value: parseFloat(value) } : null,
  };
}

// --------------------------------------------------------------------------------------------- what follows

/** All that the panels of one trace are told. */
function useView(place, k, choose, theme) {
  const { token, span: chosenSpan, threshold } = place;
  const { layer: index, unit: wanted, state, quiz: asked } = place.views[k];
  const layer = useMemo(() => {
    const all = data.layers[index];
    return { ...all, road: all.roads.find((r) => r.state === state) ?? all.road };
  }, [index, state]);
  const names = layer.quantities.map((q) => q.name);
  const usual = layer.road ? layer.road.state : names.at(-1);
  const chosen = names.includes(place.quantity) || (place.quantity === LEFT && layer.road) ? place.quantity : usual;
  const quantity = layer.quantities.find((q) => q.name === (chosen === LEFT ? usual : chosen));
  const span = useMemo(() => {
    if (Array.isArray(chosenSpan)) return { key: "own", custom: chosenSpan, stretches: [chosenSpan], from: place.from };
    return chosenSpan === null ? null : { key: chosenSpan, stretches: data.spans[chosenSpan][1] };
  }, [chosenSpan, place.from]);
  const found = useMemo(() => span && matches(layer, quantity, span.stretches, threshold), [layer, quantity, span, threshold]);

  const sorts = [["index", "number"], ["here", `${quantity.name} at this token`],
    ...(layer.road ? [["time", `time constant${ofState(layer)}, longest first`]] : []),
    ["saturation", "saturation, most first"], ...(found ? [["span", "match with the span, best first"]] : [])];
  const sort = sorts.some(([name]) => name === place.sort) ? place.sort : layer.road ? "time" : "index";
  const order = useMemo(() => sortedUnits(layer, {
    here: (unit) => at(layer, quantity.name, token, unit) ?? -Infinity,
    time: (unit) => layer.road.timeConstants[unit],
    saturation: saturated(layer),
    span: (unit) => (found[unit] ? rank(found[unit]) : -2),
  }[sort]), [layer, sort, found, sort === "here" && token, sort === "here" && quantity]);
  const unit = wanted !== null && wanted < layer.units ? wanted : order.find((each) => !layer.dead.includes(each)) ?? order[0];

  const set = place.set && settable(layer).includes(place.set.name) ? place.set : null;
  const other = useMemo(() => set && whatIf(layer, token, unit, set), [layer, token, unit, set]);
  const values = chosen !== LEFT ? over(layer, chosen, unit)
    : contributions(layer, token, unit).found.reduce((all, c) => ((all[c.token] = c.amount), all), data.tokens.map(() => 0));
  const most = largest(values) || 1;
  return {
    layer, token, unit, theme, asked, set, other, quantity, chosen, values, span, found, threshold, sort, sorts, order, row: order.indexOf(unit),
    title: TRACES.length > 1 ? layer.trace : "", index: k, id: (name) => (k ? `${name}-${k}` : name), range: chosen !== LEFT && quantity.gate ? quantity.range : [-most, most],
    /** Of a change, `layer`, `unit`, `state` and `quiz` are this trace's own. */
    choose: ({ layer: other, unit: to, state: followed, quiz, ...shared }) => choose((before) => {
      const own = { ...before.views[k] };
      if (other !== undefined) own.layer = other;
      if (to !== undefined) own.unit = to;
      if (followed !== undefined) own.state = followed;
      if (quiz !== undefined) own.quiz = quiz;
      return { ...before, from: undefined, ...shared, views: before.views.map((view, n) => (n === k ? own : view)) };
    }),
  };
}

// ------------------------------------------------------------------------------------------------- the panels

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
  ["span", "some of the tokens, chosen in the list or by dragging over the text; a unit is on where what is coloured is above the threshold"],
  ["dead", "a unit that emits 0 at every step"],
  ["stuck", "a unit that emits the same number at every step"],
];

function HowToRead({ layer }) {
  const gates = layer.quantities.some((q) => q.gate);
  return html`<details class="how"><summary>How to read this page</summary>
    <p>A recurrent layer reads one token after the other${layer.reverse ? " (this one from the last to the first)" : ""}.
      Each of its ${layer.units} units holds a number, its state, and at every token makes a new one from the old one, from
      the token (x) and from what all units emitted before (h_prev). W and b, weights and biases, were learnt.${" "}
      ${gates && "A gate between 0 and 1 multiplies another number: 0 lets nothing through, 1 everything. "}
      sigmoid brings any number between 0 and 1, tanh between −1 and 1.</p>
    <p>Blue is above 0, orange below; the nearer to 0, the fainter. Choose a token and a unit, in the text or in a map:
      what happened there stands at the foot of the window, the equations with their numbers in their panel; under <i>quiz</i> the
      right side of one is blank, for you to write. The address of the page keeps what is chosen. Each number is kept in 16 bits, to half of a 65531st of what its unit ranges over.</p>
    <p>Keys: <kbd>h</kbd> <kbd>l</kbd> token, <kbd>j</kbd> <kbd>k</kbd> unit; in a map the arrows; in the text <kbd>←</kbd>${" "}
      <kbd>→</kbd> <kbd>Home</kbd> <kbd>End</kbd>, with <kbd>Shift</kbd> a span.</p>
    <dl>${meanings(layer).map(([name, meaning]) => html`<dt>${name}</dt><dd>${meaning}</dd>`)}</dl></details>`;
}

function Controls({ layer, unit, sort, sorts, chosen, title, id, choose }) {
  const names = [...layer.quantities.map((q) => q.name), ...(layer.road ? [LEFT] : [])];
  const layers = [...data.layers.entries()].filter(([, l]) => l.trace === layer.trace);
  return html`<section class="controls" aria-label=${`What is shown${title && ` of ${title}`}`}>
    ${layers.length > 1 && html`<${Choice} id=${id("layer")} label="layer" value=${String(data.layers.findIndex((l) => l.name === layer.name && l.trace === layer.trace))}
      onChange=${(k) => choose({ layer: +k })} options=${layers.map(([k, l]) => [String(k), l.name])}/>`}
    <span class="choice"><label for=${id("unit")}>unit</label> <input id=${id("unit")} type="number" min="0" max=${layer.units - 1} value=${unit}
      onChange=${(event) => choose({ unit: Math.max(0, Math.min(layer.units - 1, Math.round(+event.target.value) || 0)) })}/></span>
    <${Choice} id=${id("sort")} label="units sorted by" value=${sort} options=${sorts} onChange=${(by) => choose({ sort: by })}/>
    ${layer.roads.length > 1 && html`<${Choice} id=${id("state")} label="state followed" value=${layer.road.state}
      options=${layer.roads.map(({ state }) => [state, state])} onChange=${(state) => choose({ state })}/>`}
    <fieldset><legend>colour of the text</legend>
      ${names.map((name) => html`<label class="chip" title=${layer.words[name]}>
        <input type="radio" name=${id("quantity")} value=${name} checked=${name === chosen} onChange=${() => choose({ quantity: name })}/>
        <span>${name === LEFT ? `what is left in ${layer.road.state}` : name}</span></label>`)}
    </fieldset>
  </section>`;
}

function Memory(view) {
  const { layer, token, unit } = view;
  const [state] = layer.quantities.filter((q) => !q.gate);
  if (layer.road && at(layer, layer.road.state, token, unit) === undefined) return null;
  return html`<${Panel} id=${`memory-${view.index}`} title="What it remembers, and from where">
    ${layer.road ? html`<p class="hint">Each token wrote something into ${layer.road.state}; every later token kept a share
        of it. <i>still there</i>: the product of those shares. <i>left of it</i>: wrote times still there. The sum of the column is
        ${" "}${layer.road.state}.</p>
      <${Contributions} ...${view}/>`
    : html`<p>All of ${state.name} goes through weights and ${BENDS[layer.cell] ?? "a nonlinearity"} at every step, so it
      cannot be read off what is left of one token.</p>`}<//>`;
}

/** Where no unit tells the span better than the chosen one: how, or that it is not worth the name. */
function Follows({ found, unit, quantity }) {
  const own = found?.[unit];
  if (!own || found.some((each) => rank(each) > rank(own))) return null;
  return html`<p class="hint">${rank(own) < TELLING ? `No unit tells what is underlined well from the rest; the nearest to it is unit ${unit}.`
    : `Of all units, unit ${unit} tells what is underlined best from the rest: its ${quantity.name} is ${own.inSpan < own.without ? "low" : "high"} in it.
      Go on step by step to see where it forgets.`}</p>`;
}

/** All of one trace. */
function View(view) {
  const { layer, token, unit, quantity, chosen, title, index } = view;
  const what = chosen === LEFT ? "left" : chosen;
  const id = (name) => `${name}-${index}`;
  const quiz = useQuiz(view);
  return html`<article class="view" aria-label=${title || undefined}>
    ${title && html`<h2 class="trace">${title}</h2>`}
    <${Controls} ...${view}/>
    <div class="columns"><div>
      <div class="panel"><h2>Text <small>${chosen !== LEFT
          ? html`${chosen} of unit ${unit} <${Legend} ...${view}/>`
          : html`what is left, in ${layer.road.state} of unit ${unit} at token ${token + 1}, of what each token wrote <${Legend} ...${view}/>`}</small></h2>
        <${Follows} ...${view}/>
        <${Text} ...${view} what=${what} label="Text"/></div>
      <${Panel} id=${id("equations")} title="The step in numbers" note=${`unit ${unit}, token ${token + 1}`}>
        ${layer.reason && html`<p class="note">The lines of the update cannot be shown: ${layer.reason}</p>`}
        <${Quiz} ...${quiz} ...${view}/>
        <${Equations} ...${view} lines=${layer.lines} quiz=${quiz}/>
        <h3>before the nonlinearity: from the input and from the state before</h3>
        <${Equations} ...${view} lines=${layer.preActivations}/>
        <${WhatIf} ...${view}/><//>
    </div><div>
      <${Panel} id=${id("matches")} title="Which units are on over this span?"><${Matches} ...${view}/><//>
      <${Memory} ...${view}/>
      ${layer.readout && html`<${Panel} id=${id("next")} title="What comes next" note=${`as it was, and with another h of unit ${unit}`}><${Next} ...${view}/><//>`}
      <${Panel} id=${id("about")} title=${`Unit ${unit} over the whole text`}><${About} ...${view}/><//>
    </div></div>
    <${Panel} id=${id("time")} title=${`Unit ${unit} over time`} long>
      <div class="charts">${layer.quantities.map((q) => html`<${Chart} key=${q.name} ...${view} quantity=${q}/>`)}</div>
      <div class="plot"><${TokenAxis} title="token"/></div><//>
    <${Panel} id=${id("maps")} title="All units" note="a row for each unit, a column for each token" long>
      <div class="maps">${layer.quantities.map((q) => html`<${Heatmap} key=${q.name} ...${view} quantity=${q}
        chosen=${q.name === quantity.name}/>`)}</div><//>
  </article>`;
}

function Page() {
  const theme = useTheme();
  const [place, set] = useState(() => read(location.hash || data.open, start()));
  const views = TRACES.map((_, k) => useView(place, k, set, theme)); // as many at every call
  const [first] = views;

  useEffect(() => {
    if (location.protocol === "about:") return; // in a frame without an address of its own there is nothing to keep it in
    history.replaceState(null, "", `#${written({ ...place, views: place.views.map((view, k) => ({ ...view, unit: views[k].unit })) })}`);
  }, [place]);
  useEffect(() => {
    const follow = (event) => set((before) => read(new URL(event.newURL).hash, before)); // the page may have written since
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useLayoutEffect(() => {
    const onKeyDown = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.("input[type=number], input[type=text], select")) return;
      const { token, order, row, choose } = first;
      const change = {
        h: { token: Math.max(token - 1, 0) }, l: { token: Math.min(token + 1, data.tokens.length - 1) },
        k: { unit: order[Math.max(row - 1, 0)] }, j: { unit: order[Math.min(row + 1, order.length - 1)] },
      }[event.key];
      if (change) choose(change);
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });

  return html`<main><header><h1>${data.title}</h1>
      ${data.notes.map((note) => html`<p class="note">${note}</p>`)}
      <${HowToRead} layer=${first.layer}/></header>
    <div class=${`views${views.length > 1 ? " several" : ""}`}>${views.map((view) => html`<${View} key=${view.index} ...${view}/>`)}</div></main>
    <${Bar} views=${views} token=${place.token} choose=${first.choose}/>
    <div id="tip" aria-hidden="true" hidden></div>`;
}

const root = document.getElementById("page");
root.textContent = "";
render(html`<${Page}/>`, root);
