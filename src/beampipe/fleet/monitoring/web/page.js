// What the page does: ask again and again, and show what comes.
"use strict";
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const at = id => document.getElementById(id);
  const POINTS = 300;

  const made = (tag, text = "", kind = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  const charts = told.panels.map(panel => new Chart(panel, at("panels")));
  const tiles = told.tiles.map(tile => {
    const card = made("div", "", "card");
    card.dataset.tile = tile.name;
    const number = made("output", "–");
    card.append(number, made("p", tile.title));
    at("tiles").append(card);
    return { ...tile, card, number };
  });

  /** What Prometheus answers: a list of series; none where it does not answer. */
  async function asked(path, parameters) {
    const reply = await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = await reply.json();
    if (answer.status !== "success") throw new Error(answer.error);
    return answer.data.result;
  }
  const now = query => asked("query", { query });

  async function showCharts() {
    const range = Number(at("range").value);
    const step = Math.max(1, Math.ceil(told.interval), Math.ceil(range / POINTS));
    // Whole steps, so that the points of one picture are those of the next.
    const end = Math.floor(Date.now() / 1e3 / step) * step;
    const start = end - Math.floor(range / step) * step;
    for (const chart of charts) {
      const answers = await Promise.all(chart.panel.lines.map(line => asked("query_range", { query: line.query, start, end, step })));
      chart.draw(answers, start, end, step);
    }
  }

  async function showTiles() {
    await Promise.all(tiles.map(async tile => {
      const [found] = await now(tile.query);
      const value = found ? Number(found.value[1]) : NaN;
      tile.number.replaceChildren(short(value), made("small", tile.unit));
      tile.card.classList.toggle("bad", tile.bad && value > 0);
    }));
  }

  async function showAlerts() {
    const alerts = await now(told.alerts);
    at("alerts").hidden = alerts.length === 0;
    at("alerts").replaceChildren(...alerts.map(({ metric }) => {
      const line = made("li");
      const what = metric.alertname.replace(/(?<!^)([A-Z])/g, " $1").toLowerCase();
      line.append(made("b", what[0].toUpperCase() + what.slice(1)), ` ${[metric.server, metric.model].filter(Boolean).join(", ")}`);
      return line;
    }));
  }

  /** Cells with the traffic of a server or of the gateway in the last minute. */
  const traffic = row => ["per_s", "p50_ms", "p95_ms", "p99_ms", "waiting"].map(key => made("td", short(row[key]), "number"));

  /** What the gateway has done since the fleet's process was started. */
  function work({ connections, requests, refused, silent_s }) {
    const reasons = Object.entries(refused).filter(([, count]) => count > 0).map(([reason, count]) => `${reason} ${count}`);
    const ends = Object.entries(requests).map(([end, count]) => `${count} ${end}${end === "refused" && count ? ` (${reasons.join(", ")})` : ""}`);
    const probe = silent_s === null ? "no probe answered yet" : `probe answered ${short(silent_s)} s ago`;
    return `${probe}; ${connections} connections; requests: ${ends.join(", ")}`;
  }

  function showServers({ gateway, servers }) {
    const rows = servers.map(server => {
      const row = made("tr");
      row.dataset.server = server.server;
      row.append(
        made("th", server.server),
        made("td", server.state === "silent" ? `silent for ${short(server.age)} s` : server.state, `state ${server.state}`),
        made("td", server.gateway ?? "–", server.gateway ? `state ${server.gateway}` : ""),
        ...traffic(server),
        made("td", `${server.host}:${server.http}`),
        made("td", server.models.join(", ")),
        made("td", server.text),
      );
      return row;
    });
    if (servers.length === 0) {
      const cell = made("td", "no server has said that it is there");
      cell.colSpan = 11;
      rows.push(made("tr"));
      rows[0].append(cell);
    }
    if (gateway) {
      const row = made("tr");
      row.dataset.server = "gateway";
      row.append(
        made("th", "gateway"), made("td", gateway.state, `state ${gateway.state}`), made("td"), ...traffic(gateway),
        made("td"), made("td"), made("td", work(gateway)),
      );
      rows.push(row);
    }
    at("servers").replaceChildren(...rows);
  }

  /** The displays that may be chosen; the shown one changes only when somebody chooses, or the newest is followed. */
  let shown = null;
  function showDisplays(events) {
    at("displays").hidden = events.length === 0;
    if (events.length === 0) return;
    const names = events.map(event => event.name);
    const choice = at("follow").checked || shown === null ? names[0] : shown;
    const listed = names.includes(choice) ? names : [choice, ...names];
    at("display").replaceChildren(...listed.map(name => {
      const option = made("option", name.replace(/\.html$/, ""));
      option.value = name;
      option.selected = name === choice;
      return option;
    }));
    choose(choice);
  }
  function choose(name) {
    if (name === shown) return;
    shown = name;
    at("open").href = `/events/${name}`;
    load();
  }
  /** A display is loaded when it can be seen: a browser gives one that cannot no size, and it would draw nothing. */
  let visible = false;
  const load = () => visible && shown !== null && at("shown").setAttribute("src", `/events/${shown}`);
  new IntersectionObserver(([seen]) => {
    if (seen.isIntersecting && !visible) {
      visible = true;
      load();
    }
  }).observe(at("shown"));

  function summary(fleet) {
    const ready = fleet.servers.filter(server => server.state === "ready").length;
    return `${ready} of ${fleet.servers.length} servers ready · ${new Date().toTimeString().slice(0, 8)}`;
  }

  async function refresh() {
    const fleet = await (await fetch("/fleet.json")).json();
    fleet.servers.forEach(server => colours.has(server.server) || colours.set(server.server, colours.size + 1));
    showDisplays(fleet.events);
    showServers(fleet);
    let problem = fleet.prometheus.said;
    if (fleet.prometheus.ready) {
      try {
        await Promise.all([showTiles(), showAlerts(), showCharts()]);
      } catch (error) {
        problem = `Prometheus did not answer a question: ${error.message}`;
      }
    }
    if (problem) {
      for (const tile of tiles) tile.number.replaceChildren("–");
      at("alerts").hidden = true;
    }
    at("missing").textContent = problem;
    at("missing").hidden = !problem;
    at("summary").textContent = summary(fleet);
  }

  async function refreshForEver() {
    try {
      if (!document.hidden) await refresh();
      document.body.dataset.refreshes = Number(document.body.dataset.refreshes ?? 0) + 1;
    } catch (error) {
      at("missing").textContent = `The fleet's page does not answer any more (${error.message}); start beampipe fleet watch again.`;
      at("missing").hidden = false;
    }
    waiting = setTimeout(refreshForEver, 1e3 * Math.max(1, told.interval));
  }
  let waiting = null;
  const again = () => {
    if (waiting === null) return; // it is asking now
    clearTimeout(waiting);
    waiting = null;
    refreshForEver();
  };

  at("range").addEventListener("change", again);
  at("display").addEventListener("change", event => choose(event.target.value));
  at("follow").addEventListener("change", again);
  document.addEventListener("visibilitychange", () => document.hidden || again());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(chart => chart.recolour()));
  refreshForEver();
})();
