"""Monitoring of a fleet: Prometheus with its rules, a dashboard for Grafana, and a local page."""
