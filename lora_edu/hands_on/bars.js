// The singular values as bars on a logarithmic axis, with the tolerance as a line that a slider moves.

import { button, h, raise, set, show } from "./dom.js";

const DECADES = 22; // that the axis shows

export function spectrumBars(move) {
  const fact = (key, name) => {
    const value = h("span", { class: "ho-value", "data-key": key });
    const put = (x, digits) => {
      value.textContent = x > 0 && x < 1e-30 ? "below 10⁻³⁰" : show(x, digits);
      value.dataset.value = String(x);
    };
    return { put, node: h("div", { class: "ho-left" }, h("span", { class: "ho-name" }, name), value) };
  };
  const bars = [..."₁₂₃"].map((index, i) => {
    const bar = h("div", { class: "ho-level" });
    const label = fact(`sigma${i + 1}`, `σ${index}`);
    return { bar, label, node: h("div", { class: "ho-track" }, bar) };
  });
  const line = h("div", { class: "ho-cut" });
  const ticks = h("div", { class: "ho-ticks", "aria-hidden": "true" });
  const label = fact("tolerance", "tolerance");
  const range = h("input", { type: "range", step: 0.1, "aria-label": "Tolerance", input: () => move(10 ** range.value) });
  const own = button("numpy’s tolerance", () => move(null));

  function draw(s, cut, isDefault, rank) {
    const top = s[0] > 0 ? Math.max(2, Math.ceil(Math.log10(s[0]) + 0.3)) : 2;
    const place = (x) => (x > 0 ? Math.max(0, Math.min(1, (Math.log10(x) - top + DECADES) / DECADES)) : 0);
    bars.forEach(({ bar, label }, i) => {
      bar.style.width = `${100 * place(s[i])}%`;
      bar.classList.toggle("ho-counts", i < rank);
      label.put(s[i]);
    });
    line.style.left = `${100 * place(cut)}%`;
    set(range, { min: top - DECADES, max: top, "aria-valuetext": `${show(cut, 2)}, rank ${rank}` });
    range.value = cut > 0 ? Math.log10(cut) : top - DECADES;
    label.put(cut, 2);
    set(own, { "aria-pressed": String(isDefault) });
    const fives = [...Array(DECADES + 1).keys()].map((step) => top - DECADES + step).filter((level) => level % 5 === 0);
    ticks.replaceChildren(...fives.map((level) => tick(1 - (top - level) / DECADES, level)));
  }

  const tick = (share, exponent) => h("span", { style: `left:${100 * share}%` }, `10${raise(exponent)}`);
  const chart = h("div", { class: "ho-chart" }, ...bars.map((bar) => bar.node), line);
  const node = h(
    "div",
    { class: "ho-spectrum", role: "group", "aria-label": "Singular values and tolerance" },
    h("p", { class: "ho-note" }, "The singular values as computed, on a logarithmic axis. Those beyond the dashed line count."),
    h("div", {}, ...bars.map((bar) => bar.label.node)),
    h("div", {}, chart, ticks),
    label.node,
    range,
    own,
  );
  return { draw, node };
}
