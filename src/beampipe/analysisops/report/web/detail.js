// What is behind one assessment: errors, and where points were lost.

const ORIGIN_TAGS = { traceable: "good", computed_from_nothing: "bad", differs: "bad", no_reference: "bad" };

/** The body of an opened assessment. */
function body(row, detail) {
  const parts = [
    make("p", { class: "soft" }, outcome(row), ` Record ${row.key}…`),
    detail.shows_reference ? null : make("p", { class: "soft" }, "Nothing of this instance's data, answers and references is in this page."),
    detail.error ? make("p", {}, tag("agent failed", "bad"), " ", make("span", { class: "said" }, detail.error)) : null,
    issues(detail), checks(detail),
  ];
  return make("div", { class: "body" }, parts);
}

function outcome(row) {
  const points = row.points[0] === null ? "" : `${number(row.points[0])} of ${number(row.points[1])} points.`;
  const cost = row.cost === null ? "cost not known" : `$${number(row.cost, 3)}`;
  const tokens = row.tokens === null ? "tokens not known" : `${row.tokens.toLocaleString("en")} tokens`;
  return `${points} ${number(row.seconds, 3)} s, ${row.calls} calls of tools, ${tokens}, ${cost}.`;
}

function tag(text, kind = "") {
  return make("span", { class: `tag ${kind}` }, text);
}

function issues(detail) {
  if (!detail.issues.length) return null;
  const lines = detail.issues.map(one => make("li", {},
    tag(one.code.replaceAll("_", " "), one.severity === "error" ? "bad" : "wait"), " ", make("span", { class: "said" }, one.message)));
  return make("section", {}, make("h3", {}, "Issues"), make("ul", { class: "plain" }, lines));
}

function checks(detail) {
  if (!detail.checks.length) return null;
  const rows = detail.checks.map(one => {
    const gate = !one.max;
    const points = gate ? tag(one.passed ? "open" : "closed", one.passed ? "good" : "bad") : `${number(one.points)} / ${number(one.max)}`;
    const bar = gate ? null : draw("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      draw("rect", { class: "track", width: 100, height: 6 }), draw("rect", { class: "fill", width: 100 * Math.max(0, one.points) / one.max, height: 6 }));
    const evidence = one.evidence.map(([name, value]) => `${name} ${value}`).join(" · ");
    return [one.id, make("span", { class: "soft" }, one.type), [make("span", {}, points, bar), "n"],
      [make("span", {}, one.reason, evidence ? make("div", { class: "evidence" }, evidence) : null), "wrap"]];
  });
  return make("section", {}, make("h3", {}, "Gates and rules"), table(["Check", "Kind", ["Points", "n"], "Why"], rows));
}
