"""Closed forms of queueing theory, which the simulator must reproduce.

Sources: L. Kleinrock, *Queueing Systems* I (1975), chapters 3 and 5; M. Harchol-Balter, *Performance Modeling and
Design of Computer Systems* (2013), chapters 6, 14, 22 and 23.
"""

from __future__ import annotations

from math import factorial

__all__ = [
    "batch_latency",
    "erlang_b",
    "erlang_c",
    "machine_repair",
    "pareto_moment",
    "pollaczek_khinchine",
    "wait_in_queue",
]


def erlang_b(servers: int, offered: float) -> float:
    """Share of requests that M/G/c/c refuses.

    Args:
        servers: number of servers, c.
        offered: rate of arrivals x mean service time.
    """
    terms = [offered**k / factorial(k) for k in range(servers + 1)]
    return terms[-1] / sum(terms)


def erlang_c(servers: int, offered: float) -> float:
    """Probability that a request of M/M/c must wait."""
    full = offered**servers / factorial(servers) / (1 - offered / servers)
    return full / (sum(offered**k / factorial(k) for k in range(servers)) + full)


def wait_in_queue(servers: int, rate: float, service: float) -> float:
    """Mean wait in M/M/c [s]."""
    return erlang_c(servers, rate * service) * service / (servers - rate * service)


def pollaczek_khinchine(rate: float, mean: float, square: float) -> float:
    """Mean wait in M/G/1 [s], from mean and mean square of the service time."""
    return rate * square / (2 * (1 - rate * mean))


def pareto_moment(least: float, shape: float, most: float, power: float) -> float:
    """Mean of x^power of the Pareto distribution between `least` and `most`."""
    kept = 1 - (least / most) ** shape
    return float(shape / (shape - power) * (least**power - least**shape * most ** (power - shape)) / kept)


def batch_latency(rate: float, together: int, service: float) -> float:
    """Mean latency in M/M/1 if requests come in batches of one size [s]."""
    load = rate * service
    return service * (1 + together) / (2 * (1 - load))


def machine_repair(clients: int, servers: int, think: float, service: float) -> tuple[float, float]:
    """Throughput [1/s] and mean latency [s] of a closed loop, M/M/c//N.

    Args:
        clients: number of clients, N.
        servers: number of servers, c.
        think: mean time between an answer and the next request [s], exponential.
        service: mean service time [s], exponential.
    """
    weights = [1.0]
    for n in range(1, clients + 1):
        weights.append(weights[-1] * (clients - n + 1) / think * service / min(n, servers))
    request = sum(n * weight for n, weight in enumerate(weights)) / sum(weights)
    throughput = (clients - request) / think
    return throughput, request / throughput
