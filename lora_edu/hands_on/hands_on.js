// The one entry for every figure, by the contract of anywidget: render({ model, el }) draws into an element and returns
// what undoes it. `model` is the widget's model where there is a kernel, and a small stand-in on a page without one.

import { calculator } from "./calculator.js";
import { h } from "./dom.js";
import { rankLab } from "./rank_lab.js";
import { rankSlider } from "./rank_slider.js";
import { svdEllipse } from "./svd_ellipse.js";
import { updateSpectra } from "./update_spectra.js";

const FIGURES = {
  calculator,
  "rank-lab": rankLab,
  "rank-slider": rankSlider,
  "svd-ellipse": svdEllipse,
  "update-spectra": updateSpectra,
};

export function render({ model, el }) {
  const shown = { ...model.get("state") };
  const figure = FIGURES[model.get("figure")]({ data: model.get("data"), state: { ...shown }, change });

  // A reader moved something: show it, and tell the kernel if there is one.
  function change(patch) {
    Object.assign(shown, patch);
    figure.draw(shown);
    model.set("state", { ...shown });
    model.save_changes();
  }

  // The kernel, or another view of the same figure, moved something.
  function follow() {
    const next = model.get("state");
    if (JSON.stringify(next) === JSON.stringify(shown)) return;
    Object.assign(shown, next);
    figure.draw(shown);
  }

  const title = h("p", { class: "ho-title" }, model.get("title"));
  const root = h("div", { class: "ho", role: "group", "aria-label": model.get("title") }, title, ...figure.nodes);
  figure.draw(shown);
  el.append(root);
  model.on("change:state", follow);
  return () => {
    model.off("change:state", follow);
    figure.stop();
    root.remove();
  };
}

export default { render };
