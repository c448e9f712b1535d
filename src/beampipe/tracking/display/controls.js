// Third part: scale and axes over the picture, the panel, mouse and keyboard, and the start.
// ---- overlays ------------------------------------------------------------------------------------------------------
function drawOverlays() {
  const perMm = pixelsPerMm(), wanted = 130 / perMm, power = 10 ** Math.floor(Math.log10(wanted));
  const mm = power * [5, 2, 1].find((n) => n * power <= wanted);
  $("#scale i").style.width = `${mm * perMm}px`;
  $("#scale span").textContent = mm >= 1000 ? `${mm / 1000} m` : mm >= 1 ? `${mm} mm` : `${Number((mm * 1000).toPrecision(2))} µm`;
  let arms;
  if (state.view === "xy") arms = [["x", 1, 0], ["y", 0, 1]];
  else if (state.view === "rz") arms = [["z", 1, 0], ["r", 0, 1]];
  else {
    const { right, up } = axes3d();
    arms = ["x", "y", "z"].map((name, i) => [name, right[i], up[i]]);
  }
  $("#axes").innerHTML = arms.map(([name, x, y]) =>
    `<line x2="${26 * x}" y2="${-26 * y}"/><text x="${36 * x}" y="${-36 * y}" text-anchor="middle" dominant-baseline="central">${name}</text>`).join("");
}

let numbers;  // what each layer shows at this cut
const count = (n) => n.toLocaleString("en");
const gev = (pt) => pt > 1e4 ? "very large" : `${pt < 10 ? pt.toFixed(2) : pt.toFixed(1)} GeV`;

function showState() {
  // Tracks count from as many hits on as in the table of `evaluate`; shorter ones are drawn only.
  const countLines = (layer, kind, cut, fewest) => {
    let n = 0;
    for (let i = 0; i < layer.pt.length; i++) n += layer.pt[i] >= cut && layer.length[i] >= fewest && (layer.fake ? layer.fake[i] : 0) === kind;
    return n;
  };
  const above = (kind, cut) => countLines(tracks, kind, cut, data.minTrackHits);
  numbers = { detector: data.detector.length, hits: data.nHits, tracks: above(0, state.cut), fakes: above(1, state.cut),
    truth: truth ? countLines(truth, 0, state.cut, 2) : 0 };
  for (const button of all("[data-layer]")) {
    button.setAttribute("aria-pressed", shown[button.dataset.layer]);
    button.querySelector("output").textContent = count(numbers[button.dataset.layer]);
  }
  for (const button of all("[data-view]")) button.setAttribute("aria-pressed", button.dataset.view === state.view);
  $("#summary").textContent = `${count(data.nHits)} hits, ${count(above(0, 0) + above(1, 0))} tracks with ${data.minTrackHits} or more`;
  $("#cut-value").textContent = state.cut ? `${Number(state.cut.toPrecision(2))} GeV` : "no cut";
  $("#cut").setAttribute("aria-valuetext", $("#cut-value").textContent);
}

// ---- controls ------------------------------------------------------------------------------------------------------
// Slider: 0 is no cut, 1 .. 100 run logarithmically from 0.1 to 50 GeV.
const toCut = (position) => position > 0 ? 0.1 * 500 ** ((position - 1) / 99) : 0;
const toPosition = (cut) => cut > 0 ? Math.round(1 + 99 * Math.log(cut / 0.1) / Math.log(500)) : 0;

const setters = {
  view(name) { state.view = name; pick(-1); },
  layer(name) { shown[name] = !shown[name]; },
  cut(position) { $("#cut").value = position; state.cut = toCut(Number($("#cut").value)); pick(-1); },
  home() { home(); pick(-1); },
  turn(dx, dy) {
    const view = camera["3d"];
    view.yaw += dx;
    view.pitch = Math.max(-1.57, Math.min(1.57, view.pitch + dy));
  },
  // By (dx, dy) pixels of the screen, so that what is grabbed stays under the pointer.
  move(dx, dy) {
    const view = now(), mm = 1 / pixelsPerMm();
    if (flat()) { view.at[0] -= dx * mm; view.at[1] += dy * mm; return; }
    const { right, up } = axes3d();
    for (let i = 0; i < 3; i++) view.at[i] += (-dx * right[i] + dy * up[i]) * mm;
  },
  // Keeps what is at (x, y) pixels from the middle in its place.
  zoom(factor, x = 0, y = 0) {
    const view = now(), before = view.size;
    view.size = Math.max(0.5, Math.min(2e4, before * factor));
    const rest = before / view.size - 1;
    this.move(-x * rest, -y * rest);
  },
};

function change(name, ...values) {
  setters[name](...values);
  showState();
  redraw();
}

for (const button of all("[data-view]")) button.onclick = () => change("view", button.dataset.view);
for (const button of all("[data-layer]")) {
  button.onclick = () => change("layer", button.dataset.layer);
  button.hidden = (button.dataset.layer === "fakes" && !tracks.fake) || (button.dataset.layer === "truth" && !truth)
    || (button.dataset.layer === "detector" && !detector);
}
$("#cut").oninput = (event) => change("cut", event.target.value);

let grabbed = null;  // the pointer's last place, while a button is down
const touches = new Map();
canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  touches.set(event.pointerId, event);
  grabbed = event;
  if (state.picked >= 0) change("view", state.view);
};
canvas.onpointerup = canvas.onpointercancel = (event) => { touches.delete(event.pointerId); grabbed = null; };
canvas.onpointerleave = () => { if (state.picked >= 0) change("view", state.view); };
canvas.onpointermove = (event) => {
  if (touches.size === 2) {
    const apart = () => { const [a, b] = [...touches.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
    const before = apart();
    touches.set(event.pointerId, event);
    change("zoom", before / apart());
  } else if (grabbed) {
    const [dx, dy] = [event.clientX - grabbed.clientX, event.clientY - grabbed.clientY];
    grabbed = event;
    if (flat() || event.shiftKey || event.buttons & 6) change("move", dx, dy);
    else change("turn", -dx * 0.006, dy * 0.006);
  } else {
    const before = state.picked;
    pick(nearest(event.clientX, event.clientY), event);
    if (state.picked !== before) redraw();
  }
};
canvas.oncontextmenu = (event) => event.preventDefault();
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 30 : 1;
  change("zoom", Math.exp(event.deltaY * lines * 0.0012), event.clientX - middle()[0], event.clientY - middle()[1]);
}, { passive: false });

const LAYER_OF_KEY = { d: "detector", h: "hits", t: "tracks", f: "fakes", r: "truth" };
const VIEW_OF_KEY = { 1: "3d", 2: "xy", 3: "rz" };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), arrow = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }[key];
  if (VIEW_OF_KEY[key]) change("view", VIEW_OF_KEY[key]);
  else if (LAYER_OF_KEY[key]) { if (!$(`[data-layer="${LAYER_OF_KEY[key]}"]`).hidden) change("layer", LAYER_OF_KEY[key]); }
  else if (key === "[" || key === "]") change("cut", Number($("#cut").value) + (key === "]" ? 3 : -3));
  else if (key === "+" || key === "=" || key === "-") change("zoom", key === "-" ? 1.15 : 1 / 1.15);
  else if (key === "0") change("home");
  else if (arrow && event.target !== $("#cut")) {
    if (flat() || event.shiftKey) change("move", -30 * arrow[0], -30 * arrow[1]);
    else change("turn", 0.08 * arrow[0], 0.08 * arrow[1]);
  } else return;
  event.preventDefault();
});

// ---- pointing at a track -------------------------------------------------------------------------------------------
function nearest(x, y) {
  const m = matrix(), reach = 9, rz = state.view === "rz";
  let best = reach * reach, found = -1;
  for (let line = 0; line < tracks.pt.length; line++) {
    if (tracks.pt[line] < state.cut || !(tracks.fake && tracks.fake[line] ? shown.fakes : shown.tracks)) continue;
    let lastX = NaN, lastY = NaN;
    for (let point = tracks.start[line], end = point + tracks.length[line]; point < end; point++) {
      let [px, py, pz] = [0, 1, 2].map((i) => tracks.xyz[3 * point + i] * data.step);
      if (rz) [px, py, pz] = [pz, Math.hypot(px, py), 0];
      const w = m[3] * px + m[7] * py + m[11] * pz + m[15];
      const sx = ((m[0] * px + m[4] * py + m[8] * pz + m[12]) / w + 1) * innerWidth / 2;
      const sy = (1 - (m[1] * px + m[5] * py + m[9] * pz + m[13]) / w) * innerHeight / 2;
      // Distance to the segment from the last point; NaN compares false, so a first point is skipped.
      const [dx, dy] = [sx - lastX, sy - lastY];
      const along = Math.max(0, Math.min(1, ((x - lastX) * dx + (y - lastY) * dy) / (dx * dx + dy * dy || 1)));
      const distance = (lastX + along * dx - x) ** 2 + (lastY + along * dy - y) ** 2;
      if (distance < best && w > 0) { best = distance; found = line; }
      [lastX, lastY] = [sx, sy];
    }
  }
  return found;
}

function pick(line, event) {
  state.picked = line;
  const tip = $("#tip");
  tip.hidden = line < 0;
  if (line < 0) return;
  const fake = tracks.fake && tracks.fake[line] ? "Fake track" : "Track";
  tip.textContent = `${fake} ${data.tracks.label[line]}\npT ${gev(tracks.pt[line])}, ${tracks.length[line]} hits`;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 180)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - 64)}px`;
}

// ---- start ---------------------------------------------------------------------------------------------------------
addEventListener("resize", () => { if (!fitted) home(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { theme = readTheme(); redraw(); });
canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
canvas.addEventListener("webglcontextrestored", () => { setUp(); redraw(); });

$("#cut").value = toPosition(data.cut);
setUp();
showState();
draw();
// Reading a pixel back waits until the picture is really there; then tell whoever drives this page.
gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
window.beampipeReady = { firstPictureMs: performance.now() };
// A frame that the browser does not show yet may lose this picture: once more with the first that it does show.
redraw();
