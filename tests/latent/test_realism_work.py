"""The realism direction's work: kept, continued, refused where it is another's, split over devices, told of."""

import shutil

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent import realism_stages, stages
from jaxgan.latent.realism import Search
from tests.devices import call_on_devices
from tests.latent.test_realism import config, dcgan, found, z_of

# Few steps: in float32 another order of summation becomes another path after many.
SHORT = ("recover.steps=6", "chunk=2", "batch=4", "checkpoint_seconds=0.0", "prototype.method=forward")
SHORT += ("prototype.steps=6", "prototype.change=0.0")


class Stop(Exception):
    """Raised to interrupt."""


def assert_equal(one, other):
    for name in ("x", "y", "p", "code", "share", "objective", "losses", "theta"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def search_on_devices(folder):
    """What a process with four devices does; for the test below."""
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config(*SHORT))
    z = z_of(gan, 6)
    whole = search.find(z)
    last = 0

    def stop(done, total):
        nonlocal last
        if done > 0.1 * total:  # the second batch of the inversion
            last = done
            raise Stop

    with pytest.raises(Stop):
        search.find(z, folder=folder / "work", identity={"of": "a test"}, progress=stop)
    shutil.copytree(folder / "work", folder / "interrupted")
    begun = []
    resumed = search.find(
        z, folder=folder / "work", identity={"of": "a test"}, progress=lambda done, total: begun.append(done)
    )
    assert begun[0] > 0.2 * last  # it did not begin again
    assert_equal(resumed, whole)
    np.savez(folder / "found.npz", y=whole.y, p=whole.p, code=whole.code, share=whole.share)


def test_devices_share_the_codes_and_kept_work_goes_on(tmp_path):
    """Six codes on four devices are those of one; there an interrupted search continues bit for bit, and here too."""
    call_on_devices(4, search_on_devices, tmp_path)
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config(*SHORT))
    one = search.find(z_of(gan, 6))
    moved = search.find(z_of(gan, 6), folder=tmp_path / "interrupted", identity={"of": "a test"})
    with np.load(tmp_path / "found.npz") as four:
        for found_here in (one, moved):
            for name in ("y", "p", "code"):
                np.testing.assert_allclose(getattr(found_here, name), four[name], atol=2e-3, err_msg=name)
    with pytest.raises(UserError, match="holds the unfinished work of another command"):
        search.find(z_of(gan, 5), folder=tmp_path / "interrupted", identity={"of": "a test"})


def test_kept_work_is_of_its_start_and_its_prototype(tmp_path):
    gan = dcgan()[0]
    search, result = found()
    z = z_of(gan, 4)
    starts = np.asarray(search.bank.codes[:4])
    one = search.find(z, start=starts, folder=tmp_path / "find")
    again = search.find(z, start=starts, folder=tmp_path / "find")
    np.testing.assert_array_equal(again.y, one.y)
    with pytest.raises(UserError, match="another command"):
        search.find(z, start=-starts, folder=tmp_path / "find")
    search.towards(result.p[0], z, folder=tmp_path / "towards")
    with pytest.raises(UserError, match="another command"):
        search.towards(-result.p[0], z, folder=tmp_path / "towards")


def test_a_finished_stage_is_taken_up_in_smaller_batches(tmp_path, monkeypatch):
    """What the advice to take half of a batch leads to, where a later stage does not fit."""
    gan, generator, discriminator = dcgan()
    z = z_of(gan, 6)

    def stopped(*_):
        raise UserError("a batch of 4 does not fit")

    with monkeypatch.context() as patch:
        patch.setattr(realism_stages, "prototypes", stopped)
        with pytest.raises(UserError, match="does not fit"):
            Search(gan, generator, discriminator, config()).find(z, folder=tmp_path)
    inverted = []
    run = stages.Runner.run
    monkeypatch.setattr(stages.Runner, "run", lambda self, *a: inverted.append(1) or run(self, *a))
    smaller = Search(gan, generator, discriminator, config("batch=2")).find(z, folder=tmp_path)
    assert not inverted
    np.testing.assert_allclose(smaller.y, found()[1].y, atol=1e-5)


def test_a_later_stage_s_settings_leave_the_earlier_stages_work(tmp_path, monkeypatch):
    gan, generator, discriminator = dcgan()
    z = z_of(gan, 4)
    first = Search(gan, generator, discriminator, config()).find(z, folder=tmp_path)
    shutil.rmtree(tmp_path / "select")
    shutil.rmtree(tmp_path / "seen")
    began = []
    run = stages.Stages._batched
    monkeypatch.setattr(stages.Stages, "_batched", lambda self, name, *a: began.append(name) or run(self, name, *a))
    fixed = Search(gan, generator, discriminator, config("select.method=fixed")).find(z, folder=tmp_path)
    assert began == ["select", "seen"]
    np.testing.assert_array_equal(fixed.p, first.p)
    with pytest.raises(UserError, match="another command"):
        Search(gan, generator, discriminator, config("prototype.points=5")).find(z, folder=tmp_path)
    with pytest.raises(UserError, match="another command"):
        Search(gan, generator, discriminator, config("select.high=0.7")).find(z, folder=tmp_path)


def test_codes_and_latents_of_the_same_numbers_are_other_work(tmp_path):
    search, _ = found()
    z = z_of(dcgan()[0], 4)
    search.find(z, folder=tmp_path)
    with pytest.raises(UserError, match="another command"):
        search.find(z, coded=True, folder=tmp_path)


@pytest.mark.parametrize("method", ["grid", "forward"])
def test_progress_goes_through_all_stages(method):
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config(f"prototype.method={method}", "prototype.steps=10"))
    told = []
    search.find(z_of(gan, 6), progress=lambda done, total: told.append((done, total)))
    done, totals = zip(*told)
    per_code = 20 + (9 + 9 + 9 if method == "grid" else 10) + (9 + 9) + 4
    assert set(totals) == {8 * per_code}  # six codes are two batches of four
    assert sorted(done) == list(done)
    assert done[-1] == totals[0]
