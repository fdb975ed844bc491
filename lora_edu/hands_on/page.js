// For the pages of the book, where there is no kernel: bring every figure on the page to life. What the page says
// without a script gives way only when its figure has been drawn.

import { render } from "./hands_on.js";

for (const place of document.querySelectorAll(".hands-on")) {
  const values = JSON.parse(place.querySelector("script[type='application/json']").textContent);
  const photo = place.querySelector("img");
  if (photo) values.data.picture = photo.src; // the page carries the picture once
  const still = [...place.childNodes];
  const model = {
    get: (name) => values[name],
    set: (name, value) => (values[name] = value),
    save_changes() {},
    on() {}, // nobody else is here who could change anything
    off() {},
  };
  render({ model, el: place });
  for (const node of still) node.remove();
  place.removeAttribute("role"); // the figure inside has a name of its own
  place.removeAttribute("aria-label");
}
