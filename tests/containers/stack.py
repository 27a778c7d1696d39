"""The worker's own image, built and run with the compose file's settings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from allocation_worker.testing.servers.programs import free_port

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
CONTEXT = [".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements.lock"]
CONTEXT_FOLDERS = ["allocation_worker", "contracts", "docker"]


class Stack:
    """The services of compose.yaml under a project name and on ports of their own."""

    def __init__(self, worker_image: str, secrets: Path) -> None:
        self.project = f"allocation-test-{uuid4().hex[:8]}"
        self.secrets = secrets
        self.database_port = free_port()
        self._settings = {
            "WORKER_IMAGE": worker_image,
            "SECRETS": str(secrets),
            "RABBITMQ_PORT": str(free_port()),
            "RABBITMQ_MANAGEMENT_PORT": str(free_port()),
            "POSTGRES_PORT": str(self.database_port),
        }

    def amqp_url(self, user: str = "operator") -> str:
        """The broker's address on the host, for one of its users."""
        return (self.secrets / "host" / user).read_text()

    @property
    def dsn(self) -> str:
        """The database's address on the host, for the superuser."""
        password = (self.secrets / "postgres" / "password").read_text()
        options = f"sslmode=verify-full&sslrootcert={self.secrets}/ca.pem"
        return f"postgresql://postgres:{password}@localhost:{self.database_port}/allocation?{options}"

    def compose(self, *args: str) -> str:
        """Run docker compose on this project, with the read model; give what it printed."""
        return run(self._command(*args), settings=self._settings)

    def _command(self, *args: str) -> list[str]:
        project = ["--project-name", self.project, "--file", str(COMPOSE_FILE), "--profile", "read-model"]
        return [*_compose(), *project, *args]

    def operator(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb as the operator does, also one that may fail."""
        command = self._command("run", "--rm", "-T", "operator", *words)
        env = {**os.environ, **self._settings}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)

    def container(self, service: str) -> str:
        """The container of a service, also if it has ended; not one of `compose run`."""
        labels = {"project": self.project, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return run(["docker", "ps", "--all", "--quiet", *filters]).strip()

    def exit_code(self, service: str) -> int:
        """How the last container of a service ended."""
        return int(run(["docker", "inspect", "--format", "{{.State.ExitCode}}", self.container(service)]))


@contextmanager
def running_stack(worker_image: str, secrets: Path) -> Iterator[Stack]:
    """Start all services, and remove them with their data afterwards; their logs are told if they don't start."""
    stack = Stack(worker_image, secrets)
    try:
        stack.compose("up", "--no-build", "--detach")
        yield stack
    except BaseException:
        print(stack.compose("logs", "--no-color", "--tail=40"))  # noqa: T201 - pytest shows it with the failure
        raise
    finally:
        stack.compose("down", "--volumes", "--timeout", "20")


def build_worker_image(folder: Path) -> str:
    """Build the image without a network: what it is made of is downloaded here, with this machine's settings."""
    for name in CONTEXT:
        shutil.copy(ROOT / name, folder / name)
    for name in CONTEXT_FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("node_modules"))
    run([str(ROOT / "docker/offline/wheelhouse.sh"), str(folder / "wheels")], settings={"PYTHON": sys.executable})
    image = "allocation-worker:test"
    dockerfile = str(folder / "docker/Dockerfile")
    run(["docker", "build", "--network", "none", "--file", dockerfile, "--tag", image, str(folder)])
    return image


def run(command: list[str], *, settings: Mapping[str, str] | None = None) -> str:
    """Run a command and give what it printed; all that it said is in the failure."""
    done = subprocess.run(
        command, env={**os.environ, **(settings or {})}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _compose() -> list[str]:
    """Docker's own plugin, or else Debian's docker-compose."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]
