// Building blocks of every figure: elements, numbers as a reader writes them, and controls that have names.

const SVG = "http://www.w3.org/2000/svg";

// An HTML element. Attributes that are functions listen to the event of their name.
export function h(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

// The same for SVG.
export function svg(name, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, name), attributes, children);
}

function dress(element, attributes, children) {
  set(element, attributes);
  element.append(...children);
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === false || value === null) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

// A number in a few significant digits, very small and very large ones with a power of ten.
export function show(x, digits = 5) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e-3 && size < 1e6) return String(Number(x.toPrecision(digits))).replace("-", "−");
  const [factor, exponent] = x.toExponential(Math.min(digits, 3) - 1).split("e");
  return `${Number(factor)} × 10${raise(Number(exponent))}`.replace("-", "−");
}

export function raise(exponent) {
  return [...String(exponent)].map((character) => RAISED[character]).join("");
}

export function percent(share) {
  return `${(100 * share).toFixed(share < 0.9995 ? 1 : 2)} %`;
}

export function grouped(integer) {
  return integer.toLocaleString("en-US");
}

// A list of named numbers. `facts.put(key, value, text)` shows the text and keeps the full value for whoever reads it.
export function facts(names) {
  const values = {};
  const lines = Object.entries(names).map(([key, name]) => {
    values[key] = h("span", { class: "ho-value", "data-key": key });
    return h("div", { class: "ho-fact" }, h("span", { class: "ho-name" }, name), values[key]);
  });
  const put = (key, value, text = show(value)) => {
    values[key].textContent = text;
    values[key].dataset.value = String(value);
  };
  return { node: h("div", { class: "ho-facts" }, ...lines), put };
}

// One sentence that says what is seen. It changes at once for the eye, and when things have come to rest for the ear.
export function sentence() {
  const seen = h("p", { class: "ho-sentence" });
  const heard = h("output", { class: "ho-hidden", "aria-live": "polite" });
  let timer = 0;
  const say = (text) => {
    if (seen.textContent === text) return;
    const first = seen.textContent === "";
    seen.textContent = text;
    clearTimeout(timer);
    if (!first) timer = setTimeout(() => (heard.textContent = text), 500); // nobody asked for the first one
  };
  return { node: h("div", {}, seen, heard), say, stop: () => clearTimeout(timer) };
}

export function button(text, click, attributes = {}) {
  return h("button", { type: "button", class: "ho-button", click, ...attributes }, text);
}

// A select box. `choose` gets the chosen key.
export function choice(label, options, choose) {
  const items = Object.entries(options).map(([key, text]) => h("option", { value: key }, text));
  const box = h("select", { change: () => choose(box.value) }, ...items);
  return { box, node: h("label", { class: "ho-label" }, label, box) };
}

// A choice of matrices worth a look, by name: the one that the figure was made with comes first, and one that the reader
// has made is called so.
export function presetChoice(presets, given, choose) {
  const matrices = { given: ["as given", given], ...presets };
  const names = Object.entries(matrices).map(([key, [name]]) => [key, name]);
  const options = Object.fromEntries([...names, ["own", "your own"]]);
  let current = given;
  const { box, node } = choice("Matrix", options, (key) => (key === "own" ? put(current) : choose(matrices[key][1])));
  const put = (matrix) => {
    current = matrix;
    const same = ([, [, other]]) => String(other) === String(matrix);
    box.value = (Object.entries(matrices).find(same) ?? ["own"])[0];
  };
  return { put, node };
}

// A slider. `put` moves it and says in words where it stands.
export function slider(label, attributes, move) {
  const range = h("input", { type: "range", ...attributes, input: () => move(Number(range.value)) });
  const put = (value, words) => {
    range.value = value;
    range.setAttribute("aria-valuetext", words);
  };
  return { range, put, node: h("label", { class: "ho-label ho-slider" }, label, range) };
}

// A slider for an integer, with a box beside it to type the same number.
export function integerSlider(label, lowest, highest, move) {
  const typed = h("input", { type: "number", min: lowest, max: highest, step: 1, "aria-label": `${label}, typed` });
  const main = slider(label, { min: lowest, max: highest, step: 1 }, move);
  typed.addEventListener("input", () => {
    const value = Number(typed.value);
    const valid = Number.isInteger(value) && value >= lowest && value <= highest;
    set(typed, { "aria-invalid": valid ? false : "true" });
    if (valid) move(value);
  });
  const put = (value, words) => {
    main.put(value, words);
    write(typed, value);
  };
  return { put, node: h("div", { class: "ho-integer" }, main.node, typed) };
}

export const LARGEST = 1e6; // entry of a matrix, as in matrices.py

// A square of boxes for the entries of a matrix, between brackets. `edit` gets the matrix as it then is.
export function matrixBoxes(size, edit) {
  const indices = [...Array(size).keys()];
  let current = [];
  const boxes = indices.map((i) =>
    indices.map((j) => {
      const label = `Row ${i + 1}, column ${j + 1}`;
      const box = h("input", { type: "number", step: "any", "aria-label": label, "data-entry": `${i}${j}` });
      box.addEventListener("input", () => {
        const valid = box.value !== "" && Math.abs(Number(box.value)) <= LARGEST;
        set(box, { "aria-invalid": valid ? false : "true" });
        if (valid) edit(current.map((row, k) => row.map((x, l) => (k === i && l === j ? Number(box.value) : x))));
      });
      return box;
    }),
  );
  const put = (matrix) => {
    current = matrix;
    boxes.forEach((row, i) => row.forEach((box, j) => write(box, matrix[i][j])));
  };
  const node = h("div", { class: "ho-matrix", role: "group", "aria-label": "Entries of the matrix", "data-size": size }, ...boxes.flat());
  return { put, node };
}

// Set a box to a number, unless it says that number already: what is being typed, such as "1.", stays as it is.
function write(box, value) {
  if (box.value === "" || Number(box.value) !== value) box.value = value;
  set(box, { "aria-invalid": false });
}
