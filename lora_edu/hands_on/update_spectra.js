// Spectrum of ΔW: choose a layer and a matrix, move k, and read how much of ΔW its first k directions hold. The table
// below says the same for all of them at once.

import { button, choice, facts, h, integerSlider, percent, sentence, set, show, svg } from "./dom.js";
import { logPlot } from "./plot.js";

const STEPS = 2048; // to a factor of two, as in spectra.py
const ZERO = 65535;

export function updateSpectra({ data, state, change }) {
  const lines = Object.entries(data.lines).map(([name, list]) => ({ name, of: unpackAll(list) }));
  const update = lines[0].of;
  const kinds = Object.fromEntries(data.kinds.map((kind) => [kind, kind]));
  const layers = Object.fromEntries(data.layers.map((layer) => [layer, layer]));
  const shortest = Math.min(...Object.values(update).map(({ s }) => s.length));

  const layerChoice = choice("Layer", layers, choose);
  const kindChoice = choice("Matrix", kinds, choose);
  const rank = integerSlider("Directions k", 1, shortest, (k) => change({ k }));
  const reset = button("Reset", () => change({ ...state }));
  const numbers = facts({
    share: "ΔW, in the first k",
    ...(data.lines.W ? { shareW: "W, in the first k" } : {}),
    ...(data.lines.random ? { shareRandom: "random, in the first k" } : {}),
    stable: "stable rank of ΔW",
    sum: "sum of all σᵢ of ΔW",
  });
  const words = sentence();
  const place = h("div", {});
  const overview = table(data, update, (layer, kind) => change({ layer, kind }));
  let plotted = "";
  let plot = null;

  // Not every layer need have every matrix: a pair that is not there is not chosen.
  function choose() {
    const [layer, kind] = [Number(layerChoice.box.value), kindChoice.box.value];
    change(update[`${layer} ${kind}`] ? { layer, kind } : {});
  }

  function draw({ layer, kind, k }) {
    const key = `${layer} ${kind}`;
    const spectrum = update[key];
    layerChoice.box.value = layer;
    kindChoice.box.value = kind;
    rank.put(k, `${k} of ${spectrum.s.length}`);
    if (plotted !== key) {
      plot = spectrumPlot(lines.map(({ name, of }) => ({ name, s: of[key].s })));
      place.replaceChildren(plot.node);
      plotted = key;
    }
    plot.shade(k);
    const held = share(spectrum, k);
    numbers.put("share", held, percent(held));
    for (const [name, fact] of [["W", "shareW"], ["random", "shareRandom"]]) {
      const other = lines.find((line) => line.name === name);
      if (other) numbers.put(fact, share(other.of[key], k), percent(share(other.of[key], k)));
    }
    numbers.put("stable", spectrum.energy, show(spectrum.energy, 3));
    numbers.put("sum", spectrum.first * spectrum.sum, show(spectrum.first * spectrum.sum, 4));
    overview.draw(layer, kind, k);
    set(plot.node, { "aria-label": plotWords(lines, key, k) });
    words.say(`Layer ${layer}, ${kind}: the first ${k} of ${spectrum.s.length} directions hold ${percent(held)} of ‖ΔW‖².`);
  }

  const left = h("div", { class: "ho-column" }, place, legend(lines));
  const right = h("div", { class: "ho-column" }, words.node, numbers.node);
  const nodes = [
    h("div", { class: "ho-bar" }, layerChoice.node, kindChoice.node, reset),
    rank.node,
    h("div", { class: "ho-row" }, left, right),
    overview.node,
  ];
  return { nodes, draw, stop: words.stop };
}

// From the two bytes of each value back to σᵢ/σ₁, with the sums that all shares need.
function unpackAll(list) {
  const entries = list.map(([layer, kind, first, text]) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const s = Array.from({ length: bytes.length / 2 }, (_, i) => {
      const code = bytes[2 * i] + 256 * bytes[2 * i + 1];
      return code === ZERO ? 0 : 2 ** (-code / STEPS);
    });
    const energy = s.reduce((sum, x) => sum + x * x, 0); // ‖·‖² / σ₁²: the stable rank
    return [`${layer} ${kind}`, { s, first, energy, sum: s.reduce((sum, x) => sum + x, 0) }];
  });
  return Object.fromEntries(entries);
}

function share({ s, energy }, k) {
  return s.slice(0, k).reduce((sum, x) => sum + x * x, 0) / energy;
}

function plotWords(lines, key, k) {
  const held = lines.map(({ name, of }) => `${name} ${percent(share(of[key], k))}`).join(", ");
  return `Singular values relative to the largest, on logarithmic axes. In the first ${k} directions: ${held}.`;
}

function spectrumPlot(curves) {
  const count = Math.max(...curves.map(({ s }) => s.length));
  const values = curves.flatMap(({ s }) => s).filter((x) => x > 1e-6);
  const plot = logPlot({
    count,
    logarithmic: true,
    ticks: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096].filter((i) => i <= count),
    lowest: Math.floor(Math.log10(Math.min(...values))),
    highest: 0,
    xName: "index i",
    yName: "σᵢ / σ₁",
  });
  curves.forEach(({ s }, i) => {
    plot.lines.prepend(svg("path", { class: `ho-curve ho-curve-${i}`, d: plot.path(s.filter((x) => x > 1e-6)) }));
  });
  return plot;
}

function legend(lines) {
  const sample = (i) => svg("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" }, svg("path", { class: `ho-curve ho-curve-${i}`, d: "M0,5H28" }));
  return h("p", { class: "ho-legend" }, ...lines.map(({ name }, i) => h("span", {}, sample(i), name)));
}

// One cell for each layer and matrix: the share in the first k, as a number and as a tint. A cell chooses its spectrum.
function table({ layers, kinds }, update, choose) {
  const cells = {};
  const cell = (layer, kind) => {
    const key = `${layer} ${kind}`;
    if (!update[key]) return h("td", {}, "–");
    cells[key] = h("button", { type: "button", click: () => choose(layer, kind) });
    return h("td", {}, cells[key]);
  };
  const head = h("tr", {}, h("th", { scope: "col" }, "layer"), ...kinds.map((kind) => h("th", { scope: "col" }, kind)));
  const rows = layers.map((layer) => h("tr", {}, h("th", { scope: "row" }, String(layer)), ...kinds.map((kind) => cell(layer, kind))));
  const caption = h("caption");
  const node = h("div", { class: "ho-table" }, h("table", { class: "ho-shares" }, caption, h("thead", {}, head), h("tbody", {}, ...rows)));
  const draw = (layer, kind, k) => {
    caption.textContent = `Share of ‖ΔW‖² in the first ${k} directions, in percent`;
    for (const [key, button] of Object.entries(cells)) {
      const held = share(update[key], k);
      button.textContent = (100 * held).toFixed(0);
      button.style.setProperty("--ho-share", `${(45 * held).toFixed(0)}%`);
      set(button, { "aria-pressed": String(key === `${layer} ${kind}`), "aria-label": `Layer ${key}: ${button.textContent} percent` });
    }
  };
  return { node, draw };
}
