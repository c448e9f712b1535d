// What a reader would stumble over on the page that is open: run by docs/check_site.py.
(wide) => {
  const faults = new Set();
  const seen = (one) =>
    one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && one.getClientRects().length > 0;
  const first = (one) => one.textContent.trim().split("\n")[0].slice(0, 40);
  const add = (what, one) => faults.add(`${what}: ${one.tagName.toLowerCase()}.${[...one.classList].join(".")} "${first(one)}"`);

  // What may be scrolled by itself: formulas; where the window is narrow, tables and the output of notebooks.
  const scrolls = (one) =>
    one.closest(".formula") || (!wide && one.closest(".pst-scrollable-table-container, .cell_output"));

  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) faults.add(`the page is ${scrollWidth} px wide`);
  for (const one of document.querySelectorAll("header *, main *, footer *")) {
    if (!seen(one) || one.closest("svg, math, iframe, dialog") || one.matches(".sr-only, .visually-hidden, option")) {
      continue;
    }
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1 || scrolls(one)) continue;
    const wider = style.display !== "inline" && one.scrollWidth > one.clientWidth + 1;
    if (wider && ["hidden", "clip"].includes(style.overflowX)) add("clipped", one);
    if (wider && ["auto", "scroll"].includes(style.overflowX)) add("scrolls", one);
    const visible = one.matches("img, canvas, video") || (!one.firstElementChild && one.textContent.trim());
    if (visible && box.right > innerWidth + 1) add("sticks out", one);
    if (one.matches("img") && one.complete && !one.naturalWidth) add("no picture", one);
  }
  for (const bar of document.querySelectorAll(".bd-sidebar-primary, .bd-sidebar-secondary")) {
    if (seen(bar) && !bar.querySelector("a[href]")) add("empty", bar);
  }
  for (const formula of document.querySelectorAll("math")) {
    const { height } = formula.getBoundingClientRect();
    if (formula.querySelector("merror") || (seen(formula) && height < 5)) add("not drawn", formula);
  }

  // Contrast as WCAG defines it; 4.5 is what it asks of text of this size.
  const numbers = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const linear = (part) => (part <= 0.04 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (one) => {
    for (let up = one; up; up = up.parentElement) {
      const found = numbers(getComputedStyle(up).backgroundColor);
      if (found.length === 3 || found[3] > 0.5) return found;
    }
    return [255, 255, 255];
  };
  for (const one of document.querySelectorAll("main :is(p, li, a, td, th, dt, span, code, pre, h1, h2, h3, strong, em)")) {
    if (!seen(one) || !one.textContent.trim() || one.firstElementChild || one.closest("svg, math, iframe")) continue;
    const [text, back] = [light(numbers(getComputedStyle(one).color)), light(ground(one))];
    const contrast = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    if (contrast < 4.5) add(`hard to read (${contrast.toFixed(1)})`, one);
  }
  return [...faults];
}
