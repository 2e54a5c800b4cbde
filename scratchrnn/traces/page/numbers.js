// The numbers of the traces. They come from content.py; here they are looked up, multiplied and counted.
"use strict";
// ------------------------------------------------------------------------------------------------ as packed

function bytes(base64) {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let k = 0; k < found.length; k++) found[k] = text.charCodeAt(k);
  return found.buffer; // little-endian in the file, as on every machine with a browser
}

const floats = (base64) => new Float32Array(bytes(base64));
const NOT_FINITE = { 65533: NaN, 65534: Infinity, 65535: -Infinity };

/** [steps * units] of what packing.py made: of each unit the least number and the length of a step of its scale. */
function unpacked({ units, low, step, codes }) {
  const [least, steps, counts] = [floats(low), floats(step), new Uint16Array(bytes(codes))];
  const values = new Float32Array(counts.length);
  for (let k = 0; k < values.length; k++) {
    values[k] = counts[k] >= 65533 ? NOT_FINITE[counts[k]] : least[k % units] + counts[k] * steps[k % units];
  }
  return values;
}

/** The tensors that the file leaves out: sums of two, and states before, which are the states one step earlier. */
function derived(layer, { sum, before, starts }) {
  if (sum) {
    const [a, b] = sum.map((key) => layer.tensors[key]);
    return { units: a.units, values: a.values.map((x, k) => x + b.values[k]) };
  }
  const { units, values } = layer.tensors[before];
  const found = new Float32Array(values.length);
  let first = 0;
  layer.lengths.forEach((length, sequence) => {
    const [start, from, to] = layer.reverse ? [first + length - 1, first + 1, first] : [first, first, first + 1];
    found.set(values.subarray(from * units, (from + length - 1) * units), to * units);
    found.set(starts.values.subarray(sequence * units, (sequence + 1) * units), start * units);
    first += length;
  });
  return { units, values: found };
}

function decode(data) {
  for (const layer of data.layers) {
    const given = layer.tensors;
    layer.tensors = {};
    for (const [key, tensor] of Object.entries(given)) {
      if (tensor.codes) layer.tensors[key] = { units: tensor.units, values: unpacked(tensor) };
      if (tensor.starts) tensor.starts = { values: unpacked(tensor.starts) };
    }
    for (const [key, tensor] of Object.entries(given)) if (!tensor.codes) layer.tensors[key] = derived(layer, tensor);
    for (const share of Object.values(layer.saturation)) {
      share.low = floats(share.low);
      share.high = floats(share.high);
    }
    for (const road of layer.roads) road.timeConstants = floats(road.timeConstants);
    layer.road = layer.roads[0]; // undefined of an Elman cell; where there are several, the page lets one choose
    if (layer.readout) layer.readout = { ...layer.readout, weight: floats(layer.readout.weight), bias: floats(layer.readout.bias) };
  }
  return data;
}

const data = decode(JSON.parse(document.getElementById("data").textContent));

// ------------------------------------------------------------------------------------------------ looked up

/** The number of tensor `key` at a token and unit; undefined for a unit that it has not, as h under a projection. */
function at(layer, key, token, unit) {
  const { units, values } = layer.tensors[key];
  return unit < units ? values[token * units + unit] : undefined;
}

/** One unit's numbers at all tokens. */
const over = (layer, key, unit) => data.tokens.map((_, token) => at(layer, key, token, unit));

/** The least and the largest of the values that are finite numbers, and of `start`. */
const extent = (values, start = 0) =>
  values.reduce(([low, high], v) => (Number.isFinite(v) ? [Math.min(low, v), Math.max(high, v)] : [low, high]), [start, start]);

/** The farthest from 0 of the values that are finite. */
const largest = (values) => Math.max(...extent(values).map(Math.abs));

/** Where x stands between 0 and the larger end of the range. */
const strength = (x, [low, high]) => x / Math.max(Math.abs(low), Math.abs(high));

/** The first and last token of the sequence that holds `token`. */
function bounds(layer, token) {
  let first = 0;
  for (const length of layer.lengths) {
    if (token < first + length) return [first, first + length - 1];
    first += length;
  }
}

/** The first tokens of the sequences. */
const STARTS = new Set();
data.layers[0].lengths.reduce((first, length) => (STARTS.add(first), first + length), 0);

// ---------------------------------------------------------------------------------------- what is remembered

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

const MOMENTS = 40; // at so many tokens units are asked how old that is what they hold
const LOOKED_AT = 2e7; // numbers, at the most, before the page is there

/** The unit and the token at which its state is most of all one thing, written long ago: the largest age * share of it. */
function remembering(layer) {
  const T = data.tokens.length;
  const { state, prev, kept } = layer.road;
  const moments = Math.max(1, Math.min(T, MOMENTS, Math.floor(LOOKED_AT / (T * layer.units))));
  let [best, most] = [{ token: T - 1, unit: null }, 0];
  for (let moment = 0; moment < moments; moment++) {
    const token = T - 1 - Math.floor((moment * T) / moments);
    const [first, last] = bounds(layer, token);
    const [end, step] = layer.reverse ? [last, 1] : [first, -1];
    for (let unit = 0; unit < layer.units; unit++) {
      if (layer.dead.includes(unit) || layer.stuck.includes(unit)) continue;
      let [left, all, largestByAge] = [1, 0, 0]; // as in `contributions`, without a row for each
      for (let u = token; ; u += step) {
        const [before, share] = [at(layer, prev, u, unit), at(layer, kept, u, unit)];
        const amount = Math.abs((at(layer, state, u, unit) - share * before) * left);
        all += amount;
        largestByAge = Math.max(largestByAge, Math.abs(token - u) * amount);
        left *= share;
        if (u === end) {
          all += Math.abs(before * left);
          break;
        }
      }
      if (largestByAge / all > most) [best, most] = [{ token, unit }, largestByAge / all];
    }
  }
  return best;
}

// ------------------------------------------------------------------------------- which units are on over a span

/** For each token whether it lies in one of the stretches. */
function within(stretches) {
  const inside = new Uint8Array(data.tokens.length);
  for (const [first, last] of stretches) inside.fill(1, first, last + 1);
  return inside;
}

/** How well "on" tells the span's tokens from all others, for each unit: the share of the tokens within at which it is
 *  on, less the share of the others. On is above the threshold, a share of the way from the unit's least number to its
 *  largest; a unit that is off within and on elsewhere follows the span as well. */
function matches(layer, { name }, stretches, threshold) {
  const { units, values } = layer.tensors[name];
  const inside = within(stretches);
  const count = [0, 0]; // of the tokens without, and within
  for (const each of inside) count[each]++;
  return Array.from({ length: units }, (_, unit) => {
    const own = Float32Array.from(inside, (_, token) => values[token * units + unit]);
    const [low, high] = extent(own, own.find(Number.isFinite) ?? 0);
    const limit = low + threshold * (high - low);
    const on = [0, 0];
    own.forEach((x, token) => (on[inside[token]] += x > limit));
    const [without, inSpan] = on.map((n, each) => n / (count[each] || 1));
    return { unit, limit, inSpan, without, score: Math.abs(inSpan - without), grows: Math.abs(withPosition(own)) > 0.9 };
  });
}

/** The correlation with the number of the token: near 1 or -1 a unit only counts, and fits any span that stands alone. */
function withPosition(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  let [xy, xx, yy] = [0, 0, 0];
  values.forEach((v, t) => {
    const [x, y] = [t - (n - 1) / 2, v - mean];
    [xy, xx, yy] = [xy + x * y, xx + x * x, yy + y * y];
  });
  return xy / Math.sqrt(xx * yy) || 0;
}

/** How well a unit tells the span, those that only grow with the text behind all others. */
const rank = (match) => match.score - (match.grows ? 1 : 0);

// ------------------------------------------------------------------------------------------ what comes next

/** The readout's probabilities at a token, and those if the unit's h were another number there. */
function next(layer, token, unit, other = 0) {
  const { weight, bias } = layer.readout;
  const { units, values } = layer.tensors[layer.emitted];
  const logits = Array.from(bias, (b, k) => {
    let sum = b;
    for (let u = 0; u < units; u++) sum += weight[k * units + u] * values[token * units + u];
    return sum;
  });
  const h = at(layer, layer.emitted, token, unit) ?? 0;
  const without = logits.map((x, k) => x - (unit < units ? weight[k * units + unit] * (h - other) : 0));
  return [softmax(logits), softmax(without)];
}

const MOST = 5e7; // products that are worth a list

/** The tokens at which the unit matters most to what comes next: where, with its h at 0, most probability moves. */
function matters(layer, unit, count) {
  const T = data.tokens.length;
  if (T * layer.readout.weight.length > MOST) return [];
  const moved = data.tokens.map((_, token) => {
    const [p, without] = next(layer, token, unit);
    return p.reduce((sum, x, k) => sum + Math.abs(x - without[k]) / 2, 0);
  });
  return [...moved.keys()].sort((a, b) => moved[b] - moved[a]).slice(0, count).map((token) => ({ token, moved: moved[token] }));
}

function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

// ---------------------------------------------------------------------------------------------- units in order

/** The units, the first first: by their number, or by what `by` gives for each, the largest first. */
function sortedUnits(layer, by) {
  const units = [...Array(layer.units).keys()];
  // Infinity minus Infinity is no number: equal ones keep their order.
  return by ? units.sort((a, b) => (by(a) === by(b) ? a - b : by(b) - by(a))) : units;
}

const saturated = (layer) => (unit) => Object.values(layer.saturation).reduce((sum, s) => sum + s.low[unit] + s.high[unit], 0);
