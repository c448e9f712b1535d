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

/** A value with its uncertainty, both to the second digit of the uncertainty, such as 91.187 ± 0.021. */
function measured(value, uncertainty) {
  if (value === null || value === undefined) return "–";
  if (!(uncertainty > 0)) return `${number(value, 6)} ± ${uncertainty === null || uncertainty === undefined ? "?" : number(uncertainty)}`;
  const decimals = 1 - Math.floor(Math.log10(uncertainty));
  if (decimals > 9 || Math.abs(value) >= 1e9) return `${value.toExponential(4)} ± ${uncertainty.toExponential(1)}`;
  const shown = Math.max(0, decimals);
  return `${value.toFixed(shown)} ± ${uncertainty.toFixed(shown)}`;
}

/** A distance in units of an uncertainty, signed. */
function signed(value) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value) >= 1000 ? value.toExponential(1) : value.toFixed(2);
  return value < 0 ? `−${text.slice(1)}` : `+${text}`;
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

/** A histogram as steps, over the one that it should be. */
function histogram(one) {
  const [width, height, left, right, top, bottom] = [520, 250, 46, 512, 10, 216];
  const all = [one, one.reference].filter(each => each && each.values);
  if (!all.length) return null;
  const edges = all.flatMap(each => [each.edges[0], each.edges[each.edges.length - 1]]);
  const [low, high] = [Math.min(...edges), Math.max(...edges)];
  const most = Math.max(1e-12, ...all.flatMap(each => each.values)) * 1.06;
  const least = Math.min(0, ...all.flatMap(each => each.values));
  const x = value => left + (right - left) * (value - low) / (high - low || 1);
  const y = value => bottom - (bottom - top) * (value - least) / (most - least || 1);
  const steps = (each, closed) => {
    let path = `M${x(each.edges[0]).toFixed(1)} ${y(0).toFixed(1)}`;
    each.values.forEach((value, bin) => { path += `V${y(value).toFixed(1)}H${x(each.edges[bin + 1]).toFixed(1)}`; });
    return `${path}V${y(0).toFixed(1)}${closed ? "Z" : ""}`;
  };
  const ticks = [0, 1, 2, 3, 4].map(place => {
    const value = low + (high - low) * place / 4;
    return draw("text", { class: "middle", x: x(value), y: bottom + 17 }, number(value, 3));
  });
  const heights = [0, 0.5, 1].map(share => {
    const value = least + (most / 1.06 - least) * share;
    return draw("text", { class: "end", x: left - 6, y: y(value) + 4 }, number(value, 3));
  });
  return draw("svg", { class: "plot histogram", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram ${one.name}` },
    one.reference ? draw("path", { class: "reference", d: steps(one.reference, true) }) : null,
    one.values ? draw("path", { class: "mine", d: steps(one, false) }) : null,
    draw("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }), ticks, heights);
}
