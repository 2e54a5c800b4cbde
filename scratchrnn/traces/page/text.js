// The text, coloured by one quantity of one unit; and the bar that stays in view.
"use strict";

/** The tokens by words: what stands between white space is not broken. */
const WORDS = (() => {
  const single = data.tokens.every((t) => [...t].length <= 1 || /^<.*>$/.test(t));
  if (!single) return data.tokens.map((_, k) => [k]);
  const words = [];
  data.tokens.forEach((token, k) => {
    const goes = k > 0 && !STARTS.has(k) && /\S/.test(token) && /\S/.test(data.tokens[k - 1]);
    if (goes) words.at(-1).push(k);
    else words.push([k]);
  });
  return words;
})();
const SPACED = WORDS.length === data.tokens.length && data.tokens.some((t) => [...t].length > 1);

/** In the text a space is a blank. */
const printed = (token) => (token === " " ? "\u00a0" : visible(token));

/** All tokens: one control, a slider along them, so that a finger needs no key of its own for each letter. */
function Text({ token, values, range, what, theme, choose, span, label }) {
  const dragged = useRef(null);
  const last = data.tokens.length - 1;
  const found = (event) => {
    const under = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-token]");
    return under && event.currentTarget.contains(under) ? +under.dataset.token : null;
  };
  const keys = onArrows({
    ArrowLeft: (shift) => move(Math.max(token - 1, 0), shift),
    ArrowRight: (shift) => move(Math.min(token + 1, last), shift),
    Home: () => ({ token: 0 }),
    End: () => ({ token: last }),
  }, choose);
  const move = (to, shift) => (shift ? { token: to, span: [Math.min(to, span?.from ?? token), Math.max(to, span?.from ?? token)], from: span?.from ?? token }
    : { token: to });
  const onPointerDown = (event) => {
    const k = found(event);
    if (k === null) return;
    dragged.current = k;
    choose(event.shiftKey ? move(k, true) : { token: k });
  };
  const onPointerMove = (event) => {
    const k = found(event);
    if (k === null) return tip.hide();
    tip.show(`${spoken(k)}: ${what} = ${shown(values[k])}`, event.clientX, event.clientY);
    if (event.buttons !== 1 || dragged.current === null || dragged.current === k || event.pointerType === "touch") return;
    choose({ token: k, span: [Math.min(k, dragged.current), Math.max(k, dragged.current)], from: dragged.current });
  };
  const marked = useMemo(() => within(span?.stretches ?? []), [span]);
  const one = (k) => html`<span key=${k} class=${`token${marked[k] ? " in-span" : ""}${k === token ? " now" : ""}`}
    data-token=${k} style=${tint(strength(values[k], range), theme)}>${printed(data.tokens[k])}</span>`;
  return html`<div class=${`text ${SPACED ? "spaced" : ""}`} role="slider" tabindex="0" aria-label=${label}
      aria-valuemin="1" aria-valuemax=${last + 1} aria-valuenow=${token + 1}
      aria-valuetext=${`${spoken(token)}: ${what} ${shown(values[token])}`}
      onKeyDown=${keys} onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onPointerLeave=${tip.hide}
      onPointerUp=${() => (dragged.current = null)}>
    ${WORDS.map((word) => html`
      ${word[0] > 0 && STARTS.has(word[0]) && html`<span class="break"></span>`}
      ${word.length > 1 ? html`<span class="word">${word.map(one)}</span>` : one(word[0])}
      ${data.tokens[word.at(-1)].includes("\n") && html`<br/>`}`)}
  </div>`;
}

const AROUND = 2; // neighbours on both sides that have a key of their own

/** Where one is, and what happened there: in view wherever the page is scrolled to. */
function Bar({ views, token, choose }) {
  const last = data.tokens.length - 1;
  const near = [...Array(2 * AROUND + 1).keys()].map((k) => token - AROUND + k);
  const key = (k) => k < 0 || k > last ? html`<span class="key empty"></span>`
    : html`<button type="button" class="key" aria-label=${`go to ${spoken(k)}`} aria-current=${k === token}
        onClick=${() => choose({ token: k })}>${visible(data.tokens[k])}</button>`;
  return html`<footer class="bar">
    <div class="reel" role="group" aria-label="tokens around">
      <button type="button" class="key" aria-label="token before" disabled=${token === 0} onClick=${() => choose({ token: token - 1 })}>‹</button>
      ${near.map(key)}
      <button type="button" class="key" aria-label="token behind" disabled=${token === last} onClick=${() => choose({ token: token + 1 })}>›</button>
    </div>
    <div class="said" aria-live="polite" aria-atomic="true">
      ${views.map(({ layer, unit, title }) => html`<p><b>${title && `${title}: `}Unit ${unit} at <span class="here"
          >${visible(data.tokens[token])}</span>, token ${token + 1} of ${data.tokens.length}</b>
        <span class="sentence"> ${sentence(layer, token, unit)}</span> <${Origin} ...${{ layer, token, unit, choose }}/></p>`)}
    </div></footer>`;
}

function Origin({ layer, token, unit, choose }) {
  const from = origin(layer, token, unit);
  if (!from) return null;
  const steps = Math.abs(token - from.token);
  return html`<span class="origin">The largest part of it, ${shown(from.amount)}, is from <button type="button" class="link"
    aria-label=${`go to ${spoken(from.token)}`} onClick=${() => choose({ token: from.token })}>${visible(data.tokens[from.token])}</button>,
    ${" "}${steps} ${steps > 1 ? "tokens" : "token"} ${layer.reverse ? "behind" : "before"}: ${percent(from.left)} of what it wrote is still there.</span>`;
}
