// What the page does: read the state of the fleet again and again, and show it. Rates and times are for Grafana.
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

  function showAlerts(alerts) {
    at("alerts").hidden = alerts.length === 0;
    at("alerts").replaceChildren(...alerts.map(alert => {
      const line = made("li");
      line.append(made("b", alert.alertname), ` ${alert.summary} ${alert.action}`);
      return line;
    }));
  }

  /** A row of the table: name, state, state in the gateway, and words. */
  function row(name, state, text, inside, words) {
    const line = made("tr");
    line.dataset.server = name;
    line.append(
      made("th", name),
      made("td", text, `state ${state}`),
      made("td", inside ?? "–", inside ? `state ${inside}` : ""),
      ...words.map(word => made("td", word)),
    );
    return line;
  }

  function showServers({ gateway, servers }) {
    const rows = servers.map(server => {
      const text = server.state === "silent" ? `silent for ${server.age} s` : server.state;
      const words = [server.host && `${server.host}:${server.http}`, server.models.join(", "), server.text];
      return row(server.server, server.state, text, server.gateway, words);
    });
    if (gateway) rows.push(row("gateway", gateway, gateway, null, ["", "", ""]));
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
