"""The table of the alerts of a fleet, from the rules that Prometheus reads."""

from __future__ import annotations

import re

import yaml

from beampipe.fleet.monitoring.prometheus import rules_text
from beampipe.fleet.specification import MonitoringSettings

VALUE = re.compile(r"\{\{ \$(?:labels\.(\w+)|value)[^}]*\}\}")


def table() -> str:
    """The table in Markdown: name, severity, meaning and action of each alert."""
    rules = [rule for group in yaml.safe_load(rules_text(MonitoringSettings()))["groups"] for rule in group["rules"]]
    rows = [
        f"| `{rule['alert']}` | {rule['labels']['severity']} | {plain(rule['annotations']['summary'])} |"
        f" {plain(rule['annotations']['action'])} |"
        for rule in rules
        if "alert" in rule
    ]
    return "\n".join(["| alert | severity | meaning | action |", "| --- | --- | --- | --- |", *rows])


def plain(text: str) -> str:
    """A text of an alert with `SERVER`, `MODEL` or `N` in place of the label or the value."""
    return VALUE.sub(lambda found: (found[1] or "N").upper(), text)
