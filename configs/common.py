"""What the experiments share: a base for each architecture, with the settings of its paper or official code.

A value of -1 is filled in by rule from data and devices (the rules are StyleGAN2-ADA's).
"""

from collections.abc import Callable

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """What every experiment has, whatever its networks are."""
    c = ConfigDict()
    c.seed = 0
    c.batch_size = -1  # images per discriminator step over all devices
    c.accumulate = 1  # rounds of gradient accumulation that a batch is cut into
    c.total_kimg = 25000.0  # thousands of real images shown to the discriminator
    c.tick_kimg = 4.0  # between two rows of metrics
    c.steps_per_dispatch = 1  # iterations without lazy terms run as one program; raise it where steps are small
    c.remat = "none"  # or blocks: what lies within a block is computed anew for gradients, to save memory
    c.fsdp = 1  # devices that parameters and optimiser state are split over
    c.w_avg_beta = 0.995

    c.data = ConfigDict()
    c.data.source = "fashion"  # embedded set, prepared folder, or tfds:NAME
    c.data.split = "train"
    c.data.num_images = -1  # of the data
    c.data.x_flip = False
    c.data.use_labels = False
    c.data.dequantise = False  # uniform noise of one grey level on real images
    c.data.num_threads = 2
    c.data.memory_map_gb = 4.0  # sets up to this size are decoded once into a memory map

    c.model = ConfigDict()
    c.model.resolution = -1  # of the data
    c.model.base_shape = (-1, -1)  # of the data: (4, 4) for squares
    c.model.channels = -1  # of the data
    c.model.num_classes = 0  # of the data, where data.use_labels
    c.model.mbstd_group = 1  # images that the discriminator's minibatch statistics are shared by
    c.model.dtype = "auto"  # float32 on CPU, else bfloat16; parameters are float32

    c.loss = ConfigDict()
    c.loss.objective = "nonsaturating"  # or wgan, lsgan, hinge, relativistic
    c.loss.critic_steps = 1  # discriminator steps to a generator step
    c.loss.g_batch_multiple = 1  # generated images of a generator step, in batches; without lazy terms
    c.loss.r1_gamma = 0.0
    c.loss.r1_interval = 1  # 1: part of the main loss; more: an update of its own, now and then
    c.loss.r2_gamma = 0.0  # the same on generated images, always part of the main loss
    c.loss.gp_weight = 0.0  # WGAN-GP's gradient penalty
    c.loss.gp_target = 1.0
    c.loss.drift = 0.0  # weight of the mean square of D(real)
    c.loss.class_weight_d = 1.0  # AC-GAN's terms, where the discriminator has class logits: its own on real images,
    c.loss.class_weight_d_fakes = 1.0  # its own on generated ones,
    c.loss.class_weight_g = 1.0  # the generator's
    c.loss.orthogonal = 0.0  # BigGAN's orthogonal regularisation of the generator
    c.loss.pl_weight = 0.0  # path length; for architectures with a W space
    c.loss.pl_interval = 1
    c.loss.pl_decay = 0.01
    c.loss.pl_batch_shrink = 2
    c.loss.style_mixing_prob = 0.0

    c.optimizer = ConfigDict()
    c.optimizer.g_lr = -1.0
    c.optimizer.d_lr = -1.0
    c.optimizer.beta1 = 0.0
    c.optimizer.beta2 = 0.99
    c.optimizer.eps = 1e-8
    c.optimizer.l2 = 0.0  # weight decay, added to the gradient
    c.optimizer.rampup_kimg = 0.0  # learning rates rise in so many, by exp(-5 (1 - t)^2); 0: at once
    c.optimizer.decay_kimg = 0.0  # learning rates fall linearly to 0 at this many; 0: never

    c.augment = ConfigDict()
    c.augment.kind = "none"  # or ada, diff
    c.augment.pipeline = "bgc"  # of ada
    c.augment.policy = ("color", "translation", "cutout")  # of diff
    c.augment.p = 0.0  # of ada, at the start
    c.augment.target = 0.6  # mean sign of D(real) that ada steers to; 0: p stays as it is
    c.augment.kimg = 500.0  # in which p can go from 0 to 1
    c.augment.interval = 4  # iterations between two adjustments

    c.growth = ConfigDict()
    c.growth.start_resolution = 0  # of a growing architecture; 0: it starts whole
    c.growth.stable_kimg = 600.0
    c.growth.fade_kimg = 600.0
    c.growth.batch_size = ()  # ((resolution, batch), ...); others have batch_size
    c.growth.lr = ()  # ((resolution, rate), ...); others have optimizer.g_lr and d_lr
    c.growth.optimizer = "reset"  # at every phase, as the official code does; or keep

    c.ema = ConfigDict()
    c.ema.decay = 0.0  # per generator step; 0: by half-life
    c.ema.start_kimg = 0.0  # of decay; the average is the weights themselves until then
    c.ema.kimg = -1.0  # half-life
    c.ema.rampup = 0.05  # half-life at most this share of the images seen; 0: no ramp

    c.checkpoint = ConfigDict()
    c.checkpoint.every_ticks = 10
    c.checkpoint.keep = 2
    c.checkpoint.milestone_kimg = 0.0  # kept for good at multiples of this; 0: none

    c.eval_every = 0  # ticks between two evaluations of the EMA generator; 0: none
    c.eval = ConfigDict()
    c.eval.metrics = ("fd", "kid")  # see `jaxgan evaluate --help`
    c.eval.num_samples = -1  # 50,000 on accelerators, 5,000 on CPU
    c.eval.source = ""  # the real images; of the training data
    c.eval.split = ""  # of theirs; of training
    c.eval.network = "lite0"
    c.eval.weights = ""  # a file, for a network whose weights no package carries
    c.eval.filter = ""  # resize filter before the network; its own
    c.eval.perceptual = "stlpips-alex"  # of lpips and ppl
    c.eval.perceptual_weights = ""  # its file
    c.eval.batch_size = 64
    c.eval.seed = 0  # of latents, noise and subsets; the same at every evaluation of a run

    c.invert = ConfigDict()  # at the end of a run, held-out images are inverted and walked between, for the report
    c.invert.images = 0  # so many of the set's split "test"; 0: none
    c.invert.steps = 300

    c.grid = ConfigDict()
    c.grid.images = 64  # in the sample grid of each tick
    return c


def stylegan2() -> ConfigDict:
    """StyleGAN2(-ADA); the rules behind its -1 are those of `auto`."""
    c = base()
    c.model.architecture = "stylegan2"
    c.model.z_dim = 512
    c.model.w_dim = 512
    c.model.mapping_layers = 2
    c.model.channel_base = -1
    c.model.channel_max = 512
    c.model.mbstd_group = -1
    c.model.d_architecture = "resnet"
    c.model.conv_clamp = 256.0  # 0: none
    c.model.low_precision_levels = 4  # so many of the highest resolutions compute in dtype, the others in float32
    c.loss.r1_gamma = -1.0
    c.loss.r1_interval = 16
    c.loss.pl_weight = 2.0
    c.loss.pl_interval = 4
    c.loss.style_mixing_prob = 0.9
    return c


def eqgan() -> ConfigDict:
    """EqGAN-SA (Wang et al. 2022): StyleGAN2 led by heatmaps and aligned with its discriminator, as released."""
    c = stylegan2()
    c.model.architecture = "eqgan"
    c.model.sel = "norm"  # spatial encoding: norm, as released; full, a scale and shift a channel; concat
    c.model.sel_hidden = 64  # its feature maps; BerfScene's full layer has 128
    c.model.heatmap_features = 32  # of each level's heatmaps
    c.model.shared_width = True  # one width of the coarsest heatmaps a batch; else each image its own
    c.loss.align_weight = 1.0  # of the alignment with the discriminator's attention; 0: none
    c.loss.pl_weight = 0.0
    c.loss.style_mixing_prob = 0.0
    c.eval.metrics = ("fd", "kid", "di")  # what the method is to bring down
    return c


def spatial() -> ConfigDict:
    """StyleGAN2 on maps of z (our formulation of Sypetkowski 2023), for images that are alike everywhere."""
    c = stylegan2()
    c.model.architecture = "spatial"
    c.model.base = "tiled"  # one vector everywhere, any size; constant: StyleGAN2's, for images with an up and a down
    c.model.global_share = 0.3  # of z's variance, the same at all positions
    c.model.scales = ((1.0, 0.35), (2.0, 0.35))  # (sigma in cells of the base grid, share) of what changes with place
    return c


def with_maps(c: ConfigDict) -> ConfigDict:
    """A StyleGAN2's config for the same networks on maps of z."""
    maps = spatial().model
    for name in ("architecture", "base", "global_share", "scales"):
        c.model[name] = maps[name]
    return c


def dcgan() -> ConfigDict:
    """DCGAN (Radford et al. 2015), its 64 px settings: widths 1024 to 128, 5x5 kernels, Adam 2e-4, beta1 0.5."""
    c = base()
    c.batch_size = 128
    c.model.architecture = "dcgan"
    c.model.z_dim = 100
    c.model.channel_base = 4096
    c.model.channel_max = 1024
    c.model.kernel = 5
    c.model.bn_epsilon = 1e-8
    c.model.unit_norm = True  # the generator's first layer normalised unit by unit; else map by map, as in common ports
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.optimizer.beta1, c.optimizer.beta2 = 0.5, 0.999
    c.optimizer.l2 = 1e-5
    c.total_kimg = 8750.0  # 25 epochs of the paper's 350,000 faces
    c.tick_kimg = 40.0
    c.ema.kimg = 10.0
    return c


def wgan_gp() -> ConfigDict:
    """WGAN-GP (Gulrajani et al. 2017), DCGAN-shaped at 64 px: 5 critic steps, penalty 10, Adam 1e-4 (0, 0.9)."""
    c = dcgan()
    c.batch_size = 64
    c.model.architecture = "wgan_gp"
    c.model.z_dim = 128
    c.model.channel_base = 2048
    c.model.channel_max = 512
    del c.model["bn_epsilon"], c.model["unit_norm"]
    c.model.critic_norm = "layer"
    c.loss.objective = "wgan"
    c.loss.critic_steps = 5
    c.loss.gp_weight = 10.0
    c.loss.class_weight_d_fakes = 0.0  # as the authors' code
    c.loss.class_weight_g = 0.1
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-4
    c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.9
    c.optimizer.l2 = 0.0
    c.total_kimg = 64000.0  # 200,000 generator steps of 5 batches of 64
    return c


def wgan_gp_resnet() -> ConfigDict:
    """WGAN-GP's residual networks, the paper's CIFAR-10 settings: width 128, learning rate 2e-4 falling to 0.

    The critic's batch is 64, the generator's twice that.
    """
    c = wgan_gp()
    c.model.architecture = "wgan_gp_resnet"
    c.model.channel_base = 128 * 1024  # the same width at every resolution
    c.model.channel_max = 128
    del c.model["critic_norm"], c.model["kernel"]
    c.data.dequantise = True
    c.loss.g_batch_multiple = 2
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.optimizer.decay_kimg = 32000.0  # 100,000 generator steps of 5 batches of 64
    c.total_kimg = 32000.0
    return c


def pggan() -> ConfigDict:
    """Progressive GAN (Karras et al. 2018): WGAN-GP with drift, growing from 4 px, 600 + 600 kimg a resolution."""
    c = base()
    c.batch_size = 16
    c.total_kimg = 15000.0
    c.model.architecture = "pggan"
    c.model.z_dim = 512
    c.model.channel_base = 16384  # twice the paper's fmap_base
    c.model.channel_max = 512
    c.model.mbstd_group = 4
    c.model.fused_scale = True  # the discriminator halves before bias and activation, as the TensorFlow code does
    c.model.leaky_slope = 0.2
    c.model.unit_bias = False  # the generator's dense layer: a bias for each map; else for each unit
    c.model.output = "linear"  # of the generator; or tanh
    c.loss.objective = "wgan"
    c.loss.gp_weight = 10.0
    c.loss.drift = 0.001
    c.optimizer.g_lr = c.optimizer.d_lr = 0.001
    c.growth.start_resolution = 4
    c.ema.decay = 0.999
    return c


def stylegan() -> ConfigDict:
    """StyleGAN (Karras et al. 2019), FFHQ settings: logistic loss with R1 at every step, growing from 8 px."""
    c = base()
    c.batch_size = 32
    c.model.architecture = "stylegan"
    c.model.z_dim = 512
    c.model.w_dim = 512
    c.model.mapping_layers = 8
    c.model.channel_base = 16384
    c.model.channel_max = 512
    c.model.mbstd_group = 4
    c.loss.r1_gamma = 10.0
    c.loss.style_mixing_prob = 0.9
    c.optimizer.g_lr = c.optimizer.d_lr = 0.001
    c.growth.start_resolution = 8
    c.ema.kimg = 10.0
    c.ema.rampup = 0.0
    return c


def biggan() -> ConfigDict:
    """BigGAN (Brock et al. 2019), the ImageNet settings at 128 px: hinge, two discriminator steps, batch 2048."""
    c = base()
    c.batch_size = 2048
    c.data.use_labels = True
    c.model.architecture = "biggan"
    c.model.z_dim = 120
    c.model.shared_dim = 128
    c.model.width = 96
    c.model.attention = (64,)
    c.loss.objective = "hinge"
    c.loss.critic_steps = 2
    c.loss.orthogonal = 1e-4
    c.optimizer.g_lr, c.optimizer.d_lr = 5e-5, 2e-4
    c.optimizer.beta2 = 0.999
    c.optimizer.eps = 1e-6
    c.total_kimg = 600000.0
    c.tick_kimg = 400.0
    c.ema.decay = 0.9999
    c.ema.start_kimg = 81920.0  # 20,000 iterations of two batches of 2048
    return c


BASES = {
    "stylegan2": stylegan2,
    "eqgan": eqgan,
    "spatial": spatial,
    "dcgan": dcgan,
    "wgan_gp": wgan_gp,
    "wgan_gp_resnet": wgan_gp_resnet,
    "pggan": pggan,
    "stylegan": stylegan,
    "biggan": biggan,
}


def paper(
    *,
    fmaps: float,
    batch_size: int,
    mbstd_group: int,
    lr: float,
    gamma: float,
    ema_kimg: float,
    start: Callable[[], ConfigDict] = stylegan2,
) -> ConfigDict:
    """A preset of the StyleGAN2-ADA code: fixed batch, learning rate, gamma; eight mapping layers, no EMA ramp, ADA."""
    c = start()
    c.augment.kind = "ada"
    c.batch_size = batch_size
    c.model.mbstd_group = mbstd_group
    c.model.channel_base = int(fmaps * 32768)
    c.model.mapping_layers = 8
    c.optimizer.g_lr = c.optimizer.d_lr = lr
    c.loss.r1_gamma = gamma
    c.ema.kimg = ema_kimg
    c.ema.rampup = 0.0
    return c


def eqgan256() -> ConfigDict:
    """EqGAN-SA's released settings at 256 px on 8 devices: paper256's, without augmentation.

    There each device's 8 images have one width of the coarsest heatmaps and a mean of their own of the alignment's
    large differences; here all 64 have. The paper measures FID, whose network no package carries:
    `config.eval.network=inception`, with its file as `config.eval.weights`.
    """
    c = paper(fmaps=0.5, batch_size=64, mbstd_group=8, lr=0.0025, gamma=1.0, ema_kimg=20.0, start=eqgan)
    c.augment.kind = "none"
    c.data.source = ""
    c.eval_every = 50  # 200,000 images
    return c


def small_float32(c: ConfigDict) -> ConfigDict:
    """For 32 and 64 px on any machine: float32 throughout, no clamp."""
    c.model.dtype = "float32"
    if "low_precision_levels" in c.model:
        c.model.low_precision_levels = 0
        c.model.conv_clamp = 0.0
    return c


def small_fashion(c: ConfigDict) -> ConfigDict:
    """One budget for all on Fashion-MNIST at 32 px: 64 latent numbers, at most 32 maps, 200,000 images."""
    small_float32(c)
    c.batch_size = 16
    c.total_kimg = 200.0
    c.tick_kimg = 10.0
    c.model.z_dim = 64
    if "w_dim" in c.model:
        c.model.w_dim = 64
        c.model.mapping_layers = 2
    if "channel_base" in c.model:
        c.model.channel_base = 512
        c.model.channel_max = 32
    c.ema.decay = 0.0
    c.ema.kimg = 2.0
    c.ema.rampup = 0.05
    c.growth.stable_kimg = c.growth.fade_kimg = 25.0
    return c
