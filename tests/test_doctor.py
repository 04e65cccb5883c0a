import shutil

import qdgs
from qdgs.doctor import ENOUGH_DISK, OPTIONAL, PACKAGES, examine


def examined():
    return {item.name: item for item in examine()}


def test_the_whole_installation_is_looked_at():
    found = examined()
    wanted = {"python", "qdgs", "devices", "threads", "torchvision", "hub cache", *PACKAGES, *OPTIONAL}
    wanted |= {"disk, run folder", "disk, temporary files", "shapes-vae (generator)", "shape-cnn (judge)"}
    assert wanted | {"qdgs-mini (guide)", "torchscript (guide)"} <= set(found)
    assert found["torch"].well
    assert found["devices"].found.startswith("cpu")
    assert found["shapes-vae (generator)"].found == "ready"


def test_what_is_not_installed_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(OPTIONAL, "no-such-package", "nothing")
    monkeypatch.setattr("qdgs.doctor.PACKAGES", ("no-such-need",))
    found = examined()
    optional, needed = found["no-such-package"], found["no-such-need"]
    assert optional.found == "not installed; for nothing: pip install 'qdgs[no-such-package]'"
    assert optional.well
    assert not needed.well


def test_a_part_that_cannot_be_used_and_a_full_disk_are_not_well(monkeypatch):
    def broken():
        raise qdgs.QdgsError("its weights are spoilt")

    monkeypatch.setitem(qdgs.GENERATORS, "broken", broken)
    monkeypatch.setattr("qdgs.doctor.ENOUGH_DISK", 1 + shutil.disk_usage(".").total)
    found = examined()
    assert not found["broken (generator)"].well
    assert found["broken (generator)"].found == "cannot be used here: its weights are spoilt"
    assert not found["disk, run folder"].well
    assert ENOUGH_DISK == 2 * 2**30


def test_a_look_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def failing():
        raise RuntimeError("no\nthreads")

    monkeypatch.setattr("qdgs.doctor._threads", failing)
    found = examined()
    assert (found["threads"].found, found["threads"].well) == ("no threads", False)
    assert found["torch"].well
