// What is behind one assessment: answers, checks, histograms, calls of tools, words.

const ORIGIN_TAGS = { traceable: "good", computed_from_nothing: "bad", differs: "bad", no_reference: "bad" };

/** The body of an opened assessment. */
function body(row, detail) {
  const parts = [
    make("p", { class: "soft" }, outcome(row), ` Record ${row.key}…`),
    detail.shows_reference ? null : make("p", { class: "soft" }, "Nothing of this instance's data, answers and references is in this page."),
    detail.error ? make("p", {}, tag("agent failed", "bad"), " ", make("span", { class: "said" }, detail.error)) : null,
    issues(detail), answers(detail), words(detail), checks(detail), histograms(detail), calls(detail), judge(detail), texts(detail),
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

function answers(detail) {
  if (!detail.answers.length) return null;
  const references = detail.shows_reference ? [["Reference", "n"], ["Distance to reference [σ]", "n"], ["Truth", "n"], ["Pull to truth", "n"]] : [];
  const heads = ["Number", ["Submitted", "n"], ...references, "Where it comes from"];
  const calls = new Set(detail.calls.map(call => call.number));
  const rows = detail.answers.map(one => {
    const unit = one.unit ? ` ${one.unit}` : "";
    const known = detail.shows_reference ? [
      [measured(one.reference, one.reference_uncertainty), "n"], [signed(one.pull), "n"],
      [number(one.truth, 6), "n"], [signed(one.truth_pull), "n"],
    ] : [];
    return [one.name, [one.value === null ? tag("no number", "bad") : measured(one.value, one.uncertainty) + unit, "n"], ...known, [origin(one, calls), "wrap"]];
  });
  return make("section", {}, make("h3", {}, "Submitted numbers"), table(heads, rows));
}

function origin(one, calls) {
  if (!one.origin) return make("span", { class: "soft" }, "no label");
  const label = tag(one.origin.replaceAll("_", " "), ORIGIN_TAGS[one.origin] || "");
  const entry = !calls.has(one.entry) ? null : make("button", {
    type: "button", class: "link", onclick: event => aim(event.target, one.entry),
  }, `call ${one.entry}`);
  return make("span", {}, label, " ", entry, " ", make("span", { class: "evidence" }, one.where));
}

/** Open the call that a number comes from, and go there. */
function aim(from, entry) {
  const inside = from.closest(".body");
  inside.querySelectorAll(".aim").forEach(one => one.classList.remove("aim"));
  const call = inside.querySelector(`[data-call="${Number(entry)}"]`);
  if (!call) return;
  call.classList.add("aim");
  call.querySelector("details").open = true;
  call.scrollIntoView({ block: "center" });
}

function words(detail) {
  if (!detail.words.length) return null;
  const heads = ["Word", "Said", ...(detail.shows_reference ? ["Right"] : [])];
  const rows = detail.words.map(one => {
    const said = one.said === null ? tag("nothing", "bad") : make("span", { class: "said" }, one.said);
    return [one.name, [said, "wrap"], ...(detail.shows_reference ? [[one.reference ?? "–", "wrap"]] : [])];
  });
  return make("section", {}, make("h3", {}, "Words"), table(heads, rows));
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

function histograms(detail) {
  if (!detail.histograms.length) return null;
  const figures = detail.histograms.map(one => make("figure", {},
    make("figcaption", { class: "soft" }, `${one.name}: `, one.values ? "submitted as a line" : one.reason || "too many bins to be drawn",
      one.reference ? ", reference as an area" : ""), histogram(one)));
  return make("section", {}, make("h3", {}, "Histograms"), make("div", { class: "columns" }, figures));
}

function calls(detail) {
  const title = make("h3", {}, `Calls of tools (${detail.calls.length + detail.calls_left_out})`);
  if (!detail.calls.length) return make("section", {}, title, make("p", { class: "soft" }, detail.calls_left_out ? "Not in this page." : "None."));
  const items = detail.calls.map(one => make("li", { "data-call": one.number, class: one.error ? "refused" : null },
    make("details", {},
      make("summary", {}, make("span", { class: "number" }, one.number), make("span", { class: "tool" }, one.tool),
        make("span", { class: "brief" }, one.error ? `refused: ${one.error}` : one.arguments),
        make("small", {}, `${number(one.seconds, 2)} s`)),
      make("div", { class: "inside" }, make("p", {}, "Arguments"), make("pre", {}, one.arguments),
        make("p", {}, one.error ? "Refused" : "Result"), make("pre", {}, one.error || one.result),
        make("p", {}, one.sources.length ? `Made of ${one.sources.join(", ")}` : "Made of no data file")))));
  const rest = detail.calls_left_out ? make("p", { class: "soft" }, `${detail.calls_left_out} more are in the record.`) : null;
  return make("section", {}, title, make("ol", { class: "calls" }, items), rest);
}

function judge(detail) {
  const judge = detail.judge;
  if (!judge.max) return null;
  const score = judge.scored ? `${number(judge.score)} of ${number(judge.max)} points` : "not scored";
  const items = judge.items.map(one => make("div", { class: "quote" }, make("h4", {}, one.name.replaceAll("_", " ")),
    one.words.map(text => make("p", { class: "said" }, text)),
    make("p", { class: "evidence" }, one.numbers.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(" · "))));
  return make("section", {}, make("h3", {}, "The judge, beside the score: ", make("span", { class: "soft" }, score)), make("div", { class: "columns" }, items));
}

function texts(detail) {
  const folded = (title, ...inside) => make("details", {}, make("summary", {}, make("span", { class: "link" }, title)), inside);
  const method = detail.method.map(([name, text]) => make("p", { class: "said" }, name ? make("b", {}, `${name}: `) : null, text));
  return make("section", {}, make("h3", {}, "In words"),
    method.length ? folded("The agent's method", method) : null,
    detail.comments ? folded("The agent's comments", make("p", { class: "said" }, detail.comments)) : null,
    detail.rest ? folded("What else was submitted", make("pre", {}, detail.rest)) : null,
    detail.prompt ? folded("What the agent was asked", make("pre", {}, detail.prompt)) : null);
}
