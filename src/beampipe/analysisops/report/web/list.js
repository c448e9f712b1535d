// The list of assessments: filtered, ordered, and opened one at a time.

const PAGE = 60;
const rows = JSON.parse(document.getElementById("rows").textContent);
let unpacked = null;
const filters = document.getElementById("filters");
const list = document.getElementById("list");
const more = document.getElementById("more");
const agents = [...new Set(rows.map(row => row.agent))];
let chosen = [];

/** Details travel packed, and are unpacked when the first assessment is opened. */
function detailOf(place) {
  unpacked ??= unpack(document.getElementById("details").textContent);
  return unpacked.then(details => details[place]);
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function item(place) {
  const row = rows[place];
  const tags = [
    row.status === "fail" ? tag("gate closed", "wait") : null,
    row.status === "error" ? tag("agent failed", "bad") : null,
    row.worst && row.worst !== "traceable" ? tag(row.worst.replaceAll("_", " "), ORIGIN_TAGS[row.worst]) : null,
  ];
  const took = [`${row.calls} calls`, row.cost === null ? null : `$${number(row.cost, 2)}`, `${number(row.seconds, 2)} s`];
  const judged = row.judge === null ? "" : ` · judge ${row.judge.toFixed(2)}`;
  const element = make("details", { class: "one", "data-key": row.key },
    make("summary", {},
      make("span", { class: `chip ${shade(row.score)}` }, row.score.toFixed(3)),
      make("span", { class: "what" }, `${row.task} `, make("small", {}, `level ${row.level} · ${row.seed} · epoch ${row.epoch}`), " ", tags),
      make("span", { class: "who" }, make("i", { class: `dot a${row.colour}` }), ` ${row.agent}`, make("small", {}, judged)),
      make("span", { class: "took" }, took.filter(Boolean).join(" · "))));
  element.addEventListener("toggle", () => open(element, place), { once: true });
  return element;
}

function open(element, place) {
  element.append(make("p", { class: "body soft" }, "…"));
  detailOf(place).then(detail => element.lastChild.replaceWith(body(rows[place], detail)));
}

const TESTS = {
  agent: (row, value) => row.agent === value,
  family: (row, value) => row.family === value,
  level: (row, value) => String(row.level) === value,
  status: (row, value) => value === "untraced" ? row.worst !== "" && row.worst !== "traceable" : row.status === value,
};

function choose() {
  const asked = new FormData(filters);
  const tests = Object.entries(TESTS).filter(([name]) => asked.get(name));
  chosen = [...rows.keys()].filter(place => tests.every(([name, test]) => test(rows[place], asked.get(name))));
  const order = asked.get("order");
  if (order) {
    const [sign, name] = order.startsWith("-") ? [-1, order.slice(1)] : [1, order];
    chosen.sort((one, other) => sign * ((rows[one][name] ?? 0) - (rows[other][name] ?? 0)) || one - other);
  }
  list.replaceChildren();
  document.getElementById("shown").textContent = `${chosen.length} of ${rows.length}`;
  show();
}

function show(most = list.children.length + PAGE) {
  const next = chosen.slice(list.children.length, most);
  list.append(...next.map(item));
  more.hidden = list.children.length >= chosen.length;
}

/** Open the assessment that the address names after its #. */
function follow() {
  const key = decodeURIComponent(location.hash.slice(1));
  const place = key ? rows.findIndex(row => row.key === key) : -1;
  if (place < 0) return;
  if (!chosen.includes(place)) { filters.reset(); choose(); }
  show(Math.max(list.children.length, chosen.indexOf(place) + 1));
  const element = list.children[chosen.indexOf(place)];
  element.open = true;
  element.scrollIntoView();
}

for (const [name, values] of [["agent", agents], ["family", [...new Set(rows.map(row => row.family))]], ["level", [...new Set(rows.map(row => row.level))].sort()]]) {
  filters.elements[name].append(...values.map(value => make("option", { value }, value)));
}
filters.addEventListener("change", choose);
filters.addEventListener("submit", event => event.preventDefault());
more.addEventListener("click", () => show());
list.addEventListener("toggle", event => {
  if (event.target.open && event.target.dataset.key) history.replaceState(null, "", `#${event.target.dataset.key}`);
}, true);
document.querySelectorAll("button.cell").forEach(cell => cell.addEventListener("click", () => {
  filters.reset();
  filters.elements.agent.value = cell.dataset.agent;
  filters.elements.family.value = cell.dataset.family;
  choose();
  document.getElementById("all").scrollIntoView();
}));
window.addEventListener("hashchange", follow);
choose();
follow();
