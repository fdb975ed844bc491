// Calculator: the bytes that a training holds and the operations that it takes, from the shape of a model. The arithmetic
// is that of costs.py.

import { button, choice, facts, grouped, h, integerSlider, percent, sentence, set, show } from "./dom.js";

const NAMES = { weights: "weights", gradients: "gradients", optimizer: "optimizer", master: "master copy", activations: "activations" };
const METHODS = { full: "full fine-tuning", LoRA: "LoRA", QLoRA: "QLoRA", head: "head only" };
const PRECISIONS = { float32: "float32", mixed: "mixed, 2 and 4 bytes" };
const CARD = 48e9; // bytes

export function calculator({ data, state, change }) {
  const same = (names) => Object.fromEntries(names.map((name) => [name, name]));
  const batches = Object.fromEntries(data.batches.map(([batch, length]) => [`${batch} ${length}`, `${batch} texts of ${length} tokens`]));
  const model = choice("Model", same(Object.keys(data.shapes)), (name) => change({ model: name }));
  const method = choice("Method", METHODS, (name) => change({ method: name }));
  const precision = choice("Numbers", PRECISIONS, (name) => change({ precision: name }));
  const optimizer = choice("Optimizer", same(Object.keys(data.optimizers)), (name) => change({ optimizer: name }));
  const batch = choice("Batch", batches, (key) => {
    const [batch, length] = key.split(" ").map(Number);
    change({ batch, length });
  });
  const rank = integerSlider("Rank r", 1, data.highest, (r) => change({ r }));
  const reset = button("Reset", () => change({ ...state }));
  const bars = Object.entries(NAMES).map(([key, name]) => componentBar(key, name));
  const numbers = facts({
    trained: "trained parameters",
    total: "bytes in all",
    ofFull: "of full fine-tuning’s bytes",
    cards: "48 GB cards, at least",
    flops: "operations for a token",
    flopsOfFull: "of full fine-tuning’s operations",
  });
  const words = sentence();

  function draw(now) {
    for (const [key, { box }] of Object.entries({ model, method, precision, optimizer })) box.value = now[key];
    batch.box.value = `${now.batch} ${now.length}`;
    rank.put(now.r, `rank ${now.r}`);
    const shape = data.shapes[now.model];
    const chosen = costs(shape, now, data);
    const full = costs(shape, { ...now, method: "full" }, data);
    const longest = Math.max(...Object.values(full.bytes));
    for (const bar of bars) bar.draw(chosen.bytes, full.bytes, longest);
    const ofFull = chosen.total / full.total;
    const share = chosen.trained / chosen.parameters;
    numbers.put("trained", chosen.trained, grouped(chosen.trained));
    numbers.put("total", chosen.total, readable(chosen.total));
    numbers.put("ofFull", ofFull, percent(ofFull));
    numbers.put("cards", Math.ceil(chosen.total / CARD), grouped(Math.ceil(chosen.total / CARD)));
    numbers.put("flops", chosen.flops, show(chosen.flops, 3));
    numbers.put("flopsOfFull", chosen.flops / full.flops, percent(chosen.flops / full.flops));
    const trains = `${METHODS[now.method]} trains ${share < 0.001 ? `${show(100 * share, 2)} %` : percent(share)} of the parameters`;
    const holds = now.method === "full" ? "" : ` and holds ${percent(ofFull)} of the bytes of full fine-tuning`;
    words.say(`${trains[0].toUpperCase()}${trains.slice(1)}${holds}.`);
  }

  const chart = h("div", { class: "ho-costs" }, ...bars.flatMap((bar) => bar.nodes));
  const note = h("p", { class: "ho-note" }, "In colour the method chosen, in grey full fine-tuning with the same settings.");
  const nodes = [
    h("div", { class: "ho-bar" }, model.node, method.node, precision.node, optimizer.node, batch.node, reset),
    rank.node,
    words.node,
    chart,
    note,
    numbers.node,
  ];
  return { nodes, draw, stop: words.stop };
}

function costs({ parameters, layers, width, heads }, { method, r, precision, optimizer, batch, length }, { optimizers, nf4Bits }) {
  const matrices = 12 * layers * width ** 2;
  const factors = method === "LoRA" || method === "QLoRA" ? 18 * r * width * layers : 0;
  const trained = method === "full" ? parameters : factors + 2 * width + 2;
  const size = precision === "float32" ? 4 : 2;
  const packed = method === "QLoRA" ? matrices : 0;
  const kept = method === "head" ? 0 : layers * (18 * width + 3 * heads * length + (factors && 6 * r));
  const bytes = {
    weights: size * (parameters + factors - packed) + (nf4Bits / 8) * packed,
    gradients: size * trained,
    optimizer: 4 * optimizers[optimizer] * trained,
    master: precision === "float32" ? 0 : 4 * trained,
    activations: size * batch * length * kept,
  };
  const total = Object.values(bytes).reduce((sum, x) => sum + x, 0);
  const attention = 4 * layers * width * length;
  const forward = 2 * matrices + 2 * factors + attention;
  const backward = { full: 2 * forward, head: 0 }[method] ?? 2 * matrices + 4 * factors + 2 * attention;
  return { bytes, total, trained, parameters: parameters + factors, flops: forward + backward };
}

function componentBar(key, name) {
  const [level, full] = [h("div", { class: "ho-level ho-counts" }), h("div", { class: "ho-level" })];
  const value = h("span", { class: "ho-value", "data-key": key });
  const draw = (chosen, other, longest) => {
    level.style.width = `${(100 * chosen[key]) / longest}%`;
    full.style.width = `${(100 * other[key]) / longest}%`;
    value.textContent = readable(chosen[key]);
    set(value, { "data-value": String(chosen[key]) });
  };
  return { draw, nodes: [h("span", { class: "ho-name" }, name), h("div", { class: "ho-track" }, full, level), value] };
}

// Bytes in decimal units: 1 MB is 1,000,000 bytes.
function readable(bytes) {
  const [unit, scale] = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3], ["B", 1]].find(([, scale]) => bytes >= scale) ?? ["B", 1];
  return `${show(bytes / scale, 3)} ${unit}`;
}
