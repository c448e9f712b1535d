// Pictures over time: one uPlot for each panel, fed with what Prometheus answers.
"use strict";

const COLOURS = 8;
const HEIGHT = 170;

/** How times are written below a picture: from so many seconds between two of them on, in such a way. */
const CLOCK = [[86400, "{MMM} {D}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]].map(
  ([seconds, text]) => [seconds, text, null, null, null, null, null, null, 1],
);

/** Value of a variable of the style, in the scheme of the moment. */
const styled = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A number in few digits, "–" for none. */
function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${(value / 1e3).toPrecision(3)} k`;
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value.toPrecision(size < 0.01 ? 1 : 3).replace(/\.?0+$/, "") || "0";
}

/** The name of a line: the legend with its labels filled in. */
const named = (legend, labels) => legend.replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? "");

/** Colours of lines: a server has the same one in every picture. */
const colours = new Map();
function colour(name, row) {
  const known = colours.get(name);
  return `--s${(known ?? row) % COLOURS}`;
}

class Chart {
  constructor(panel, place) {
    this.panel = panel;
    this.card = document.createElement("div");
    this.card.className = "card";
    this.card.dataset.panel = panel.name;
    const title = document.createElement("h3");
    title.textContent = panel.unit ? `${panel.title} [${panel.unit === "/s" ? "1/s" : panel.unit}]` : panel.title;
    const about = document.createElement("p");
    about.textContent = panel.about;
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.empty = document.createElement("p");
    this.empty.className = "empty";
    this.empty.textContent = "nothing in this time";
    this.plot.append(this.empty);
    this.card.append(title, about, this.plot);
    place.append(this.card);
    this.names = null;
    this.uplot = null;
    new ResizeObserver(() => this.uplot?.setSize({ width: this.plot.clientWidth, height: HEIGHT })).observe(this.plot);
  }

  /** Draw what Prometheus answered to each query of the panel, over times from `start` on. */
  draw(answers, start, end, step) {
    const n = Math.round((end - start) / step) + 1;
    const times = Array.from({ length: n }, (_, row) => start + row * step);
    const lines = [];
    this.panel.lines.forEach((line, row) => {
      for (const found of answers[row]) {
        const values = new Array(n).fill(null);
        for (const [time, text] of found.values) {
          const value = Number(text);
          if (Number.isFinite(value)) values[Math.round((time - start) / step)] = value;
        }
        if (values.some(value => value !== null)) lines.push({ name: named(line.legend, found.metric), values });
      }
    });
    this.empty.hidden = lines.length > 0;
    const names = lines.map(line => line.name);
    if (this.uplot === null || names.join("\n") !== this.names) {
      this.uplot?.destroy();
      this.names = names.join("\n");
      this.uplot = new uPlot(this.options(names), [times, ...lines.map(line => line.values)], this.plot);
    } else {
      this.uplot.setData([times, ...lines.map(line => line.values)]);
    }
  }

  options(names) {
    const axis = { stroke: () => styled("--soft"), font: "11px system-ui, sans-serif" };
    const grid = { stroke: () => styled("--line"), width: 1 };
    return {
      width: this.plot.clientWidth,
      height: HEIGHT,
      cursor: { sync: { key: "fleet" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, ticks: { ...grid, size: 4 }, size: 26, values: CLOCK },
        { ...axis, grid, ticks: { show: false }, size: 48, values: (_, splits) => splits.map(short) },
      ],
      series: [
        { value: (_, time) => (time === null ? "" : new Date(time * 1e3).toTimeString().slice(0, 8)) },
        ...names.map((label, row) => ({
          label,
          stroke: () => styled(colour(label, row)),
          width: 1.8,
          spanGaps: false,
          points: { show: false },
          value: (plot, value) => short(value ?? last(plot.data[row + 1])),
        })),
      ],
    };
  }

  recolour() {
    this.uplot?.redraw(false);
  }
}

/** The last number there is. */
function last(values) {
  for (let row = values.length - 1; row >= 0; row--) if (values[row] !== null) return values[row];
  return null;
}
