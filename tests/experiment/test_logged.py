"""A command under `roclip logged` loses nothing with its display, and a person who watches it sees its progress bars."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.fixtures.terminals import OnTerminal
from tests.fixtures.webserver import wait_until

LOGGED = [sys.executable, "-m", "roclip_command", "logged"]
SLOW = "echo begun; for n in 1 2 3 4 5; do sleep 0.2; echo $n; done; echo ended > end"  # shell


def logged(folder, *words: str, **how) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*LOGGED, *words], cwd=folder, env=environment, capture_output=True, text=True, **how)


def on_terminal(folder, *words: str, **environment: str) -> OnTerminal:
    return OnTerminal([*LOGGED, *words], folder, {"PYTHONPATH": str(ROOT), **environment})


def test_it_shows_and_keeps_both_streams_and_ends_with_the_status(tmp_path):
    done = logged(tmp_path, "deep/a.log", "sh", "-c", "echo 1; echo 2 >&2; printf 'no end'; exit 75")
    assert (done.returncode, done.stdout, done.stderr) == (75, "1\n2\nno end\n", "")
    assert (tmp_path / "deep/a.log").read_text() == done.stdout
    assert logged(tmp_path, "a.log", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert (tmp_path / "a.log").read_text() == ""


def test_a_label_stands_before_every_line_and_arguments_stay_what_they_are(tmp_path):
    done = logged(tmp_path, "--label", "patch clip seed 1", "a.log", "printf", r"%s\n", "--label", "a  'b'")
    assert done.stdout == (tmp_path / "a.log").read_text() == "[patch clip seed 1] --label\n[patch clip seed 1] a  'b'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.log", "no-such-command"], "error: no-such-command: No such file or directory\n"),
        (["a.log"], "error: usage: roclip logged [--label TEXT] LOG COMMAND...\n"),
        (["/dev", "true"], "error: /dev: Is a directory\n"),
    ],
)
def test_what_cannot_be_started_is_one_line(tmp_path, words, message):
    done = logged(tmp_path, *words)
    assert (done.returncode, done.stderr) == (1, message)


def test_a_log_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").write_text("of great value")
    (tmp_path / "a.log").symlink_to("mine")
    done = logged(tmp_path, "a.log", "true")
    assert (done.returncode, done.stderr) == (
        1,
        "error: a.log: is a link, and what it leads to is not overwritten; remove it\n",
    )
    assert (tmp_path / "mine").read_text() == "of great value"


def test_with_stdout_closed_it_runs_to_the_end(tmp_path):
    command = f'"{sys.executable}" -m roclip_command logged a.log sh -c "{SLOW.replace("$", chr(92) + "$")}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 0
    assert (tmp_path / "a.log").read_text() == "begun\n1\n2\n3\n4\n5\n"
    assert (tmp_path / "end").exists()


def test_when_the_reader_of_its_stdout_goes_away_it_runs_to_the_end(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*LOGGED, "a.log", "sh", "-c", SLOW]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.stdout.close()
        assert process.wait(20) == 0
    assert (tmp_path / "a.log").read_text() == "begun\n1\n2\n3\n4\n5\n"


def test_when_its_terminal_is_taken_away_it_runs_to_the_end(tmp_path):
    """SIGHUP comes with it."""
    process = on_terminal(tmp_path, "a.log", "sh", "-c", SLOW)
    process.see(b"begun")
    process.take_away()
    assert process.wait() == 0
    assert (tmp_path / "a.log").read_text() == "begun\n1\n2\n3\n4\n5\n"
    assert (tmp_path / "end").exists()


BAR = """
import sys, time
from tqdm import tqdm
for epoch in (1, 2):
    for _ in tqdm(range(9), f"epoch {epoch}/2", unit="pair", leave=False, disable=None):
        time.sleep(0.1)
    print(f"epoch {epoch} has ended", file=sys.stderr)
"""


def test_on_a_terminal_it_shows_bars_and_the_log_has_whole_lines(tmp_path):
    process = on_terminal(tmp_path, "--label", "patch clip", "a.log", sys.executable, "-c", BAR, TQDM_MININTERVAL="0.2")
    assert process.wait() == 0
    bars = re.findall(rb"\r\x1b\[K\[patch clip\] (epoch \d/2: [^\r]*)", process.shown)
    assert any(re.search(rb"[1-9]/9 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+pair/s\]", bar) for bar in bars), process.shown
    log = (tmp_path / "a.log").read_text()
    assert log == "[patch clip] epoch 1 has ended\n[patch clip] epoch 2 has ended\n"
    for line in log.splitlines():
        assert b"\r\x1b[K" + line.encode() in process.shown
    assert logged(tmp_path, "a.log", sys.executable, "-c", BAR).stdout == "epoch 1 has ended\nepoch 2 has ended\n"


SAVING = """
import signal, sys, time
came = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: came.append(number))
print("begun", flush=True)
while not came:
    time.sleep(0.05)
time.sleep(0.5)  # it saves
print("saved after", len(came), flush=True)
sys.exit(75)
"""


def test_sigterm_is_passed_on_and_waited_for(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*LOGGED, "a.log", sys.executable, "-c", SAVING], cwd=tmp_path, env=environment) as process:
        assert wait_until(lambda: (tmp_path / "a.log").exists() and "begun" in (tmp_path / "a.log").read_text())
        process.terminate()
        assert process.wait(20) == 75
    assert (tmp_path / "a.log").read_text() == "begun\nsaved after 1\n"


def test_ctrl_c_is_the_command_s(tmp_path):
    process = on_terminal(tmp_path, "a.log", sys.executable, "-c", SAVING)
    process.see(b"begun")
    process.type(b"\x03")
    assert process.wait() == 75
    assert (tmp_path / "a.log").read_text() == "begun\nsaved after 1\n"


def test_it_does_not_wait_for_what_the_command_left_behind(tmp_path):
    started = time.monotonic()
    assert logged(tmp_path, "a.log", "sh", "-c", "sleep 20 & echo ended", timeout=15).stdout == "ended\n"
    assert time.monotonic() - started < 10


def test_long_output_is_kept_whole(tmp_path):
    done = logged(tmp_path, "a.log", "seq", "200000")
    assert done.stdout == (tmp_path / "a.log").read_text() == "".join(f"{n}\n" for n in range(1, 200001))
