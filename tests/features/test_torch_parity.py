"""Inception-2015, VGG and AlexNet against PyTorch builds of the same published networks; runs where torch is installed.

Weights are random, saved by torch in the published layout and read by our reader. They are scaled so that activations
stay of one size through the network, and every bias and statistic is random too, so that nothing is hidden by a zero.
"""

import numpy as np
import pytest

from jaxgan.features import networks

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

# Minutes on two cores; and the package lpips calls torchvision in an old way.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:torchvision")]


def to_state_dict(params):
    """Our parameters in torch's layout."""
    layouts = {4: lambda v: v.transpose(3, 2, 0, 1), 2: lambda v: v.T}
    return {k: torch.tensor(layouts.get(v.ndim, lambda v: v)(v).copy()) for k, v in params.items()}


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    assert error < 1e-4, error


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "alexnet"])
def test_torchvision_classifiers(name, images, tmp_path):
    state = to_state_dict(networks.random_params(name))
    torch.save(state, tmp_path / f"{name}.pth")
    found = networks.load(name, weights=tmp_path / f"{name}.pth")(images)
    model = getattr(torchvision.models, name)(weights=None).eval()
    model.load_state_dict(state)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (torch.tensor(images.transpose(0, 3, 1, 2)) / 255 - mean) / std
    with torch.no_grad():
        close(found["logits"], model(x))
        close(found["fc7"], model.classifier[:-1](torch.flatten(model.avgpool(model.features(x)), 1)))
        close(found["relu5"].transpose(0, 3, 1, 2), model.features[:-1](x))


@pytest.mark.parametrize(("name", "trunk"), [("lpips-alex", "alexnet"), ("lpips-vgg", "vgg16")])
def test_lpips_with_the_published_heads(name, trunk, images, tmp_path):
    lpips = pytest.importorskip("lpips")
    state = to_state_dict(networks.random_params(trunk))
    torch.save(state, tmp_path / "trunk.pth")
    network = networks.load(name, weights=tmp_path / "trunk.pth")
    theirs = lpips.LPIPS(net=name.split("-")[1], pnet_rand=True, verbose=False).eval()
    for key, value in theirs.net.state_dict().items():
        value.copy_(state[f"features.{key.split('.', 1)[1]}"])
    x = torch.tensor(images.transpose(0, 3, 1, 2)) / 127.5 - 1
    with torch.no_grad():
        expected = theirs(x[:1], x[1:]).reshape(1)
    from jaxgan.features.lpips import distance

    close(distance(network(images[:1]), network(images[1:])), expected)


def test_inception_2015(tmp_path, monkeypatch):
    published = pytest.importorskip("pytorch_fid.inception")
    state = to_state_dict(networks.random_params("inception"))
    torch.save(state, tmp_path / "inception.pth")
    monkeypatch.setattr(published, "load_state_dict_from_url", lambda *_, **__: state)
    # The published code loads strictly except for counters that say nothing at inference.
    loads = torch.nn.Module.load_state_dict
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda self, s: loads(self, s, strict=False))
    model = published.fid_inception_v3().eval()
    images = np.random.default_rng(0).uniform(0, 255, (2, 299, 299, 3)).astype(np.float32)
    found = networks.load("inception", weights=tmp_path / "inception.pth")(images)
    with torch.no_grad():
        x = (torch.tensor(images.transpose(0, 3, 1, 2)) - 128) / 128
        features = {}
        model.avgpool.register_forward_hook(lambda _, __, out: features.update(pool=out.flatten(1)))
        logits = model(x)
    close(found["pool"], features["pool"])
    close(found["logits"], logits)
    close(found["logits_unbiased"], logits - state["fc.bias"])
