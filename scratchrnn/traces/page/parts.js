// What several panels are made of: choices, legends, the tip beside the pointer, panels that fold.
"use strict";
const { h, render } = preact;
const { useState, useEffect, useLayoutEffect, useMemo, useRef } = preactHooks;
const html = htm.bind(h);

const NARROW = matchMedia("(max-width: 640px)").matches;

function Choice({ id, label, value, options, onChange }) {
  return html`<span class="choice"><label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select></span>`;
}

/** A part of the page under a heading, which folds it; on a small screen what is long is folded at first. */
function Panel({ id, title, note, long, children }) {
  return html`<details class="panel" id=${id} open=${!(long && NARROW)}>
    <summary><h2>${title}${note && html` <small>${note}</small>`}</h2></summary>${children}</details>`;
}

/** The colours of a range, or, without one, of each unit's own. */
function Legend({ range, theme }) {
  const [low, high] = range ?? [-1, 1];
  const colors = [0, 0.25, 0.5, 0.75, 1].map((s) => `rgb(${rgb(strength(low + s * (high - low), [low, high]), theme)})`);
  return html`<span class="legend"><span>${range ? shown(low) : "−"}</span><span class="ramp"
    style=${`background:linear-gradient(to right,${colors})`}></span><span>${range ? shown(high) : "+ each unit's largest"}</span></span>`;
}

/** The one line beside the pointer. What it says, the focused part says to a screen reader itself. */
const tip = {
  show(text, x, y) {
    const box = document.getElementById("tip");
    box.textContent = text;
    box.hidden = false;
    const [width, height] = [box.offsetWidth, box.offsetHeight];
    box.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
    box.style.top = `${y - height - 10 > 0 ? y - height - 10 : y + 18}px`;
  },
  hide() {
    document.getElementById("tip").hidden = true;
  },
};

/** Which of `count` equal parts of a length lies there. */
const part = (offset, length, count) => Math.max(0, Math.min(count - 1, Math.floor((count * offset) / length)));

/** Keys that move within a part that has the focus; elsewhere these keys scroll, as ever. */
function onArrows(moves, choose) {
  return (event) => {
    if (!moves[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(moves[event.key](event.shiftKey));
  };
}
