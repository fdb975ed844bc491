// Small repairs to the theme's pages: what is too wide scrolls and can be reached with the keyboard, and buttons have names.

function makeScrollableReachable() {
  // The theme cuts a formula in a line off where the column ends.
  for (const formula of document.querySelectorAll("span.math")) {
    const drawn = formula.querySelector("mjx-math");
    formula.classList.toggle("wide", drawn !== null && drawn.getBoundingClientRect().width > formula.clientWidth + 4);
  }
  for (const box of document.querySelectorAll("div.math, .output, .table-box, .pst-scrollable-table-container, .bd-article pre")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
  }
}

window.addEventListener("load", () => {
  const ready = window.MathJax && MathJax.startup && MathJax.startup.promise;
  Promise.resolve(ready).then(makeScrollableReachable);
  window.addEventListener("resize", makeScrollableReachable);
});
