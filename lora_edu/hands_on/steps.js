// The three steps of a 2 x 2 matrix: a rotation, a stretch along the axes, and a second rotation, whole and on the way.

import { determinant, dot, roundingTolerance, svd, transpose } from "./maths.js";
import { polygon } from "./plot.js";

export const CIRCLE = [...Array(96).keys()].map((i) => [Math.cos((i * Math.PI) / 48), Math.sin((i * Math.PI) / 48)]);

// The SVD of the matrix. Signs are free: u has its larger entry positive, as in lora_edu.svd, and V is always a
// rotation, so that a reflection, if there is one, is in U.
export function decompose(matrix) {
  const { s, U } = svd(transpose(matrix));
  const rank = s.filter((value) => value > roundingTolerance(s, 2, 2)).length;
  if (rank === 0) return { s, rank, u: [1, 0], v: [1, 0], mirror: 1 };
  const sign = Math.abs(U[0][0]) * (1 + 1e-8) >= Math.abs(U[0][1]) ? Math.sign(U[0][0]) : Math.sign(U[0][1]);
  const u = [sign * U[0][0], sign * U[0][1]];
  const v = transpose(matrix).map((column) => dot(column, u) / s[0]);
  return { s, rank, u, v, mirror: rank === 2 && determinant(matrix) < 0 ? -1 : 1 };
}

export function degrees([x, y]) {
  return (Math.atan2(y, x) * 180) / Math.PI;
}

export function stepWords(at) {
  const done = Math.floor(at);
  const name = ["Vᵀ turns", "Σ stretches", "U turns"];
  if (at === done) return done === 0 ? "the circle, before the first step" : `after step ${done}, ${name[done - 1]}`;
  return `${Math.round(100 * (at - done))} percent of step ${done + 1}, ${name[done]}`;
}

// The map after `at` steps, 0 to 3, as a function of a point of the plane. Whole steps are the factors of the SVD; in
// between, an angle or a stretch is on its way, and a reflection passes through a flat picture.
function partWay({ s, u, v, mirror }, at) {
  const progress = (step) => Math.min(1, Math.max(0, at - step));
  const first = (-progress(0) * degrees(v) * Math.PI) / 180;
  const last = (progress(2) * degrees(u) * Math.PI) / 180;
  const stretch = s.map((value) => 1 + progress(1) * (value - 1));
  stretch[1] *= 1 + progress(2) * (mirror - 1);
  return (p) => {
    const [x, y] = rotate(p, first);
    return rotate([stretch[0] * x, stretch[1] * y], last);
  };
}

function rotate([x, y], angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [c * x - s * y, s * x + c * y];
}

// The circle with its two arrows v₁ and v₂, wherever the map takes them.
export function shape(parts, at, scale) {
  const map = partWay(parts, at);
  const place = (p) => map(p).map((x, i) => (i ? -scale * x : scale * x));
  return {
    outline: polygon(CIRCLE.map(place)),
    long: place(parts.v),
    short: place([-parts.v[1], parts.v[0]]),
  };
}
