// How numbers and tokens are written.
"use strict";

const minus = (text) => text.replace(/-/g, "−");

/** Three decimals, of very small and very large numbers one and the power of ten. */
function shown(x) {
  if (x === undefined) return "–";
  const size = Math.abs(x);
  return minus(size === 0 ? "0" : size < 0.001 || size >= 1e5 ? x.toExponential(1) : x.toFixed(3));
}

/** Without decimals; near 0 % and 100 % with one, and what is not none or all does not look like it. */
function percent(x) {
  if (x > 0 && x < 0.001) return "<\u00a00.1\u00a0%";
  if (x > 0.999 && x < 1) return ">\u00a099.9\u00a0%";
  const near = (x > 0 && x < 0.01) || (x > 0.99 && x < 1);
  return `${(100 * x).toFixed(near ? 1 : 0)}\u00a0%`;
}

const VISIBLE = { " ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥" };

/** A token such that it can be seen: a space as ␣, and one that holds nothing but invisible characters by their codes. */
function visible(token) {
  const text = token === "" ? "∅" : token.replace(/[ \n\r\t]/g, (c) => VISIBLE[c]);
  const code = (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return /^[\p{C}\p{Z}\p{M}]+$/u.test(text) ? [...text].map(code).join(" ") : text;
}

const NAMES = { " ": "space", "\n": "line break", "\t": "tab", "": "empty" };
const spoken = (k) => `token ${k + 1}, ${NAMES[data.tokens[k]] ?? visible(data.tokens[k])}`;

/** Which state is meant, where it could be another. */
const ofState = ({ roads, road }) => (roads.length > 1 ? ` of ${road.state}` : "");

/** What a step did to the state, and how old most of it is. */
function sentence(layer, token, unit) {
  const [state] = layer.quantities.filter((q) => !q.gate);
  if (!layer.road) return `${state.name} = ${shown(at(layer, state.name, token, unit))}.`;
  const { state: name, prev, kept, gate } = layer.road;
  const [now, before, share] = [name, prev, kept].map((key) => at(layer, key, token, unit));
  if (now === undefined) return "";
  const keeping = gate ? `${gate} kept ${percent(share)} of it` : `${percent(share)} of it was kept`;
  return `${name} was ${shown(before)}; ${keeping}, ${shown(share * before)}; this token added `
    + `${shown(now - share * before)}: ${name} = ${shown(now)}.${share < 0.5 ? why(layer, token, unit, gate) : ""}`;
}

/** What shut the gate: the two terms of what it is made of, where the trace has them. */
function why(layer, token, unit, gate) {
  if (!layer.tensors[`${gate}_x`]) return "";
  const [pre, x, h] = ["pre", "x", "h"].map((part) => shown(at(layer, `${gate}_${part}`, token, unit)));
  return ` It was forgotten: ${gate}_pre = ${pre}, of it ${x} by this token and ${h} by what was emitted before.`;
}

/** The token that the largest part of the state comes from, if that is not this one, and no mere crumb. */
function origin(layer, token, unit) {
  const state = layer.road && at(layer, layer.road.state, token, unit);
  if (!state) return null;
  const { found } = contributions(layer, token, unit);
  const most = found.reduce((a, b) => (Math.abs(b.amount) > Math.abs(a.amount) ? b : a));
  const all = found.reduce((sum, row) => sum + Math.abs(row.amount), 0);
  return most.token !== token && most.amount * state > 0 && Math.abs(most.amount) > all / 10 ? most : null;
}
