"""EqGAN-SA on the embedded emoji at 64 px in colour: `emoji` led by heatmaps and aligned with its discriminator.

jaxgan train --config=eqgan_emoji64 --workdir=runs/eqgan_emoji64

Its baseline is `emoji` with --config.loss.pl_weight=0 --config.loss.style_mixing_prob=0, both off here as released.
"""

from jaxgan.configs import common, emoji


def get_config():
    """The networks and budget of `emoji`; no path length, no mixing, as released."""
    c = common.eqgan()
    plain = emoji.get_config()
    for part in ("model", "loss"):
        c[part].update(
            {k: v for k, v in plain[part].items() if k not in ("architecture", "pl_weight", "style_mixing_prob")}
        )
    for name in ("data", "batch_size", "total_kimg", "tick_kimg", "ema"):
        c[name] = plain[name]
    c.model.sel_hidden, c.model.heatmap_features = 32, 16  # half of the released widths, as the network's
    c.eval_every = 100
    return c
