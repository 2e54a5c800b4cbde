// A right side, as a reader types it or Python writes it: read, and evaluated on numbers. None of it is run as a program.
"use strict";

/** Why an answer cannot be judged. */
class Refusal extends Error {}

/** What quiz.py has under this key, with the parts in the places of {}. */
const reply = (key, ...parts) => data.answers.replies[key].replace(/\{\}/g, () => parts.shift());

const COMPARISONS = {
  "<": (a, b) => +(a < b), "<=": (a, b) => +(a <= b), ">": (a, b) => +(a > b), ">=": (a, b) => +(a >= b),
  "==": (a, b) => +(a === b), "!=": (a, b) => +(a !== b),
};
const SUMS = { "+": (a, b) => a + b, "-": (a, b) => a - b };
const PRODUCTS = { "*": (a, b) => a * b, "/": (a, b) => a / b };
const PIECE = /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(\*\*|[<>=!]=|[-+*/<>(),]))/y;

/** The names in a right side, and its `value` where each has its number. Throws Refusal; of another exponent than a
 * number up to `largest` or a name, too, where that is given. */
function algebra(typed, largest) {
  const text = [...typed.trim()].map((c) => data.answers.spellings[c] ?? c).join("").replace(/\btorch\.(?=[a-z])/g, "");
  if (!text) throw new Refusal(reply("nothing"));
  const [strange] = text.match(/[^\w\s.,+\-*/()<>=!]/u) ?? [];
  if (strange) throw new Refusal(reply("strange", `'${visible(strange)}'`));
  const pieces = [];
  for (PIECE.lastIndex = 0; PIECE.lastIndex < text.length;) {
    const start = PIECE.lastIndex;
    const [, number, name, sign] = PIECE.exec(text) ?? unreadable(start);
    pieces.push({ number, name, sign, start });
  }
  let k = 0; // of the piece that is read next
  const names = new Set();

  function unreadable(start) {
    const rest = text.slice(start).trim();
    throw new Refusal(reply("unreadable", text) + (rest && rest !== text ? reply("near", rest) : "") + reply("elementwise"));
  }
  const here = () => pieces[k]?.start ?? text.length;
  const comes = (sign) => pieces[k]?.sign === sign && ++k > 0;
  const expect = (sign) => comes(sign) || unreadable(here());

  /** Parts with signs between them, from the left; of `most` signs. */
  const row = (signs, part, most = Infinity) => () => {
    let left = part();
    for (let count = 0; count < most && Object.hasOwn(signs, pieces[k]?.sign ?? ""); count++) {
      const [a, of, b] = [left, signs[pieces[k++].sign], part()];
      left = (n) => of(a(n), b(n));
    }
    return left;
  };
  function signed() {
    if (comes("+")) return signed();
    if (!comes("-")) return power();
    const of = signed();
    return (n) => -of(n);
  }
  function power() {
    const base = single();
    if (!comes("**")) return base;
    const from = k;
    const exponent = signed(); // -a ** -b is -(a ** (-b))
    const said = pieces.slice(from, k).filter(({ sign }) => sign !== "(" && sign !== ")");
    const { number = 0 } = said.at(-1);
    const parts = said.length - (said[0].sign === "-" && number !== 0);
    if (largest !== undefined && (parts > 1 || +number > largest)) {
      throw new Refusal(reply("exponent", largest, text.slice(pieces[from].start, pieces[k]?.start).trim()));
    }
    return (n) => base(n) ** exponent(n);
  }
  function single() {
    const { number, name, start } = pieces[k] ?? {};
    if (comes("(")) {
      const inner = whole();
      expect(")");
      return inner;
    }
    if (number === undefined && name === undefined) unreadable(here());
    k++;
    if (number !== undefined) {
      if (!Number.isFinite(+number)) throw new Refusal(reply("too large"));
      return () => +number;
    }
    if (comes("(")) return call(Object.hasOwn(data.answers.also, name) ? data.answers.also[name] : name, start);
    names.add(name);
    return (n) => n[name];
  }
  function call(name, start) {
    if (!Object.hasOwn(FUNCTIONS, name)) throw new Refusal(reply("no function", name));
    const given = [];
    do given.push(whole()); while (comes(","));
    expect(")");
    const parameters = data.answers.parameters[name];
    if (given.length !== parameters.length) {
      throw new Refusal(reply("arguments", text.slice(start, pieces[k]?.start).trim(), name, parameters.join(", ")));
    }
    return (n) => FUNCTIONS[name](...given.map((of) => of(n)));
  }
  const whole = row(COMPARISONS, row(SUMS, row(PRODUCTS, signed)), 1);

  const value = whole();
  if (k < pieces.length) unreadable(here());
  return { names: [...names], value };
}
