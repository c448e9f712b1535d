"""Points as tables, and as the two plots of throughput: against concurrency, and against instances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from beampipe.serving.bench.points import DIRECT, BenchPoint, BenchResult, write_bench
from beampipe.terminal import make_table

__all__ = ["bench_table", "draw_concurrency", "draw_instances", "raw_table", "report_bench"]


def report_bench(result: BenchResult, folder: Path, out: Console) -> list[Path]:
    """Print the tables of a load test and write its files.

    Args:
        result: what was measured.
        folder: folder of the files.
        out: where the tables are printed.

    Returns:
        The paths of the files: the JSON and the two plots.
    """
    for sample in result.samples:
        out.print(bench_table(result, sample.name))
    if result.raw or result.unstable:
        out.print(raw_table(result))
    names = ("serving.json", "throughput_concurrency.png", "throughput_instances.png")
    figures, concurrency, instances = (folder / name for name in names)
    write_bench(figures, result)
    draw_concurrency(result, concurrency)
    draw_instances(result, instances)
    return [figures, concurrency, instances]


def bench_table(result: BenchResult, sample: str) -> Table:
    """All points of one sample; the ratio is to direct at the same concurrency and instances."""
    about = next(one for one in result.samples if one.name == sample)
    physics = ""
    if about.efficiency is not None and about.fakes is not None:
        physics = f"; efficiency {about.efficiency:.4f}, fakes {about.fakes:.4f} (double majority)"
    times = ("events/s", "ratio", "p50 ms", "p95 ms", "p99 ms")
    table = make_table(
        f"{result.pipeline}, {sample}: {about.events} events, median {about.hits} hits{physics}",
        ("way",),
        ("in flight", "instances x threads", *times, "failed", "batch", "use", "load"),
        caption="labels equal the direct ones byte for byte at every point; ratio: throughput over direct's;"
        " use: processor time of server and models (direct: of this process) over all cores",
    )
    for point in result.points:
        if point.sample == sample:
            table.add_row(*_row(point, _direct(result, point)))
    return table


def raw_table(result: BenchResult) -> Table:
    """What `perf_analyzer` measured."""
    table = make_table(
        "perf_analyzer over gRPC",
        ("sample", "model"),
        ("in flight", "events/s", "p50 ms", "p95 ms", "p99 ms", "queue ms", "model ms"),
        caption="it looks at no label; queue and model: means in the server",
    )
    for sample, point in result.raw:
        times = (point.p50, point.p95, point.p99, point.queue, point.compute)
        row = (sample, point.model, str(point.concurrency), f"{point.throughput:.4g}")
        table.add_row(*row, *(f"{1e3 * seconds:.4g}" for seconds in times))
    if result.unstable:
        table.caption = f"{table.caption}; not measured: {'; '.join(result.unstable)}"
    return table


def _direct(result: BenchResult, point: BenchPoint) -> BenchPoint | None:
    for other in result.of(point.sample, DIRECT):
        if (other.concurrency, other.instances) == (point.concurrency, point.instances):
            return other
    return None


def _row(point: BenchPoint, direct: BenchPoint | None) -> Sequence[str]:
    summary = point.summary
    ratio = f"{summary.throughput / direct.summary.throughput:.3f}" if direct and point.rate is None else ""
    return (
        point.way,
        str(point.concurrency) if point.rate is None else f"open, {point.rate:.3g}/s",
        f"{point.instances} x {point.threads}",
        f"{summary.throughput:.4g}",
        ratio,
        *(f"{1e3 * seconds:.4g}" for seconds in (summary.p50, summary.p95, summary.p99)),
        str(summary.faults),
        "" if point.batch is None else f"{point.batch:.1f}",
        f"{point.utilisation:.0%}",
        f"{point.load_average:.1f}",
    )


def draw_concurrency(result: BenchResult, path: Path) -> None:
    """Throughput against requests in flight, one instance: one panel per sample, one curve per way."""
    import matplotlib.pyplot as plt

    samples = [sample.name for sample in result.samples]
    figure, axes = plt.subplots(1, len(samples), figsize=(4.6 * len(samples), 4.0), squeeze=False, layout="constrained")
    for axis, sample in zip(axes[0], samples, strict=True):
        for number, way in enumerate(dict.fromkeys(point.way for point in result.points)):
            points = [point for point in result.of(sample, way) if point.instances == 1]
            if points:
                axis.plot(
                    [point.concurrency for point in points],
                    [point.summary.throughput for point in points],
                    marker="osD^vPX*"[number % 8],
                    color=f"C{number}",
                    linestyle="--" if way == DIRECT else "-",
                    label=way,
                )
        axis.set(xscale="log", xlabel="requests in flight", title=sample)
        axis.set_xticks(sorted({point.concurrency for point in result.points}))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("events / s")
    axes[0][-1].legend(fontsize="small")
    figure.suptitle(
        f"{result.pipeline}: throughput, {result.conditions['cores']} cores for clients and server together"
    )
    _save(figure, path)


def draw_instances(result: BenchResult, path: Path) -> None:
    """Throughput and utilisation against the number of instances, at the largest concurrency."""
    import matplotlib.pyplot as plt

    samples = [sample.name for sample in result.samples]
    figure, axes = plt.subplots(1, len(samples), figsize=(4.6 * len(samples), 4.0), squeeze=False, layout="constrained")
    top = max(point.concurrency for point in result.points)
    for axis, sample in zip(axes[0], samples, strict=True):
        use = axis.twinx()
        for number, way in enumerate(dict.fromkeys(point.way for point in result.points)):
            points = [point for point in result.of(sample, way) if point.concurrency == top]
            instances = [point.instances for point in points]
            axis.plot(instances, [p.summary.throughput for p in points], "o-", color=f"C{number}", label=way)
            shares = [p.utilisation if p.gpu_utilisation is None else p.gpu_utilisation for p in points]
            use.plot(instances, shares, ":", color=f"C{number}")
        axis.set(xlabel="instances", title=sample, ylim=(0, None))
        axis.set_xticks(sorted({point.instances for point in result.points}))
        use.set_ylim(0, 1.05)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("events / s (solid)")
    use.set_ylabel("utilisation (dotted)")
    axes[0][-1].legend(fontsize="small", loc="lower right")
    figure.suptitle(f"{result.pipeline}: {top} requests in flight")
    _save(figure, path)


def _save(figure: object, path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
