// What the page does: read the state of the fleet again and again, and show it. Curves over time are for Grafana.
"use strict";
(() => {
  const at = id => document.getElementById(id);
  const interval = Math.max(1, Number(document.body.dataset.interval));

  const made = (tag, text = "", kind = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  /** A number in few digits, "–" for none. */
  function short(value) {
    if (value === null || value === undefined) return "–";
    if (Math.abs(value) >= 100 || Number.isInteger(value)) return value.toFixed(0);
    return value.toPrecision(3).replace(/\.?0+$/, "");
  }

  function showAlerts(alerts) {
    at("alerts").hidden = alerts.length === 0;
    at("alerts").replaceChildren(...alerts.map(alert => {
      const line = made("li");
      line.append(made("b", alert.alertname), ` ${alert.summary} ${alert.action}`);
      return line;
    }));
  }

  /** Cells with the traffic of a server or of the gateway in the last minute. */
  const traffic = row => ["per_s", "p50_ms", "p95_ms", "p99_ms", "waiting"].map(key => made("td", short(row[key]), "number"));

  /** What the gateway has done since the fleet's process was started. */
  function work({ connections, requests, silent_s, ...by }) {
    const parts = end => Object.entries(by[end] ?? {}).filter(([, count]) => count > 0).map(([name, count]) => `${name} ${count}`).join(", ");
    const ends = Object.entries(requests).map(([end, count]) => `${count} ${end}${parts(end) && ` (${parts(end)})`}`);
    const probe = silent_s === null ? "no probe answered yet" : `probe answered ${short(silent_s)} s ago`;
    return `${probe}; ${connections} connections; requests: ${ends.join(", ")}`;
  }

  /** A row of the table: name, state, state in the gateway, traffic, and words. */
  function row(name, state, text, inside, numbers, words) {
    const line = made("tr");
    line.dataset.server = name;
    line.append(
      made("th", name),
      made("td", text, `state ${state}`),
      made("td", inside ?? "–", inside ? `state ${inside}` : ""),
      ...traffic(numbers),
      ...words.map(word => made("td", word)),
    );
    return line;
  }

  function showServers({ gateway, servers }) {
    const rows = servers.map(server => {
      const text = server.state === "silent" ? `silent for ${short(server.age)} s` : server.state;
      const words = [server.host && `${server.host}:${server.http}`, server.models.join(", "), server.text];
      return row(server.server, server.state, text, server.gateway, server, words);
    });
    if (gateway) rows.push(row("gateway", gateway.state, gateway.state, null, gateway, ["", "", work(gateway)]));
    at("servers").replaceChildren(...rows);
  }

  function say(problem) {
    at("missing").textContent = problem;
    at("missing").hidden = !problem;
  }

  async function refresh() {
    const fleet = await (await fetch("/fleet.json")).json();
    showServers(fleet);
    showAlerts(fleet.prometheus.alerts);
    say(fleet.prometheus.said);
    const ready = fleet.servers.filter(server => server.state === "ready").length;
    at("summary").textContent = `${ready} of ${fleet.servers.length} servers ready · ${new Date().toTimeString().slice(0, 8)}`;
  }

  async function refreshForEver() {
    try {
      if (!document.hidden) await refresh();
      document.body.dataset.refreshes = Number(document.body.dataset.refreshes ?? 0) + 1;
    } catch (error) {
      say(`The fleet's page does not answer any more (${error.message}); start beampipe fleet watch again.`);
    }
    waiting = setTimeout(refreshForEver, 1e3 * interval);
  }
  let waiting = null;
  const again = () => {
    if (waiting === null) return; // it is asking now
    clearTimeout(waiting);
    waiting = null;
    refreshForEver();
  };

  document.addEventListener("visibilitychange", () => document.hidden || again());
  refreshForEver();
})();
