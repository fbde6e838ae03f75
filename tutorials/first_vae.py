"""A first VAE, step by step: derive, check, train, look.

Run it with ``python tutorials/first_vae.py`` in the environment of the README. It takes
some seconds, and writes ``first_vae.png`` into the folder it is run in.
"""

# %% 1. Data: 1,797 real handwritten digits, 8 x 8, as rows of numbers in [0, 1].

import numpy as np

import tinyvae as tv

digits = tv.data.load("digits")
x_all = digits.train.batch(slice(None))  # (1297, 64)

# %% 2. The model. The encoder says where in a plane an image may lie: a Gaussian,
#    q(z | x) = N(mean, exp(log_variance)). The decoder says what a place looks like: the
#    logits of 64 Bernoulli pixels. All that is random is handed in, from one seed.

noise = tv.Noise(seed=0)
encoder = tv.MLP((64, 128, 4), noise)  # 4 = 2 means and 2 log variances
decoder = tv.MLP((2, 128, 64), noise)


# %% 3. The loss, the negative ELBO: what it costs, in nats, to describe the pixels given z,
#    plus what it costs to describe z given that everyone knows the prior N(0, 1).


def loss(x, epsilon):
    mean, log_variance = tv.split(encoder(x), 2)  # (B, 2) each
    z = tv.gaussian_sample(mean, log_variance, epsilon)  # (B, 2): mean + sigma epsilon
    cross_entropy = tv.bernoulli_cross_entropy(decoder(z), x)  # (B,)
    kl = tv.kl_standard_normal(mean, log_variance)  # (B,), never negative
    return (cross_entropy + kl).mean()


# %% 4. Is every gradient right? Each derivation is checked against differences of its value,
#    in float64 and with the noise frozen. The second one is wrong on purpose.

point = np.random.default_rng(0).standard_normal((3, 2))
print(tv.gradcheck(tv.kl_standard_normal, point, point / 2))


def wrong_kl(mean, log_variance):
    value = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2).sum(axis=-1)
    # the pullback of log_variance forgot the 1: it should be (e^log_variance - 1) / 2
    return value, (lambda g: g[:, None] * mean, lambda g: g[:, None] * np.exp(log_variance) / 2)


print(tv.gradcheck(wrong_kl, point, point / 2))

# %% 5. Train: forward, backward, one step of the optimiser; again.

optimiser = tv.Adam(encoder.parameters() + decoder.parameters(), learning_rate=2e-3)
for epoch in range(1, 31):
    order, total = noise.permutation(len(x_all)), 0.0
    for rows in np.array_split(order, 21):
        value = loss(tv.Tensor(x_all[rows]), noise.normal((len(rows), 2)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        total += value.item() * len(rows)
    if epoch % 10 == 0:
        print(f"epoch {epoch}: -ELBO {total / len(x_all):.2f} nats per image")

# %% 6. Look: decode a grid of places in the plane.

places = np.linspace(-2, 2, 12, dtype="float32")
grid = np.stack(np.meshgrid(places, places[::-1]), axis=-1).reshape(-1, 2)
with tv.no_grad():
    images = tv.sigmoid(decoder(tv.Tensor(grid))).numpy().reshape(-1, 8, 8)
tv.plots.save(tv.plots.manifold(images, 12, x=places, y=places[::-1]), "first_vae.png")
print("wrote first_vae.png")
