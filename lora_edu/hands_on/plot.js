// Drawing that several figures share: arrows, and a plot of singular values on a logarithmic axis.

import { raise, set, svg } from "./dom.js";

// An arrow from one point to another, as the attributes of a path: a shaft and a head whose size does not depend on it.
export function arrowPath([x0, y0], [x1, y1], head = 9) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (length < 1e-9) return "";
  const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
  const size = Math.min(head, length);
  const [bx, by] = [x1 - size * ux, y1 - size * uy];
  const half = 0.42 * size;
  const corners = [[bx - half * uy, by + half * ux], [x1, y1], [bx + half * uy, by - half * ux]];
  return `M${point([x0, y0])}L${point([bx, by])}M${corners.map(point).join("L")}Z`;
}

export function point([x, y]) {
  return `${x.toFixed(2)},${y.toFixed(2)}`;
}

export function polygon(points) {
  return `M${points.map(point).join("L")}Z`;
}

const WIDTH = 360;
const HEIGHT = 216;
const LEFT = 46;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 36;

// Axes for values between 10^lowest and 10^highest, against an index from 1 to `count`, which may be logarithmic too.
export function logPlot({ count, logarithmic, ticks, lowest: least, highest, xName, yName }) {
  const lowest = Math.min(least, highest - 1);
  const share = (i) => (logarithmic ? Math.log(i) / Math.log(count) : (i - 1) / Math.max(1, count - 1));
  const x = (i) => LEFT + share(i) * (WIDTH - LEFT - RIGHT);
  const y = (value) => {
    const level = value > 0 ? Math.log10(value) : -Infinity;
    const height = (level - lowest) / (highest - lowest);
    return TOP + (1 - Math.min(1, Math.max(0, height))) * (HEIGHT - TOP - BOTTOM);
  };
  const floor = HEIGHT - BOTTOM;
  const first = svg("rect", { class: "ho-first", x: LEFT, y: TOP, height: floor - TOP });
  const lines = svg("g");
  const mark = svg("path", { class: "ho-mark" });
  const node = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "ho-plot" });
  node.append(first, ...heights(lowest, highest, y), lines, mark);
  for (const tick of ticks) {
    node.append(svg("text", { class: "ho-tick", x: x(tick), y: floor + 14, "text-anchor": "middle" }, String(tick)));
  }
  const middle = (TOP + floor) / 2;
  node.append(
    svg("path", { class: "ho-axis", d: `M${LEFT},${floor}H${WIDTH - RIGHT}` }),
    svg("text", { class: "ho-tick", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, xName),
    svg("text", { class: "ho-tick", transform: `translate(11,${middle}) rotate(-90)`, "text-anchor": "middle" }, yName),
  );
  // The first k directions: everything left of the middle between k and k + 1.
  const shade = (k) => {
    const edge = k < count ? x(k + 0.5) : WIDTH - RIGHT;
    set(first, { width: edge - LEFT });
    set(mark, { d: `M${edge.toFixed(2)},${TOP}V${floor}` });
  };
  const path = (values) => `M${Array.from(values, (value, i) => point([x(i + 1), y(value)])).join("L")}`;
  return { node, lines, path, shade, x, y };
}

// A faint line and a power of ten at a handful of heights.
function heights(lowest, highest, y) {
  const step = Math.ceil((highest - lowest) / 5);
  const marks = [];
  for (let level = Math.floor(highest); level >= lowest; level -= step) {
    const at = y(10 ** level);
    marks.push(
      svg("path", { class: "ho-grid", d: `M${LEFT},${at.toFixed(2)}H${WIDTH - RIGHT}` }),
      svg("text", { class: "ho-tick", x: LEFT - 5, y: at + 4, "text-anchor": "end" }, `10${raise(level)}`),
    );
  }
  return marks;
}
