// The columns of a 3 x 3 matrix as arrows in space, with what they span, seen from a direction that can be turned.

import { h, set, slider, svg } from "./dom.js";
import { dot } from "./maths.js";
import { arrowPath, point, polygon } from "./plot.js";

export const PLACE = ["a single point", "a line", "a plane", "all of space"]; // that columns of rank 0 to 3 span

const HALF = 150; // half the width of the picture; the longest thing in it reaches to 0.8 of that
const CIRCLE = [...Array(72).keys()].map((i) => [Math.cos((i * Math.PI) / 36), Math.sin((i * Math.PI) / 36)]);

export function columnPicture() {
  const view = { turn: 18, tilt: 22 };
  let scene = null;
  const space = svg("g");
  const picture = svg("svg", { viewBox: `${-HALF} ${-HALF} ${2 * HALF} ${2 * HALF}`, role: "img", class: "ho-space" }, space);
  const look = (patch) => {
    Object.assign(view, patch);
    turn.put(view.turn, `${view.turn} degrees`);
    tilt.put(view.tilt, `${view.tilt} degrees`);
    if (scene) paint();
  };
  const turn = slider("Turn", { min: -180, max: 180, step: 2 }, (value) => look({ turn: value }));
  const tilt = slider("Tilt", { min: -90, max: 90, step: 2 }, (value) => look({ tilt: value }));
  const wrap = (angle) => ((((angle + 180) % 360) + 360) % 360) - 180;
  dragging(picture, (dx, dy) =>
    look({ turn: wrap(Math.round(view.turn - dx)), tilt: Math.max(-90, Math.min(90, Math.round(view.tilt + dy))) }),
  );

  function paint() {
    const { arrows, U, rank } = scene;
    const project = camera(view, 0.8 * HALF);
    const size = extent(rank === 3 ? corners(arrows) : arrows);
    const flat = (vector) => project(vector.map((x) => (size > 0 ? x / size : 0)));
    space.replaceChildren(...axes(project), ...span(arrows, U, rank, project, flat), ...tips(arrows, flat));
    set(picture, {
      "aria-label": `The three columns as arrows in space. They span ${PLACE[rank]}. Seen from ${view.turn} degrees around, ${view.tilt} degrees above.`,
    });
  }

  look({});
  const draw = (arrows, U, rank) => {
    scene = { arrows, U, rank };
    paint();
  };
  return { draw, node: h("div", {}, picture, h("div", { class: "ho-pair" }, turn.node, tilt.node)) };
}

// Call `move` with the way that a pointer has gone while it is held down on an element.
function dragging(element, move) {
  element.addEventListener("pointerdown", (start) => {
    let last = start;
    element.setPointerCapture(start.pointerId);
    const follow = (event) => {
      move(event.clientX - last.clientX, event.clientY - last.clientY);
      last = event;
    };
    const end = () => element.removeEventListener("pointermove", follow);
    element.addEventListener("pointermove", follow);
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, end, { once: true });
  });
}

// Parallel projection: from three coordinates to two, for an eye at these angles.
function camera({ turn, tilt }, scale) {
  const [a, e] = [(turn * Math.PI) / 180, (tilt * Math.PI) / 180];
  const right = [-Math.sin(a), Math.cos(a), 0];
  const up = [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)];
  return (vector) => [scale * dot(vector, right), -scale * dot(vector, up)];
}

// The corners of the box that the columns span: all sums of some of them.
function corners(arrows) {
  return [...Array(8).keys()].map((bits) =>
    [0, 1, 2].map((i) => arrows.reduce((sum, arrow, j) => sum + (bits & (1 << j) ? arrow[i] : 0), 0)),
  );
}

function extent(vectors) {
  return Math.max(...vectors.map((vector) => Math.hypot(...vector)));
}

function axes(project) {
  const unit = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  return unit.flatMap((axis, i) => {
    const [x, y] = project(axis.map((v) => 1.12 * v));
    return [
      svg("path", { class: "ho-axis", d: `M${point(project(axis.map((v) => -v)))}L${point(project(axis))}` }),
      svg("text", { class: "ho-tick", x, y: y + 4, "text-anchor": "middle" }, "xyz"[i]),
    ];
  });
}

// What the columns span, as far as the tolerance says: a point, a line, a disc of a plane, or a solid box.
function span(arrows, U, rank, project, flat) {
  if (rank === 0) return [svg("circle", { class: "ho-spanned", r: 4 })];
  if (rank === 1) return [svg("path", { class: "ho-line", d: `M${point(project(U[0].map((x) => -x)))}L${point(project(U[0]))}` })];
  if (rank === 2) {
    const disc = CIRCLE.map(([c, s]) => project([0, 1, 2].map((i) => c * U[0][i] + s * U[1][i])));
    return [svg("path", { class: "ho-spanned", d: polygon(disc) })];
  }
  const at = corners(arrows).map(flat);
  const faces = [[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]];
  return faces.map((face) => svg("path", { class: "ho-face", d: polygon(face.map((corner) => at[corner])) }));
}

function tips(arrows, flat) {
  const ends = arrows.map(flat);
  const labels = ends.map(([x, y], i) => {
    const length = Math.hypot(x, y);
    const [dx, dy] = length > 0 ? [(13 * x) / length, (13 * y) / length] : [10, -8];
    return { i, x: x + dx, y: y + dy + 4 };
  });
  moveApart(labels);
  return [
    ...ends.map((end, i) => svg("path", { class: `ho-arrow ho-color-${i + 1}`, d: arrowPath([0, 0], end) })),
    ...labels.map(({ i, x, y }) =>
      svg("text", { class: `ho-name-on ho-color-${i + 1}`, x, y, "text-anchor": "middle" }, `a${"₁₂₃"[i]}`),
    ),
  ];
}

// Names that would lie on one another go side by side.
function moveApart(labels) {
  const order = [...labels].sort((a, b) => a.x - b.x);
  for (const [left, right] of [[0, 1], [1, 2]].map((pair) => pair.map((i) => order[i]))) {
    if (Math.abs(left.y - right.y) < 15) right.x = Math.max(right.x, left.x + 20);
  }
}
