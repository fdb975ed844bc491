// The large picture of the SVD ellipse: the circle, the ellipse, the way from one to the other, and the two columns of the
// matrix as handles that a finger, a mouse or the arrow keys move.

import { LARGEST, set, show, svg } from "./dom.js";
import { transpose } from "./maths.js";
import { arrowPath, point, polygon } from "./plot.js";
import { CIRCLE, shape, stepWords } from "./steps.js";

const HALF = 160; // half the width of the picture

export function largePicture(edit) {
  let matrix = [];
  let reach = 0; // what the picture shows from the centre to its edge, in the units of the plane
  let held = false;
  const grid = svg("g");
  const circle = svg("path", { class: "ho-circle" });
  const ellipse = svg("path", { class: "ho-outline" });
  const outline = svg("path", { class: "ho-spanned" });
  const arrows = ["1", "2"].map((color) => svg("path", { class: `ho-arrow ho-color-${color}` }));
  const names = ["1", "2"].map((color) => svg("text", { class: `ho-name-on ho-color-${color}`, "text-anchor": "middle" }));
  const drawing = svg("g", { role: "img" }, grid, circle, ellipse, outline, ...arrows, ...names);
  const handles = [0, 1].map((j) => handle(j, (to) => edit(matrix.map((row, i) => row.map((x, l) => (l === j ? to[i] : x))))));
  const picture = svg("svg", {
    viewBox: `${-HALF} ${-HALF} ${2 * HALF} ${2 * HALF}`,
    role: "group",
    "aria-label": "Circle and ellipse, with two columns to drag",
    class: "ho-plane",
  });
  picture.append(drawing, ...handles.map((one) => one.node));

  // While a column is dragged the scale stays, so that the handle stays under the finger.
  function rescale(parts) {
    const wanted = niceReach(1.12 * Math.max(1, parts.s[0]));
    if (held || wanted === reach) return;
    reach = wanted;
    grid.replaceChildren(...gridLines(reach));
  }

  function handle(j, move) {
    const line = svg("path", { class: "ho-column-line" });
    const dot = svg("circle", { r: 8 });
    const ring = svg("circle", { class: "ho-grip", r: 22 }); // a finger needs more room than the eye
    const name = svg("text", { class: "ho-name-on", "text-anchor": "middle" }, `a${"₁₂"[j]}`);
    const node = svg("g", { class: "ho-handle", tabindex: 0, role: "slider", "data-column": j }, line, name, ring, dot);
    set(node, { "aria-label": `Column ${j + 1}, the image of the unit arrow e${j + 1}. Arrow keys move it.` });
    node.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      const size = (event.shiftKey ? 5 : 1) * 10 ** Math.floor(Math.log10(reach / 10));
      move(matrix.map((row, i) => tidy(row[j] + size * way[i])));
    });
    node.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      node.focus({ preventScroll: true });
      held = true;
      node.setPointerCapture(event.pointerId);
    });
    node.addEventListener("pointermove", (event) => {
      if (node.hasPointerCapture(event.pointerId)) move(position(event));
    });
    for (const ending of ["pointerup", "pointercancel"]) {
      node.addEventListener(ending, () => {
        held = false;
        edit(matrix); // draws again, at the scale that fits now
      });
    }
    const put = ([x, y]) => {
      const at = toPicture([x, y]);
      set(line, { d: `M0,0L${point(at)}` });
      for (const round of [dot, ring]) set(round, { cx: at[0], cy: at[1] });
      const away = 1 + 21 / Math.max(30, Math.hypot(...at));
      set(name, { x: at[0] * away, y: at[1] * away + 5 });
      set(node, { "aria-valuenow": x, "aria-valuemin": -LARGEST, "aria-valuemax": LARGEST, "aria-valuetext": `${show(x, 3)}, ${show(y, 3)}` });
    };
    return { node, put };
  }

  const toPicture = ([x, y]) => [(HALF * x) / reach, (-HALF * y) / reach];

  // Where a pointer is, in the plane, to two digits and never outside the picture.
  function position(event) {
    const box = picture.getBoundingClientRect();
    const clamp = (x) => Math.max(-0.98, Math.min(0.98, x));
    const unit = 10 ** Math.floor(Math.log10(reach / 20));
    return [
      clamp((2 * (event.clientX - box.left)) / box.width - 1),
      clamp(1 - (2 * (event.clientY - box.top)) / box.height),
    ].map((share) => tidy(Math.round((share * reach) / unit) * unit));
  }

  function draw(next, parts, at) {
    matrix = next;
    rescale(parts);
    const scale = HALF / reach;
    const now = shape(parts, at, scale);
    set(circle, { d: polygon(CIRCLE.map((p) => p.map((x) => scale * x))) });
    set(ellipse, { d: shape(parts, 3, scale).outline });
    set(outline, { d: now.outline });
    [now.long, now.short].forEach((tip, i) => {
      set(arrows[i], { d: arrowPath([0, 0], tip) });
      const length = Math.hypot(...tip);
      const side = length > 0 ? [(-13 * tip[1]) / length, (13 * tip[0]) / length] : [0, 0];
      set(names[i], { x: 0.55 * tip[0] + side[0], y: 0.55 * tip[1] + side[1] + 4 });
      names[i].textContent = length > 24 ? label(i, at) : "";
    });
    transpose(matrix).forEach((column, j) => handles[j].put(column));
    set(drawing, { "aria-label": `The unit circle, and ${what(parts)}. ${stepWords(at)}.` });
  }

  return { draw, node: picture };
}

function label(i, at) {
  const index = "₁₂"[i];
  return at === 3 ? `σ${index}u${index}` : at === 0 ? `v${index}` : "";
}

function what({ s, rank }) {
  if (rank === 2) return `the ellipse that it becomes, with half-axes ${show(s[0], 3)} and ${show(s[1], 3)}`;
  return rank === 1 ? `the segment that it becomes, ${show(s[0], 3)} to either side` : "the point that it becomes";
}

// The next of these round numbers times a power of ten: their steps are small, so that the ellipse fills the picture.
function niceReach(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10].find((x) => x * power >= least);
}

function gridLines(reach) {
  const step = 10 ** Math.floor(Math.log10(reach)) * (reach / 10 ** Math.floor(Math.log10(reach)) > 4 ? 2 : 1);
  const lines = [];
  for (let i = -Math.floor(reach / step); i <= Math.floor(reach / step); i++) {
    const at = ((HALF * i * step) / reach).toFixed(2);
    lines.push(svg("path", { class: i ? "ho-grid" : "ho-axis", d: `M${at},${-HALF}V${HALF}M${-HALF},${at}H${HALF}` }));
    if (i && Math.abs(i * step) < 0.96 * reach) lines.push(svg("text", { class: "ho-tick", x: Number(at), y: 13, "text-anchor": "middle" }, show(tidy(i * step), 3)));
  }
  return lines;
}

// Away with the crumbs of floating point: 0.30000000000000004 is what nobody typed.
function tidy(x) {
  return Number(x.toPrecision(12));
}
