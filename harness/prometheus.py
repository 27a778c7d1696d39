"""Prometheus and node exporter as private processes, which read the text files of the worker."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from allocation_worker.testing.servers.programs import Program, ProgramError, free_port, private_folder
from allocation_worker.testing.servers.reaper import MARK

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """A Prometheus that scrapes every second.

    Attributes:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now; an error of Prometheus is raised by `urlopen`."""
        samples: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return samples

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self._get("alerts")["alerts"] if each["state"] == "firing"}

    def _get(self, what: str, **arguments: str) -> Any:  # noqa: ANN401 - JSON
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(arguments)}", timeout=10) as answer:  # noqa: S310 - our own
            return json.load(answer)["data"]


@contextmanager
def prometheus(metrics: Path, rules: Path) -> Iterator[Prometheus]:
    """Run both until the block ends.

    Args:
        metrics: The folder of the text files.
        rules: The alert rules. They fire after a second in place of the minutes that they give.

    Raises:
        ProgramError: A program is missing.
    """
    exporter, server = _find("prometheus-node-exporter"), _find("prometheus")
    with private_folder() as folder:
        port, own_port = free_port(), free_port()
        metrics.mkdir(exist_ok=True)
        collector = _program(
            folder / "exporter",
            [
                *(exporter, "--collector.disable-defaults", "--collector.textfile"),
                *(f"--collector.textfile.directory={metrics}", f"--web.listen-address=127.0.0.1:{port}"),
            ],
        )
        home = folder / "prometheus"
        home.mkdir()
        (home / "prometheus.yml").write_text(CONFIG.format(port=port))
        (home / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 1s", rules.read_text()))
        storage = _program(
            home,
            [
                *(server, f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"),
                f"--web.listen-address=127.0.0.1:{own_port}",
            ],
        )
        running = Prometheus(f"http://127.0.0.1:{own_port}")
        for program in (collector, storage):
            program.launch()
        try:
            storage.wait_until(lambda: running.ask("up == 1")[0])
            yield running
        finally:
            for program in (storage, collector):
                program.end(signal.SIGKILL)


def expressions_of_rules(rules: Path) -> dict[str, str]:
    """Return the expression of each alert, by its name."""
    groups = yaml.safe_load(rules.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def expressions_of_dashboard(dashboard: Path) -> dict[str, str]:
    """Return all expressions of a dashboard, by the title of their panel and their letter; rates are over 10 s."""
    panels = json.loads(dashboard.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "10s")
        for panel in panels
        for target in panel.get("targets", [])
    }


def _find(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ProgramError(f"the program {name} is missing")
    return found


def _program(folder: Path, command: list[str]) -> Program:
    folder.mkdir(exist_ok=True)
    env = {"PATH": os.environ.get("PATH", os.defpath), MARK: str(folder.parent)}
    return Program(command, env=env, folder=folder)
