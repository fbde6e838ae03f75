"""Can a gradient pass through sampling? Four estimates of one number, and then of a VAE's.

Run it with ``python tutorials/sampling_and_gradients.py`` in the environment of the README. It
takes some seconds, and writes ``sampling_and_gradients.png`` into the folder it is run in.
"""

# %% 1. z is drawn from N(theta, 1). How does the average of z^2 change with theta? Since it is
#    theta^2 + 1, by 2 theta: at theta = 2 by 4. But suppose that nobody can do that integral,
#    and there are only samples. A sample is a number: it has forgotten theta.

import numpy as np
from matplotlib.figure import Figure

import tinyvae as tv

theta, count = 2.0, 1_000_000
noise = np.random.default_rng(0).normal(size=count)
z = theta + noise
print(f"1. the average of z^2 is {(z**2).mean():.2f}; how does it change with theta?\n")

# %% 2. "No gradient can pass through sampling", one reads. Through a sample, no. But the average
#    is an integral of q(z) z^2, and q knows theta. Its derivative is q times that of log q:
#
#        d E[z^2] = int (d q) z^2 = int q (d log q) z^2 = E[z^2 d log q],
#
#    which is an average again, and so can be estimated from samples. For N(theta, 1) the score,
#    d log q, is z - theta. This is the score function estimator (REINFORCE): right on average,
#    and it needs no derivative of z^2. It needs many samples.


def told(name, estimates):
    print(f"   {name:<34} mean {estimates.mean():5.2f}, variance {estimates.var():5.1f}")
    return estimates


print("2. estimates of 2 theta, of one sample each:")
estimates = {}
score = z - theta
estimates["score function"] = told("score function", z**2 * score)

# %% 3. Where z^2 is about 5, all scores are multiplied by about 5, to cancel in the end. So take
#    a constant off, a baseline: as the score's average is 0, it changes no average. With the
#    mean, E[z^2] = 5, the variance halves; E[z^2 score^2] = 7 is the best constant that there is.

told("  less the mean, 5", (z**2 - 5) * score)
estimates["with the best constant"] = told("  less the best constant, 7", (z**2 - 7) * score)

# %% 4. Or take the sample apart: z = theta + noise. The noise does not depend on theta, so that
#    for each sample z is a function of theta, whose derivative is 1, and that of z^2 is 2 z.
#    This is the reparameterised, or pathwise, estimator. It looks at the slope of z^2, and not
#    only at its height. In tinyvae `gaussian_sample` is that function.

mean = tv.Tensor(np.full(count, theta), requires_grad=True)
path = tv.gaussian_sample(mean, tv.Tensor(np.zeros(count)), tv.Tensor(noise))
(path * path).sum().backward()
estimates["path"] = told("path", mean.grad)
print(f"   to be as sure, the score needs {(z**2 * score).var() / mean.grad.var():.0f} samples for")
print("   one of the path\n")

# %% 5. In a VAE z has many dimensions and z^2 is a cost of 25 nats, and the score function has to
#    find the slope from its heights. Here is the same small model, trained by the path, by the
#    score, and by the score with the mean of an image's other samples as a baseline. By the bare
#    score the codes come to tell little about the images, which is what their KL says.

digits = tv.data.load("digits")
print("5. on images not trained on, after 30 epochs with 8 samples an image:")
for objective in ("elbo", "score", "score-loo"):
    model = tv.VAE(digits.image_shape, latent=8, hidden=(64,), seed=0)
    tv.fit(model, digits.train, epochs=30, batch=64, objective=objective, samples=8)
    result = tv.evaluate(model, digits.test)
    print(f"   {objective:<10} -ELBO {result.loss:.1f}, of it KL {result.kl:.1f} nats")

# %% 6. The picture: the average of the first n estimates, ten times over. All of them come to 4.
#    How soon is why one of them is used.

figure = Figure(figsize=(9, 3.2), layout="constrained")
n = np.arange(1, 10_001)
for axes, (name, values) in zip(figure.subplots(1, 3, sharey=True), estimates.items(), strict=True):
    runs = values[:100_000].reshape(10, 10_000)
    axes.plot(n, runs.cumsum(axis=1).T / n[:, None], color="tab:blue", linewidth=0.6)
    axes.axhline(2 * theta, color="black", linewidth=0.8)
    axes.set(xscale="log", ylim=(-4, 12), title=name, xlabel="samples")
tv.plots.save(figure, "sampling_and_gradients.png")
