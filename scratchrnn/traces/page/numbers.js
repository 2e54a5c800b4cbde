// The numbers of the trace, and how they and the tokens are written. The data come from page.py.
"use strict";
const data = decode(JSON.parse(document.getElementById("data").textContent));

// ------------------------------------------------------------------------------------------------- numbers

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer); // little-endian in the file, as on every machine with a browser
}

function decode(data) {
  for (const layer of data.layers) {
    for (const tensor of Object.values(layer.tensors)) tensor.values = floats(tensor.data);
    for (const share of Object.values(layer.saturation)) {
      share.low = floats(share.low);
      share.high = floats(share.high);
    }
    for (const road of layer.roads) road.timeConstants = floats(road.timeConstants);
    layer.road = layer.roads[0]; // undefined of an Elman cell; where there are several, the page lets one choose
  }
  return data;
}

/** The number of tensor `key` at a token and unit; undefined for a unit that it has not, as h under a projection. */
function at(layer, key, token, unit) {
  const { units, values } = layer.tensors[key];
  return unit < units ? values[token * units + unit] : undefined;
}

/** The least and the largest of the values that are finite numbers, and of `start`. */
const extent = (values, start = 0) =>
  values.reduce(([low, high], v) => (Number.isFinite(v) ? [Math.min(low, v), Math.max(high, v)] : [low, high]), [start, start]);

/** The farthest from 0 of the values that are finite. */
const largest = (values) => Math.max(...extent(values).map(Math.abs));

/** The first and last token of the sequence that holds `token`. */
function bounds(layer, token) {
  let first = 0;
  for (const length of layer.lengths) {
    if (token < first + length) return [first, first + length - 1];
    first += length;
  }
}

/** What every token wrote into the state, and what is left of it at `token`:
 *  s_t = kept_t s_(t-1) + written_t, so written_u is there at t times the product of kept after u. */
function contributions(layer, token, unit) {
  const { state, prev, kept } = layer.road;
  const [first, last] = bounds(layer, token);
  const [end, step] = layer.reverse ? [last, 1] : [first, -1];
  const found = [];
  let left = 1;
  for (let u = token; ; u += step) {
    const before = at(layer, prev, u, unit);
    const share = at(layer, kept, u, unit);
    const written = at(layer, state, u, unit) - share * before;
    found.push({ token: u, written, left, amount: written * left });
    left *= share;
    if (u === end) return { found, start: { written: before, left, amount: before * left } };
  }
}

/** The unit whose state at `token` is most of all one thing, written long ago: the largest age * share of the state. */
function remembering(layer, token) {
  let [best, most] = [null, 0];
  for (let unit = 0; unit < layer.units; unit++) {
    if (layer.dead.includes(unit) || layer.stuck.includes(unit)) continue;
    const { found, start } = contributions(layer, token, unit);
    const all = found.reduce((sum, row) => sum + Math.abs(row.amount), Math.abs(start.amount));
    for (const row of found) {
      const score = (Math.abs(token - row.token) * Math.abs(row.amount)) / all;
      if (score > most) [best, most] = [unit, score];
    }
  }
  return best;
}

/** The first tokens of the sequences. */
const STARTS = new Set();
data.layers[0].lengths.reduce((first, length) => (STARTS.add(first), first + length), 0);

function sortedUnits(layer, by) {
  const units = [...Array(layer.units).keys()];
  const saturated = (k) => Object.values(layer.saturation).reduce((sum, s) => sum + s.low[k] + s.high[k], 0);
  const of = { time: (k) => layer.road.timeConstants[k], saturation: saturated }[by];
  // Infinity minus Infinity is no number: equal ones keep their order.
  return of ? units.sort((a, b) => (of(a) === of(b) ? a - b : of(b) - of(a))) : units;
}

// ---------------------------------------------------------------------------------------------------- words

/** Three decimals, of very small and very large numbers one and the power of ten. */
function shown(x) {
  if (x === undefined) return "–";
  const size = Math.abs(x);
  const text = size === 0 ? "0" : size < 0.001 || size >= 1e5 ? x.toExponential(1) : x.toFixed(3);
  return text.replace(/-/g, "−");
}

/** Without decimals; near 0 % and 100 % with one, and what is less than all is not rounded to it. */
function percent(x) {
  const near = (x > 0.0005 && x < 0.01) || (x > 0.99 && x < 1);
  return `${near ? Math.min(100 * x, 99.9).toFixed(1) : (100 * x).toFixed(0)}\u00a0%`;
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
