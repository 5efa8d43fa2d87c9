"""What `firstfault up` starts ends with its owner, and with its state folder: no process and no port of ours stays."""

import contextlib
import json
import os
import shutil
import signal
import socket

import psutil
import pytest

LIMIT = 60.0


def processes_of(project):
    """Whatever runs for the state of a project, by the folder that its environment names."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.environ().get("FIRSTFAULT_HOME") == str(project.home)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def accepts(port):
    """Whether anybody listens there."""
    try:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=2)):
            return True
    except OSError:
        return False


def kill_the_owner(project):
    """As the kernel does when memory is short."""
    services = json.loads((project.home / "services" / "services.json").read_text())
    os.kill(next(service["pid"] for service in services if service["name"] == "owner"), signal.SIGKILL)


def delete_the_state(project):
    """As CI does with its scratch folders."""
    shutil.rmtree(project.home, ignore_errors=True)
    shutil.rmtree(project.home, ignore_errors=True)  # a database may have been written again meanwhile


def delete_the_state_and_kill_the_owner(project):
    """Both at once: nobody is left who knows of the others but by their mark."""
    services = json.loads((project.home / "services" / "services.json").read_text())
    delete_the_state(project)
    with contextlib.suppress(ProcessLookupError):
        os.kill(next(service["pid"] for service in services if service["name"] == "owner"), signal.SIGKILL)


@pytest.mark.parametrize("ends", [(delete_the_state_and_kill_the_owner,), (kill_the_owner, delete_the_state)])
def test_nothing_outlives_the_owner_or_the_state(new_project, await_that, ends):
    """Servers, worker and a run that the worker has just begun end within a minute; the ports are free for new ones."""
    project = new_project()
    for end in ends:
        ended = project.run(*project.arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        project.launch("debug/nightly")
        await_that(lambda: [one for one in processes_of(project) if "prefect.engine" in " ".join(one.cmdline())], 90)
        assert len(processes_of(project)) >= 5 and accepts(project.port) and accepts(project.mlflow_port)
        end(project)
        await_that(
            lambda: not processes_of(project) and not accepts(project.port) and not accepts(project.mlflow_port), LIMIT
        )
