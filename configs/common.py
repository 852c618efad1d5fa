"""What the experiments share: StyleGAN2(-ADA)'s settings. A value of -1 is filled in by rule from data and devices."""

from ml_collections import ConfigDict


def stylegan2() -> ConfigDict:
    """The base of every StyleGAN2 config; the rules are those of StyleGAN2-ADA's `auto`."""
    c = ConfigDict()
    c.seed = 0
    c.batch_size = -1  # images per iteration over all devices
    c.accumulate = 1  # rounds of gradient accumulation that a batch is cut into
    c.total_kimg = 25000.0  # thousands of real images shown to the discriminator
    c.tick_kimg = 4.0  # between two rows of metrics
    c.steps_per_dispatch = 1  # iterations without lazy terms run as one program; raise it where steps are small
    c.fsdp = 1  # devices that parameters and optimiser state are split over
    c.w_avg_beta = 0.995

    c.data = ConfigDict()
    c.data.source = "fashion"  # embedded set, prepared folder, or tfds:NAME
    c.data.split = "train"
    c.data.num_images = -1  # of the data
    c.data.x_flip = False
    c.data.use_labels = False
    c.data.num_threads = 2
    c.data.memory_map_gb = 4.0  # sets up to this size are decoded once into a memory map

    c.model = ConfigDict()
    c.model.architecture = "stylegan2"
    c.model.resolution = -1  # of the data
    c.model.base_shape = (-1, -1)  # of the data: (4, 4) for squares
    c.model.channels = -1  # of the data
    c.model.num_classes = 0  # of the data, where data.use_labels
    c.model.z_dim = 512
    c.model.w_dim = 512
    c.model.mapping_layers = 2
    c.model.channel_base = -1
    c.model.channel_max = 512
    c.model.mbstd_group = -1
    c.model.d_architecture = "resnet"
    c.model.conv_clamp = 256.0  # 0: none
    c.model.dtype = "auto"  # of the highest resolutions: float32 on CPU, else bfloat16; parameters are float32
    c.model.low_precision_levels = 4

    c.loss = ConfigDict()
    c.loss.r1_gamma = -1.0
    c.loss.r1_interval = 16
    c.loss.pl_weight = 2.0
    c.loss.pl_interval = 4
    c.loss.pl_decay = 0.01
    c.loss.pl_batch_shrink = 2
    c.loss.style_mixing_prob = 0.9

    c.optimizer = ConfigDict()
    c.optimizer.g_lr = -1.0
    c.optimizer.d_lr = -1.0
    c.optimizer.beta1 = 0.0
    c.optimizer.beta2 = 0.99
    c.optimizer.eps = 1e-8

    c.ema = ConfigDict()
    c.ema.kimg = -1.0  # half-life
    c.ema.rampup = 0.05  # at most this share of the images seen; 0: no ramp

    c.checkpoint = ConfigDict()
    c.checkpoint.every_ticks = 10
    c.checkpoint.keep = 2
    c.checkpoint.milestone_kimg = 0.0  # kept for good at multiples of this; 0: none

    c.eval_every = 0  # ticks between two evaluations of the EMA generator; 0: none
    c.eval = ConfigDict()
    c.eval.metrics = ("fd", "kid")  # see `jaxgan evaluate --help`
    c.eval.num_samples = -1  # 50,000 on accelerators, 5,000 on CPU
    c.eval.network = "lite0"
    c.eval.weights = ""  # a file, for a network whose weights no package carries
    c.eval.batch_size = 64

    c.grid = ConfigDict()
    c.grid.images = 64  # in the sample grid of each tick
    return c


def paper(*, fmaps: float, batch_size: int, mbstd_group: int, lr: float, gamma: float, ema_kimg: float) -> ConfigDict:
    """A preset of the StyleGAN2-ADA paper: fixed batch, learning rate and gamma, eight mapping layers, no EMA ramp."""
    c = stylegan2()
    c.batch_size = batch_size
    c.model.mbstd_group = mbstd_group
    c.model.channel_base = int(fmaps * 32768)
    c.model.mapping_layers = 8
    c.optimizer.g_lr = c.optimizer.d_lr = lr
    c.loss.r1_gamma = gamma
    c.ema.kimg = ema_kimg
    c.ema.rampup = 0.0
    return c


def small_float32(c: ConfigDict) -> ConfigDict:
    """For 32 and 64 px on any machine: float32 throughout, no clamp."""
    c.model.dtype = "float32"
    c.model.low_precision_levels = 0
    c.model.conv_clamp = 0.0
    return c
