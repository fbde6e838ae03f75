"""Check a gradient of your own: what a check finds, what it says, and what no check can see.

Run it with ``python tutorials/check_your_gradients.py`` in the environment of the README. It
takes some seconds, and writes ``check_your_gradients.png`` into the folder it is run in.
"""

# %% 1. An op is a function of arrays that returns its value and its pullback: what turns the
#    gradient with respect to the value, g, into the gradient with respect to the input. Here
#    is y = log(1 + e^x), whose derivative is 1 / (1 + e^-x). In the second one a sign is lost.

import numpy as np

import tinyvae as tv

x = np.random.default_rng(0).normal(size=(2, 3))


def softplus(x):
    return np.log1p(np.exp(x)), lambda g: g / (1 + np.exp(-x))


def slipped(x):
    return np.log1p(np.exp(x)), lambda g: g / (1 + np.exp(x))


print("1.", tv.gradcheck(softplus, x), "\n")
print("  ", tv.gradcheck(slipped, x), "\n")

# %% 2. The report names the worst element, both gradients there, and their ratio. Then the
#    order test: how much of f(x + h v) is left over after f(x) + h (gradient v). That shrinks
#    with h^2 (slope 2) for a right gradient, and only with h (slope 1) for a wrong one; for a
#    function that is linear nothing is left over, if the gradient is right.
#    Where a slip is a usual one, the report says which. A layer that forgets to halve:


def energy(x, weight):
    y = x @ weight
    return (y**2).sum() / 2, (lambda g: g * 2 * (y @ weight.T), lambda g: g * (x.T @ y))


report = tv.gradcheck(energy, x, np.random.default_rng(1).normal(size=(3, 4)))
print("2.", report, "\n")
tv.plots.save(tv.plots.gradcheck(report), "check_your_gradients.png")

# %% 3. No Tensor needs to be in sight: a function of NumPy and its pullback will do. An op
#    that is right can be lifted to Tensors, and used in a model like any other.


def row_norms(x):
    return np.sqrt((x**2).sum(axis=1))


def pullback(g, x):
    return (g / row_norms(x))[:, None] * x


print("3.", tv.gradcheck(row_norms, x, pullback=pullback), "\n")
loss = (tv.op(softplus)(tv.Tensor(x, requires_grad=True)) ** 2).mean()
loss.backward()

# %% 4. In a project of your own the check is a test. `points` is a strategy of hypothesis:
#    each letter is an axis, and different letters have different lengths, so that no wrong
#    shape passes by broadcasting. Save this as test_gradients.py, and run pytest.
#
#        from hypothesis import given
#        from tinyvae.testing import assert_gradients, points
#
#        @given(points("bk"))
#        def test_the_gradient_of_softplus_is_right(inputs):
#            assert_gradients(softplus, *inputs)

tv.testing.assert_gradients(softplus, x)

# %% 5. What no gradient check can see. This sampler scales its noise with the variance, where
#    sigma belongs. Forward and backward agree with each other, so every gradient is right:
#    of the wrong function. Only a look at what it draws tells: for a variance of 0.25 it
#    must not be 0.0625.


def wrong_sampler(mean, log_variance, noise):
    spread = np.exp(log_variance) * noise
    return mean + spread, (lambda g: g, lambda g: g * spread, lambda g: g * np.exp(log_variance))


noise = np.random.default_rng(2).normal(size=(2, 3))
passed = bool(tv.gradcheck(wrong_sampler, x, x / 2, noise))
many = np.random.default_rng(3).normal(size=100_000)
drawn = wrong_sampler(0.0, np.log(0.25), many)[0]
print(f"5. the gradients pass: {passed}; the variance asked for is 0.25, drawn {drawn.var():.4f}")
