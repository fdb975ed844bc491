// Rank slider: a photograph at rank k. The browser takes the SVD of the picture that it shows, so the error, the energy
// and the numbers stored are exact at every k, up to the full rank.

import { button, facts, grouped, h, integerSlider, percent, sentence, set, show, svg } from "./dom.js";
import { dot, svd, transpose } from "./maths.js";
import { logPlot } from "./plot.js";

const BYTES = 4; // of a number in float32

export function rankSlider({ data, state, change }) {
  const picture = readPixels(data.picture, data.rows, data.columns);
  const spectrum = decompose(picture);
  const { s, energy } = spectrum;
  const size = data.rows * data.columns;
  const stored = (k) => k * (data.rows + data.columns + 1);
  const lastPaying = Math.floor((size - 1) / (data.rows + data.columns + 1));

  const canvas = h("canvas", { width: data.columns, height: data.rows, role: "img", class: "ho-photo" });
  const layers = projections(picture, spectrum.directions);
  const plot = spectrumPlot(s);
  const rank = integerSlider("Rank k", 1, s.length, (k) => change({ k }));
  const compare = button("Show the original", () => change({ original: compare.getAttribute("aria-pressed") !== "true" }));
  const reset = button("Reset", () => change({ k: state.k, original: false }));
  const store = storageBar();
  const numbers = facts({
    error: "error, root mean square",
    energy: "energy kept",
    numbers: "numbers stored",
    bytes: "bytes, as float32",
  });
  const words = sentence();

  function draw({ k, original }) {
    const error = Math.sqrt(energy.slice(k).reduce((sum, x) => sum + x, 0) / size);
    const share = energy.slice(0, k).reduce((sum, x) => sum + x, 0) / energy.reduce((sum, x) => sum + x, 0);
    paint(canvas, original ? picture.flat() : layers.upTo(k));
    set(canvas, { "aria-label": original ? "The original photograph." : `The photograph at rank ${k}.` });
    set(compare, { "aria-pressed": String(original) });
    plot.shade(k);
    set(plot.node, { "aria-label": `The singular values of the photograph, falling from ${show(s[0], 3)} to ${show(s[s.length - 1], 3)}. The first ${k} are kept.` });
    rank.put(k, `${k} of ${s.length}`);
    store.put(stored(k) / size);
    numbers.put("error", error, `${show(error, 3)} grey levels`);
    numbers.put("energy", share, percent(share));
    numbers.put("numbers", stored(k), `${grouped(stored(k))} of ${grouped(size)}`);
    numbers.put("bytes", BYTES * stored(k), `${grouped(BYTES * stored(k))} of ${grouped(BYTES * size)}`);
    words.say(verdict(k, stored(k) / size, lastPaying));
  }

  const note = `The picture itself has whole grey levels: in one byte each it takes ${grouped(size)} bytes.`;
  const left = h("div", { class: "ho-column" }, canvas, h("div", { class: "ho-bar" }, compare, reset));
  const right = h("div", { class: "ho-column" }, plot.node, numbers.node, store.node);
  const nodes = [rank.node, words.node, h("div", { class: "ho-row" }, left, right), h("p", { class: "ho-note" }, note)];
  return { nodes, draw, stop: words.stop };
}

function verdict(k, share, lastPaying) {
  const paying = `Rank ${k}: the factors take ${percent(share)} of the picture’s numbers.`;
  if (k <= lastPaying) return `${paying} They pay up to rank ${lastPaying}.`;
  return `${paying} Beyond rank ${lastPaying} the picture itself is smaller: factors no longer pay.`;
}

// The pixels of the PNG that Python writes: eight bits, grey, no filter, stored in blocks and not compressed. Read from
// the bytes and not from a canvas, which some browsers blur on purpose.
export function readPixels(address, rows, columns) {
  const bytes = Uint8Array.from(atob(address.split(",")[1]), (character) => character.charCodeAt(0));
  let at = 8 + 25 + 8 + 2; // signature, header, length and name of the data, two bytes of zlib
  const lines = new Uint8Array(rows * (columns + 1));
  for (let filled = 0; filled < lines.length; ) {
    const length = bytes[at + 1] + 256 * bytes[at + 2];
    lines.set(bytes.subarray(at + 5, at + 5 + length), filled);
    filled += length;
    at += 5 + length;
  }
  return [...Array(rows).keys()].map((i) => [...lines.subarray(i * (columns + 1) + 1, (i + 1) * (columns + 1))]);
}

// Singular values, their squares, and the directions that the rows of the picture are projected on. Directions whose
// strength is nothing but rounding are left out: they would add noise and no picture.
function decompose(picture) {
  const tall = picture.length >= picture[0].length;
  const { s, U } = svd(tall ? transpose(picture) : picture);
  return { s, energy: s.map((x) => x * x), directions: { tall, list: U.filter((_, i) => s[i] > 1e-12 * s[0]) } };
}

// Rank k is the picture projected on its first k directions. Sums are kept, so that one step of k adds one layer.
function projections(picture, { tall, list }) {
  const lines = tall ? transpose(picture) : picture;
  const [rows, columns] = [picture.length, picture[0].length];
  const sum = new Float64Array(rows * columns);
  let done = 0;
  const add = (direction, sign) => {
    lines.forEach((line, i) => {
      const weight = sign * dot(line, direction);
      for (let j = 0; j < direction.length; j++) sum[tall ? j * columns + i : i * columns + j] += weight * direction[j];
    });
  };
  const upTo = (k) => {
    for (; done < Math.min(k, list.length); done++) add(list[done], 1);
    for (; done > k; done--) add(list[done - 1], -1);
    return sum;
  };
  return { upTo };
}

function paint(canvas, grey) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  grey.forEach((value, i) => {
    image.data.fill(Math.round(value), 4 * i, 4 * i + 3); // clamped to 0 … 255 by the array itself
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function spectrumPlot(s) {
  const shown = s.filter((x) => x > 1e-9 * s[0]);
  const step = [1, 2, 5, 10, 25, 50].find((x) => s.length / x <= 6);
  const plot = logPlot({
    count: s.length,
    ticks: [1, ...[1, 2, 3, 4, 5, 6].map((i) => i * step).filter((i) => i > 1 && i <= s.length)],
    lowest: Math.floor(Math.log10(shown[shown.length - 1])),
    highest: Math.ceil(Math.log10(s[0])),
    xName: "index i",
    yName: "singular value σᵢ",
  });
  plot.lines.append(svg("path", { class: "ho-curve", d: plot.path(shown) }));
  return plot;
}

// How much the factors take of what the picture takes, with a line where they are equal.
function storageBar() {
  const bar = h("div", { class: "ho-level" });
  const track = h("div", { class: "ho-store" }, bar, h("div", { class: "ho-cut" }));
  const node = h("div", { "aria-hidden": "true" }, track, h("div", { class: "ho-store-names" }, h("span", {}, "factors"), h("span", {}, "whole picture")));
  const put = (share) => {
    bar.style.width = `${Math.min(100, 50 * share)}%`;
    track.classList.toggle("ho-over-cost", share >= 1);
  };
  return { node, put };
}
