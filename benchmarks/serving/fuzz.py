"""Ten thousand requests that no sane client sends: each is refused politely or answered rightly, and nothing breaks.

    python benchmarks/serving/fuzz.py [--requests 100000] [--seed 1] [--clients 8] [--sanitize address]

Requests of `attacks.py` beside this file: wrong shapes, types, names and sizes, NaN and huge values, dense and absurd
events, truncated bodies and bodies with wrong lengths, raw garbage, gRPC messages whose parts contradict each other. An
answer is good if it is a refusal that blames the client (HTTP 4xx, gRPC INVALID_ARGUMENT and the like) or, for a valid
request, the labels that the pipeline gives here. Bad are: 5xx, INTERNAL or UNKNOWN, no answer in time, other labels, a
path or traceback in the answer. Every 100 requests and at the end each model must still find the right tracks, and the
processes must be those of the beginning. With `--sanitize` the native backend is built with sanitizers
which must report nothing. No reverse proxy stands before the server.

Status 500 of Triton 2.51 for JSON that it cannot read is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from attacks import ATTACKS, KNOWN, Attack, Reply, Target
from served import (
    CONSOLE,
    SANITIZERS,
    Figure,
    begin,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    sanitized,
    serving,
    write_result,
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
    begun = begin("fuzzing")
    attacks = [attack for attack in ATTACKS if options.only is None or attack.name in options.only]
    how = {"threads": options.threads, "backend": options.backend, "log": options.log}
    with sanitized(options.sanitize) as build:
        with serving(options.models, libraries=build.libraries, proxy=False, **how) as server:
            figures, details = campaign(server, attacks, options)
        reports = build.reports()
    for text in reports:
        CONSOLE.print(text[:3000], style="red", markup=False)
    figures.append(Figure("reports of sanitizers", len(reports), "", "equal"))
    write_result(options.output, begun, figures, **details)
    raise SystemExit(1 if any(figure.value for figure in figures if figure.better == "equal") else 0)


def campaign(server: TritonServer, attacks: Sequence[Attack], options: Any) -> tuple[list[Figure], dict[str, Any]]:
    """All requests against one server, and what is to be said of them."""
    direct = {model: direct_finder(model, options.threads) for model in options.models}
    target = Target(server.http_url, server.grpc_url, tuple(options.models), direct)
    known = events_at(0, 3, options.seed)[:3]
    before = processes(server)
    replies: list[tuple[str, Reply]] = []
    wrong: list[str] = []
    with ThreadPoolExecutor(options.clients) as pool:

        def client(number: int) -> None:
            generator = np.random.default_rng([options.seed, number])
            for index in range(number, options.requests, options.clients):
                attack = attacks[index % len(attacks)] if index < 2 * len(attacks) else pick(attacks, generator)
                replies.append((attack.name, attack.reply(target, generator)))
                if index // options.clients % CHECK_EVERY == CHECK_EVERY - 1:
                    wrong.extend(wrong_labels(server, target, known[:1]))

        for done in [pool.submit(client, number) for number in range(options.clients)]:
            done.result()
    wrong += wrong_labels(server, target, known)
    after = processes(server)
    bad = [(name, reply) for name, reply in replies if not reply.good]
    for name, reply in unlike(bad):
        CONSOLE.print(f"bad: {name}: {reply.status}: {reply.text[:300]}", style="red", markup=False)
    known_500 = sum(reply.status == KNOWN for _, reply in replies)
    figures = [
        Figure("requests", len(replies), "", "higher"),
        Figure("bad replies", len(bad), "", "equal"),
        Figure("status 500 from Triton's reader of JSON", known_500),
        Figure("processes that were replaced", int(before != after), "", "equal"),
        Figure("wrong labels afterwards", len(wrong), "", "equal"),
    ]
    by_attack = {
        name: Counter(("" if reply.good else "BAD ") + reply.status for kind, reply in replies if kind == name)
        for name in dict.fromkeys(name for name, _ in replies)
    }
    return figures, {"by_attack": by_attack, "wrong": wrong[:3]}


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


if __name__ == "__main__":
    main()
