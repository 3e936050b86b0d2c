"""What is noted of the machine, read from counters of the system's."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from hubpkg.runtime import machine
from hubpkg.runtime.machine import Moment

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def root(tmp_path):
    """A system whose counters a test writes."""

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    write(
        "proc/stat", f"cpu  {TICKS} {2 * TICKS} {TICKS} 77777 88888 0 {TICKS} {TICKS} 5 6\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    )
    return tmp_path, write


def test_busy_time_is_all_but_idling_and_waiting_and_counts_guests_once(root):
    assert machine.look(root[0]).all_seconds == 6


def test_what_the_system_does_not_tell_is_none(tmp_path):
    moment = machine.look(tmp_path)
    assert (moment.all_seconds, moment.throttled, moment.overheated) == (None, None, None)
    conditions = machine.between(moment, machine.look(tmp_path))
    assert (conditions.other_cpus, conditions.throttled, conditions.overheated) == (None, None, None)
    assert conditions.cpus == os.cpu_count()


def test_counters_that_stand_at_zero_tell_nothing(root):
    root[1]("proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\n")
    assert machine.look(root[0]).all_seconds is None


@pytest.mark.parametrize(
    ("groups", "files", "throttled"),
    [
        ("0::/a/b\n", {"a/b": "nr_periods 9\nnr_throttled 4\n"}, 4),
        ("0::/a/b\n", {"": "nr_periods 9\nnr_throttled 5\n"}, 5),  # in a container
        ("0::/\n", {"": "usage_usec 9\n"}, None),  # without the controller
        ("3:memory:/x\n2:cpu:/\n0::/\n", {"cpu": "nr_throttled 6\n", "memory/x": "nr_throttled 9\n"}, 6),
        ("2:cpu,cpuacct:/x\n", {"cpu,cpuacct/x": "nr_throttled 7\n"}, 7),
    ],
)
def test_throttling_is_that_of_the_process_s_control_groups(root, groups, files, throttled):
    folder, write = root
    write("proc/self/cgroup", groups)
    for name, text in files.items():
        write(f"sys/fs/cgroup/{name}/cpu.stat", text)
    assert machine.look(folder).throttled == throttled


def test_heat_is_counted_over_the_cores(root):
    folder, write = root
    for core, count in enumerate((2, 0, 3)):
        write(f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", f"{count}\n")
    assert machine.look(folder).overheated == 5


def test_between_two_moments_others_have_what_the_process_did_not_use(monkeypatch):
    before = Moment(100.0, 5.0, 1000.0, 0.5, 3, None)
    after = Moment(110.0, 20.0, 1021.0, 1.5, 5, None)
    found = machine.between(before, after)
    assert (found.own_cpus, found.other_cpus) == (1.5, 0.6)
    assert (found.load_before, found.load_after, found.throttled, found.overheated) == (0.5, 1.5, 2, None)
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    monkeypatch.setenv("MS_WORKER_NUM", "2")
    assert machine.between(before, after).other_cpus == 0.0  # the other worker's share explains it
    assert machine.between(before, after).own_cpus == 3.0


def test_a_process_beside_this_one_is_found():
    spin = "import sys, time\nprint(flush=True)\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        before = machine.look()
        time.sleep(1.0)
        found = machine.between(before, machine.look())
        process.kill()
    assert found.own_cpus < 0.5
    assert found.other_cpus is None or found.other_cpus > 0.3
    few = replace(found, cpus=2)  # of many CPUs, one is not missed
    assert found.other_cpus is None or any("other processes kept" in reason for reason in few.noise())


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        ({}, 1),
        ({"MS_WORKER_NUM": "2"}, 1),  # the scheduler's, and the launcher's
        ({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2"}, 2),
    ],
)
def test_the_processes_of_a_run_are_counted(monkeypatch, given, devices):
    for name in ("MS_ROLE", "MS_WORKER_NUM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert machine.devices() == devices
