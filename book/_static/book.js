// Two small repairs to the theme's pages: what scrolls sideways can be reached with the keyboard, and buttons have names.

function makeScrollableReachable() {
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
