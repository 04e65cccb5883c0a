import io
import os
import pty
import subprocess
import sys

from rich.console import Console

from qdgs.cli import run_command
from qdgs.stages.live import read_live
from qdgs.watch_cli import picture


def drawn(live):
    stream = io.StringIO()
    Console(file=stream, width=80, force_terminal=True, color_system="truecolor").print(picture(live))
    return stream.getvalue()


def test_a_map_is_drawn_in_colours_with_its_axes(finished):
    text = drawn(read_live(finished.path))
    assert "across: a red shape → a blue shape" in text
    assert "up: a triangle with 3 edges → a square" in text
    assert text.count("38;2;") > 5
    assert "▀" in text


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(finished, capfd):
    assert run_command(["watch", str(finished.path)]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert out.count("\n") == 1
    assert out.endswith("lineages; through\n")
    assert run_command(["watch", str(finished.path), "--once"]) == 0
    assert "\x1b" not in capfd.readouterr().out


def test_watching_follows_until_the_search_is_through(finished, capfd, monkeypatch):
    archive = finished.path / "search" / "archive.parquet"
    aside = archive.rename(archive.with_name("aside.parquet"))
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            aside.rename(archive)

    monkeypatch.setattr("qdgs.watch_cli.time.sleep", sleep)
    assert run_command(["watch", str(finished.path), "--every", "0.1"]) == 0
    assert waited == [0.1] * 3
    lines = capfd.readouterr().out.splitlines()
    assert [line.endswith("through") for line in lines] == [False, True]


def test_on_a_terminal_it_draws(finished):
    ours, theirs = pty.openpty()
    script = "from qdgs.cli import main; main()"
    command = [sys.executable, "-c", script, "watch", str(finished.path)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            said += part
    os.close(ours)
    assert process.returncode == 0
    assert "▀" in said.decode()


def test_a_folder_without_a_run_is_one_sentence(tmp_path, capfd):
    assert run_command(["watch", str(tmp_path)]) == 2
    assert capfd.readouterr().err.startswith(f"qdgs: {tmp_path}: expected the folder of a run")
