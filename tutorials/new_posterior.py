"""A new posterior in a few lines: write it, test it, train with it.

Run it with ``python tutorials/new_posterior.py`` in the environment of the README. It takes
some seconds, and writes ``new_posterior.png`` into the folder it is run in.
"""

# %% 1. A posterior q(z | x) says three things. How a code is drawn: a function of the encoder's
#    output and of noise that knows nothing of it, so that a gradient goes through. How probable a
#    code is. And, where there is a formula, how far q is from the standard normal.
#
#    Ours is the Gumbel distribution, which leans to one side. With u from [0, 1),
#
#        z = location - scale log(-log u),
#        log q(z) = -log scale - t - e^-t,    t = (z - location) / scale.
#
#    Its KL from N(0, 1) has the moments of z in it, and is left to the samples here: without a
#    `kl` the loss takes log q(z) - log p(z) at the code that was drawn. The formulas are made of
#    ops that know their gradients, so there is no gradient to write.

import numpy as np

import tinyvae as tv
from tinyvae.distributions import Posterior


class Gumbel(Posterior):
    """Independent Gumbel distributions; the parameters are locations and log scales."""

    noise = "uniform"

    def sample(self, parameters, noise):
        location, log_scale = parameters  # (B, K) each
        u = tv.maximum(tv.Tensor.wrap(noise), 1e-7)  # 0 has no logarithm
        return location - tv.exp(log_scale) * tv.log(-tv.log(u))

    def log_prob(self, parameters, z):
        location, log_scale = parameters
        t = (z - location) / tv.exp(log_scale)
        return -(log_scale + t + tv.exp(-t)).sum(axis=1)  # (B,), in nats

    def mean(self, parameters):
        location, log_scale = parameters
        return location + 0.5772156649 * tv.exp(log_scale)  # Euler's constant


# %% 2. Does it draw from the density that it tells? `assert_posterior` draws 50,000 codes for each
#    of four encoder outputs. It looks whether they fall into boxes as often as the density says,
#    whether the gradient through the codes is that of the density, and, where there is a `kl`,
#    whether it is the mean of log q - log p.

tv.testing.assert_posterior(Gumbel(2, tv.Noise(0)))
print("2. the posterior draws from its own density")

# %% 3. The slip that is made most often: what scales the noise is not what the density has for its
#    scale. Here it is the square, as where a variance stands for sigma. The loss goes down
#    all the same, and every gradient check passes; what is wrong is the ELBO itself.


class Slip(Gumbel):
    def sample(self, parameters, noise):
        location, log_scale = parameters
        return super().sample((location, 2 * log_scale), noise)


try:
    tv.testing.assert_posterior(Slip(2, tv.Noise(0)))
except AssertionError as error:
    print(f"3. {error}")

# %% 4. Train with it. A model takes the class where the name of a posterior may stand. The Gaussian
#    beside it has the same network and the same seed. What is compared is log p(x), in which the
#    posterior is only a help to find the codes; the ELBO also pays for how well it fits.

digits = tv.data.load("digits").binarised(0)
for kind in ("gaussian", Gumbel):
    model = tv.VAE(digits.image_shape, hidden=(128,), posterior=kind)
    tv.fit(model, digits.train, epochs=40, learning_rate=3e-3)
    elbo = -tv.evaluate(model, digits.test).loss
    log_p = tv.log_likelihood(model, digits.test, samples=200).mean
    name = getattr(kind, "__name__", kind)
    print(f"4. {name}: ELBO {elbo:.1f}, log p(x) {log_p:.1f} nats per image")

# %% 5. Where the images of the test part lie, under the posterior that is ours.

picture = tv.plots.latent(model.embed(digits.test.images)[0], np.array(digits.test.labels))
tv.plots.save(picture, "new_posterior.png")

# %% For a name of its own, as in `tv.VAE(..., posterior="gumbel")`, put it into the list:
#
#        from tinyvae.distributions.posteriors import POSTERIORS
#
#        POSTERIORS["gumbel"] = Gumbel
#
#    That holds in the script that does so. The command line reads no scripts: for it the class and
#    its line of the list have to stand in `tinyvae/distributions/posteriors.py` itself.
#
#    More that a posterior may say (`tinyvae.distributions.Posterior` has it all): `parts` and
#    `split`, where it needs other than two numbers a dimension; `has_density = False`, where
#    log q is known of its own codes alone, which `draw` then returns beside them, as a flow's does;
#    `has_score = False`, where the parameters move the ends of its support; `is_factorised =
#    False`, where the dimensions depend on each other.
