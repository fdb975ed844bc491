// SVD ellipse: the two columns of a 2 x 2 matrix to drag; the ellipse that the unit circle becomes; and the way there
// in three steps, a rotation, a stretch along the axes, and a second rotation.

import { button, facts, h, matrixBoxes, presetChoice, sentence, set, show, slider, svg } from "./dom.js";
import { determinant } from "./maths.js";
import { largePicture } from "./plane.js";
import { arrowPath } from "./plot.js";
import { decompose, degrees, shape, stepWords } from "./steps.js";

const PRESETS = {
  shear: ["a shear", [[1, 1], [0, 1]]],
  rotation: ["a rotation", [[0.8, -0.6], [0.6, 0.8]]],
  reflection: ["a reflection", [[0.6, 0.8], [0.8, -0.6]]],
  symmetric: ["a symmetric matrix", [[2, 1], [1, 1]]],
  flat: ["rank one", [[1, 2], [0.5, 1]]],
};
const STEPS = ["start", "1. Vᵀ turns", "2. Σ stretches", "3. U turns"];

export function svdEllipse({ data, change }) {
  const presets = presetChoice(PRESETS, data.matrix, (matrix) => change({ matrix }));
  const boxes = matrixBoxes(2, (matrix) => change({ matrix }));
  const large = largePicture((matrix) => change({ matrix }));
  const strip = STEPS.map((name) => smallPicture(name));
  const step = slider("On the way, step by step", { min: 0, max: 3, step: 0.05 }, (value) => change({ step: value }));
  const numbers = facts({
    sigma1: "σ₁, long half-axis",
    sigma2: "σ₂, short half-axis",
    angleV: "v₁ points at",
    angleU: "u₁ points at",
    det: "determinant",
  });
  const words = sentence();
  const reset = button("Reset", () => change({ matrix: data.matrix, step: 3 }));

  function draw({ matrix, step: at }) {
    const parts = decompose(matrix);
    presets.put(matrix);
    boxes.put(matrix);
    large.draw(matrix, parts, at);
    strip.forEach((small, i) => small.draw(parts, i));
    step.put(at, stepWords(at));
    numbers.put("sigma1", parts.s[0]);
    numbers.put("sigma2", parts.s[1]);
    numbers.put("angleV", degrees(parts.v), `${degrees(parts.v).toFixed(1)}°`.replace("-", "−"));
    numbers.put("angleU", degrees(parts.u), `${degrees(parts.u).toFixed(1)}°`.replace("-", "−"));
    numbers.put("det", determinant(matrix));
    words.say(verdict(parts));
  }

  const right = h("div", { class: "ho-column" }, boxes.node, words.node, numbers.node);
  const nodes = [
    h("div", { class: "ho-bar" }, presets.node, reset),
    h("div", { class: "ho-row" }, h("div", { class: "ho-column" }, large.node), right),
    h("div", { class: "ho-strip" }, ...strip.map((small) => small.node)),
    h("div", { class: "ho-steps" }, step.node),
  ];
  return { nodes, draw, stop: words.stop };
}

function verdict({ s, rank, v, u, mirror }) {
  const turn = (angle) => `${Math.abs(angle).toFixed(1)}° ${angle < 0 ? "clockwise" : "counter-clockwise"}`;
  if (rank === 0) return "The circle becomes a point: rank 0.";
  const first = `Vᵀ turns ${turn(-degrees(v))}`;
  const last = `U ${mirror < 0 ? "reflects and turns" : "turns"} ${turn(degrees(u))}.`;
  if (rank === 1) return `The circle becomes a segment: rank 1. ${first}, Σ flattens, ${last}`;
  return `${first}, Σ stretches by ${show(s[0], 3)} and ${show(s[1], 3)}, ${last}`;
}

function smallPicture(name) {
  const axis = svg("path", { class: "ho-axis", d: "M-48,0H48M0,-48V48" });
  const outline = svg("path", { class: "ho-spanned" });
  const long = svg("path", { class: "ho-arrow ho-color-1" });
  const short = svg("path", { class: "ho-arrow ho-color-2" });
  const picture = svg("svg", { viewBox: "-50 -50 100 100", role: "img" }, axis, outline, long, short);
  const draw = (parts, at) => {
    const now = shape(parts, at, 44 / Math.max(1, parts.s[0]));
    set(outline, { d: now.outline });
    set(long, { d: arrowPath([0, 0], now.long, 7) });
    set(short, { d: arrowPath([0, 0], now.short, 7) });
    const what = at < 2 ? "the unit circle" : `an ellipse with half-axes ${show(parts.s[0], 3)} and ${show(parts.s[1], 3)}`;
    set(picture, { "aria-label": `${name}: ${what}, v₁ and v₂ as arrows.` });
  };
  return { draw, node: h("figure", {}, picture, h("figcaption", {}, name)) };
}
