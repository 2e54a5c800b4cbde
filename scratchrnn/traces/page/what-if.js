// What would become of a unit if a gate or a pre-activation were another number at one token.
"use strict";

/** What can be set: the gates and pre-activations of a layer whose lines the page can compute. */
function settable(layer) {
  const projected = layer.tensors[layer.emitted].units !== layer.units;
  return UPDATES[layer.index] && !projected ? [...layer.quantities.filter((q) => q.gate).map((q) => q.name), ...layer.inputs] : [];
}

/** The numbers of the unit from `token` to the end of its sequence, by name: with `name` set to `value` at `token`,
 *  and all else that reaches the unit, its later pre-activations too, as it was. undefined before. */
function whatIf(layer, token, unit, { name, value }) {
  const [first, last] = bounds(layer, token);
  const [end, step] = layer.reverse ? [first, -1] : [last, 1];
  const states = layer.quantities.filter((q) => !q.gate).map((q) => q.name);
  const before = Object.fromEntries(states.map((state) => [`${state}_prev`, at(layer, `${state}_prev`, token, unit)]));
  const found = Object.fromEntries(layer.quantities.map((q) => [q.name, []]));
  for (let t = token; ; t += step) {
    const given = Object.fromEntries(layer.inputs.map((input) => [input, at(layer, input, t, unit)]));
    const here = t === token ? { [name]: value } : {};
    const numbers = UPDATES[layer.index]({ ...given, ...before, ...here }, here);
    for (const name of Object.keys(found)) found[name][t] = numbers[name];
    for (const state of states) before[`${state}_prev`] = numbers[state];
    if (t === end) return found;
  }
}

function WhatIf({ layer, token, unit, set, other, id, choose }) {
  const names = settable(layer);
  if (!names.length) return null;
  const is = set && at(layer, set.name, token, unit);
  const [low, high] = !set ? [0, 1] : layer.quantities.find((q) => q.name === set.name)?.range ?? [-10, 10];
  const to = (value) => choose({ set: { ...set, value: Math.max(low, Math.min(high, value || 0)) } });
  const [, last] = bounds(layer, token);
  const end = layer.reverse ? bounds(layer, token)[0] : last;
  const states = layer.quantities.filter((q) => !q.gate).map((q) => q.name);
  const row = (state, t, where) => html`<tr><th scope="row">${state} ${where}</th><td>${shown(at(layer, state, t, unit))}</td>
    <td><data value=${other[state][t]}>${shown(other[state][t])}</data></td></tr>`;
  return html`<div class="controls what-if">
      <${Choice} id=${id("set")} label="what if" value=${set?.name ?? ""} options=${[["", "nothing were changed"], ...names.map((name) => [name, `${name} were`])]}
        onChange=${(name) => choose({ set: name ? { name, value: +at(layer, name, token, unit).toFixed(3) } : null })}/>
      ${set && html`<input type="range" aria-label=${`${set.name}, by a slider`} min=${low} max=${high} step="0.001" value=${set.value}
          onInput=${(event) => to(+event.target.value)}/>
        <input type="number" aria-label=${`${set.name}, as a number`} min=${low} max=${high} step="0.001" value=${set.value} onChange=${(event) => to(+event.target.value)}/>
        <span class="choice">in the place of ${shown(is)}</span>`}
    </div>
    ${set && html`<table class="if"><thead><tr><th scope="col"></th><th scope="col">as it was</th><th scope="col">then</th></tr></thead>
      <tbody>${states.map((state) => row(state, token, "here"))}${end !== token && states.map((state) => row(state, end, "at the end"))}</tbody></table>
      <p class="hint">The dashed lines below show it from here on. What other units send, and what returns to this one through W,
        is held as it was.</p>`}`;
}
