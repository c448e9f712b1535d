"use strict";
// One event in WebGL2. Coordinates are int16 multiples of `step` mm; lines are quads of constant width on the screen;
// the pT cut is applied in the shaders, so moving the slider uploads nothing.
(() => {
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];

// ---- data ----------------------------------------------------------------------------------------------------------
const data = JSON.parse($("#event").textContent);

function decode(text, Type) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Type(bytes.buffer);
}

const hits = decode(data.hits, Int16Array);
const nHits = hits.length / 3;

// A layer of lines: `xyz` of all points end to end, and per point its pT (negative on a line's last point, where no
// segment starts), whether it is fake, and the path length up to it in mm (for dashes).
function lineLayer(xyz, length, pt, fake) {
  const nPoints = xyz.length / 3, nLines = length.length;
  const layer = { xyz, length, pt, fake, nPoints, start: new Uint32Array(nLines),
    segmentPt: new Float32Array(nPoints), pointPt: new Float32Array(nPoints),
    kind: new Uint8Array(nPoints), path: new Float32Array(nPoints + 1) };
  for (let line = 0, point = 0; line < nLines; line++) {
    layer.start[line] = point;
    let path = 0;
    for (let k = 0; k < length[line]; k++, point++) {
      if (k) {
        const i = 3 * point;
        path += data.step * Math.hypot(xyz[i] - xyz[i - 3], xyz[i + 1] - xyz[i - 2], xyz[i + 2] - xyz[i - 1]);
      }
      layer.path[point] = path;
      layer.kind[point] = fake ? fake[line] : 0;
      layer.pointPt[point] = pt[line];
      layer.segmentPt[point] = k < length[line] - 1 ? pt[line] : -1;
    }
  }
  return layer;
}

function gather(low, high) {
  const out = new Int16Array(3 * low.length);
  for (let i = 0; i < low.length; i++) {
    const hit = 3 * (low[i] + 65536 * high[i]);
    for (let k = 0; k < 3; k++) out[3 * i + k] = hits[hit + k];
  }
  return out;
}

// The hits on tracks come first in `hits`, in the order of the lines: tracks need no indices.
const trackLength = decode(data.tracks.length, Uint16Array);
const tracks = lineLayer(hits.subarray(0, 3 * trackLength.reduce((sum, n) => sum + n, 0)), trackLength,
  decode(data.tracks.pt, Float32Array), data.tracks.fake && decode(data.tracks.fake, Uint8Array));
// Truth needs them; three bytes each, of which the highest comes apart.
const truth = data.truth && lineLayer(gather(decode(data.truth.hit, Uint16Array), decode(data.truth.hitHigh, Uint8Array)),
  decode(data.truth.length, Uint16Array), decode(data.truth.pt, Float32Array), null);

let maxRadius = 1, maxZ = 1;
for (let i = 0; i < hits.length; i += 3) {
  maxRadius = Math.max(maxRadius, Math.hypot(hits[i], hits[i + 1]) * data.step);
  maxZ = Math.max(maxZ, Math.abs(hits[i + 2]) * data.step);
}

// ---- state ---------------------------------------------------------------------------------------------------------
const shown = { hits: true, tracks: true, fakes: true, truth: false };
const state = { view: "3d", cut: data.cut, picked: -1 };
const FIELD_OF_VIEW = 0.6;  // rad, vertical
let camera;

// Where the window is wide, the picture's middle is that of the part beside the panel.
const panel = () => innerWidth > 900 ? 274 : 0;
const middle = () => [(innerWidth + panel()) / 2, innerHeight / 2];

function home() {
  const aspect = (innerWidth - panel()) / innerHeight;
  const reach = Math.hypot(maxRadius, maxZ);
  camera = {
    "3d": { yaw: 0.62, pitch: 0.30, size: 0.82 * reach * Math.max(1, 1.3 / aspect), at: [0, 0, 0] },
    xy: { size: 1.06 * maxRadius * Math.max(1, 1 / aspect), at: [0, 0] },
    rz: { size: 1.04 * Math.max(maxRadius / 2, maxZ / aspect), at: [0, maxRadius / 2] },
  };
}
home();

// `size`: half the height of the picture at the point looked at, in mm.
const flat = () => state.view !== "3d";
const now = () => camera[state.view];
const pixelsPerMm = () => innerHeight / (2 * now().size);

// Axes of the 3D camera: right, up, and towards the eye.
function axes3d() {
  const { yaw, pitch } = camera["3d"];
  const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
  // At yaw 0 the beam (z) runs to the right and x towards the viewer's back.
  return { right: [sy, 0, cy], up: [sp * cy, cp, -sp * sy], back: [-cp * cy, sp, cp * sy] };
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

// Column-major matrix from mm to clip space, with its middle moved beside the panel.
function matrix() {
  const m = centred(), shift = panel() / innerWidth;
  for (let column = 0; column < 16; column += 4) m[column] += shift * m[column + 3];
  return m;
}

function centred() {
  const aspect = innerWidth / innerHeight, view = now();
  if (flat()) {
    const [sx, sy] = [1 / (view.size * aspect), 1 / view.size];
    return [sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, 0, 0, -sx * view.at[0], -sy * view.at[1], 0, 1];
  }
  const { right, up, back } = axes3d();
  const focal = 1 / Math.tan(FIELD_OF_VIEW / 2), distance = view.size * focal;
  const column = (i) => [focal / aspect * right[i], focal * up[i], 0, -back[i]];
  return [...column(0), ...column(1), ...column(2), -focal / aspect * dot(right, view.at), -focal * dot(up, view.at), 0, dot(back, view.at) + distance];
}

// ---- shaders -------------------------------------------------------------------------------------------------------
const PLACE = `#version 300 es
precision highp float;
uniform mat4 uMatrix;
uniform vec2 uViewport;
uniform float uStep, uCut, uRz, uDistance;
uniform int uKind;
uniform vec3 uRamp[6];
uniform vec3 uColour, uPaper;
uniform float uByPt, uFog;
const vec4 NOWHERE = vec4(2.0, 2.0, 2.0, 1.0);
vec4 place(vec3 p) {
  p *= uStep;
  return uMatrix * vec4(uRz > 0.5 ? vec3(p.z, length(p.xy), 0.0) : p, 1.0);
}
vec3 paint(float pt, float w) {
  float t = clamp(log(max(pt, 1e-3) / 0.5) / log(40.0), 0.0, 1.0) * 5.0;
  int i = min(int(t), 4);
  vec3 colour = uByPt > 0.5 ? mix(uRamp[i], uRamp[i + 1], t - float(i)) : uColour;
  float fog = uDistance > 0.0 ? uFog * smoothstep(0.55 * uDistance, 1.6 * uDistance, w) : 0.0;
  return mix(colour, uPaper, fog);
}`;

const LINE = [PLACE + `
layout(location=0) in vec3 aFrom;
layout(location=1) in vec3 aTo;
layout(location=2) in float aPt;
layout(location=3) in float aKind;
layout(location=4) in float aPathFrom;
layout(location=5) in float aPathTo;
uniform float uWidth, uPixelsPerMm;
out vec3 vColour;
out float vAcross, vAlong;
void main() {
  vec4 a = place(aFrom), b = place(aTo);
  if (aPt < 0.0 || aPt < uCut || int(aKind) != uKind || min(a.w, b.w) < 1e-3) { gl_Position = NOWHERE; return; }
  vec2 from = a.xy / a.w * 0.5 * uViewport, to = b.xy / b.w * 0.5 * uViewport, direction = to - from;
  float size = length(direction);
  direction = size > 1e-4 ? direction / size : vec2(1.0, 0.0);
  float end = float(gl_VertexID & 1), side = float(gl_VertexID >> 1) * 2.0 - 1.0, reach = 0.5 * uWidth + 1.0;
  vec2 point = mix(from, to, end) + direction * (end * 2.0 - 1.0) * 0.35 * uWidth + vec2(-direction.y, direction.x) * side * reach;
  vAcross = side * reach;
  vAlong = mix(aPathFrom, aPathTo, end) * uPixelsPerMm;
  vColour = paint(aPt, mix(a.w, b.w, end));
  gl_Position = vec4(point * 2.0 / uViewport, 0.0, 1.0);
}`, `#version 300 es
precision highp float;
uniform float uWidth, uDash, uAlpha;
in vec3 vColour;
in float vAcross, vAlong;
out vec4 colour;
void main() {
  if (uDash > 0.0 && fract(vAlong / uDash) > 0.62) discard;
  colour = vec4(vColour, uAlpha * clamp(0.5 * uWidth + 0.5 - abs(vAcross), 0.0, 1.0));
}`];

const POINT = [PLACE + `
layout(location=0) in vec3 aFrom;
layout(location=2) in float aPt;
layout(location=3) in float aKind;
uniform float uSize;
out vec3 vColour;
void main() {
  vec4 a = place(aFrom);
  if (aPt < uCut || int(aKind) != uKind) { gl_Position = NOWHERE; return; }
  vColour = paint(aPt, a.w);
  gl_Position = vec4(a.xy, 0.0, a.w);
  gl_PointSize = uSize + 1.0;
}`, `#version 300 es
precision highp float;
uniform float uSize, uAlpha;
in vec3 vColour;
out vec4 colour;
void main() {
  float r = length(gl_PointCoord - 0.5) * (uSize + 1.0);
  colour = vec4(vColour, uAlpha * clamp(0.5 * uSize + 0.5 - r, 0.0, 1.0));
}`];

// ---- drawing -------------------------------------------------------------------------------------------------------
const canvas = $("#picture");
// alpha: false, or faint colours would blend with the page and wash out.
const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
if (!gl) {
  $("#failure").hidden = false;
  $("#failure").textContent = "This page needs WebGL 2, which this browser does not offer or has switched off.";
  return;
}
let lineProgram, pointProgram;

function program([vertex, fragment]) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made));
  const uniform = {};
  for (let i = gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS) - 1; i >= 0; i--) {
    const name = gl.getActiveUniform(made, i).name;
    uniform[name.replace("[0]", "")] = gl.getUniformLocation(made, name);
  }
  return { made, uniform };
}

function buffer(values) {
  const made = gl.createBuffer();
  gl.bindBuffer(gl.ARRAY_BUFFER, made);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  return made;
}

function setUp() {
  lineProgram = program(LINE);
  pointProgram = program(POINT);
  hits.buffer_ = buffer(hits);
  for (const layer of [tracks, truth]) {
    if (!layer) continue;
    // The tracks' points are the first hits; one buffer serves both. Segments read one point past their own.
    layer.gl = { xyz: layer === tracks ? hits.buffer_ : buffer(layer.xyz), pointPt: buffer(layer.pointPt),
      segmentPt: buffer(layer.segmentPt), kind: buffer(layer.kind), path: buffer(layer.path) };
  }
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
}

function attribute(location, source, size, type, offset, divisor) {
  gl.bindBuffer(gl.ARRAY_BUFFER, source);
  gl.enableVertexAttribArray(location);
  gl.vertexAttribPointer(location, size, type, false, 0, offset);
  gl.vertexAttribDivisor(location, divisor);
}

// Lines come in order of pT: the first point worth handing to the shader, which does the cut.
function firstAbove(layer) {
  let [low, high] = [0, layer.pt.length];
  while (low < high) {
    const mid = (low + high) >> 1;
    if (layer.pt[mid] < state.cut) low = mid + 1; else high = mid;
  }
  return low < layer.pt.length ? layer.start[low] : layer.nPoints;
}

function drawLines(layer, style, first = firstAbove(layer), nPoints = layer.nPoints - first) {
  if (nPoints < 2) return;
  use(lineProgram, style);
  attribute(0, layer.gl.xyz, 3, gl.SHORT, 6 * first, 1);
  attribute(1, layer.gl.xyz, 3, gl.SHORT, 6 * (first + 1), 1);
  attribute(2, layer.gl.segmentPt, 1, gl.FLOAT, 4 * first, 1);
  attribute(3, layer.gl.kind, 1, gl.UNSIGNED_BYTE, first, 1);
  attribute(4, layer.gl.path, 1, gl.FLOAT, 4 * first, 1);
  attribute(5, layer.gl.path, 1, gl.FLOAT, 4 * (first + 1), 1);
  gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, nPoints - 1);
}

function drawPoints(layer, style, first = firstAbove(layer), nPoints = layer.nPoints - first) {
  use(pointProgram, style);
  for (const location of [1, 4, 5]) gl.disableVertexAttribArray(location);
  attribute(0, layer.gl.xyz, 3, gl.SHORT, 0, 0);
  attribute(2, layer.gl.pointPt, 1, gl.FLOAT, 0, 0);
  attribute(3, layer.gl.kind, 1, gl.UNSIGNED_BYTE, 0, 0);
  gl.drawArrays(gl.POINTS, first, nPoints);
}

function drawHits(style) {
  use(pointProgram, style);
  for (const location of [1, 2, 3, 4, 5]) gl.disableVertexAttribArray(location);
  gl.vertexAttrib1f(2, 0);
  gl.vertexAttrib1f(3, 0);
  attribute(0, hits.buffer_, 3, gl.SHORT, 0, 0);
  gl.drawArrays(gl.POINTS, 0, nHits);
}

let frame;  // what all draw calls of one frame share
function use({ made, uniform }, style) {
  gl.useProgram(made);
  gl.uniformMatrix4fv(uniform.uMatrix, false, frame.matrix);
  gl.uniform2f(uniform.uViewport, canvas.width, canvas.height);
  gl.uniform1f(uniform.uStep, data.step);
  gl.uniform1f(uniform.uCut, style.cut ?? state.cut);
  gl.uniform1f(uniform.uRz, state.view === "rz" ? 1 : 0);
  gl.uniform1f(uniform.uDistance, flat() ? 0 : now().size / Math.tan(FIELD_OF_VIEW / 2));
  gl.uniform1i(uniform.uKind, style.kind ?? 0);
  gl.uniform3fv(uniform.uRamp, frame.theme.ramp);
  gl.uniform3fv(uniform.uColour, style.colour ?? [0, 0, 0]);
  gl.uniform3fv(uniform.uPaper, frame.theme.paper);
  gl.uniform1f(uniform.uByPt, style.colour ? 0 : 1);
  gl.uniform1f(uniform.uFog, style.fog ?? 0.6);
  gl.uniform1f(uniform.uAlpha, style.alpha ?? 1);
  gl.uniform1f(uniform.uWidth ?? null, (style.width ?? 1) * frame.ratio);
  gl.uniform1f(uniform.uSize ?? null, (style.size ?? 1) * frame.ratio);
  gl.uniform1f(uniform.uDash ?? null, (style.dash ?? 0) * frame.ratio);
  gl.uniform1f(uniform.uPixelsPerMm ?? null, pixelsPerMm() * frame.ratio);
}

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const text = (name) => style.getPropertyValue(name).trim();
  const colour = (name) => [1, 3, 5].map((i) => parseInt(text(name).slice(i, i + 2), 16) / 255);
  return { paper: colour("--paper"), hit: colour("--hit"), hitAlpha: Number(text("--hit-alpha")), fake: colour("--fake"),
    truth: colour("--truth"), ink: colour("--ink"), ramp: [0, 1, 2, 3, 4, 5].flatMap((i) => colour(`--pt${i}`)) };
}
let theme = readTheme();

function draw() {
  if (gl.isContextLost()) return;
  const ratio = Math.min(devicePixelRatio, 2);
  const [width, height] = [Math.round(innerWidth * ratio), Math.round(innerHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  frame = { matrix: matrix(), ratio, theme };
  gl.viewport(0, 0, width, height);
  gl.clearColor(...theme.paper, 1);
  gl.clear(gl.COLOR_BUFFER_BIT);
  if (shown.hits) drawHits({ colour: theme.hit, alpha: theme.hitAlpha, size: 1.3, cut: -1, fog: 0.7 });
  // The more lines there are, the finer they are drawn: a full event must not become one blot.
  const fine = Math.max(0, Math.min(1, Math.log10(numbers.tracks / 150)));
  if (truth && shown.truth) drawLines(truth, { colour: theme.truth, width: 5.5 - 2 * fine });
  if (shown.tracks) {
    drawLines(tracks, { width: 1.8 - 0.7 * fine, alpha: 1 - 0.25 * fine });
    drawPoints(tracks, { size: 3 - 1.2 * fine });
  }
  if (shown.fakes && tracks.fake) {
    drawLines(tracks, { kind: 1, colour: theme.fake, width: 2 - 0.5 * fine, dash: 9, fog: 0.35 });
    drawPoints(tracks, { kind: 1, colour: theme.fake, size: 3 - fine, fog: 0.35 });
  }
  if (state.picked >= 0) {
    const [first, n] = [tracks.start[state.picked], tracks.length[state.picked]];
    const style = { kind: tracks.fake ? tracks.fake[state.picked] : 0, colour: theme.ink, fog: 0 };
    drawLines(tracks, { ...style, width: 3 }, first, n);
    drawPoints(tracks, { ...style, size: 6 }, first, n);
  }
  drawOverlays();
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

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
  const above = (layer, kind) => {
    let n = 0;
    for (let i = 0; i < layer.pt.length; i++) n += layer.pt[i] >= state.cut && layer.length[i] > 1 && (layer.fake ? layer.fake[i] : 0) === kind;
    return n;
  };
  numbers = { hits: nHits, tracks: above(tracks, 0), fakes: above(tracks, 1), truth: truth ? above(truth, 0) : 0 };
  for (const button of all("[data-layer]")) {
    button.setAttribute("aria-pressed", shown[button.dataset.layer]);
    button.querySelector("output").textContent = count(numbers[button.dataset.layer]);
  }
  for (const button of all("[data-view]")) button.setAttribute("aria-pressed", button.dataset.view === state.view);
  $("#summary").textContent = `${count(tracks.pt.length)} tracks in ${count(nHits)} hits`;
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
  button.hidden = (button.dataset.layer === "fakes" && !tracks.fake) || (button.dataset.layer === "truth" && !truth);
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

const LAYER_OF_KEY = { h: "hits", t: "tracks", f: "fakes", r: "truth" };
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
addEventListener("resize", redraw);
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
})();
