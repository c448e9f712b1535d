// One event in WebGL 2, first of the parts that html.py joins: the event as arrays, what is shown of it, and from where.
// Coordinates are int16 multiples of `step` mm.
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
const nPoints = hits.length / 3;  // a hit that tracks share is there once for each of them

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

// Layers of the detector as lines that look right in each view: the edges of a cylinder or a disc as circles, and
// straight lines between them.
function detectorLayer(boxes) {
  const xyz = [], length = [], arcs = 72, spokes = 6;
  const point = (r, turn, z) => xyz.push(...[r * Math.cos(turn), r * Math.sin(turn), z].map((mm) => Math.round(mm / data.step)));
  for (const [rMin, rMax, zMin, zMax] of boxes) {
    const barrel = zMax - zMin > rMax - rMin, [r, z] = [(rMin + rMax) / 2, (zMin + zMax) / 2];
    const edges = barrel ? [[r, zMin], [r, zMax]] : [[rMin, z], [rMax, z]];
    for (const [edgeR, edgeZ] of edges) {
      for (let i = 0; i <= arcs; i++) point(edgeR, 2 * Math.PI * i / arcs, edgeZ);
      length.push(arcs + 1);
    }
    for (let i = 0; i < spokes; i++) {
      for (const [edgeR, edgeZ] of edges) point(edgeR, 2 * Math.PI * i / spokes, edgeZ);
      length.push(2);
    }
  }
  return lineLayer(Int16Array.from(xyz), length, new Float32Array(length.length), null);
}
const detector = data.detector.length ? detectorLayer(data.detector) : null;

let maxRadius = 1, maxZ = 1;
for (let i = 0; i < hits.length; i += 3) {
  maxRadius = Math.max(maxRadius, Math.hypot(hits[i], hits[i + 1]) * data.step);
  maxZ = Math.max(maxZ, Math.abs(hits[i + 2]) * data.step);
}

// ---- state ---------------------------------------------------------------------------------------------------------
const shown = { detector: true, hits: true, tracks: true, fakes: true, truth: false };
const state = { view: "3d", cut: data.cut, picked: -1 };
const FIELD_OF_VIEW = 0.6;  // rad, vertical
let camera;

// Where the window is wide, the picture's middle is that of the part beside the panel.
const panel = () => innerWidth > 900 ? 274 : 0;
const middle = () => [(innerWidth + panel()) / 2, innerHeight / 2];

// Whether there was a window to fit the picture to: a frame on somebody's page may get its size later.
let fitted;

function home() {
  fitted = innerWidth > 0 && innerHeight > 0;
  const aspect = fitted ? (innerWidth - panel()) / innerHeight : 1;
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
