// Second part: shaders and drawing. Lines are quads of constant width on the screen; the pT cut is applied in the
// shaders, so moving the slider uploads nothing.
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
  for (const layer of [tracks, truth, detector]) {
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
  gl.drawArrays(gl.POINTS, 0, nPoints);
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
    truth: colour("--truth"), detector: colour("--detector"), ink: colour("--ink"), ramp: [0, 1, 2, 3, 4, 5].flatMap((i) => colour(`--pt${i}`)) };
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
  if (detector && shown.detector) drawLines(detector, { colour: theme.detector, width: 1.2, cut: -1, fog: 0.5 }, 0, detector.nPoints);
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
