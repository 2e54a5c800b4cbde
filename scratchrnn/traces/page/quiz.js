// A line with its right side blank, for the reader to write. The lines, the mistakes and the words come from quiz.py.
"use strict";

/** The steps for which an answer is evaluated: first that which is chosen, then those that were drawn; each name's number. */
function points(layer, token, unit) {
  const { given, numbers } = data.quizzes[layer.quiz];
  const names = Object.keys(given);
  const step = (of) => {
    const all = Object.fromEntries(names.map((name) => [name, of(name)]));
    return { ...numbers, ...all, ...UPDATES[layer.index](all, {}) };
  };
  const own = step((name) => at(layer, name, token, unit) ?? 0); // under a projection no line reads h_prev
  return [own, ...given[names[0]].map((_, k) => step((name) => given[name][k]))];
}

/** Up to rounding, as in the terminal; what is not finite is close to itself alone. */
const close = (a, b) => Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-12 + 1e-9 * Math.min(Math.abs(a), Math.abs(b));

/** Why an answer is wrong, "" if it is right. Throws Refusal. */
function wrong(line, typed, steps) {
  const [start, target] = typed.match(/^\s*(\w+)\s*=(?!=)/) ?? ["", line.target];
  if (target !== line.target) throw new Refusal(reply("another line", line.target, target));
  const answer = algebra(typed.slice(start.length), data.answers.exponent);
  for (const name of answer.names) if (!line.known.includes(name)) throw new Refusal(unknown(line, name));
  const [found, right] = [steps.map(answer.value), steps.map((step) => step[line.target])];
  const gives = (of) => steps.every((step, k) => close(of(step, k), found[k]));
  if (gives((step, k) => right[k])) return "";
  if (found.some((x, k) => !Number.isFinite(x) && Number.isFinite(right[k]))) return reply("not finite");
  const mistake = line.mistakes.find(([code]) => gives(algebra(code).value));
  if (mistake) return mistake[1];
  const sum = (of) => steps.reduce((all, _, k) => (Number.isFinite(right[k]) ? all + of(k) : all), 0);
  const times = sum((k) => right[k] * found[k]) / sum((k) => right[k] * right[k]);
  if (gives((step, k) => times * right[k])) return reply("times", shown(times));
  const more = found.at(-1) - right.at(-1);
  if (gives((step, k) => right[k] + more)) return reply("too much", (more > 0 ? "+" : "") + shown(more));
  const apart = (k) => Math.abs(found[k] - right[k]) || 0;
  const k = close(found[0], right[0]) ? found.reduce((best, _, each) => (apart(each) > apart(best) ? each : best), 0) : 0;
  const numbers = answer.names.map((name) => `${name} = ${shown(steps[k][name])}`).join(", ");
  return (numbers && reply("where", numbers)) + reply("gives", shown(found[k]), line.target, shown(right[k]));
}

function unknown(line, name) {
  if (Object.hasOwn(line.unknown, name)) return line.unknown[name];
  if (Object.hasOwn(FUNCTIONS, name)) return reply("a function", name, name);
  const letters = (text) => text.toLowerCase().replaceAll("_", "");
  const near = line.known.find((each) => letters(each) === letters(name));
  return reply("unknown", name, near ? reply("meant", near) : reply("all known", line.known.join(", ")));
}

/** The reply to an answer: how it is called, and what there is to say. */
function replied(line, typed, steps) {
  try {
    const reason = wrong(line, typed, steps);
    return reason ? ["wrong", reason] : ["right", line.text];
  } catch (error) {
    if (error instanceof Refusal) return ["refused", error.message];
    throw error;
  }
}

/** What stands between ` and `, as code. */
const coded = (text) => text.split(/`([^`]+)`/).map((part, k) => (k % 2 ? html`<code>${part}</code>` : part));

/** What is asked for in a view, and how far the reader has come: that stays as long as the page is open. */
function useQuiz({ layer, asked, choose }) {
  const [kept, keep] = useState({});
  const followed = useRef(false); // whether the focus goes along with the question
  const lines = UPDATES[layer.index] ? data.quizzes[layer.quiz].lines : [];
  const of = (line) => ({ tries: 0, hints: 0, ...kept[`${layer.quiz} ${line.target}`] });
  const line = lines.find(({ target }) => target === asked);
  const ask = (target) => ((followed.current = true), choose({ quiz: target }));
  return {
    lines, line, of, ask, followed,
    note: (change) => {
      followed.current = true;
      keep((before) => ({ ...before, [`${layer.quiz} ${asked}`]: { ...of(line), ...change } }));
    },
    /** The first line behind this one that has not ended, all around. */
    next: line && [...lines.slice(lines.indexOf(line)), ...lines].find((each) => each !== line && !of(each).ended),
    again: () => {
      keep((before) => Object.fromEntries(Object.entries(before).filter(([key]) => !key.startsWith(`${layer.quiz} `))));
      ask(lines[0].target);
    },
  };
}

/** Which line is asked for, and the score. */
function Quiz({ lines, line, of, id, choose }) {
  if (!lines.length) return null;
  const right = lines.filter((each) => of(each).ended === "right");
  const atOnce = right.filter((each) => of(each).tries === 1 && of(each).hints === 0);
  return html`<div class="controls">
    <${Choice} id=${id("quiz")} label="quiz" value=${line?.target ?? ""} onChange=${(quiz) => choose({ quiz: quiz || null })}
      options=${[["", "nothing is asked"], ...lines.map((each) => [each.target, `${each.target} = ?${of(each).ended ? `, ${of(each).ended}` : ""}`])]}/>
    ${line && html`<span class="choice">${reply("score", right.length, lines.length, atOnce.length)}</span>`}</div>`;
}

/** In the place of a line's right side: the blank, what comes out, and what is said to what stands in it. */
function Question({ layer, token, unit, id, quiz, children }) {
  const { line, of, note, next, ask, again, followed } = quiz;
  const { answer, tries, hints, ended } = of(line);
  const first = useRef(null);
  const steps = useMemo(() => points(layer, token, unit), [layer, token, unit]);
  const [how, text] = useMemo(() => (answer === undefined || ended ? [] : replied(line, answer, steps)), [line, answer, ended, steps]);
  const told = { right: [], shown: line.hints.slice(-1) }[ended] ?? line.hints.slice(0, hints);
  useLayoutEffect(() => {
    if (followed.current) first.current.focus();
    followed.current = false;
  });
  const check = (event) => {
    event.preventDefault(); // or the button that gets the focus is pressed by the same key
    const typed = first.current.value;
    const [verdict] = replied(line, typed, steps);
    note({ answer: typed, tries: tries + (verdict !== "refused"), ...(verdict === "right" && { ended: "right" }) });
  };
  const button = (text, onClick, more) => html`<button type="button" class="key wide" onClick=${onClick} ...${more}>${text}</button>`;
  return html`<div class="question">
    ${!ended && html`<div class="blank"><label for=${id("answer")}><b>${line.target}</b> =</label>
      <input id=${id("answer")} key=${`${layer.quiz} ${line.target}`} ref=${first} defaultValue=${answer} type="text" maxlength=${data.answers.longest} autocomplete="off" autocapitalize="off" spellcheck=${false}
        aria-describedby=${id("known")} onKeyDown=${(event) => event.key === "Enter" && check(event)}/>${children}</div>
      <p id=${id("known")} class="hint">${reply("known", line.known.join(", "))}; ${reply("rule")}</p>`}
    <p role="status">${ended === "right" ? html`<b>${reply("right")}</b><code>${line.text}</code>` : how && html`<b>${reply(how)}</b>${coded(text)}`}
      ${told.map((hint) => html`<span class="told">${hint}</span>`)}</p>
    <div class="controls">${ended ? next ? button(`next: ${next.target} = ?`, () => ask(next.target), { ref: first }) : button("again from the first", again, { ref: first })
      : html`${button("check", check)}${button("a hint", () => note({ hints: hints + 1 }), { disabled: hints === line.hints.length - 1 })}
        ${button("show it", () => note({ hints: line.hints.length, ended: "shown" }))}`}</div></div>`;
}
