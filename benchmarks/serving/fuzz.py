"""Ten thousand requests that no sane client sends: each is refused politely or answered rightly, and nothing breaks.

    python benchmarks/serving/fuzz.py [--requests 100000] [--seed 1] [--clients 8] [--sanitize address]

Requests of `attacks.py`: wrong shapes, types, names and sizes, NaN and huge values, dense and absurd events, truncated
and lying bodies at the HTTP port, raw garbage, gRPC messages whose parts contradict each other. An answer is good if
it is a refusal of the client's doing (HTTP 4xx, gRPC INVALID_ARGUMENT and the like) or, where the request was in fact
valid, the labels that the pipeline gives here. Bad are: 5xx, INTERNAL or UNKNOWN, no answer in time, other labels, a
path or traceback in the answer. Every 100 requests and at the end each model must still find the right tracks, and the
processes must be those of the beginning. With `--sanitize` the native backend is built with sanitizers (`sanitized.py`)
and watched inside the server; it must have nothing to report. No reverse proxy stands before the server: Triton and the
backend get it all.

One thing is counted apart because it is not ours to change: Triton 2.51 answers JSON that it cannot read with 500.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from attacks import ATTACKS, Attack
from growth import memory_now
from replies import KNOWN, Reply, Target
from rich.progress import Progress
from rich.table import Table
from sanitized import SANITIZERS, sanitized
from served import (
    CONSOLE,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    print_header,
    report,
    serving,
    verdict,
)

from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.triton.server.server import TritonServer

MODELS = ("exatrkx", "exatrkx_ragged", "module_map")
CHECK_EVERY = 100
"""Requests of one client between two looks at labels and processes."""


def main() -> None:
    parser = options_of("fuzz", __doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--only", nargs="+", metavar="ATTACK", help="names of attacks; all if not given")
    parser.add_argument("--sanitize", choices=SANITIZERS, help="build the native backend so, and ask that")
    parser.add_argument("--log", type=Path, help="file to which the log of the server is appended")
    options = parser.parse_args()
    begun = print_header("fuzzing", options)
    attacks = [attack for attack in ATTACKS if options.only is None or attack.name in options.only]
    how = {"threads": options.threads, "backend": options.backend, "log": options.log}
    with sanitized(options.sanitize) as build:
        with serving(options.models, libraries=build.libraries, proxy=False, **how) as server:
            body = campaign(server, attacks, options)
        body["reports"] = build.reports()
    for text in body["reports"]:
        CONSOLE.print(text[:3000], style="red", markup=False)
    if options.sanitize:
        words = f"{len(body['reports'])} reports of the {options.sanitize} sanitizer"
        body["summary"].append(verdict("sanitizers", not body["reports"], words))
    report(options, begun, body)
    raise SystemExit(0 if all(line["met"] or "known" in line for line in body["summary"]) else 1)


def campaign(server: TritonServer, attacks: Sequence[Attack], options: Any) -> dict[str, Any]:
    """All requests against one server, and what is to be said of them."""
    direct = {model: direct_finder(model, options.threads) for model in options.models}
    target = Target(server.http_url, server.grpc_url, tuple(options.models), direct)
    known = events_at(0, 3, options.seed)[:3]
    before = processes(server)
    memory_before = memory_now(server)
    replies: list[tuple[str, Reply]] = []
    wrong: list[str] = []
    begin = time.perf_counter()
    with Progress(console=CONSOLE, transient=True) as progress, ThreadPoolExecutor(options.clients) as pool:
        task = progress.add_task("requests", total=options.requests)

        def client(number: int) -> None:
            generator = np.random.default_rng([options.seed, number])
            for index in range(number, options.requests, options.clients):
                attack = attacks[index % len(attacks)] if index < 2 * len(attacks) else pick(attacks, generator)
                replies.append((attack.name, attack.reply(target, generator)))
                progress.advance(task)
                if index // options.clients % CHECK_EVERY == CHECK_EVERY - 1:
                    wrong.extend(wrong_labels(server, target, known[:1]))

        for done in [pool.submit(client, number) for number in range(options.clients)]:
            done.result()
    seconds = time.perf_counter() - begin
    wrong += wrong_labels(server, target, known)
    after, memory_after = processes(server), memory_now(server)
    CONSOLE.print(table_of(replies))
    bad = [(name, reply) for name, reply in replies if not reply.good]
    for name, reply in unlike(bad):
        CONSOLE.print(f"bad: {name}: {reply.status}: {reply.text[:300]}", style="red", markup=False)
    slow = max((reply.seconds for _, reply in replies), default=0.0)
    for when, used in (("before", memory_before), ("after", memory_after)):
        CONSOLE.print(f"memory {when} [MB]: {', '.join(f'{k} {v:.0f}' for k, v in used.items())}", markup=False)
    known_500 = Counter(reply.text.strip()[:50] for _, reply in replies if reply.status == KNOWN)
    words = f"{sum(known_500.values())} of {len(replies)} got a 500 from Triton's own reader of JSON"
    summary = [
        verdict(
            "answers", not bad, f"{len(replies)} requests in {seconds:.0f} s, {len(bad)} bad, slowest {slow:.1f} s"
        ),
        verdict("4xx also for malformed JSON", not known_500, words) | {"known": True},
        verdict("processes", before == after, f"before {before}, after {after}"),
        verdict("labels afterwards", not wrong, f"{len(wrong)} wrong {wrong[:3]}"),
    ]
    return {
        "seed": options.seed,
        "requests": len(replies),
        "seconds": seconds,
        "by_attack": {
            name: Counter(("" if reply.good else "BAD ") + reply.status for kind, reply in replies if kind == name)
            for name in dict.fromkeys(name for name, _ in replies)
        },
        "bad": [{"attack": name, "status": reply.status, "text": reply.text[:1000]} for name, reply in unlike(bad)],
        "known": known_500,
        "slowest_seconds": slow,
        "memory_before": memory_before,
        "memory_after": memory_after,
        "summary": summary,
    }


def pick(attacks: Sequence[Attack], generator: np.random.Generator) -> Attack:
    """An attack at random, by weight."""
    weights = np.array([attack.weight for attack in attacks])
    return attacks[int(generator.choice(len(attacks), p=weights / weights.sum()))]


def wrong_labels(server: TritonServer, target: Target, events: Sequence[Hits]) -> list[str]:
    """Models that do not give the labels they should, as an honest client sees them."""
    results = []
    for model in target.models:
        for protocol in ("grpc", "http", "shm"):
            with finder_of(server, model, protocol, retries=1) as finder:
                for hits in events:
                    try:
                        labels = finder.find(hits).track_id
                    except BeampipeError as error:
                        results.append(f"{model} over {protocol}: {error}")
                        continue
                    if labels.tobytes() != target.direct[model].find(hits).track_id.tobytes():
                        results.append(f"{model} over {protocol}: other labels for {len(hits)} hits")
    return results


def processes(server: TritonServer) -> dict[str, int | None]:
    """Process ids of server and stubs."""
    return {
        "server": server.pid,
        **{stub.instance: stub.pid for stub in sorted(server.stubs(), key=lambda s: s.instance)},
    }


def unlike(bad: Sequence[tuple[str, Reply]]) -> list[tuple[str, Reply]]:
    """The first of each kind of bad reply."""
    first: dict[tuple[str, str, str], tuple[str, Reply]] = {}
    for name, reply in bad:
        first.setdefault((name, reply.status, reply.text[:40]), (name, reply))
    return list(first.values())


def table_of(replies: Sequence[tuple[str, Reply]]) -> Table:
    table = Table(title="replies by attack", caption="good: a refusal that blames the client, or the right labels")
    table.add_column("attack")
    for name in ("requests", "bad", "slowest \\[ms]"):
        table.add_column(name, justify="right")
    table.add_column("replies")
    for name in dict.fromkeys(name for name, _ in replies):
        mine = [reply for kind, reply in replies if kind == name]
        statuses = Counter(reply.status for reply in mine)
        table.add_row(
            name,
            str(len(mine)),
            str(sum(not reply.good for reply in mine)),
            f"{max(reply.seconds for reply in mine) * 1e3:.0f}",
            ", ".join(f"{status} x {count}" for status, count in statuses.most_common(5)),
        )
    return table


if __name__ == "__main__":
    main()
