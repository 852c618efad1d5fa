"""What the optimisations of latents share; every field of their configs."""

from ml_collections import ConfigDict


def inversion() -> ConfigDict:
    """Inversion of whole images."""
    c = ConfigDict()
    c.seed = 0
    c.space = "w+"  # or z, w; maps: sw:8, sw+:8, sw+:8:0-5, pyramid:32, ss:8, sz:8
    c.coordinates = "raw"  # of the code that is optimised; or whitened, where a step is in deviations of random latents
    c.demodulation = "centre"  # of maps; or window, exact where they are rough
    c.latent_filter = "torch_bilinear"  # that brings maps to a layer's size; or nearest, cells with sharp borders
    c.steps = 1000
    c.batch = 16  # images a call; the last call is filled up
    c.chunk = 50  # steps of one compiled call
    c.checkpoint_seconds = 30.0  # between two checkpoints of the running batch

    c.start = "candidates"  # the best of so many random latents; or mean
    c.candidates = 256
    c.tolerance = 0.0  # an image stops when `patience` steps have not lowered its best loss by this share; 0: never
    c.patience = 100
    c.snapshots = ()  # steps at which pictures are kept, each at the end of its chunk

    c.optimizer = ConfigDict()
    c.optimizer.kind = "adam"  # or lbfgs
    c.optimizer.lr = 0.1  # of adam
    c.optimizer.beta1 = 0.9
    c.optimizer.beta2 = 0.999
    c.optimizer.schedule = "ramp"  # of adam: the projector's warm-up and cosine end; or constant
    c.optimizer.memory = 10  # of lbfgs
    c.optimizer.line_search = 10  # trials at most, of lbfgs

    c.weights = ConfigDict()  # of the loss's terms; 0 leaves one out
    c.weights.l1 = 10.0
    c.weights.l2 = 0.0
    # VGG features before the ReLU. Those of st-vgg are much smaller than VGG19's, for which 0.01 is the assignment's.
    c.weights.conv = 30.0
    c.weights.lpips = 0.0  # perceptual distance
    c.weights.gram = 0.0  # texture
    c.weights.hog = 0.0  # shape
    c.weights.realism = 0.0  # softplus(-D)
    c.weights.noise = 0.0  # regulariser of noise maps
    c.weights.delta = 0.0  # length of the way from the start
    c.weights.delta_squared = 0.0
    c.weights.prior = 0.0  # squared whitened w
    c.weights.mean = 0.0  # squared distance to the mean w
    c.weights.spread = 0.0  # squared distance of the layers' w from each other
    c.weights.equalise = 0.0  # distance of each w's distribution from that of random ones, and from the others'
    c.weights.roughness = 0.0  # squared change from a cell of a map to the next
    c.weights.dependence = 0.0  # how much less alike near cells are than the prior's, of a generator of maps

    # Of a space of maps: what comes before its `steps`. They are in whitened coordinates (styles and with a clamp: raw)
    # and at the rate `lr`, whatever coordinates, perturbation and optimizer.lr say.
    c.stages = ConfigDict()
    c.stages.w_steps = 300  # in w, from `start`,
    c.stages.w_lr = 0.1
    c.stages.w_perturbation = 0.05
    c.stages.wplus_steps = 300  # then in w+, where the space has a w for each layer
    c.stages.wplus_lr = 0.05
    c.stages.coarse = 0.25  # share of the `steps` on a grid of a quarter of the cells a side, and again on one of half
    c.stages.lr = 0.05  # of the maps
    # Weight of R_eq in all stages towards maps of w, where weights.equalise says none: they could be any image.
    c.stages.equalise = 0.1

    c.trunk = "st-vgg"  # of conv and gram; or vgg19, with trunk_weights
    c.trunk_weights = ""  # torchvision's state dict of VGG19
    c.convs = (5,)  # convolutions counted from 1; 5 is conv3_1
    c.lpips_network = "stlpips-vgg"  # or lpips-vgg, with lpips_weights
    c.lpips_weights = ""
    c.hog_cell = 4  # pixels
    c.noise_maps = False  # optimise noise maps too
    c.perturbation = 0.0  # the projector's noise on w, in w's standard distances (0.05 there)
    c.prior_from = 0.0  # weight of the prior at the start, from which it goes to weights.prior in 75 % of the steps
    c.prior_clamp = 0.0  # hard limit of a row's mean squared whitened number (1.5 is usual); 0: none

    c.report = ConfigDict()  # what is measured of the results
    c.report.perceptual = "stlpips-alex"
    c.report.perceptual_weights = ""
    return c


def tuning() -> ConfigDict:
    """Pivotal tuning of the generator to each photograph, after its inversion; Roich et al. 2021 and its code."""
    c = ConfigDict()
    c.enabled = False  # --tune_generator
    c.steps = 350  # at most
    c.lr = 3e-4  # of Adam
    c.l2 = 1.0  # weights of the loss: mean squared difference,
    c.lpips = 1.0  # and perceptual distance on config.lpips_network
    # It ends before the step at which that distance is no more than this. Every network has a scale of its own: PTI's
    # 0.06 is on LPIPS Alex, and on stlpips-vgg hardly less than an inversion reaches without tuning.
    c.threshold = 0.005
    c.locality = 0.0  # weight of what changes around the pivot; PTI's is 0.1, and it is off there too
    c.radius = 30.0  # how far from the pivot that is looked at, over all rows of ws together; PTI's for 18 rows of 512
    c.psi = 0.5  # truncation of the random latents in whose direction
    return c


def scribbling() -> ConfigDict:
    """Scribbles, the plain program: L1 and conv_5 where something is drawn, from the mean."""
    c = inversion()
    c.start = "mean"
    c.steps = 10000
    c.snapshots = (0, 250, 1000, 10000)
    c.search = ConfigDict()
    c.search.candidates = 1  # random latents a scribble that are tried first; 1: none, `start` says where to begin
    c.search.steps = 200  # of each
    c.search.kept = 4  # of them go on to the end
    return c


def realism() -> ConfigDict:
    """The realism direction ("Diamond in the rough", arXiv 2104.05518).

    Depth of the inversion, largest angle and box are ours, chosen on small networks (docs/results/realism.md); the
    other constants are those of the released code, and `released` has all of them.
    """
    c = ConfigDict()
    c.seed = 0
    c.space = "z"  # or w, of generators with a mapping network
    c.batch = 32  # codes a call; the last call is filled up
    c.chunk = 50  # steps of one compiled call
    c.checkpoint_seconds = 30.0  # between two checkpoints of the running batch
    c.candidates = 1000  # random codes, of which the nearest in features is where an inversion begins; of each class
    c.features = ()  # of the discriminator, by name; the last one if empty
    c.min_angle = 1.0  # degrees between a code and what is recovered of it; with less there is no direction
    c.mean_of = 1000  # codes whose mean prototype --variant=mean uses

    c.recover = ConfigDict()  # the inversion of the generator's own image
    c.recover.steps = 30  # at most; the release's 500 come back so near to x that the direction says less
    c.recover.lr = 0.1  # of Adam; a tenth after two fifths, a hundredth after four fifths
    c.recover.pixels = 2.0  # weight of the pixels beside the features' 1
    c.recover.radius = 1.0  # weight of the squared distance of a code's length from sqrt(D)
    c.recover.change = 0.0  # an image stops when its loss differs by less from the step before; 0: never

    c.prototype = ConfigDict()
    c.prototype.method = "grid"  # or forward (steps), recursion (the release's), walk (eight plain steps, no critic)
    c.prototype.away = 3.0  # Lambda: weight of cos(z, x), which is minimised with the score
    c.prototype.sign = 1.0  # of the score: 1 as released, -1 looks for a high score
    c.prototype.largest = 110.0  # degrees from x at most, of grid and forward
    c.prototype.points = 64  # of the grid
    c.prototype.both_sides = False  # of x; if not, only beyond y is looked (the recursion may end on either side)
    c.prototype.steps = 500  # at most, of forward and recursion
    c.prototype.lr = 0.1
    c.prototype.change = 1e-4

    c.select = ConfigDict()  # where on the arc
    c.select.method = "grid"  # or forward (steps, as released)
    c.select.low, c.select.start, c.select.high = 0.2, 0.3, 0.5
    c.select.points = 32  # of the grid
    c.select.steps = 100  # at most, of forward
    c.select.lr = 0.01
    c.select.change = 1e-5

    c.critic = ConfigDict()
    c.critic.units = "spread"  # scores less their mean over random images, in their deviations; or raw
    c.critic.target = "real"  # the score that is aimed at: the mean of real images; or a number, in `units`
    return c


def released(pixels: float, away: float, low: float = 0.5, high: float = 0.75, target: str = "0") -> ConfigDict:
    """The release's settings for one of its networks, whose critics are of the WGAN-GP kind: raw scores around 0."""
    c = realism()
    c.recover.steps, c.recover.change = 500, 1e-4
    c.recover.pixels = pixels
    c.prototype.method = "recursion"
    c.prototype.away = away
    c.select.method = "forward"
    c.select.low, c.select.start, c.select.high = low, 0.6, high
    c.critic.units = "raw"
    c.critic.target = target
    return c
