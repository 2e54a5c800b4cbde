// A unit over time, and all units: small charts and maps.
"use strict";

/** A few round numbers of tokens, for an axis. */
function ticks(count) {
  const step = [1, 2, 5].flatMap((k) => [k, 10 * k, 100 * k, 1000 * k, 10000 * k]).sort((a, b) => a - b).find((s) => count / s <= 10) ?? count;
  return [...Array(Math.floor(count / step)).keys()].map((k) => (k + 1) * step);
}

function TokenAxis({ title }) {
  const T = data.tokens.length;
  return html`<div class="ticks" aria-hidden="true"><span class="axis">${title}</span>
    ${ticks(T).filter((k) => k < 0.97 * T || T < 10).map((k) => html`<span style=${`left:${(100 * (k - 0.5)) / T}%`}>${k}</span>`)}</div>`;
}

/** One quantity of the chosen unit: the same tokens as in the charts above and below it, with its own scale. */
function Chart({ layer, token, unit, quantity, other, theme, choose }) {
  const T = data.tokens.length;
  const values = over(layer, quantity.name, unit);
  const then = other?.[quantity.name];
  const [low, high] = quantity.gate ? quantity.range : extent([...values, ...(then ?? [])]);
  const x = (t) => (100 * (t + 0.5)) / T;
  const y = (v) => 100 - (100 * (v - low)) / (high - low || 1);
  const line = (of) => Array.from(of, (v, t) => !Number.isFinite(v) ? ""
    : `${STARTS.has(t) || !Number.isFinite(of[t - 1]) ? "M" : "L"}${x(t).toFixed(2)} ${y(v).toFixed(2)}`).join("");
  const stroke = `stroke:${lineColour(layer, quantity.name, theme)}`;
  const place = ({ offsetX, currentTarget }) => part(offsetX, currentTarget.clientWidth, T);
  const hover = (event) => tip.show(`${spoken(place(event))}: ${quantity.name} = ${shown(values[place(event)])}`, event.clientX, event.clientY);
  return html`<figure class="chart"><figcaption><b style=${`color:${lineColour(layer, quantity.name, theme)}`}>${quantity.name}</b>
      ${" "}<data value=${values[token]}>${shown(values[token])}</data> <span class="words">${layer.words[quantity.name]?.split(",")[0]}</span></figcaption>
    <div class="plot"><span class="high">${shown(high)}</span><span class="low">${shown(low)}</span>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" onClick=${(event) => choose({ token: place(event) })}
        onPointerMove=${hover} onPointerLeave=${tip.hide} aria-label=${`${quantity.name} of unit ${unit} over ${T} tokens, from ${shown(low)} to ${shown(high)}`}>
        <path class="zero" d=${`M0 ${y(0)}H100`}/><path class="now" d=${`M${x(token)} 0V100`}/>
        <path class="line" style=${stroke} d=${line(values)}/>
        ${then && html`<path class="then" style=${stroke} d=${line(then)}/>`}
      </svg></div></figure>`;
}

const LABELS = 6; // units that are named beside a map

/** One quantity of all units, a row for each in the given order: of a gate on the scale of its range, of a state on one
 *  for each unit, whose states differ in size. Painted anew only when layer, order or theme change. */
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
      const own = quantity.gate ? quantity.range : [0, largest(over(layer, quantity.name, unit)) || 1];
      for (let t = 0; t < T && unit < units; t++) {
        const share = Math.max(-1, Math.min(1, strength(values[t * units + unit], own))) || 0;
        pixels[y * T + t] = palette[Math.round(255 * (share + 1))];
      }
    });
    canvas.current.getContext("2d").putImageData(image, 0, 0);
  }, [layer, quantity, order, theme]);
  const cell = (k, unit) => `unit ${unit}, ${spoken(k)}: ${quantity.name} = ${shown(at(layer, quantity.name, k, unit))}`;
  const under = ({ offsetX, offsetY, currentTarget: { clientWidth, clientHeight } }) => ({
    token: part(offsetX, clientWidth, T),
    unit: order[part(offsetY, clientHeight, order.length)],
  });
  const hover = (event) => {
    const { token: k, unit } = under(event);
    tip.show(cell(k, unit), event.clientX, event.clientY);
  };
  const show = ({ currentTarget }) => {
    const { left, top, width, height } = currentTarget.getBoundingClientRect();
    tip.show(cell(token, order[row]), left + (width * (token + 0.5)) / T, top + (height * (row + 0.5)) / order.length);
  };
  useLayoutEffect(() => {
    if (document.activeElement === canvas.current) show({ currentTarget: canvas.current });
  }, [token, row]);
  const keys = onArrows({
    ArrowLeft: () => ({ token: Math.max(token - 1, 0) }), ArrowRight: () => ({ token: Math.min(token + 1, T - 1) }),
    ArrowUp: () => ({ unit: order[Math.max(row - 1, 0)] }), ArrowDown: () => ({ unit: order[Math.min(row + 1, order.length - 1)] }),
  }, choose);
  const labelled = [...new Set([...Array(LABELS).keys()].map((k) => Math.round((k * (order.length - 1)) / (LABELS - 1))))];
  const clear = labelled.filter((k) => Math.abs(k - row) * (LABELS - 1) * 2 > order.length || k === row);
  return html`<figure class=${`heatmap ${chosen ? "chosen" : ""}`}>
    <figcaption><b>${quantity.name}</b><${Legend} range=${quantity.gate ? quantity.range : null} theme=${theme}/>
      <span class="words" title=${layer.words[quantity.name]}>${layer.words[quantity.name]?.split(",")[0]}</span></figcaption>
    <div class="axes"><div class="rows" aria-hidden="true">${[...new Set([...clear, row])].map((k) => html`<span class=${k === row ? "now" : ""}
        style=${`top:${(100 * (k + 0.5)) / order.length}%`}>${order[k]}</span>`)}</div>
      <div class="field"><canvas ref=${canvas} width=${T} height=${order.length} role="application" tabindex="0"
        aria-roledescription="map" aria-label=${`${quantity.name} of ${order.length} units and ${T} tokens; ${cell(token, order[row])}`}
        onClick=${(event) => choose({ ...under(event), quantity: quantity.name })} onKeyDown=${keys}
        onPointerMove=${hover} onPointerLeave=${tip.hide} onFocus=${show} onBlur=${tip.hide}></canvas>
      <div class="column" style=${`left:${(100 * token) / T}%;width:${100 / T}%`}></div>
      <div class="row" style=${`top:${(100 * row) / order.length}%;height:${100 / order.length}%`}></div>
    </div></div><${TokenAxis} title="token"/></figure>`;
}
