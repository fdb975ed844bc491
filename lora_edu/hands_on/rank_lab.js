// Rank lab: a 3 x 3 matrix to edit; its columns as arrows with what they span; its singular values and the tolerance
// that decides which of them count.

import { button, facts, h, matrixBoxes, presetChoice, sentence, show } from "./dom.js";
import { determinant, exactly, roundingTolerance, svd, transpose } from "./maths.js";
import { PLACE, columnPicture } from "./columns.js";
import { spectrumBars } from "./bars.js";


const PRESETS = {
  A: ["A: multiples of one row", [[1, 2, 3], [2, 4, 6], [3, 6, 9]]],
  B: ["B: row 3 = row 1 + row 2", [[1, 2, 3], [0, 1, 4], [1, 3, 7]]],
  C: ["C: three directions", [[1, 0, 2], [0, 1, 3], [4, 5, 0]]],
  count: ["1 to 9", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]],
  tenths: ["1 to 9, divided by ten", [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]],
  nearly: ["1 to 9, plus a billionth", [[1, 2, 3], [4, 5, 6], [7, 8, 9.000000001]]],
};

export function rankLab({ data, change }) {
  const presets = presetChoice(PRESETS, data.matrix, (matrix) => change({ matrix }));
  const boxes = matrixBoxes(3, (matrix) => change({ matrix }));
  const columns = columnPicture();
  const spectrum = spectrumBars((tolerance) => change({ tolerance }));
  const numbers = facts({
    rank: "rank at the tolerance",
    exact: "exact rank of the stored numbers",
    det: "determinant, floating point",
    exactDet: "determinant, exact",
  });
  const words = sentence();
  const reset = button("Reset", () => change({ matrix: data.matrix, tolerance: null }));

  function draw({ matrix, tolerance }) {
    const { s, U } = svd(transpose(matrix));
    const cut = tolerance ?? roundingTolerance(s, 3, 3);
    const rank = s.filter((value) => value > cut).length;
    const exact = exactly(matrix);
    boxes.put(matrix);
    presets.put(matrix);
    columns.draw(transpose(matrix), U, rank);
    spectrum.draw(s, cut, tolerance === null, rank);
    numbers.put("rank", rank, String(rank));
    numbers.put("exact", exact.rank, String(exact.rank));
    numbers.put("det", determinant(matrix));
    numbers.put("exactDet", exact.determinant);
    words.say(verdict(rank, exact.rank, cut));
  }

  const left = h("div", { class: "ho-column" }, boxes.node, words.node, numbers.node);
  const nodes = [
    h("div", { class: "ho-bar" }, presets.node, reset),
    h("div", { class: "ho-row" }, left, h("div", { class: "ho-column" }, columns.node)),
    spectrum.node,
  ];
  return { nodes, draw, stop: words.stop };
}

function verdict(rank, exactRank, cut) {
  const seen = `Rank ${rank} at tolerance ${show(cut, 2)}: the columns span ${PLACE[rank]}.`;
  if (rank === exactRank) return seen;
  if (rank > exactRank) return `${seen} Exactly, the rank is ${exactRank}: this tolerance counts rounding errors.`;
  return `${seen} Exactly, the stored numbers have rank ${exactRank}: at this tolerance the rest counts as zero.`;
}
