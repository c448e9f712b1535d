// Elements of the page. Whatever an agent wrote becomes text here: nothing in these scripts reads text as HTML.

/** An element with its attributes and children; children that are no elements become text. */
function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A number with the digits that mean something, such as 91.19; a dash for none. */
function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
}

/** The class of the colour of a score. */
function shade(score) {
  return `h${Math.floor(10 * score + 1e-9)}`;
}

/** A table: heads are [text, class], cells text, elements, or [content, class]. */
function table(heads, rows) {
  const names = heads.map(head => Array.isArray(head) ? head[0] : head);
  const cell = (name, content, place = null) => {
    const [inside, kind] = Array.isArray(content) ? content : [content, null];
    return make(name, { class: kind, "data-name": place ? names[place] : null }, inside);
  };
  return make("div", { class: "scroll", tabindex: "0" }, make("table", {},
    make("thead", {}, make("tr", {}, heads.map(head => cell("th", head, null)))),
    make("tbody", {}, rows.map(row => make("tr", {}, row.map((content, place) => cell(place ? "td" : "th", content, place)))))));
}
