"""What the benchmark counts."""

from benchmarks.train_step import Bench
from jaxgan import config as configs
from jaxgan.cli.train import complete
from jaxgan.data.sources import open_images
from jaxgan.training import growth


def count(critic_steps):
    config = configs.load("fashion_wgan_gp")
    configs.override(config, ["model.channel_base=64", "model.channel_max=8", f"loss.critic_steps={critic_steps}"])
    images = open_images("fashion", split="test")
    config = complete(config, images).to_dict()
    bench = Bench(config, images, growth.phases(config, 10**9)[-1])
    return bench.per_image("flops") * critic_steps * config["batch_size"]


def test_every_critic_step_is_counted():
    """XLA counts the body of a loop once."""
    one, three = count(1), count(3)
    discriminator = (three - one) / 2
    assert 0.4 * one < discriminator < one
